"""``python -m benchmarks.gpu.bundle FOLDER``: what the check carries to a machine without network.

Wheels of what is not there yet, for another Python than this one, and clips. What may be taken to
be there is an argument; what is left out, and what is too large, is said.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.gpu import material

ROOT = Path(__file__).resolve().parents[2]
LIMIT_MB = 60.0
THERE = (*("torch", "torchvision", "numpy", "pillow", "scipy", "matplotlib", "tensorboard"),)
"""Taken to be there, with what they need: as images for work with torch have them."""
LEFT_OUT = {
    "imageio-ffmpeg": "the ffmpeg program: clips are rendered here, and PyAV has its own libraries",
    "ffmpeg-python": "names ffmpeg's options: nothing is rendered there",
    "decord": "another reader than the default",
    "librosa": "spectra of explanations, which nobody asks for there; needs numba (64 MB)",
    "hf-xet": "fetches from Hugging Face: there is no network",
    "rich": "how commands show help: there nobody reads it",
    "resampy": "torchvggish's own resampling: one other module of it is loaded",
    "grpcio": "TensorBoard's server: only its files are written",
    "tensorboard-data-server": "TensorBoard's server: only its files are written",
    "markdown": "TensorBoard's server: only its files are written",
    "werkzeug": "TensorBoard's server: only its files are written",
}
"""Never in the folder → why."""
PLATFORMS = ("2_28", "2_27", "2_17", "2014", "2010", "1")
TARGET = {
    "sys_platform": "linux",
    "platform_machine": "x86_64",
    "platform_system": "Linux",
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}


def main() -> int:
    """Make the folder; 1 if it is over its limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.bundle")
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--there", nargs="+", default=list(THERE), metavar="NAME|FILE",
        help="packages of that machine, or the output of its `pip list --format freeze`;"
        f" default: {' '.join(THERE)}",
    )  # fmt: skip
    parser.add_argument("--python", default="3.12", help="of that machine")
    parser.add_argument("--torch", default="2.11", help="of that machine")
    parser.add_argument("--limit-mb", type=float, default=LIMIT_MB)
    parser.add_argument("--seconds", type=int, default=material.SECONDS, help="of the clips")
    asked = parser.parse_args()
    there, exact = packages_there(asked.there)
    if not exact:
        there |= closure(there, asked.python, frozenset()).keys()
    wanted = closure({"avqa"}, asked.python, there)
    print("rendering clips", flush=True)
    material.make(asked.folder / "material", asked.seconds)
    wheels = asked.folder / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    wheels.mkdir(parents=True)
    own_wheel(wheels)
    fetch(requirements(wanted, asked.torch), asked.python, wheels)
    limit = asked.limit_mb * 1e6
    packed = shrink(wheels, limit - size(asked.folder / "material"))
    print("\n".join(report(asked.folder, wanted, packed, there, limit)))
    return int(size(asked.folder) > limit)


def packages_there(given: Iterable[str]) -> tuple[set[str], bool]:
    """Names, and whether they are all there are: those of a file, and not of the command line."""
    found: set[str] = set()
    exact = False
    for word in given:
        if Path(word).is_file():
            exact = True
            lines = Path(word).read_text(encoding="utf-8").splitlines()
            found |= {canonicalize_name(re.split(r"[=@\s]", line)[0]) for line in lines if line}
        else:
            found.add(canonicalize_name(word))
    return found, exact


def closure(names: Iterable[str], python: str, there: Iterable[str]) -> dict[str, list[str]]:
    """Packages that ``names`` need on the target, themselves included → those that need them.

    By the metadata of this environment, `LEFT_OUT` and ``there`` left out; avqa's own needs are
    those of pyproject.toml.
    """
    environment = {**TARGET, "python_version": python, "python_full_version": f"{python}.0"}
    done = set(there) | LEFT_OUT.keys()
    found: dict[str, list[str]] = {}
    waiting = [(canonicalize_name(name), "", frozenset({""})) for name in names]
    while waiting:
        name, by, extras = waiting.pop()
        if name in done:
            continue
        known = name in found
        found.setdefault(name, []).append(by)
        if known:
            continue
        for line in needs(name):
            need = Requirement(line)
            if need.marker is None or any(
                need.marker.evaluate({**environment, "extra": extra}) for extra in extras
            ):
                waiting.append((canonicalize_name(need.name), name, frozenset({"", *need.extras})))
    return found


def needs(name: str) -> Sequence[str]:
    """Requirements of a package as installed here; none of one that is not."""
    if name == "avqa":
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        listed: list[str] = tomllib.loads(text)["project"]["dependencies"]
        return listed
    try:
        return metadata.requires(name) or ()
    except metadata.PackageNotFoundError:
        return ()


def requirements(wanted: Mapping[str, object], torch: str) -> list[str]:
    """``name==version`` of each by constraints.txt; torchvision's is the one made for a torch."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    pins: dict[str, str] = {
        canonicalize_name(name): version for name, version in (p.split("==") for p in lines)
    }
    pins["torchvision"] = f"0.{int(torch.split('.')[1]) + 15}.*"
    return [
        f"{name}=={pins[name]}" if name in pins else name
        for name in sorted(wanted)
        if name != "avqa"
    ]


def own_wheel(folder: Path) -> None:
    """Build avqa's wheel, from a copy: a build leaves files in a checkout."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "avqa"
        kept = ("avqa", "docs", "examples", "pyproject.toml", "setup.py", "README.md", "LICENSE")
        for name in (*kept, "MANIFEST.in"):
            source = ROOT / name
            copied = shutil.copytree if source.is_dir() else shutil.copy2
            copy.mkdir(exist_ok=True)
            copied(source, copy / name)
        pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(copy))


def fetch(wanted: Iterable[str], python: str, folder: Path) -> None:
    """Download the wheel of each; what is published as source alone is built, if it is pure."""
    target = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for version in PLATFORMS:
        prefix = "manylinux_" if "_" in version else "manylinux"
        target += ["--platform", f"{prefix}{version}_x86_64"]
    for requirement in wanted:
        print(f"fetching {requirement}", flush=True)
        done = pip("download", "--no-deps", *target, "-d", str(folder), requirement, must=False)
        if done:
            pip("wheel", "--no-deps", "--wheel-dir", str(folder), requirement)
    foreign = [p.name for p in folder.glob("*.whl") if not p.stem.endswith(("any", "x86_64"))]
    if foreign:
        raise RuntimeError(f"{', '.join(foreign)}; expected wheels for any machine or x86_64")


def pip(*words: str, must: bool = True) -> int:
    """Run pip; its words are shown where it must succeed and does not."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *words]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    if done.returncode and must:
        raise RuntimeError(f"pip {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return done.returncode


def shrink(wheels: Path, limit: float) -> dict[str, int]:
    """Pack the largest wheels with LZMA until all fit; their names → bytes saved.

    A wheel is a zip file, of which Python, and so pip, reads that compression as well.
    """
    saved: dict[str, int] = {}
    for path in sorted(wheels.glob("*.whl"), key=lambda path: -path.stat().st_size):
        if size(wheels) <= limit:
            break
        print(f"packing {path.name} anew", flush=True)
        before, unfinished = path.stat().st_size, path.with_suffix(".unfinished")
        with zipfile.ZipFile(path) as old:
            with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_LZMA) as new:
                for entry in old.infolist():
                    data, entry.compress_type = old.read(entry), zipfile.ZIP_LZMA
                    new.writestr(entry, data)
        unfinished.replace(path)
        saved[path.name] = before - path.stat().st_size
    return saved


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def report(
    folder: Path,
    wanted: Mapping[str, Sequence[str]],
    packed: Mapping[str, int],
    there: Iterable[str],
    limit: float,
) -> list[str]:
    """What is in the folder, what is not and why, and whether it fits."""
    wheels = sorted((folder / "wheels").glob("*.whl"), key=lambda path: -path.stat().st_size)
    lines = []
    for path in wheels:
        saved = packed.get(path.name, 0) / 1e6
        if path.stat().st_size >= 1e6:
            lines.append(f"{path.stat().st_size / 1e6:6.2f} MB  {path.name}")
            lines[-1] += f" (packed with LZMA, {saved:.1f} MB saved)" if saved else ""
    rest = [path for path in wheels if path.stat().st_size < 1e6]
    lines.append(f"{sum(p.stat().st_size for p in rest) / 1e6:6.2f} MB  {len(rest)} smaller wheels")
    lines.append(f"{size(folder / 'material') / 1e6:6.2f} MB  clips and questions")
    lines += [f"left out  {name}: {why}" for name, why in LEFT_OUT.items() if name not in there]
    total = size(folder)
    lines.append(f"{total / 1e6:6.2f} MB of {limit / 1e6:g} MB in {folder}")
    if total > limit:
        lines.append(
            f"avqa: {folder} is {(total - limit) / 1e6:.1f} MB over its limit; expected"
            f" {limit / 1e6:g} MB; name what that machine has: make gpu-bundle THERE=file with its"
            " `pip list --format freeze`"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
