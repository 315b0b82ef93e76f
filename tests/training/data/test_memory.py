import torch

from avqa.training.data.memory import ReusedMemory, shared


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
