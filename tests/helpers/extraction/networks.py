"""Networks with seeded random weights, built once per test process, and things to show them."""

from __future__ import annotations

import functools
import gc
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from avqa import machine
from avqa.extract import encoders, weights
from avqa.extract.settings import Settings


@functools.cache
def state(encoder: str) -> dict[str, torch.Tensor]:
    return weights.load_state(encoder, weights.resolve("random:0"))


@functools.cache
def network(encoder: str, precision: str = "fp32") -> Any:
    return built(encoder, state(encoder), precision)


def built(encoder: str, state: Mapping[str, torch.Tensor], precision: Any = "fp32") -> Any:
    """With the default options."""
    options = Settings().options_of(encoder)
    return encoders.load(encoder).build(state, options, "cpu", precision)


_kept = ""


def keep_only(encoder: str) -> None:
    """Free what is kept of other encoders than this one; of all, if it is empty."""
    global _kept
    if encoder != _kept or not encoder:
        for kept in (output, network, state):
            kept.cache_clear()
        gc.collect()
        machine.give_memory_back()
    _kept = encoder


def full_batch(encoder: str, name: str, seed: int = 0) -> torch.Tensor:
    """Random rows in the shape and type of an input, as many as one forward takes."""
    module = encoders.load(encoder)
    spec, rows = module.INPUTS[name], module.BATCH["cpu"]
    random = np.random.default_rng(seed)
    if spec.dtype == "uint8":
        return torch.from_numpy(random.integers(0, 256, (rows, *spec.shape), dtype=np.uint8))
    return torch.from_numpy(random.normal(0, 1, (rows, *spec.shape)).astype(np.float32))


def padded(rows: NDArray[Any], encoder: str) -> torch.Tensor:
    """Prepared rows filled up with zeros to one forward."""
    batch = np.zeros((encoders.load(encoder).BATCH["cpu"], *rows.shape[1:]), rows.dtype)
    batch[: len(rows)] = rows
    return torch.from_numpy(batch)


def frame(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Soft shapes with noise on them: as hard to resize as a real frame."""
    random = np.random.default_rng(seed)
    soft = Image.fromarray(random.integers(0, 256, (9, 16, 3), dtype=np.uint8))
    shapes = np.asarray(soft.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    noisy = shapes + random.integers(-40, 41, shapes.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def squashed(frame: NDArray[np.uint8], kind: Image.Resampling) -> NDArray[np.uint8]:
    """Pillow's 224×224, the width first.

    So did every Pillow that published features were made with; newer ones begin with the
    side that shrinks more, whose rounding between the passes differs by up to 3 levels.
    """
    wide = Image.fromarray(frame).resize((224, frame.shape[0]), kind)
    return np.asarray(wide.resize((224, 224), kind))


@functools.cache
def output(encoder: str, name: str, precision: str = "fp32") -> dict[str, torch.Tensor]:
    """All taps of one input for its `full_batch`."""
    taps = [tap for tap, spec in encoders.load(encoder).TAPS.items() if spec.input == name]
    return dict(network(encoder, precision).forward(name, full_batch(encoder, name), taps))
