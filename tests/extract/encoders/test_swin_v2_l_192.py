"""Swin-V2 against timm's own path, and the authors' names of its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import timm
import torch
from helpers.extraction import networks, small
from PIL import Image

from avqa.extract import encoders
from avqa.extract.encoders import swin_v2_l_192
from avqa.extract.encoders._parts import frozen


def test_map_and_pool_are_timms() -> None:
    """With norms that are not zero: as timm begins, its blocks add nothing."""
    random = torch.Generator().manual_seed(0)
    with small.installed():
        module: Any = encoders.load("small_swin")
        batch = networks.full_batch("small_swin", "frame")
        state = {
            name: value + 0.3 * torch.randn(value.shape, generator=random)
            for name, value in networks.state("small_swin").items()
        }
        steep = next(name for name in state if name.endswith("logit_scale"))
        state[steep] = torch.full_like(state[steep], 6.0)  # more than is let through
        out = networks.built("small_swin", state).forward("frame", batch, ["pool", "map"])
    model = module.SWIN.architecture().eval()
    model.load_state_dict(state)
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    frames = ((batch / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        last = model.forward_features(frames)
        pooled = model(frames)  # timm's own mean over the map, without a classifier
    assert out["map"].shape == (4, 2, 2, 128)
    torch.testing.assert_close(out["map"], last, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(out["pool"], pooled, rtol=1e-4, atol=1e-4)
    added = [name for name in state if name.endswith(("norm1.weight", "norm2.weight"))]
    model.load_state_dict(state | {name: torch.zeros_like(state[name]) for name in added})
    with torch.no_grad():
        assert float((model(frames) - pooled).abs().mean()) > 0.1


def test_it_is_the_network_that_timm_has_by_this_name() -> None:
    with torch.device("meta"):
        ours = swin_v2_l_192.SWIN.architecture()
        theirs = timm.create_model("swinv2_large_window12_192", num_classes=0)
    shapes = {name: value.shape for name, value in theirs.state_dict().items()}
    assert {name: value.shape for name, value in ours.state_dict().items()} == shapes
    assert sum(part.numel() for part in ours.parameters()) == 195_202_932
    taps = {tap: spec.shape for tap, spec in swin_v2_l_192.TAPS.items()}
    assert taps == {"pool": (1536,), "map": (6, 6, 1536)}
    assert timm.get_pretrained_cfg("swinv2_large_window12_192").input_size == (3, 192, 192)


def test_the_middle_is_timms_within_a_grey_level() -> None:
    frame = networks.frame(640, 360)
    published = timm.get_pretrained_cfg("swinv2_large_window12_192").to_dict()
    config = timm.data.resolve_data_config(pretrained_cfg=published)
    *steps, _, _ = timm.data.create_transform(**config).transforms
    theirs: Any = Image.fromarray(frame)
    for step in steps:
        theirs = step(theirs)
    ours = swin_v2_l_192.prepare("frame", [frame], {"crop": "center"})[0]
    assert np.abs(ours.astype(int) - np.asarray(theirs)).max() <= 1
    squashed = swin_v2_l_192.prepare("frame", [frame], {"crop": "squash"})[0]
    assert squashed.shape == (192, 192, 3)
    assert not np.array_equal(squashed, ours)


def test_the_authors_names_become_timms(tmp_path: Any) -> None:
    """Theirs shrinks the map at the end of a stage, timm's at the beginning of the next."""
    with small.installed():
        module: Any = encoders.load("small_swin")
        state = networks.state("small_swin")
        published = {}
        for name, value in state.items():
            parts = name.split(".")
            if "downsample" in name:
                parts[1] = str(int(parts[1]) - 1)
            published[".".join(parts)] = value
        published["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(2)
        published["head.weight"] = torch.zeros(2)
        torch.save({"model": published}, tmp_path / "small.pth")
        found = module.WEIGHTS["small_swin"].convert(tmp_path / "small.pth")
    known = {name: found[name] for name in state}
    assert all(torch.equal(known[name], value) for name, value in state.items())


def test_a_library_that_computes_buffers_gets_them(monkeypatch: Any) -> None:
    with small.installed():
        module: Any = encoders.load("small_swin")
        state = networks.state("small_swin")
        drawn = torch.random.get_rng_state()
        network = frozen.filled(module.SWIN.architecture, state, "small_swin")
    assert not any(buffer.is_meta for buffer in network.buffers())
    assert torch.equal(torch.random.get_rng_state(), drawn)
