"""``environment.json``: what trained a member."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

import torch

import avqa
from avqa.machine import num_cores

PACKAGES = ("torch", "lightning-fabric", "numpy", "zarr", "safetensors")


def environment(devices: int = 1) -> dict[str, Any]:
    """What trains: the machine and the packages' versions."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": num_cores(),
        "threads": torch.get_num_threads(),
        "wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "spin_count": os.environ.get("GOMP_SPINCOUNT"),
        "gpu": gpu,
        "devices": devices,
        "packages": {"avqa": avqa.__version__, **{name: version(name) for name in PACKAGES}},
    }
