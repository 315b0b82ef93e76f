"""``python -m portability.release DIST``: both distributions of what is committed, tried.

They are built from a clone, held against each other and against `pyproject.toml`, and the wheel
goes into an empty environment, where it renders a clip and extracts it. Nothing is uploaded.
"""

from __future__ import annotations

import shutil
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path

from portability.path import Failed
from portability.surroundings import ROOT, Absent, call, find_python

BUILD = "from setuptools import build_meta as b; print(getattr(b, 'build_{kind}')('{folder}'))"
NEEDED = (
    "avqa/py.typed",
    "avqa/cli.py",
    "avqa/docs/install.md",
    "avqa/examples/slurm/cluster.yaml",
)
KINDS = ("sdist", "wheel")


def main() -> int:
    """Entry point: 1 if something is not as it should be; then nothing is left in DIST."""
    dist = Path(sys.argv[1]).absolute()
    folder = Path(tempfile.mkdtemp(prefix="avqa-release-"))
    try:
        sdist, wheel = build(folder)
        check(sdist, wheel, project())
        rebuilt(folder, sdist, wheel)
        said = extracted(folder, wheel)
        dist.mkdir(exist_ok=True)
        for file in (sdist, wheel):
            shutil.copy2(file, dist)
            print(f"{dist / file.name}")
        print(f"in an empty environment: {said}")
    except (Failed, Absent) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def project() -> dict[str, str]:
    """The project's table of `pyproject.toml`."""
    table: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return table


def build(folder: Path) -> tuple[Path, Path]:
    """Both distributions of the newest commit; a build leaves files where it is made."""
    if changed := call("git", "status", "--porcelain", "--untracked-files=no"):
        raise Failed(f"changes that are not committed:\n{changed}expected none; commit them")
    clone, venv = folder / "clone", folder / "builder"
    call("git", "clone", "-q", str(ROOT), str(clone))
    call(find_python("3.11"), "-m", "venv", str(venv))
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["build-system"]["requires"]
    call(f"{venv}/bin/python", "-m", "pip", "install", "-q", *tools)
    made = [_built(clone, venv, kind, folder / "dist") for kind in KINDS]
    return made[0], made[1]


def _built(source: Path, venv: Path, kind: str, out: Path) -> Path:
    command = BUILD.format(kind=kind, folder=out)
    out.mkdir(exist_ok=True)
    said = call(f"{venv}/bin/python", "-c", command, cwd=source)
    return out / said.strip().splitlines()[-1]


def check(sdist: Path, wheel: Path, about: dict[str, str]) -> None:
    """Hold names, versions and contents against each other.

    Raises:
        Failed: with all that is wrong.
    """
    with tarfile.open(sdist) as opened:
        sources = {name.partition("/")[2] for name in opened.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
        (name,) = (file for file in files if file.endswith(".dist-info/METADATA"))
        told = HeaderParser().parsestr(archive.read(name).decode())
    wrong = [
        f"{key}: {told[key.title()]}" for key in ("name", "version") if told[key] != about[key]
    ]
    stem = f"{about['name']}-{about['version']}"
    wrong += [file.name for file in (sdist, wheel) if not file.name.startswith(stem)]
    wrong += [f"not in the wheel: {name}" for name in NEEDED if name not in files]
    wrong += [f"no module of avqa: {name}" for name in files if not name.startswith("avqa")]
    wrong += [f"not in the sdist: {name}" for name in ("pyproject.toml", "tests", "LICENSE")
              if name not in sources]  # fmt: skip
    if told["Description-Content-Type"] != "text/markdown" or not told.get_payload():
        wrong.append("no page for an index")
    if wrong:
        raise Failed("\n".join(["what was built is not whole:", *wrong]))


def rebuilt(folder: Path, sdist: Path, wheel: Path) -> None:
    """Make sure that the source distribution gives the same wheel.

    Raises:
        Failed: another one, or none.
    """
    shutil.unpack_archive(sdist, folder / "source")
    (source,) = (folder / "source").iterdir()
    again = _built(source, folder / "builder", "wheel", folder / "again")
    contents = []
    for file in (wheel, again):
        with zipfile.ZipFile(file) as archive:
            contents.append({i.filename: i.CRC for i in archive.infolist()})
    if differ := sorted(name for name, _ in contents[0].items() ^ contents[1].items()):
        raise Failed(f"the wheel of the source distribution differs in {', '.join(set(differ))}")


def extracted(folder: Path, wheel: Path) -> str:
    """What `avqa extract` says of a clip, from the wheel in an empty environment."""
    venv = folder / "venv"
    call(find_python("3.11"), "-m", "venv", str(venv))
    constraints = str(ROOT / "constraints.txt")
    call(f"{venv}/bin/python", "-m", "pip", "install", "-q", "-c", constraints, str(wheel))
    avqa, place = f"{venv}/bin/avqa", folder / "place"
    place.mkdir()
    call(avqa, "synth", "bench", "--videos", "3", "--seconds", "2", cwd=place)
    features = ("--features", "resnet18/pool,vggish/audio", "--weights", "random:0")
    return call(
        avqa, "extract", "--videos", "bench/videos", "--out", "store", *features, cwd=place
    ).strip()


if __name__ == "__main__":
    sys.exit(main())
