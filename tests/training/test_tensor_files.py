"""Weights are read where files cannot be mapped, and where a folder's name is no text."""

import os

import pytest
import safetensors
import torch
from safetensors.torch import save_file

from avqa.training import tensor_files


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.arange(6.0).reshape(2, 3)}, path, metadata={"head": "avst"})
    return path


def check(path):
    state, metadata = tensor_files.read_tensors(path)
    torch.testing.assert_close(state["a"], torch.arange(6.0).reshape(2, 3))
    assert (list(state), metadata) == (["a"], {"head": "avst"})


def test_a_file_system_that_maps_no_files(weights, monkeypatch):
    """As safetensors says it there; a real one needs FUSE."""

    def refuse(path, framework):
        raise OSError("No such device (os error 19)")

    check(weights)
    monkeypatch.setattr(safetensors, "safe_open", refuse)
    check(weights)


def test_a_folder_whose_name_is_no_text(weights, tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes text alone")
    check(weights.rename(folder / weights.name))


def test_what_is_damaged_is_still_refused(weights):
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(safetensors.SafetensorError):
        tensor_files.read_tensors(weights)
