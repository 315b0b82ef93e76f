"""What a report of a bug should name: `avqa info`, and the line of `avqa --version`.

It is asked for when something does not work: what is missing or broken is a line of the report.
"""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import avqa
from avqa import caches, machine, programs
from avqa.errors import LibraryMissing, PluginError
from avqa.units import size

Fields = dict[str, Any]
"""What is known of one thing; ``problem`` says why something is not. Sizes end in ``_bytes``."""
Report = dict[str, dict[str, Fields]]
"""Section → thing → what is known of it."""

LIBRARIES = (
    *("torch", "torchvision", "av", "decord", "soxr", "numpy", "open_clip_torch"),
    *("zarr", "obstore", "h5py", "dask", "distributed", "dask-jobqueue", "lightning-fabric"),
    "gradio",
)
LOAD_SECONDS = 120.0
DRIVER = Path("/proc/driver/nvidia/version")


def version_line() -> str:
    """The versions that matter most, in one line; imports none of the libraries."""
    found = [f"Python {platform.python_version()}"]
    for name in ("torch", "torchvision", "av", "zarr", "dask", "numpy"):
        version = _version(name)
        found.append(f"no {name}" if version is None else f"{name} {version}")
    return f"avqa {avqa.__version__} ({', '.join(found)}; {platform.platform()})"


def report() -> Report:
    """Versions, machine, caches and weights; holds nothing that JSON does not."""
    with ThreadPoolExecutor() as threads:
        loaded = dict(zip(_LOADED, threads.map(_loaded, _LOADED), strict=True))
    gpus = loaded["torch"].pop("gpus", [])
    return {
        "program": {"avqa": _avqa(), "Python": _python(), "platform": _platform()},
        "libraries": {
            **{name: _library(name, loaded.get(name, {})) for name in LIBRARIES},
            "ffmpeg program": _or_problem(_ffmpeg),
        },
        "machine": {
            "cores": _or_problem(_cores),
            "memory": _or_problem(_memory),
            "NVIDIA driver": _or_problem(_driver),
            **_gpus(gpus),
        },
        "caches": _caches(),
        "weights": dict(_weights()),
    }


def report_lines(found: Report) -> list[str]:
    """A line per thing, an empty one between sections."""
    width = 2 + max(len(name) for section in found.values() for name in section)
    lines = []
    for section in found.values():
        lines += [f"{name:<{width}}{_text(fields)}" for name, fields in section.items()]
        lines.append("")
    return lines[:-1]


def _text(fields: Mapping[str, Any]) -> str:
    """The first field that there is without its name, the others as ``name=value``."""
    told: list[str] = []
    for name, value in fields.items():
        if value is None:
            continue
        if name.endswith("_bytes"):
            name, value = name.removesuffix("_bytes"), size(value)
        elif isinstance(value, bool):
            value = "yes" if value else "no"
        told.append(f"{name}={value}" if told else str(value))
    return ", ".join(told) or "none"


def _or_problem(look: Callable[[], Fields]) -> Fields:
    """What was found, or why it was not: a broken library may raise anything."""
    try:
        return look()
    except Exception as error:
        return {"found": None, "problem": f"{type(error).__name__}: {error}"}


def _avqa() -> Fields:
    return {"version": avqa.__version__, "path": str(Path(avqa.__file__).parent)}


def _python() -> Fields:
    return {"version": platform.python_version(), "path": sys.executable}


def _platform() -> Fields:
    return {"name": platform.platform(), "libc": " ".join(platform.libc_ver()).strip() or None}


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def _library(name: str, loaded: Fields) -> Fields:
    installed = _version(name)
    if installed is None and "version" not in loaded:
        return {"version": None, "problem": "not installed"}
    return {"version": installed, **loaded}


def _loaded(name: str) -> Fields:
    """What a library says of itself, in a process of its own: loading one may end the process."""
    path = [entry for entry in sys.path if entry]  # a user's folder may hold an av.py
    code = (
        f"import sys; sys.path[:] = {path!r}; from avqa.pipelines.info import tell; tell({name!r})"
    )
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LOAD_SECONDS,
            encoding="utf-8",
        )
    except subprocess.TimeoutExpired:
        return {"problem": f"not loaded within {LOAD_SECONDS:.0f} s"}
    fields: Fields = {}
    for line in done.stdout.splitlines():
        if line.startswith(_MARK):
            fields |= json.loads(line.removeprefix(_MARK))
    if done.returncode < 0:
        fields["problem"] = f"its process was ended by {signal.Signals(-done.returncode).name}"
    elif done.returncode:
        said = done.stderr.strip().splitlines()
        fields["problem"] = said[-1] if said else f"its process ended with {done.returncode}"
    return fields


def tell(name: str) -> None:
    """Print what a library says of itself, piece by piece: what comes next may end the process."""
    for fields in _LOADED[name]():
        print(_MARK + json.dumps(fields), flush=True)  # noqa: T201 - read by `_loaded`


def _torch() -> Iterator[Fields]:
    import torch

    built = {"CUDA": torch.version.cuda, "ROCm": torch.version.hip}
    names = [f"{name} {version}" for name, version in built.items() if version]
    yield {"version": str(torch.__version__), "built_for": (names or ["CPU"])[0]}
    gpus = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
    yield {"gpus": [{"name": gpu.name, "memory_bytes": gpu.total_memory} for gpu in gpus]}


def _av() -> Iterator[Fields]:
    import av

    yield {"version": av.__version__}
    yield {name: ".".join(map(str, found)) for name, found in av.library_versions.items()}


_LOADED: dict[str, Callable[[], Iterator[Fields]]] = {"torch": _torch, "av": _av}
"""Libraries that say more of themselves than their version, which is that of their files."""
_MARK = "avqa info: "
"""Begins the lines that are ours: libraries print, too."""


def _ffmpeg() -> Fields:
    from avqa.extract.media import ffmpeg_program

    return {"version": ffmpeg_program.version(), "path": programs.ffmpeg()}


def _cores() -> Fields:
    return {
        "usable": machine.num_cores(),
        "present": os.cpu_count(),
        "limit": machine.core_limit(),
    }


def _memory() -> Fields:
    import psutil

    return {
        "total_bytes": psutil.virtual_memory().total,
        "free_bytes": machine.free_memory(),
    }


def _driver() -> Fields:
    found = (
        re.search(r"\d+\.[\d.]+", DRIVER.read_text(encoding="utf-8")) if DRIVER.exists() else None
    )
    return {"version": found and found[0]}


def _gpus(of_torch: list[Fields]) -> dict[str, Fields]:
    """Those of torch, and those of the machine that torch does not see."""
    visible = machine.visible_gpus()
    unseen: Fields = {"name": None, "problem": "torch does not see it"}
    found = of_torch + [unseen] * (len(visible) - len(of_torch))
    names = [*visible, *map(str, range(len(visible), len(found)))]
    return {f"GPU {name}": gpu for name, gpu in zip(names, found, strict=True)} or {"GPU": {}}


def _caches() -> dict[str, Fields]:
    def look(folder: Path | None) -> Fields:
        if folder is None:
            return {"path": "the library's own choice"}
        return {"path": str(folder), "writable": caches.is_writable(folder)}

    try:
        return {name: look(folder) for name, folder in caches.in_use().items()}
    except OSError as error:  # no place for temporary files either
        return {"AVQA_CACHE": {"path": None, "problem": str(error)}}


def _weights() -> Iterator[tuple[str, Fields]]:
    """Each known weights, and each encoder that cannot say which it has."""
    from avqa.extract import encoders
    from avqa.extract.weights_files import cached

    for encoder in encoders.names():
        try:
            for name in encoders.load(encoder).WEIGHTS:
                path = cached(name)
                state = "present" if path.is_file() else "absent"
                yield name, {"state": state, "path": str(path)}
        except (LibraryMissing, PluginError, OSError) as error:
            yield encoder, {"state": None, "problem": str(error)}
