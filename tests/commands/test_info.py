"""`avqa info`: what a report of a bug should hold, also where libraries are missing or broken."""

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from avqa import caches, machine
from avqa.cli import app
from avqa.pipelines import info

ROOT = Path(__file__).resolve().parents[2]


def typed(*more, **environ):
    """What the command prints in a process of its own."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **environ}
    command = [sys.executable, "-m", "avqa", "info", *more]
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, encoding="utf-8"
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def line_of(text, name):
    (line,) = (line for line in text.splitlines() if line.startswith(f"{name}  "))
    return line.removeprefix(name).strip()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache with one of the weights."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "resnet18.safetensors").touch()
    return folder


@pytest.fixture(scope="module")
def text(cache):
    return typed(AVQA_CACHE=str(cache), HF_HOME="/dev/null/hf")


def test_versions_are_those_that_are_used(text):
    assert line_of(text, "avqa") == f"0.1.0, path={ROOT / 'avqa'}"
    python = ".".join(map(str, sys.version_info[:3]))
    assert line_of(text, "Python") == f"{python}, path={sys.executable}"
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    assert line_of(text, "torch") == f"{torch.__version__}, built_for={built}"
    for name in ("torchvision", "soxr", "zarr", "dask", "distributed", "lightning-fabric"):
        assert line_of(text, name) == metadata.version(name)
    import av

    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    assert line_of(text, "av").startswith(f"{av.__version__}, ")
    assert f"libavcodec={codec}, " in line_of(text, "av")


def test_the_ffmpeg_program_is_the_one_that_readers_run(text):
    from avqa import programs

    said = subprocess.run(
        [programs.ffmpeg(), "-version"], capture_output=True, text=True, encoding="utf-8"
    )
    version = said.stdout.split()[2]
    assert line_of(text, "ffmpeg program") == f"{version}, path={programs.ffmpeg()}"


def test_caches_and_weights_are_told(text, cache):
    assert line_of(text, "AVQA_CACHE") == f"{cache}, writable=yes"
    assert line_of(text, "HF_HOME") == "/dev/null/hf, writable=no"
    assert line_of(text, "resnet18") == f"present, path={cache / 'resnet18.safetensors'}"
    assert line_of(text, "vggish") == f"absent, path={cache / 'vggish.safetensors'}"


def test_lines_are_aligned_in_sections(text):
    values = {re.match(r"(?:\S+ )+ *", line).end() for line in text.splitlines() if line.strip()}
    assert len(values) == 1
    assert text.count("\n\n") == 4


def test_json_holds_the_same(cache):
    environ = {"AVQA_CACHE": str(cache), "HF_HOME": "/dev/null/hf"}
    found = json.loads(typed("--json", **environ))
    assert list(found) == ["schema", "program", "libraries", "machine", "caches", "weights"]
    assert found["libraries"]["torch"]["version"] == torch.__version__
    assert found["machine"]["cores"]["usable"] == machine.num_cores()
    assert found["machine"]["memory"]["total_bytes"] > 2**30
    assert found["weights"]["resnet18"]["state"] == "present"
    assert found["caches"]["HF_HOME"] == {"path": "/dev/null/hf", "writable": False}


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """Put a module of that text before the library of that name."""

    def put(name, source):
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)

    return put


def shown(name):
    done = CliRunner().invoke(app, ["info"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert "Traceback" not in done.stdout
    return line_of(done.stdout, name)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (
            "raise ImportError('libcudart.so.13: cannot open')",
            "ImportError: libcudart.so.13: cannot",
        ),
        ("print('hello'); import os; os.kill(os.getpid(), 11)", "its process was ended by SIGSEGV"),
        ("raise SystemExit(3)", "its process ended with 3"),
        ("import time; time.sleep(60)", "not loaded within 1 s"),
    ],
)
def test_a_library_that_does_not_load_is_a_line(broken, monkeypatch, source, problem):
    broken("torch", source)
    if "sleep" in source:
        monkeypatch.setattr(info, "LOAD_SECONDS", 1.0)
    monkeypatch.setattr(info, "_LOADED", {"torch": info._torch})
    version = metadata.version("torch")
    assert re.match(rf"{version}, problem={problem}", shown("torch"))


def test_what_was_said_before_the_end_is_kept(broken):
    broken(
        "torch",
        "from types import SimpleNamespace as N\n"
        "def count(): raise RuntimeError('no driver')\n"
        "__version__ = '9.9'\n"
        "version, cuda = N(cuda='13.0', hip=None), N(device_count=count)\n",
    )
    assert shown("torch") == "9.9, built_for=CUDA 13.0, problem=RuntimeError: no driver"


def test_a_library_that_is_not_installed_is_a_line(broken, monkeypatch):
    known = metadata.version

    def version(name):
        if name in ("decord", "av"):
            raise metadata.PackageNotFoundError(name)
        return known(name)

    broken("av", "raise ModuleNotFoundError(\"No module named 'av'\")")
    monkeypatch.setattr(metadata, "version", version)
    done = CliRunner().invoke(app, ["info"])
    assert line_of(done.stdout, "decord") == line_of(done.stdout, "av") == "not installed"


def test_an_ffmpeg_program_that_does_not_run_is_a_line(monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    told = shown("ffmpeg program")
    assert told.startswith("LibraryMissing: ffmpeg program '/nowhere/ffmpeg' is not there or may")


def test_gpus_are_told_by_torch_and_by_the_machine(gpus, broken):
    gpus(2, "1,GPU-abc")
    broken(
        "torch",
        "from types import SimpleNamespace as N\n"
        "__version__ = '9.9'\n"
        "version = N(cuda='13.0', hip=None)\n"
        "cuda = N(device_count=lambda: 1, get_device_properties=lambda n:"
        " N(name='H200', total_memory=150 * 10**9))\n",
    )
    done = CliRunner().invoke(app, ["info"])
    assert line_of(done.stdout, "GPU 1") == "H200, memory=150.0 GB"
    assert line_of(done.stdout, "GPU GPU-abc") == "torch does not see it"


def test_without_a_gpu_there_is_none(gpus, broken):
    gpus(0)
    broken("torch", "raise ImportError('no')")
    assert shown("GPU") == "none"


def test_the_driver_is_the_kernels(tmp_path, monkeypatch):
    file = tmp_path / "version"
    file.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan\nGCC 12.2\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(info, "DRIVER", file)
    assert info._driver() == {"version": "570.86.15"}


def test_an_encoder_that_is_broken_hides_no_other(monkeypatch):
    from avqa.errors import PluginError
    from avqa.extract import encoders

    known = encoders.load

    def load(name):
        if name == "resnet18":
            raise PluginError("encoder 'resnet18': TAPS is missing")
        return known(name)

    monkeypatch.setattr(encoders, "load", load)
    found = dict(info._weights())
    assert found["resnet18"]["problem"] == "encoder 'resnet18': TAPS is missing"
    assert found["vggish"]["state"] in ("present", "absent")


def test_folders_of_libraries_follow_the_environment(monkeypatch):
    for name in ("AVQA_CACHE", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    monkeypatch.setenv("HF_HOME", "/models")
    found = caches.in_use()
    assert found["AVQA_CACHE"] == Path("/shared/avqa")
    assert found["TORCH_HOME"] == Path("/shared/torch")
    assert found["HF_HOME"] == Path("/models")
    assert found["NUMBA_CACHE_DIR"] is None


def test_the_version_is_that_of_all_that_matters():
    named = r"avqa 0\.1\.0 \(Python 3\.\d+\.\d+, torch \S+, torchvision \S+, av \S+, zarr \S+, "
    command = [sys.executable, "-m", "avqa", "--version"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=ROOT, encoding="utf-8"
    )
    assert re.match(named, done.stdout)
    assert done.stdout.count("\n") == 1
    assert CliRunner().invoke(app, ["--version"]).stdout == done.stdout
