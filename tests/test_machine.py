"""What a machine has: GPUs as CUDA names them, cores and memory of a job."""

import os
import platform
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.media import clips

from avqa import machine
from avqa.errors import ConfigError
from avqa.machine import core_limit, free_memory, num_cores
from benchmarks.beside import in_group, quota_of_one_core

GB = 2**30


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


def file_system(root, available, cgroup, **files):
    """A file system that tells of memory; names of files have | for /."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(
        f"MemTotal: 9 kB\nMemAvailable: {available // 1024} kB\n", encoding="utf-8"
    )
    (root / "proc/self/cgroup").write_text(cgroup, encoding="utf-8")
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name.replace("|", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return root


def limits(folder, most, used, freeable):
    return {
        f"{folder}memory.max": f"{most}\n",
        f"{folder}memory.current": f"{used}\n",
        f"{folder}memory.stat": f"anon 5\ninactive_file {freeable}\n",
    }


def test_without_limits_the_machine_says(tmp_path):
    root = file_system(tmp_path, 8 * GB, "0::/\n", **limits("", "max", 3 * GB, 0))
    assert free_memory(root) == 8 * GB


@pytest.mark.parametrize("limited", ["", "job|", "job|step|"])
def test_the_tightest_limit_counts(tmp_path, limited):
    files = limits(limited, 4 * GB, 3 * GB, GB // 2)
    root = file_system(tmp_path, 8 * GB, "0::/job/step\n", **files)
    assert free_memory(root) == 4 * GB - 3 * GB + GB // 2


def test_limits_of_the_older_kind_count(tmp_path):
    files = {
        "memory|memory.limit_in_bytes": f"{4 * GB}\n",
        "memory|memory.usage_in_bytes": f"{3 * GB}\n",
        "memory|memory.stat": f"inactive_file 1\ntotal_inactive_file {GB // 4}\n",
    }
    root = file_system(tmp_path, 8 * GB, "5:cpu,memory:/docker/ab\n4:devices:/\n0::/\n", **files)
    assert free_memory(root) == GB + GB // 4


def test_nothing_is_left_beyond_a_limit(tmp_path):
    root = file_system(tmp_path, 8 * GB, "0::/\n", **limits("", GB, 2 * GB, 0))
    assert free_memory(root) == 0


def test_elsewhere_psutil_says_what_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=5 * GB))
    assert free_memory(tmp_path) == 5 * GB


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/job/step\n", {}, None),
        ("0::/job/step\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/job/step\n", {"cpu.max": "max 100000\n", "job|cpu.max": "150000 100000\n"}, 1.5),
        ("0::/x\n", {"cpu.max": "400000 100000\n", "x|cpu.max": "50000 100000\n"}, 0.5),
        ("4:cpu:/d\n", {"cpu|cpu.cfs_quota_us": "-1\n", "cpu|cpu.cfs_period_us": "100\n"}, None),
        (
            "4:cpu,cpuacct:/d\n",
            {"cpu|cpu.cfs_quota_us": "300\n", "cpu|cpu.cfs_period_us": "100\n"},
            3.0,
        ),
    ],
)
def test_the_limit_of_a_container_counts_in_cores(tmp_path, groups, files, expected):
    assert core_limit(file_system(tmp_path, GB, groups, **files)) == expected


def test_elsewhere_there_is_no_limit(tmp_path):
    assert core_limit(tmp_path) is None


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


@pytest.mark.parametrize(
    ("group", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/job/step\n", {"job/cpu.max": "150000 100000\n", "job/step/cpu.max": "max 100000"}, 2),
        ("0::/of/the/host\n", {"cpu.max": "10000 100000\n"}, 1),
        (
            "4:devices:/\n3:cpu,cpuacct:/docker/ab\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        (
            "3:cpu,cpuacct:/\n",  # mounted by both names alone
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "300000\n",
                "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
    ],
)
def test_cores_are_those_of_the_container(tmp_path, monkeypatch, group, files, cores):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    files = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in {"proc/self/cgroup": group, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert num_cores(tmp_path) == cores


glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def resident_mb():
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


@glibc
def test_what_threads_freed_is_given_back():
    """Blocks below the size that gets pages of its own; the last ones lie on top of the others."""
    kept = []

    def use():
        blocks = [b"x" * (100_000 + size) for size in range(2000)]
        kept.append(blocks[-1])

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    before = resident_mb()
    machine.give_memory_back()
    assert before - resident_mb() > 100


FAULTS = """
import resource
from avqa import machine
{call}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
size = 1 << 24
bytes(b"x") * size
before = faults()
for _ in range(20):
    bytes(b"x") * size
print(faults() - before)
"""


@glibc
def test_what_is_freed_is_there_for_the_next_use():
    """Blocks of 16 MB, in a process as Dask's nanny starts it: 4096 pages each, or none."""

    def faults(call):
        done = subprocess.run(
            [sys.executable, "-c", FAULTS.format(call=call)],
            capture_output=True, check=True, text=True, encoding="utf-8",
            env={**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"},
        )  # fmt: skip
        return int(done.stdout)

    assert faults("") > 20 * 4000
    assert faults("assert machine.keep_freed_memory()") < 5000


@pytest.mark.parametrize(
    "environ",
    [
        {"MALLOC_ARENA_MAX": "2"},
        {"MALLOC_TRIM_THRESHOLD_": "1000000"},
        {"MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_TOP_PAD_": "1"},
        {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"},
    ],
)
def test_a_users_own_settings_of_the_allocator_stand(environ):
    assert not machine.keep_freed_memory(environ)


LONG_LIVED = """
import sys, warnings
sys.path.insert(0, "tests")
warnings.simplefilter("ignore")
import avqa
from avqa import machine
from test_machine import resident_mb
if __name__ == "__main__":
    for _ in range(2):
        features = ["clip_vit_b32/frame", "resnet18/pool", "vggish/audio"]
        avqa.extract_video(sys.argv[1], features, weights="random:0")
        print(resident_mb())
    machine.give_memory_back()
    print(resident_mb())
"""


@glibc
def test_a_process_that_lives_on_keeps_nothing_of_a_call():
    """Several networks, built in threads of their own: 1.2 GB would be kept after two calls."""
    clip = clips.cached_clip("a.mp4", seconds=2.0, sound_codec="aac")
    done = subprocess.run(
        [sys.executable, "-c", LONG_LIVED, str(clip)],
        capture_output=True, check=True, text=True, encoding="utf-8",
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    first, second, given_back = (float(line) for line in done.stdout.split())
    assert second - first < 300
    assert second - given_back < 200


def test_a_real_quota_is_heeded():
    """Of the kernel, in a control group of our own."""
    code = "from avqa.machine import core_limit, num_cores; print(num_cores(), core_limit())"
    with quota_of_one_core() as group:
        if group is None:
            pytest.skip("no control group with a quota can be made here")
        done = subprocess.run(in_group(group, [sys.executable, "-c", code]), capture_output=True)
    assert done.stdout == b"1 1.0\n", done.stderr
