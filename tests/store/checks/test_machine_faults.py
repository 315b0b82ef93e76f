"""What the machine refuses is no damage: exit code 5, and nothing is repaired."""

import errno
import functools
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from helpers.store import mutations
from helpers.store.stored import make_store
from helpers.store.stores import store_bytes

from avqa.errors import EnvironmentFailure, StorageFailure
from avqa.faults import machine_fault
from avqa.store.checks.verify import verify
from avqa.store.format.integrity import ChunkChecker
from avqa.store.places.files import LocalPath
from avqa.store.reader import FeatureStore

NOBODY = 65534
OBJECT = "features.zarr/clip/frame/c.0.1.0"
EIO = Path("/proc/self/mem")
"""Reading its beginning gives EIO."""


@pytest.fixture
def path(tmp_path):
    return make_store(tmp_path / "S", {"a": 12, "b": 3, "c": 5}).path


def avqa(*words, limits=(), user=None):
    """The real command; limits bind none but those who are not root."""

    def bound():
        for which, number in limits:
            resource.setrlimit(which, (number, number))

    return subprocess.run(
        [sys.executable, "-m", "avqa", *map(str, words)],
        preexec_fn=bound,
        user=user,
        group=user,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "HOME": "/nonexistent"},
        check=False,
    )


@functools.cache
def runs_as_nobody():
    if os.geteuid() != 0:
        return False
    try:
        return avqa("encoders", user=NOBODY).returncode == 0
    except PermissionError:  # this Python lies in a folder that is closed to others
        return False


@pytest.fixture
def of_nobody():
    """A store of another user, who may be limited; pytest's own folders are closed to others."""
    if not runs_as_nobody():
        pytest.skip(
            "only root may run a command as somebody else, who has to reach the environment"
        )
    folder = Path(tempfile.mkdtemp(prefix="avqa-faults-"))
    folder.chmod(0o755)
    path = mutations.build(folder / "S")
    for place in (path, *path.rglob("*")):
        os.chown(place, NOBODY, NOBODY)
    yield path
    shutil.rmtree(folder)


def unread(path, *words):
    done = avqa("verify", path, *words)
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.skipif(not EIO.exists(), reason="no /proc")
def test_an_object_that_gives_eio_is_named_and_the_others_are_checked(path):
    good = path / OBJECT
    good.rename(path.parent / "kept")
    good.symlink_to(EIO)
    bad = path / "features.zarr/clip/patch/c.1.0.0.0"
    bad.write_bytes(bad.read_bytes()[:-1] + b"x")
    before = sorted(p.name for p in path.rglob("*"))
    done = unread(path, "--repair")
    lines = done.stdout.splitlines()
    assert f"unread: clip/frame video='a' row=0: Input/output error: {good}" in lines
    assert any(line.startswith("crc: clip/patch video='b' row=1: ") for line in lines)
    assert "; 1 problem (1 crc); 1 objects could not be read" in done.stdout
    assert "objects that could not be read=1, problems=1; expected to read all" in done.stderr
    assert "nothing was repaired; check the disk or mount" in done.stderr
    assert sorted(p.name for p in path.rglob("*")) == before
    good.unlink()
    (path.parent / "kept").rename(good)
    assert verify(path, repair=True).counts == {"crc": 1}
    assert verify(path).problems == []


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.ENXIO])
def test_whatever_one_object_answers_the_others_are_checked(path, monkeypatch, number):
    before = store_bytes(path)
    read = LocalPath.read_bytes

    def refuse(self):
        if str(self).endswith(OBJECT):
            raise OSError(number, os.strerror(number), str(self))
        return read(self)

    monkeypatch.setattr(LocalPath, "read_bytes", refuse)
    report = verify(path, repair=True)
    assert [(p.kind, p.video_id) for p in report.unread] == [("unread", "a")]
    assert (report.problems, report.repaired) == ([], False)
    with pytest.raises(StorageFailure, match="could not be read=1, problems=0"):
        report.raise_if_bad()
    monkeypatch.undo()
    assert store_bytes(path) == before


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "EMFILE.*`ulimit -n`"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "ENOMEM.*more memory"),
        (MemoryError(), "no memory; .*more memory"),
        (RuntimeError("can't start new thread"), "no thread can be started; .*`ulimit -u`"),
    ],
)
def test_what_the_machine_has_no_more_of_stops_the_check(path, monkeypatch, error, text):
    before = store_bytes(path)

    def refuse(*values, **options):
        raise error

    monkeypatch.setattr(ChunkChecker, "check", refuse)
    with pytest.raises(EnvironmentFailure, match=f"cannot read store .*{text}") as caught:
        verify(path, repair=True)
    assert caught.value.exit_code == 5
    assert store_bytes(path) == before


@pytest.mark.parametrize(
    "name",
    [
        "features.zarr/zarr.json",
        "features.zarr/clip/frame/zarr.json",
        "features.zarr/status/clip/frame/c.0",
        "features.zarr/index/pts/c.0.0",
        "ledger/first/000001.jsonl",
    ],
)
@pytest.mark.skipif(not EIO.exists(), reason="no /proc")
def test_what_everything_depends_on_gives_eio(path, name):
    file = path / name
    file.rename(path.parent / "kept")
    file.symlink_to(EIO)
    with pytest.raises(StorageFailure, match=r"cannot read .*: EIO.*; check the disk or mount"):
        verify(path, repair=True)
    file.unlink()
    (path.parent / "kept").rename(file)
    assert verify(path).problems == []


def test_a_reader_tells_a_machine_at_fault_from_damage(path, monkeypatch):
    store = FeatureStore(path)

    class Limited:
        def __getitem__(self, where):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(store, "_array", lambda name: Limited())
    with pytest.raises(EnvironmentFailure, match="no thread can be started"):
        store.read("a", "clip/frame")


def test_what_is_a_fault_of_the_machine():
    assert machine_fault(FileNotFoundError(errno.ENOENT, "no such file")) is None
    assert machine_fault(IsADirectoryError(errno.EISDIR, "is a directory")) is None
    assert machine_fault(RuntimeError("Zstd decompression error")) is None
    assert machine_fault(ValueError("checksum")) is None
    assert machine_fault(OSError(errno.ESTALE, "stale")) == ("ESTALE", "check the disk or mount")


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_NPROC"), reason="no such limit")
@pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.soak), 3])
def test_no_more_threads(of_nobody, number):
    """zarr says RuntimeError where a thread cannot start, as it does of damage."""
    path = of_nobody
    before = {file: file.read_bytes() for file in mutations.files(path)}
    limits = [(resource.RLIMIT_NPROC, number)]
    done = avqa("verify", path, "--repair", limits=limits, user=NOBODY)
    assert done.returncode == 5, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "no thread can be started" in done.stderr
    assert "(`ulimit -u`, the container's or job's pids limit)" in done.stderr
    assert {file: file.read_bytes() for file in mutations.files(path)} == before


def test_no_more_open_files(of_nobody):
    path = of_nobody
    before = {file: file.read_bytes() for file in mutations.files(path)}
    limits = [(resource.RLIMIT_NOFILE, 6)]
    done = avqa("verify", path, "--repair", limits=limits, user=NOBODY)
    assert done.returncode == 5, done.stderr
    assert "EMFILE" in done.stderr
    assert "raise the number of open files (`ulimit -n`)" in done.stderr
    assert {file: file.read_bytes() for file in mutations.files(path)} == before


def test_an_object_that_may_not_be_read(of_nobody):
    path = of_nobody
    (path / OBJECT).chmod(0)
    done = avqa("verify", path, "--repair", user=NOBODY)
    assert done.returncode == 5, done.stderr
    assert "unread: clip/frame video='a' row=0: Permission denied: " in done.stdout
    assert (path / OBJECT).exists()
