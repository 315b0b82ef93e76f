"""What the GPU check carries: which wheels, how large, and an environment from them alone."""

import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from benchmarks.gpu import bundle, prepare

OWN = "own-1.0-py3-none-any.whl"


@pytest.fixture
def wheel(tmp_path):
    """One with a module, a library in its data, and a command."""
    path = tmp_path / "bundle" / "wheels" / OWN
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("own/__init__.py", f"VALUE = {'7' * 20_000!r}\n")
        archive.writestr("own-1.0.data/platlib/own_lib.py", "VALUE = 8\n")
        archive.writestr("own-1.0.data/scripts/own", "#!python\n")
        archive.writestr("own-1.0.dist-info/METADATA", "Name: own\nVersion: 1.0\n")
    return path


def test_what_is_there_is_not_carried_nor_what_it_needs():
    there, exact = bundle.packages_there(bundle.THERE)
    assert not exact
    there |= bundle.closure(there, "3.12", frozenset()).keys()
    assert {"torch", "sympy", "fonttools"} <= there
    wanted = bundle.closure({"avqa"}, "3.12", there)
    assert {"avqa", "av", "numcodecs", "soxr", "distributed", "typer", "open-clip-torch"} <= {
        *wanted
    }
    assert not wanted.keys() & {"numba", "llvmlite", "scikit-learn"}
    assert not wanted.keys() & (there | bundle.LEFT_OUT.keys())


def test_a_list_of_a_machine_says_all_that_is_there(tmp_path):
    (tmp_path / "list").write_text("torch==2.11.0\nScikit_Learn==1.9\nown @ file:///x\n", "utf-8")
    assert bundle.packages_there([str(tmp_path / "list")]) == (
        {"torch", "scikit-learn", "own"},
        True,
    )


def test_versions_are_those_of_the_constraints_and_torchvision_that_of_torch():
    found = bundle.requirements({"av": [], "torchvision": [], "avqa": [], "nowhere": []}, "2.11")
    assert found == ["av==18.1.0", "nowhere", "torchvision==0.26.*"]


def test_what_is_too_large_is_packed_anew_and_reads_the_same(wheel):
    before = wheel.stat().st_size
    assert bundle.shrink(wheel.parent, before) == {}
    saved = bundle.shrink(wheel.parent, 100)
    assert saved == {OWN: before - wheel.stat().st_size}
    assert saved[OWN] > 10_000
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("own-1.0.data/platlib/own_lib.py") == b"VALUE = 8\n"
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_LZMA}


def test_the_report_says_what_is_left_out_and_what_is_over(wheel):
    (wheel.parents[1] / "material").mkdir()
    lines = bundle.report(wheel.parents[1], {}, {}, {"grpcio"}, 10_000)
    assert "  0.02 MB  1 smaller wheels" in lines
    assert any(line.startswith("left out  imageio-ffmpeg: the ffmpeg program") for line in lines)
    assert not any("grpcio" in line for line in lines)
    assert "MB over its limit; expected 0.01 MB; name what that machine has" in lines[-1]
    assert "over" not in bundle.report(wheel.parents[1], {}, {}, {}, 1e6)[-1]


def test_an_environment_is_made_of_wheels_and_of_what_is_around(wheel, tmp_path):
    python = prepare.make(tmp_path / "venv", [wheel])
    code = (
        "import own, own_lib, numpy, sys, importlib.metadata as m;"
        "print(len(own.VALUE), own_lib.VALUE, numpy.__version__, m.version('own'), sys.prefix)"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, encoding="utf-8")
    expected = f"20000 8 {np.__version__} 1.0 {tmp_path / 'venv'}"
    assert done.stdout.strip() == expected, done.stderr


def test_without_wheels_the_command_that_makes_them_is_named(tmp_path):
    done = subprocess.run(
        [sys.executable, str(prepare.__file__), str(tmp_path)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"avqa: no wheels in {tmp_path}; expected the folder of `make gpu-bundle`; make it where"
        " there is a network, carry it here, and give BUNDLE=folder\n"
    )
