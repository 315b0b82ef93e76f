"""What a killed process left unfinished goes with the next write; what others write stays."""

import os
import subprocess
import sys

import pytest

from avqa import caches
from avqa.extract import weights_files
from avqa.store.places import files


@pytest.fixture(scope="module")
def dead():
    """A pid that is nobody's any more."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def name_of(pid, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: pid)
        return caches.unfinished_name()


def test_only_files_of_dead_processes_of_this_machine_go(tmp_path, dead, monkeypatch):
    theirs = name_of(dead, monkeypatch)
    gone = (f"{theirs}.partial", f".clip.pth.{theirs}")
    elsewhere = "0" * 12 + theirs[12:]
    kept = (
        *(
            f"{caches.unfinished_name()}.partial",
            f"{name_of(os.getppid(), monkeypatch)}.partial",
        ),
        *(f"{elsewhere}.partial", "0123456789abcdef.partial", "answers.json"),
    )
    for name in (*gone, *kept):
        (tmp_path / name).touch()
    caches.remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(kept)
    caches.remove_leftovers(tmp_path / "nowhere")


def test_names_differ_and_have_one_length():
    names = {caches.unfinished_name() for _ in range(100)}
    assert len(names) == 100
    assert {len(name) for name in names} == {32}


@pytest.mark.parametrize("write", [files.write_atomic, files.write_json], ids=["bytes", "json"])
def test_whoever_writes_beside_it_removes_it(tmp_path, dead, monkeypatch, write):
    (tmp_path / f"{name_of(dead, monkeypatch)}.partial").touch()
    write(tmp_path / "one", {} if write is files.write_json else b"1")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_killed_download_goes_with_the_next(tmp_path, dead, monkeypatch):
    (tmp_path / f".resnet18.pth.{name_of(dead, monkeypatch)}").touch()
    with weights_files._temporary(tmp_path, "resnet18.safetensors") as file:
        assert list(tmp_path.iterdir()) == [file]
