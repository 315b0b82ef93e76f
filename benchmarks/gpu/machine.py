"""What the machine is, and weights for all parts, drawn once."""

from __future__ import annotations

import platform
from importlib import metadata

import torch
from safetensors.torch import save_file

from avqa import machine
from avqa.extract import encoders, weights
from benchmarks.__main__ import machine as described
from benchmarks.gpu import prepare
from benchmarks.gpu.device import device
from benchmarks.gpu.part import Run

PACKAGES = ("av", "librosa", "numba", "numpy", "open_clip_torch", "torchvision", "zarr")


def measure(run: Run) -> None:
    at = device(run.setup.device)
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    run.row(
        "Machine",
        **at.describe(),
        processor=described(),
        memory=f"{machine.free_memory() / 1e9:.0f} GB free",
        Python=f"{platform.python_version()}, {versions}",
    )
    if told := prepare.told():
        run.note(told)
    seen = machine.num_gpus()
    run.check(
        "GPUs that avqa sees",
        seen,
        "as many as torch sees",
        seen == torch.cuda.device_count(),
    )
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


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"
