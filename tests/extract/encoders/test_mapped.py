"""Weights are mapped from their file while a network is built, and no longer."""

import gc
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from avqa.extract.encoders import ast, clip_vit_b32, vit_l16_384
from avqa.extract.published import read_tensors

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
CLIP = replace(
    clip_vit_b32.CLIP,
    width=64,
    layers=1,
    heads=1,
    joint=32,
    text_width=64,
    text_layers=1,
    text_heads=1,
)
VIT = replace(vit_l16_384.VIT, size=32, patch=16, width=64, layers=2, heads=1, merged=1)
AST = replace(ast.AST, width=64, layers=1, heads=1)


def visual():
    return {f"visual.{name}": value for name, value in CLIP.visual_places().state_dict().items()}


NETWORKS = {
    "clip": (visual, lambda state: CLIP.build(state, {}, "cpu", "fp32")),
    "texts": (
        lambda: CLIP.text_places().state_dict(),
        lambda state: CLIP.build_text(state, "cpu", "fp32", 2),
    ),
    "vit": (
        lambda: VIT.places().state_dict(),
        lambda state: VIT.build(state, {"statistics": "imagenet"}, "cpu", "fp32"),
    ),
    "ast": (
        lambda: AST.places().state_dict(),
        lambda state: AST.build(state, {}, "cpu", "fp32"),
    ),
}
"""Name → its weights, and what builds it of them."""


def is_mapped(file):
    gc.collect()
    return str(file) in Path("/proc/self/maps").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_that_is_built_does_without_its_file(tmp_path, name):
    weights, build = NETWORKS[name]
    file = tmp_path / "weights.safetensors"
    save_file({key: value.contiguous() for key, value in weights().items()}, file)
    state = read_tensors(name, file)
    assert is_mapped(file)
    network = build(state)
    del state
    assert not is_mapped(file)
    assert network is not None


def test_a_bias_does_not_keep_its_file(tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file({"weight": torch.ones(300, 300), "bias": torch.arange(300.0)}, file)
    state = read_tensors("some", file)
    assert is_mapped(file)
    bias = state["bias"]
    del state
    assert not is_mapped(file)
    assert bias.tolist() == [*range(300)]
