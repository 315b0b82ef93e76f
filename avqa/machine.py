"""What this machine has to compute with, without importing torch."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from avqa.errors import ConfigError

DEVICES = Path("/dev")


def num_cores() -> int:
    """Cores this process may use; those of its job where SLURM does not bind it to them."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    of_job = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(cores, int(of_job)) if of_job.isdecimal() else cores


def visible_gpus() -> tuple[str, ...]:
    """NVIDIA GPUs this process may use, as ``CUDA_VISIBLE_DEVICES`` names each of them.

    That variable restricts and orders them: numbers, ``GPU-…`` or ``MIG-…`` ids. As CUDA does,
    what follows a number that no GPU has (often -1) is not seen.
    """
    present = [p for p in DEVICES.glob("nvidia*") if re.fullmatch(r"nvidia\d+", p.name)]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not present:
        return tuple(str(number) for number in range(len(present)))
    found: dict[str, None] = {}
    for device in (part.strip() for part in visible.split(",")):
        if not device.startswith(("GPU-", "MIG-")) and not (
            device.isdecimal() and int(device) < len(present)
        ):
            break
        found[device] = None
    return tuple(found)


def num_gpus() -> int:
    """Number of `visible_gpus`."""
    return len(visible_gpus())


def choose_device(
    asked: str, *, gpus: int | None = None, remote: bool = False
) -> Literal["cpu", "cuda"]:
    """``auto | cpu | cuda`` → the kind of device the networks run on.

    Apple's GPU, torch's ``mps``, is none of them: nobody has compared what it computes with what
    stores and runs of other machines hold, and it has no float64. ``auto`` is the CPU there.

    Args:
        asked: ``auto`` goes by this machine.
        gpus: how many it has, from who has asked torch; without, `num_gpus`.
        remote: the workers are elsewhere, so that ``cuda`` is taken at its word.

    Raises:
        ConfigError: another value, or ``cuda`` where there is no GPU.
    """
    gpus = num_gpus() if gpus is None else gpus
    if asked == "cpu" or (asked == "auto" and gpus == 0):
        return "cpu"
    if asked in ("auto", "cuda") and (gpus or remote):
        return "cuda"
    if asked == "cuda":
        raise ConfigError(
            "device=cuda; expected an NVIDIA GPU, none is visible; use --device cpu or check"
            " CUDA_VISIBLE_DEVICES"
        )
    raise ConfigError(f"device={asked!r}; expected auto, cpu or cuda; check --device")
