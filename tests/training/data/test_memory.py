import os

import pytest
import torch

from avqa.training.data.memory import ReusedMemory, free_memory, shared

GB = 2**30


def machine(root, available, cgroup, **files):
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
    root = machine(tmp_path, 8 * GB, "0::/\n", **limits("", "max", 3 * GB, 0))
    assert free_memory(root) == 8 * GB


@pytest.mark.parametrize("limited", ["", "job|", "job|step|"])
def test_the_tightest_limit_counts(tmp_path, limited):
    files = limits(limited, 4 * GB, 3 * GB, GB // 2)
    root = machine(tmp_path, 8 * GB, "0::/job/step\n", **files)
    assert free_memory(root) == 4 * GB - 3 * GB + GB // 2


def test_limits_of_the_older_kind_count(tmp_path):
    files = {
        "memory|memory.limit_in_bytes": f"{4 * GB}\n",
        "memory|memory.usage_in_bytes": f"{3 * GB}\n",
        "memory|memory.stat": f"inactive_file 1\ntotal_inactive_file {GB // 4}\n",
    }
    root = machine(tmp_path, 8 * GB, "5:cpu,memory:/docker/ab\n4:devices:/\n0::/\n", **files)
    assert free_memory(root) == GB + GB // 4


def test_nothing_is_left_beyond_a_limit(tmp_path):
    root = machine(tmp_path, 8 * GB, "0::/\n", **limits("", GB, 2 * GB, 0))
    assert free_memory(root) == 0


def test_elsewhere_half_of_the_memory_counts_as_free(tmp_path):
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert free_memory(tmp_path) == whole // 2


def test_memory_is_shared_where_there_is_room(tmp_path, monkeypatch):
    assert shared(torch.ones(3)).is_shared()
    (tmp_path / "dev/shm").mkdir(parents=True)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 11}))
    assert not shared(torch.ones(3), tmp_path).is_shared()  # 12 bytes


def test_memory_is_used_again_once_nobody_has_it():
    memory = ReusedMemory()
    first = memory.empty((4, 5), torch.float32)
    address = first.data_ptr()
    assert first.shape == (4, 5)
    assert first.dtype == torch.float32
    part = first.fill_(7)[1]
    del first
    second = memory.empty((4, 5), torch.float32).fill_(8)
    assert second.data_ptr() != address
    assert part.tolist() == [7] * 5  # a part of it was in use still
    del part
    assert memory.empty((5, 4), torch.float32).data_ptr() == address
    assert second.unique().tolist() == [8]


def test_memory_is_used_for_less_but_not_for_much_less():
    memory = ReusedMemory()
    large = memory.empty((100,), torch.float32)
    address = large.data_ptr()
    del large
    half = memory.empty((50,), torch.float16)  # a quarter of the bytes
    assert half.data_ptr() == address
    assert half.shape == (50,)
    assert half.dtype == torch.float16
    del half
    other = memory.empty((49,), torch.float16)
    assert other.data_ptr() != address
    assert len(memory._blocks) == 1  # what did not fit was given up
