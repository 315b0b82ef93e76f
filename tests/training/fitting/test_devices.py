"""Which devices a fit may have, and what they share."""

import pytest
import torch
from helpers.runs.tiny_fits import settings, tiny_fit

from avqa.errors import ConfigError
from avqa.training.fitting.fit import check_devices


def test_the_device_is_chosen_by_what_torch_sees(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert check_devices(settings(device="auto"), 1) == check_devices(settings(), 8) == "cpu"
    with pytest.raises(ConfigError, match="device=cuda; expected an NVIDIA GPU, none is visible;"):
        check_devices(settings(device="cuda"), 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert check_devices(settings(device="auto"), 1) == "cuda"
    assert check_devices(settings(device="cuda"), 2) == "cuda"
    assert check_devices(settings(device="cpu"), 3) == "cpu"


@pytest.mark.parametrize(
    ("devices", "device", "message"),
    [
        (
            *(3, "auto"),
            "devices=3; expected at most 2, the GPUs that are visible; use --devices 2 or check"
            " CUDA_VISIBLE_DEVICES",
        ),
        (
            *(9, "cpu"),
            "devices=9 with batch_size=8; expected 1 to 8: every batch is divided among the"
            " devices; use fewer",
        ),
        (
            *(0, "cpu"),
            "devices=0 with batch_size=8; expected 1 to 8: every batch is divided among the"
            " devices; use fewer",
        ),
    ],
)
def test_devices_that_cannot_be_are_refused(tmp_path, monkeypatch, devices, device, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError) as caught:
        tiny_fit(tmp_path, devices=devices, device=device)
    assert str(caught.value) == message
    assert not any(tmp_path.iterdir())
