"""What a machine can lack or have otherwise, and how that is made here.

Each surrounding is a function of an empty folder that returns one line of figures, raises `Failed`
with everything that was said, or `Absent` where this machine cannot make it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from portability.path import Failed, go
from portability.venv import asked

ROOT = Path(__file__).resolve().parents[1]
TAKEN_AWAY = Path(__file__).parent / "taken_away"
UID = "12345"


class Absent(Exception):
    """Why a surrounding cannot be made on this machine."""


def other_python(version: str) -> Callable[[Path], str]:
    """A Python of this version in an environment of its own."""

    def run(folder: Path) -> str:
        return path(folder, [f"{make_venv(folder, version)}/bin/avqa"])

    return run


def lowest(folder: Path) -> str:
    """The lowest version of every direct dependency that pyproject.toml allows."""
    uv = tool(folder, "uv")
    pinned = folder / "lowest.txt"
    python = find_python("3.11")
    resolve = (
        "pip",
        "compile",
        "--resolution",
        "lowest-direct",
        "--extra",
        "s3",
        "--extra",
        "slurm",
    )
    call(uv, *resolve, "--python", python, "-o", str(pinned), "pyproject.toml")
    venv = folder / "venv"
    call(python, "-m", "venv", str(venv))
    into = ("pip", "install", "--python", f"{venv}/bin/python")
    call(uv, *into, "-r", str(pinned))
    call(uv, *into, "--no-deps", "-e", ".")
    return path(folder, [f"{venv}/bin/avqa"])


def wheel(folder: Path) -> str:
    """The wheel alone, in an empty environment."""
    venv, built, clone = folder / "venv", folder / "dist", folder / "clone"
    call("git", "clone", "-q", str(ROOT), str(clone))  # a build leaves files where it is made
    call(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(built), str(clone))
    call(find_python("3.11"), "-m", "venv", str(venv))
    (file,) = built.glob("avqa-*.whl")
    call(f"{venv}/bin/python", "-m", "pip", "install", "-q", "-c", "constraints.txt", str(file))
    return path(folder, [f"{venv}/bin/avqa"])


def no_home(folder: Path) -> str:
    """Another user by number, without a home, who may write nothing but the folder of the run."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        raise Absent("needs root and setpriv")
    drop = ("setpriv", "--reuid", UID, "--regid", UID, "--clear-groups")
    if asked(*drop, sys.executable, "-c", "import avqa; print(1)") != "1":
        raise Absent(f"uid {UID} may not read this Python or this checkout")
    folder.chmod(0o777)
    clean = {"PATH": os.environ["PATH"], "HOME": "/nowhere"}
    return path(folder, [*drop, *here()], clean)


def one_core(folder: Path) -> str:
    """One core of this machine."""
    if shutil.which("taskset") is None:
        raise Absent("needs taskset")
    return path(folder, ["taskset", "-c", "0", *here()])


def no_decord(folder: Path) -> str:
    """No decord, as where it has no wheel."""
    return path(folder, here(), {**plain(), "PYTHONPATH": str(TAKEN_AWAY)})


def other_locale(folder: Path) -> str:
    """An ASCII locale, and a time zone that is 45 minutes off the hour."""
    ascii_only = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    home = folder / "дом мой"
    home.mkdir()
    return path(home, here(), {**plain(), **ascii_only, "TZ": "Pacific/Chatham"})


def fresh_clone(version: str) -> Callable[[Path], str]:
    """``make demo`` and ``make test`` in a fresh clone."""

    def run(folder: Path) -> str:
        clone = folder / "avqa"
        call("git", "clone", "-q", str(ROOT), str(clone))
        make = ("make", "-C", str(clone), f"PYTHON={find_python(version)}")
        demo = call(*make, "demo").strip().splitlines()[-1]
        tests = call(*make, "test").strip().splitlines()[-1].strip("= ")
        return f"demo {demo.rpartition('all ')[2]}; {tests}"

    return run


ALL: dict[str, tuple[str, Callable[[Path], str]]] = {
    **{
        f"python3.{minor}": (f"the main path on Python 3.{minor}", other_python(f"3.{minor}"))
        for minor in (11, 12, 13)
    },
    "lowest": ("... with the lowest versions that pyproject.toml allows", lowest),
    "wheel": ("... from the wheel, in an empty environment", wheel),
    "no-home": ("... as another user, without a home, installation read-only", no_home),
    "one-core": ("... on one core", one_core),
    "no-decord": ("... without decord", no_decord),
    "locale": ("... in an ASCII locale, a folder with blanks and Cyrillic", other_locale),
    "clone-3.11": ("`make demo`, `make test` in a fresh clone, Python 3.11", fresh_clone("3.11")),
    "clone-3.13": ("`make demo`, `make test` in a fresh clone, Python 3.13", fresh_clone("3.13")),
}
"""Name → what it is, for the table; what makes it."""


def plain() -> dict[str, str]:
    """This process' environment, without what would lead another Python to this checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def path(folder: Path, avqa: list[str], environ: dict[str, str] | None = None) -> str:
    """Go the main path with this command: the time it took, and with which versions."""
    environ = plain() if environ is None else environ
    out = folder / "path"
    out.mkdir()
    out.chmod(0o777)
    seconds = go(out, avqa, environ)
    done = subprocess.run(
        [*avqa, "--version"], env=environ, capture_output=True, text=True, encoding="utf-8"
    )
    return f"{seconds:.0f} s; {done.stdout.partition(';')[0]})"


def here() -> list[str]:
    """The command of the environment that runs this."""
    return [sys.executable, "-m", "avqa"]


def make_venv(folder: Path, version: str) -> Path:
    """An environment of a Python, with the versions of constraints.txt."""
    venv = folder / "venv"
    call("make", "setup", f"VENV={venv}", f"PYTHON={find_python(version)}")
    return venv


def tool(folder: Path, name: str) -> str:
    """A program from the package index, in an environment of its own."""
    venv = folder / name
    call(sys.executable, "-m", "venv", str(venv))
    call(f"{venv}/bin/python", "-m", "pip", "install", "-q", name)
    return f"{venv}/bin/{name}"


def find_python(version: str) -> str:
    """A program of this Python: on the path, or one of pyenv's.

    Raises:
        Absent: there is none.
    """
    roots = (Path(os.environ.get("PYENV_ROOT", "")), Path.home() / ".pyenv")
    of_pyenv = (p for root in roots for p in sorted(root.glob(f"versions/{version}.*/bin/python")))
    for program in (shutil.which(f"python{version}"), *map(str, of_pyenv)):
        if program and asked(program, "-c", "import sys; print(*sys.version_info[:2])"):
            return program
    raise Absent(f"there is no Python {version}")


def call(*command: str, cwd: Path = ROOT) -> str:
    """Standard output of a command, run in the checkout.

    Raises:
        Failed: with all it said.
    """
    done = subprocess.run(
        command, cwd=cwd, env=plain(), capture_output=True, text=True, encoding="utf-8"
    )
    if done.returncode:
        raise Failed(
            f"{' '.join(command)}\nexit code {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout
