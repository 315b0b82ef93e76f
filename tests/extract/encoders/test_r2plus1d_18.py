"""R(2+1)D-18 against torchvision's own path on clips of one frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.extraction import networks
from PIL import Image

from avqa.extract.encoders import r2plus1d_18


@pytest.fixture(scope="module")
def reference() -> Any:
    """Batch norms as after training: with means and variances of their own."""
    network = r2plus1d_18.architecture()
    generator = torch.Generator().manual_seed(0)
    for name, value in network.named_buffers():
        if name.endswith("running_mean"):
            value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
        elif name.endswith("running_var"):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
    return network.eval()


def test_pool_is_all_but_the_classifier(reference: Any) -> None:
    batch = networks.full_batch("r2plus1d_18", "frame")
    ours = networks.built("r2plus1d_18", reference.state_dict())
    pool = ours.forward("frame", batch, ["pool"])["pool"]
    mean = torch.tensor((0.43216, 0.394666, 0.37645))
    std = torch.tensor((0.22803, 0.22145, 0.216989))
    clips = ((batch / 255 - mean) / std).permute(0, 3, 1, 2)[:, :, None]  # [B, 3, 1, 112, 112]
    trunk = torch.nn.Sequential(*list(reference.children())[:-1])
    with torch.no_grad():
        theirs = trunk(clips).flatten(1)
    torch.testing.assert_close(pool, theirs, rtol=1e-4, atol=1e-5)


def test_frames_are_squashed_within_a_grey_level_of_pillow() -> None:
    frame = networks.frame(640, 360)
    wide = Image.fromarray(frame).resize((112, 360), Image.Resampling.BILINEAR)
    theirs = np.asarray(wide.resize((112, 112), Image.Resampling.BILINEAR))
    ours = r2plus1d_18.prepare("frame", [frame], {})[0]
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_it_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = r2plus1d_18.architecture()
    count = sum(part.numel() for part in network.parameters())
    assert count - sum(part.numel() for part in network.fc.parameters()) == 31_300_125
    assert r2plus1d_18.TAPS["pool"].shape == (512,)
