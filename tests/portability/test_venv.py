"""`make setup` as typed: real make, venv and pip, on a checkout and packages of a few bytes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.portability.tiny_index import BACKEND, PYPROJECT, add_torch

from portability import venv

ROOT = Path(__file__).resolve().parents[2]
OF_OTHERS = re.compile("PIP_|MAKE|MFLAGS|PYTHON$|VENV$|TORCH")
"""Variables of a `make test` that runs these tests, and of whoever started it."""
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture(scope="module")
def indexes(tmp_path_factory):
    """Addresses of two indexes: one with torch for CUDA, one with torch for the CPU."""
    folder = tmp_path_factory.mktemp("indexes")
    for version, vision in (("2.14.0", "0.28.0"), ("2.15.0", "0.29.2")):
        add_torch(folder / "cuda", version, vision, "13.0")
        add_torch(folder / "cpu", version, vision, "cpu")
    return {name: (folder / name).as_uri() for name in ("cuda", "cpu")}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An environment with pip alone; copied, since making one takes seconds."""
    folder = tmp_path_factory.mktemp("made") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder


@pytest.fixture
def begun(made, checkout):
    """An environment in the checkout into which nothing was installed yet."""
    return shutil.copytree(made, checkout / ".venv", symlinks=True)


@pytest.fixture
def checkout(tmp_path):
    """What `make setup` reads, in a folder whose name has blanks and is not ASCII."""
    folder = tmp_path / "my дом"
    (folder / "portability").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "portability" / "venv.py", folder / "portability")
    (folder / "backend.py").write_text(BACKEND, encoding="utf-8")
    (folder / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    (folder / "constraints.txt").write_text(
        "torch==2.15.0\ntorchvision==0.29.2\ntriton==3.9.0\n", encoding="utf-8"
    )
    return folder


@pytest.fixture
def setup(checkout, indexes):
    """Run `make setup` with these words; exit code and what was said."""

    def run(*words, python=sys.executable, **environment):
        clean = {name: value for name, value in os.environ.items() if not OF_OTHERS.match(name)}
        clean |= {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": indexes["cuda"], **environment}
        named = (f"PYTHON={python}",) if python else ()
        done = subprocess.run(
            ["make", "setup", *named, *words],
            cwd=checkout, env=clean, capture_output=True, text=True, encoding="utf-8"
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return run


def torch_in(checkout):
    """Names of the installed packages' folders of torch and torchvision."""
    found = (checkout / ".venv").glob("lib/python*/site-packages/torch*.dist-info")
    return sorted(path.name.removesuffix(".dist-info") for path in found)


def test_an_environment_is_made_once(setup, checkout):
    code, said = setup()
    assert (code, torch_in(checkout)) == (0, ["torch-2.15.0", "torchvision-0.29.2"]), said
    assert "setting up .venv with Python 3." in said
    before = (checkout / ".venv" / ".complete").stat().st_mtime_ns
    assert setup() == (0, "")
    assert (checkout / ".venv" / ".complete").stat().st_mtime_ns == before
    (checkout / "constraints.txt").write_text(
        "torch==2.14.0\ntorchvision==0.28.0\n", encoding="utf-8"
    )
    assert setup()[0] == 0
    assert torch_in(checkout) == ["torch-2.14.0", "torchvision-0.28.0"]


def test_the_small_torch_comes_from_the_address_given_and_stays(setup, checkout, indexes, begun):
    small = ["torch-2.15.0+cpu", "torchvision-0.29.2+cpu"]
    code, said = setup("TORCH=cpu", f"TORCH_INDEX={indexes['cpu']}")
    assert (code, torch_in(checkout)) == (0, small), said
    # Also where neither is said again, and where the project's pins have gone on.
    (checkout / "constraints.txt").write_text(
        "torch==2.14.0\ntorchvision==0.28.0\n", encoding="utf-8"
    )
    assert setup()[0] == 0
    assert torch_in(checkout) == small
    assert setup("TORCH=cpu")[0] == 0
    assert torch_in(checkout) == small


def test_the_small_torch_is_never_the_large_one(setup, checkout, made, indexes):
    code, said = setup("TORCH=cpu")
    assert code == 2
    assert (
        "avqa: TORCH=cpu needs torch and torchvision built for it; expected the address of such"
        " builds (pytorch.org names it); give TORCH_INDEX=address" in said
    )
    assert not (checkout / ".venv").exists()
    shutil.copytree(made, checkout / ".venv", symlinks=True)
    code, said = setup("TORCH=cpu", f"TORCH_INDEX={indexes['cuda']}")
    assert code == 2
    assert "avqa: pip found no torch==2.15.0+cpu for Python 3." in said
    assert torch_in(checkout) == []
    assert setup()[0] == 0
    code, said = setup("TORCH=cpu", f"TORCH_INDEX={indexes['cpu']}")
    assert code == 2
    assert "avqa: TORCH=cpu, but .venv holds torch with CUDA; expected no torch there, or" in said
    assert "avqa: TORCH=gpu; expected cpu, or nothing; correct it" in setup("TORCH=gpu")[1]


def test_another_python_than_the_environments_is_named(setup, checkout, begun):
    other = checkout / "python3.99"
    other.write_text("#!/bin/sh\necho 3.99.1\n", encoding="utf-8")
    other.chmod(0o755)
    code, said = setup(python=str(other))
    assert code == 2
    assert f"avqa: PYTHON={other} is Python 3.99.1, .venv was made with 3." in said
    assert "expected one and the same; remove .venv, or give VENV=.venv-3.99.1" in said
    assert setup(python=None)[0] == 0  # nobody named one


def test_a_python_that_is_missing_or_too_old_is_named(setup, checkout):
    code, said = setup(python="python2.99")
    assert code == 2
    assert (
        "avqa: PYTHON=python2.99: there is no such program; expected Python 3.11 or newer; try"
        in said
    )
    old = checkout / "old"
    old.write_text(
        '#!/bin/sh\ntest "$1" = --version && echo Python 3.10.13 || exit 1\n', encoding="utf-8"
    )
    old.chmod(0o755)
    code, said = setup(python=str(old))
    assert code == 2
    assert (
        f"avqa: PYTHON={old} is Python 3.10.13; expected Python 3.11 or newer; try: make setup"
        in said
    )


def test_a_broken_environment_is_named(setup, checkout, begun):
    for package in begun.glob("lib/python*/site-packages/pip"):
        shutil.rmtree(package)
    code, said = setup("TORCH=cpu")
    assert code == 2
    assert (
        "avqa: .venv is broken: its pip does not run; expected a virtual environment; remove"
        in said
    )
    python = begun / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert "avqa: .venv is broken: its python does not run" in setup()[1]


def test_an_index_out_of_reach_is_not_a_missing_version(setup, begun):
    refused = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    code, said = setup(**refused)
    assert code == 2
    assert "avqa: pip could not reach its index for torch" in said
    assert "check the network, PIP_INDEX_URL and PIP_PROXY, and run it again" in said


def test_versions_that_this_python_cannot_have(setup, checkout, begun):
    (checkout / "constraints.txt").write_text("torch==9.9\n", encoding="utf-8")
    code, said = setup()
    assert code == 2
    assert "avqa: pip found no torch==9.9 for Python 3." in said
    assert "use a Python of docs/install.md's table" in said
    assert "torch==9.9" in (begun / "pip.log").read_text(encoding="utf-8")


def test_a_place_that_can_hold_no_environment(setup):
    code, said = setup("VENV=pyproject.toml/venv")
    assert code == 2
    assert "-m venv pyproject.toml/venv failed (" in said
    assert (
        "expected a virtual environment; install Python's venv (Debian: python3-venv), or" in said
    )


def test_an_environment_that_may_not_be_written(setup, begun):
    (begun / "constraints.txt").mkdir()
    code, said = setup()
    assert code == 2
    assert (
        "avqa: .venv/constraints.txt: Is a directory; expected a place that can be written; mend"
        " it, or give VENV=a folder elsewhere" in said
    )


@pytest.mark.parametrize(
    ("pip", "line"),
    [
        (
            "ERROR: Could not install packages: OSError: [Errno 28] No space left on device",
            "no space left while installing into v; expected 7 GB there and 3 GB where TMPDIR is;"
            " make room and run it again; all of pip's words are in v/pip.log",
        ),
        (
            "note: this\nerror: subprocess-exited-with-error\n",
            "pip failed: error: subprocess-exited-with-error; expected an installation; mend that"
            " and run it again; all of pip's words are in v/pip.log",
        ),
    ],
)
def test_what_else_pip_says_is_one_line(pip, line):
    folder = Path("v")
    assert venv.explain_pip(pip, venv.Environment(folder), folder / "pip.log") == line


def test_no_room_is_said_before_the_download(setup, checkout):
    script = checkout / "portability" / "venv.py"
    script.write_text(
        script.read_text(encoding="utf-8")
        .replace('"": 7.0', '"": 7e9')
        .replace('"cpu": 2.5', '"cpu": 5e9'),
        encoding="utf-8",
    )
    code, said = setup()
    assert code == 2
    assert " GB free in " in said
    assert (
        "expected 7e+09 GB for .venv; make room, give VENV=a folder elsewhere, or TORCH=cpu" in said
    )
    assert not (checkout / ".venv").exists()
