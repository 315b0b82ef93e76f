"""The same of a folder and of a bucket: what stores ask of the place they lie in."""

import errno
import pickle
from pathlib import Path

import pytest
from helpers.store import s3_server

from avqa.store.places import files
from avqa.store.places.files import LocalPath, free_bytes, store_path
from avqa.store.places.objects import ObjectPath


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path):
    if request.param == "folder":
        return store_path(tmp_path / "S")
    request.getfixturevalue("s3")
    return store_path(f"s3://{s3_server.BUCKET}/{request.node.name.partition('[')[0]}")


def test_files_are_written_read_and_measured(place):
    file = place / "a" / "1.json"
    assert not file.exists()
    with pytest.raises(FileNotFoundError):
        file.read_bytes()
    file.write(b"first", durable=False)
    file.write(b"second")
    assert (file.read_bytes(), file.tail(3), file.tail(9)) == (
        b"second",
        (6, b"ond"),
        (6, b"second"),
    )
    assert file.read_range(1, 3) == b"eco"
    (place / "a" / "b" / "2").write(b"22")
    assert (place / "a").sizes().items() >= {("1.json", 6)}
    assert sorted(place.all_sizes()) == [2, 6]
    assert [found.name for found in place.glob("a/*.json")] == ["1.json"]
    assert file.modified() == pytest.approx((place / "a" / "b" / "2").modified(), abs=60)
    file.write_json({"x": 1})
    assert (file.read_json(), file.read_bytes()) == ({"x": 1}, b'{\n  "x": 1\n}\n')
    file.sync()
    file.move(place / "a" / "3")
    assert (file.exists(), (place / "a" / "3").exists()) == (False, True)
    (place / "a").remove_folder(last="3")
    assert place.all_sizes() == []


def test_one_of_many_creates_and_one_of_many_takes_over(place):
    file = place / "lock.json"
    assert file.create(b"mine")
    assert not file.create(b"theirs")
    assert not file.replace_if(b"other", b"new")
    assert file.read_bytes() == b"mine"
    assert file.replace_if(b"mine", b"new")
    assert file.read_bytes() == b"new"
    file.unlink()
    assert not file.replace_if(b"new", b"newer")
    assert not file.exists()


def test_names(place):
    file = place / "ledger/000012.jsonl"
    assert (file.name, file.stem, file.parent.name) == ("000012.jsonl", "000012", "ledger")
    assert file.parent.parent == place
    assert pickle.loads(pickle.dumps(file)) == file
    assert str(file).startswith(str(place))
    assert store_path(file) is file


def test_what_a_user_gives(tmp_path):
    here = store_path(str(tmp_path))
    assert (type(here), here) == (LocalPath, Path(tmp_path))
    assert type(here / "a") is type((here / "a").parent) is type(here.absolute()) is LocalPath
    assert here.local is here
    assert free_bytes(tmp_path / "not" / "there") == free_bytes(here) > 0
    there = store_path("s3://bucket/prefix")
    assert (type(there), there.local, free_bytes(there)) == (ObjectPath, None, None)


def without_links(source, target):
    raise OSError(errno.ENOTSUP, "no links here")


def test_a_file_system_without_links_creates_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("os.link", without_links)
    file = store_path(tmp_path / "lock.json")
    assert file.create(b"mine")
    assert not file.create(b"theirs")
    assert not file.replace_if(b"other", b"new")
    assert file.read_bytes() == b"mine"  # what was taken aside is there again
    assert file.replace_if(b"mine", b"new")
    assert file.read_bytes() == b"new"
    assert [p.name for p in (tmp_path / "runs").iterdir()] == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(None, ["through"]), (errno.ENOTSUP, ["through", "sync"]), (errno.EIO, ["through", "EIO"])],
    ids=["a disk", "a network mount", "a broken disk"],
)
def test_what_is_durable_goes_through_the_drives_memory(tmp_path, monkeypatch, answer, expected):
    """On macOS; a disk that failed is not asked again, it would say that all is well."""
    called = []

    def control(handle, command):
        assert command == 51
        called.append("through")
        if answer is not None:
            raise OSError(answer, "no")

    monkeypatch.setattr(files.fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(files.fcntl, "fcntl", control)
    monkeypatch.setattr(files.os, "fsync", lambda handle: called.append("sync"))
    with (tmp_path / "a").open("wb") as file:
        try:
            files.to_disk(file.fileno())
        except OSError as error:
            called.append(errno.errorcode[error.errno])
    assert called == expected


def refused(*_):
    raise OSError(errno.EINVAL, "not on this file system")


@pytest.mark.parametrize("fallocate", [None, refused], ids=["no such call", "it refuses"])
@pytest.mark.parametrize("n_bytes", [3 * 2**20 + 17, 0])
def test_room_is_taken_without_a_call_for_it(tmp_path, monkeypatch, fallocate, n_bytes):
    if fallocate is None:
        monkeypatch.delattr("os.posix_fallocate", raising=False)
    else:
        monkeypatch.setattr("os.posix_fallocate", fallocate, raising=False)
    with (tmp_path / "a").open("wb") as file:
        files.take_room(file.fileno(), n_bytes)
    found = (tmp_path / "a").stat()
    assert found.st_size == n_bytes
    assert found.st_blocks * 512 >= n_bytes  # not a hole


def test_room_that_is_not_there_is_an_error(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    with (tmp_path / "a").open("wb") as file, pytest.raises(OSError, match="full"):
        files.take_room(file.fileno(), 100)
    assert (tmp_path / "a").stat().st_size == 0
