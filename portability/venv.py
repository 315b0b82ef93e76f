"""Make, finish or check the environment that the Makefile's targets run in.

``python portability/venv.py .venv`` installs this checkout with the versions of constraints.txt.
What is done already is kept; every reason not to go on is one line, said before a download where it
can be. Of torch's two builds the CPU's is kept where it is there, and asked for by ``--torch cpu``.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
OLDEST = (3, 11)
GIGABYTES = {"": 7.0, "cpu": 2.5}
"""Room an environment takes, by build of torch."""
COMPLETE = ".complete"
"""In the environment: what it was made from; absent while it is being made."""
USAGE, MACHINE = 2, 5
"""Exit codes, as of the command `avqa`."""
UNREACHABLE = re.compile(
    "NewConnectionError|NameResolutionError|Connection refused|ConnectTimeout|ReadTimeout"
    "|Max retries exceeded|ProxyError|SSLError|Failed to establish"
)
UNSATISFIABLE = re.compile(
    r"(?:distribution found for|satisfies the requirement|requested \(constraint\)) (\S+)"
)
ASK_TORCH = "import torch; print(torch.__version__, torch.version.cuda or 'cpu')"
ASK_VERSION = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"


class Refusal(Exception):
    """Why there is no environment: one line, and the exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


class Environment:
    """A virtual environment in ``folder``, there or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"

    def ask(self, program: str, *words: str) -> str:
        """What a line of Python prints there; empty if it fails."""
        return asked(self.python, "-c", program, *words)

    def version(self) -> str:
        """Its Python, as ``3.11.2``; empty if it does not run."""
        return python_version(self.python)

    def cpu_torch(self) -> dict[str, str]:
        """The versions of torch and torchvision to keep: those of a CPU build that is there."""
        _, _, build = self.ask(ASK_TORCH).partition(" ")
        if build != "cpu":
            return {}
        versions = {name: self.ask(ASK_VERSION, name) for name in ("torch", "torchvision")}
        return {name: version for name, version in versions.items() if version}

    def install(self, *words: str) -> None:
        """Run ``pip install``.

        Raises:
            Refusal: it failed; `explain_pip` says why.
        """
        pip = (self.python, "-m", "pip", "install", "--disable-pip-version-check")
        done = subprocess.run(
            [*pip, *words], cwd=ROOT, capture_output=True, text=True, encoding="utf-8"
        )
        if done.returncode:
            log = self.folder / "pip.log"
            said = done.stdout + done.stderr
            log.write_text(said, encoding="utf-8")
            raise Refusal(explain_pip(said, self, log), MACHINE)


def main() -> int:
    """Entry point: the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="", help="expected of an environment that is there")
    parser.add_argument("--torch", default="", help="cpu: the small build")
    parser.add_argument("--torch-index", default="", help="address of the CPU builds")
    parser.add_argument("--goal", default="setup", help="what was asked of make, for messages")
    chosen = parser.parse_args()
    try:
        if chosen.torch not in GIGABYTES:
            raise Refusal(f"TORCH={chosen.torch}; expected cpu, or nothing; correct it")
        prepare(Environment(chosen.folder), chosen)
    except Refusal as error:
        print(f"avqa: {error}", file=sys.stderr)
        return error.code
    except OSError as error:
        print(
            f"avqa: {error.filename or chosen.folder}: {error.strerror}; expected a place that can"
            " be written; mend it, or give VENV=a folder elsewhere",
            file=sys.stderr,
        )
        return MACHINE
    return 0


def prepare(environment: Environment, chosen: argparse.Namespace) -> None:
    """Have the environment there, with everything in it.

    Raises:
        Refusal: it cannot be had.
    """
    folder = environment.folder
    check_python(environment, chosen.python, chosen.goal)
    complete = folder / COMPLETE
    kept = {}
    if environment.python.exists():
        if (
            not chosen.torch
            and complete.exists()
            and complete.read_text(encoding="utf-8") == made_from()
        ):
            return
        kept = environment.cpu_torch()
        if chosen.torch and not kept and environment.ask(ASK_TORCH):
            raise Refusal(
                f"TORCH=cpu, but {folder} holds torch with CUDA; expected no torch there, or the"
                f" CPU's; remove {folder}, or give VENV=another"
            )
    constraints = constrained(environment, chosen, kept)
    small = bool(kept) or chosen.torch == "cpu"
    if not environment.ask(ASK_TORCH):
        check_room(folder, GIGABYTES["cpu" if small else ""])
    create(environment)
    complete.unlink(missing_ok=True)
    print(f"avqa: setting up {folder} with Python {environment.version()}; takes minutes once")
    derived = folder / "constraints.txt"
    derived.write_text(constraints, encoding="utf-8")
    index = ("--extra-index-url", chosen.torch_index) if chosen.torch_index else ()
    environment.install(*index, "-c", str(derived), "-e", ".[test,check,bench]")
    complete.write_text(made_from(), encoding="utf-8")


def made_from() -> str:
    """Digest of the files that say what belongs into an environment."""
    parts = ((ROOT / name).read_bytes() for name in ("pyproject.toml", CONSTRAINTS.name))
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def check_python(environment: Environment, named: str, goal: str) -> None:
    """Refuse an environment that is broken, or of another Python than the one that was named.

    Raises:
        Refusal: so it is, or the named one is missing or too old.
    """
    folder = environment.folder
    wanted = python_version(named) if named else ""
    if named and not wanted:
        raise Refusal(
            f"PYTHON={named} is no Python, or an older one; expected Python 3.11 or newer; try:"
            f" make {goal} PYTHON=python3.11"
        )
    if not environment.python.is_symlink() and not environment.python.exists():
        return
    there = environment.version()
    if not there or not environment.ask("import pip; print(1)"):
        raise Refusal(
            f"{folder} is broken: its {'pip' if there else 'python'} does not run; expected a"
            f" virtual environment; remove {folder} and run make {goal} again",
            MACHINE,
        )
    if wanted and wanted.split(".")[:2] != there.split(".")[:2]:  # 3.11.2 will do for 3.11.7
        raise Refusal(
            f"PYTHON={named} is Python {wanted}, {folder} was made with {there}; expected one"
            f" and the same; remove {folder}, or give VENV=.venv-{wanted}"
        )


def check_room(folder: Path, gigabytes: float) -> None:
    """Refuse to begin what will not fit.

    Raises:
        Refusal: fewer gigabytes are free where ``folder`` is to be.
    """
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free / 1e9
    if free < gigabytes:
        raise Refusal(
            f"{free:.1f} GB free in {place}; expected {gigabytes:g} GB for {folder};"
            " make room, give VENV=a folder elsewhere"
            + (", or TORCH=cpu (2.1 GB instead of 6.8)" if gigabytes == GIGABYTES[""] else ""),
            MACHINE,
        )


def constrained(environment: Environment, chosen: argparse.Namespace, kept: dict[str, str]) -> str:
    """constraints.txt, with the torch that is kept or asked for.

    Raises:
        Refusal: the CPU's build is asked for, and nothing says where it is.
    """
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    builds = dict(kept)
    elsewhere = platform.system() != "Linux"  # its only build is the CPU's
    if not elsewhere and (chosen.torch == "cpu" or "+cpu" in kept.get("torch", "")):
        absent = [name for name in ("torch", "torchvision") if name not in kept]
        if absent and not chosen.torch_index:
            raise Refusal(
                f"TORCH=cpu needs {' and '.join(absent)} built for it; expected the address of"
                " such builds (pytorch.org names it); give TORCH_INDEX=address"
            )
        if not kept:
            builds = {name: f"{pins[name]}+cpu" for name in absent}
    pins.update(builds)
    if kept and "torchvision" not in kept:
        del pins["torchvision"]  # pip finds the one made for this torch
    return "".join(f"{name}=={version}\n" for name, version in pins.items())


def create(environment: Environment) -> None:
    """Make the empty environment, unless it is there.

    Raises:
        Refusal: this Python cannot.
    """
    if environment.python.exists():
        return
    made = [sys.executable, "-m", "venv", str(environment.folder)]
    done = subprocess.run(made, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        words = (done.stdout + done.stderr).strip().splitlines() or ["no word"]
        raise Refusal(
            f"{' '.join(made)} failed ({words[0].rstrip('.')}); expected a virtual environment;"
            " install Python's venv (Debian: python3-venv), or give VENV=a folder you may write",
            MACHINE,
        )


def explain_pip(said: str, environment: Environment, log: Path) -> str:
    """One line of what pip said, and what to do."""
    seen = f"all of pip's words are in {log}"
    if "No space left on device" in said:
        return (
            f"no space left while installing into {environment.folder}; expected"
            f" {GIGABYTES['']:g} GB there and 3 GB where TMPDIR is; make room and run it again;"
            f" {seen}"
        )
    asked_for = UNSATISFIABLE.search(said)
    name = asked_for.group(1) if asked_for else "what is needed"
    if UNREACHABLE.search(said):
        return (
            f"pip could not reach its index for {name}; expected a connection, or an index of"
            f" yours; check the network, PIP_INDEX_URL and PIP_PROXY, and run it again; {seen}"
        )
    if asked_for or "ResolutionImpossible" in said:
        return (
            f"pip found no {name} for Python {environment.version()} on {platform.machine()};"
            " expected the versions of constraints.txt to be had; use a Python of"
            f" docs/install.md's table, or check PIP_INDEX_URL and TORCH_INDEX; {seen}"
        )
    errors = [line for line in said.splitlines() if line.lower().startswith("error")]
    last = (errors or said.strip().splitlines() or ["no word"])[-1]
    return f"pip failed: {last}; expected an installation; mend that and run it again; {seen}"


def python_version(program: str | Path) -> str:
    """``3.11.2`` of a Python; empty if it does not run or is older than avqa needs."""
    check = f"import sys; sys.version_info >= {OLDEST} and print(sys.version.split()[0])"
    return asked(program, "-c", check)


def asked(*command: str | Path) -> str:
    """What a command prints; empty if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(main())
