"""What libraries read by themselves of the user's files and variables changes and stops nothing."""

import inspect
import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import dask
import distributed
import pytest
import yaml
import zarr
from helpers.extraction.light import POOL, finished
from helpers.media import fake_reader
from helpers.runs import run_folders
from helpers.store.stores import store_bytes

from avqa import surroundings
from avqa.errors import ConfigError
from avqa.pipelines.cluster import dask_library

READ = re.compile(r"""(?:environ(?:\.\w+)?|getenv)[\[(]\s*["']([A-Z_0-9]+)["']""")
ELSEWHERE = re.compile(
    r"/(deepspeed|xla|lsf|kubeflow|slurm|cli|bitsandbytes|_runif|__setup__)\.py$"
)
"""Of Fabric's files: what is used only if it is asked for, and is not."""
SETS = {"PYTORCH_NVML_BASED_CUDA_CHECK"}
OF_MACHINE = {"OMP_NUM_THREADS"}


def read_by(package):
    """Names of all variables that the sources of an installed package ask for."""
    root = Path(find_spec(package).origin).parent
    files = [p for p in root.rglob("*.py") if not ELSEWHERE.search(p.as_posix())]
    return {name for p in files for name in READ.findall(p.read_text(encoding="utf-8"))}


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({}, "0"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "30000000000"),
        ({"GOMP_SPINCOUNT": "300000"}, "300000"),
    ],
)
def test_threads_that_wait_sleep_unless_told_otherwise(given, count):
    """By what torch's OpenMP itself says; without a policy it spins 300,000 times."""
    code = "import avqa, torch; torch.ones(2)"
    environ = {"OMP_DISPLAY_ENV": "VERBOSE", **given}
    status, _, said = finished([sys.executable, "-c", code], **environ)
    assert status == 0, said
    if "GOMP_SPINCOUNT" not in said:
        pytest.skip("torch has another OpenMP than GNU's")
    assert f"GOMP_SPINCOUNT = '{count}'" in said


def leaves(value, key=()):
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*key, name))
    else:
        yield key, value


def defaults(library):
    """All keys of the configuration of Dask or zarr."""
    found = {}
    for part in library.config.defaults:
        dask.config.update(found, dict(part))
    return found


def hostile(value):
    """The same keys, every value of which is useless."""
    if isinstance(value, dict) and value:
        return {key: hostile(inner) for key, inner in value.items()}
    return ["hostile"] if isinstance(value, list) else "hostile"


@pytest.fixture(scope="module")
def hostile_world(tmp_path_factory):
    """Variables, among them a home with files, that are as harmful as can be."""
    home = tmp_path_factory.mktemp("home")
    for name, library in {"dask": dask, "zarr": zarr}.items():
        (home / ".config" / name).mkdir(parents=True)
        text = yaml.safe_dump(hostile(defaults(library)))
        (home / ".config" / name / "mine.yaml").write_text(text, encoding="utf-8")
    (home / ".config" / "matplotlib").mkdir()
    style = "backend: hostile\ntext.usetex: True\nsavefig.format: ps\nfigure.figsize: 99, 99\n"
    (home / ".config" / "matplotlib" / "matplotlibrc").write_text(style, encoding="utf-8")
    names = {
        *(f"ZARR_{'__'.join(key).upper()}" for key, _ in leaves(defaults(zarr))),
        *(dask_library.variable(".".join(key)) for key, _ in leaves(defaults(dask))),
        *(name for name in fabrics() | {"RANK", "TORCH_DISTRIBUTED_DEBUG"}),
        *("PL_TRAINER_MAX_EPOCHS", "ATEN_CPU_CAPABILITY", "ONEDNN_DEFAULT_FPMATH_MODE"),
        *("MPLBACKEND", "MATPLOTLIBRC", "MKL_CBWR"),
    }
    names = {name for name in names if surroundings.is_left_out(name)}
    return {"HOME": str(home), "LT_CLI_USED": "1"} | dict.fromkeys(names, "3")


def fabrics():
    """Variables that Fabric goes by; it puts together the names of its own arguments."""
    from lightning_fabric import Fabric

    own = {f"LT_{name.upper()}" for name in inspect.signature(Fabric).parameters}
    return own | (read_by("lightning_fabric") - SETS - OF_MACHINE)


def test_all_that_fabric_reads_is_left_out():
    found = fabrics()
    assert {"LT_ACCELERATOR", "PL_GLOBAL_SEED", "LOCAL_RANK", "MASTER_PORT"} <= found
    assert {name for name in found if not surroundings.is_left_out(name)} == set()


def test_all_keys_of_dask_and_zarr_are_left_out_but_credentials():
    zarrs = {f"ZARR_{'__'.join(key).upper()}" for key, _ in leaves(defaults(zarr))}
    assert "ZARR_ARRAY__ORDER" in zarrs
    assert {name for name in zarrs if not surroundings.is_left_out(name)} == set()
    kept = {
        ".".join(key)
        for key, _ in leaves(defaults(dask))
        if not surroundings.is_left_out(dask_library.variable(".".join(key)))
    }
    assert "distributed.comm.tls.ca-file" in kept
    assert {key for key in kept if not key.startswith(dask_library.CREDENTIALS)} == set()


@pytest.mark.parametrize(
    "name",
    [
        *("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NVIDIA_TF32_OVERRIDE", "ATEN_CPU_CAPABILITY"),
        *("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE", "TORCH_DISTRIBUTED_DEBUG"),
        *("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "TORCH_MKLDNN_MATMUL_MIN_DIM", "TORCH_LOGS"),
        *("TORCH_CUDNN_V8_API_DISABLED", "TORCH_BLAS_PREFER_CUBLASLT", "PYTORCH_SUM_INNER_TREE"),
        *("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS"),
        *("PYTORCH_JIT", "TORCHINDUCTOR_FREEZING", "TORCHDYNAMO_DISABLE", "GLOO_DEVICE_TRANSPORT"),
    ],
)
def test_what_would_change_torchs_numbers_is_left_out(name):
    environ = {name: "1", "TORCH_HOME": "/t", "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": "0"}
    surroundings.leave_out(environ)
    assert [*environ] == ["TORCH_HOME", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"]


def test_a_run_of_dask_has_its_own_configuration_and_gives_the_users_back():
    key, tls = "distributed.worker.lifetime.duration", "distributed.comm.tls.ca-file"
    with dask.config.set({key: "1 s", tls: "mine.pem", "distributed.comm.default-scheme": "tls"}):
        before = dask.config.get("distributed")
        put_back = dask_library.configure({"distributed.scheduler.allowed-failures": 0})
        assert dask.config.get(key) is dask.config.get(tls) is None
        assert dask.config.get("distributed.comm.default-scheme") == "tcp"
        assert dask.config.get("distributed.scheduler.allowed-failures") == 0
        put_back()
        assert dask.config.get("distributed") == before
        assert dask.config.get(key) == "1 s"
        put_back = dask_library.configure({}, credentials=True)
        assert dask.config.get(tls) == "mine.pem"
        assert dask.config.get(key) is None
        put_back()


def test_jobs_elsewhere_are_told_what_the_users_files_would_change(monkeypatch):
    assert dask_library.changed_by_user("distributed") == {}
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__PRELOAD", "['mine']")
    monkeypatch.setenv("DASK_DISTRIBUTED__NANNY__ENVIRON__X", "1")  # no key of Dask's
    assert dask_library.changed_by_user("distributed.worker") == {"distributed.worker.preload": []}
    name = dask_library.variable("distributed.worker.preload-argv")
    assert name == "DASK_DISTRIBUTED__WORKER__PRELOAD_ARGV"


def extract(videos, store, scheduler, **environ):
    options = ("--features", POOL, "--decoder", fake_reader.DECODER, "--weights", "random:0")
    places = ("--videos", str(videos), "--out", str(store), "--scheduler", scheduler)
    return finished([sys.executable, "-m", "avqa", "extract", *places, *options], **environ)


def test_a_hostile_world_changes_no_byte_of_a_store(tmp_path, hostile_world):
    fake_reader.write_video(tmp_path / "videos" / "00000001.mp4", seconds=7)
    code, _, said = extract(tmp_path / "videos", tmp_path / "there", "local", **hostile_world)
    assert code == 0, said
    assert "Traceback" not in said
    assert extract(tmp_path / "videos", tmp_path / "here", "sync")[0] == 0
    assert store_bytes(tmp_path / "there") == store_bytes(tmp_path / "here")


def test_a_hostile_world_changes_no_bit_of_a_head(tmp_path, hostile_world):
    run_folders.write_three_videos(tmp_path)
    options = [
        *("train-head", "question_only", "--device", "cpu", "--dataset", "music-avqa"),
        *("--store", str(tmp_path / "store"), "--annotations", str(tmp_path / "annotations")),
        *("--set", "epochs=2"),
    ]
    command = [sys.executable, "-m", "avqa", *options, "--out"]
    code, _, said = finished([*command, str(tmp_path / "there")], **hostile_world)
    assert code == 0, said
    assert finished([*command, str(tmp_path / "here")])[0] == 0
    here, there = (tmp_path / out / "default" / "seed-0" for out in ("here", "there"))
    kept = json.loads((here / "environment.json").read_text(encoding="utf-8"))
    assert (kept["wait_policy"], kept["spin_count"]) == ("PASSIVE", "300000")
    for name in ("model.safetensors", "predictions.json", "curves.png"):
        assert (here / name).read_bytes() == (there / name).read_bytes()
    assert any((there / "logs" / "tensorboard").iterdir())  # also as task 3 of a batch job


@pytest.mark.parametrize("library", ["dask", "zarr"])
def test_a_file_that_is_no_yaml_is_one_line(tmp_path, library):
    fake_reader.write_video(tmp_path / "videos" / "00000001.mp4")
    (tmp_path / ".config" / library).mkdir(parents=True)
    (tmp_path / ".config" / library / "bad.yaml").write_text("a: [", encoding="utf-8")
    where = "tcp://127.0.0.1:1" if library == "dask" else "local"  # which alone loads Dask
    code, _, said = extract(tmp_path / "videos", tmp_path / "s", where, HOME=str(tmp_path))
    assert code == ConfigError.exit_code
    line = said.splitlines()[-1]
    assert line.startswith(f"avqa: {library.capitalize() if library == 'dask' else library}'s conf")
    assert "bad.yaml" in line
    assert "expected YAML" in line
    assert "Traceback" not in said


assert distributed  # its defaults are part of Dask's configuration
