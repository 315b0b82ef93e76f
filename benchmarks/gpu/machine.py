"""What the machine is, and weights for all parts, drawn once."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path

import torch
from safetensors.torch import save_file

from avqa import machine
from avqa.extract import encoders, weights
from benchmarks.gpu.device import describe
from benchmarks.gpu.part import Run

PACKAGES = ("torch", "av", "soxr", "numpy", "open_clip_torch", "torchvision", "zarr")


def measure(run: Run) -> None:
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    run.row(
        "Machine",
        **describe(),
        processor=processor(),
        memory=f"{machine.free_memory() / 1e9:.0f} GB free",
        Python=f"{platform.python_version()}, {versions}",
    )
    seen, there = machine.num_gpus(), torch.cuda.device_count()
    run.check("GPUs that avqa sees", seen, f"{there}, as torch does", seen == there)
    draw(run)


def draw(run: Run) -> None:
    """Random weights, as files that all parts read."""
    folder = run.work / "weights-unfinished"
    folder.mkdir(exist_ok=True)
    needed = encoders.weights_of(run.setup.features)
    source = weights.resolve("random:0", needed)
    for encoder in dict.fromkeys(feature.partition("/")[0] for feature in run.setup.features):
        state = weights.load_state(encoder, source)
        of = encoders.load(encoder).WEIGHTS
        for name in (name for name in of if name in needed):
            with torch.device("meta"):
                own = of[name].random().keys()
            tensors = {key: state[key].contiguous() for key in own}
            save_file(tensors, folder / f"{name}.safetensors")
    folder.rename(run.work / "weights")


def processor() -> str:
    """Name and cores of the CPU."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {machine.num_cores()} cores"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"
