"""How many workers are asked for, and how many there can be."""

import pytest

from avqa.training.fitting.fit import too_many_workers
from avqa.training.settings import resolve


@pytest.mark.parametrize(
    ("workers", "devices", "line"),
    [
        (8, 1, None),
        (9, 1, "workers=9; expected at most 8, as cores=8"),
        (2, 4, None),
        (3, 4, "workers=3 in each of devices=4; expected at most 2, as cores=8"),
    ],
)
def test_workers_count_in_every_device(monkeypatch, workers, devices, line):
    monkeypatch.setattr("avqa.training.fitting.fit.num_cores", lambda: 8)
    settings, _ = resolve("avst", {"workers": str(workers)})
    said = too_many_workers(settings, devices)
    assert said is None if line is None else said.startswith(line + " can be used; ")
