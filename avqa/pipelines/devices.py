"""What this machine has to compute with, without importing torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

from avqa.errors import ConfigError
from avqa.extract.settings import Device


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_gpus() -> int:
    """NVIDIA GPUs this process may use; ``CUDA_VISIBLE_DEVICES`` restricts them."""
    present = [p for p in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", p.name)]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not present:
        return len(present)
    return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])


def choose_device(asked: str, *, remote: bool = False) -> Device:
    """``auto | cpu | cuda`` → the kind of device the networks run on.

    ``auto`` goes by this machine. ``remote``: the workers are elsewhere, so that ``cuda`` is
    taken at its word.

    Raises:
        ConfigError: another value, or ``cuda`` where there is no GPU.
    """
    if remote and asked == "cuda":
        return "cuda"
    if asked == "cpu" or (asked == "auto" and num_gpus() == 0):
        return "cpu"
    if asked in ("auto", "cuda") and num_gpus():
        return "cuda"
    if asked == "cuda":
        raise ConfigError(
            "device=cuda; expected an NVIDIA GPU, none is visible; use --device cpu or check"
            " CUDA_VISIBLE_DEVICES"
        )
    raise ConfigError(f"device={asked!r}; expected auto, cpu or cuda; check --device")
