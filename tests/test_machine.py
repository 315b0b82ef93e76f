"""What a machine has: GPUs as CUDA names them, cores of a job."""

import pytest

from avqa import machine
from avqa.errors import ConfigError
from avqa.machine import num_cores


@pytest.mark.parametrize(
    ("number", "visible", "expected"),
    [
        (0, None, ()),
        (0, "0,1", ()),
        (3, None, ("0", "1", "2")),
        (8, "4,GPU-abc,7", ("4", "GPU-abc", "7")),
        (8, " 4 , 7 ", ("4", "7")),
        (1, "MIG-1b2f,MIG-77aa", ("MIG-1b2f", "MIG-77aa")),
        (8, "", ()),
        (8, "-1", ()),
        (8, "2,-1,3", ("2",)),  # CUDA stops at the first that it does not know
        (2, "1,2,0", ("1",)),
        (2, "0,0,1", ("0", "1")),
    ],
)
def test_gpus_are_named_as_cuda_sees_them(gpus, number, visible, expected):
    assert gpus(number, visible) == expected
    assert machine.num_gpus() == len(expected)


def test_cores_are_those_of_the_job(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert num_cores() == 64
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    assert num_cores() == 8
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "128")
    assert num_cores() == 64


def test_cores_where_processes_are_bound_to_none(monkeypatch):
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 10)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert num_cores() == 10


def test_the_gpu_of_a_mac_is_not_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "DEVICES", tmp_path)
    assert machine.choose_device("auto") == "cpu"
    with pytest.raises(ConfigError, match="device='mps'; expected auto, cpu or cuda; check"):
        machine.choose_device("mps")
