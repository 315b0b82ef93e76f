"""Whether another run may go on in a run's folder."""

import errno
import os
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from avqa.errors import ConfigError, StorageFailure
from avqa.pipelines.train import folder
from avqa.pipelines.train.folder import continued
from avqa.store.lock import Holder, read_holder
from avqa.store.places.files import store_path, write_json


def about(**settings):
    facts = {"head": "avst", "dataset": "d", "grounding": "", "questions": {}, "options": {}}
    facts |= {"variants": ["default"], "same_as": {}, "seeds": 1, "members": ["default/seed-0"]}
    return {**facts, "settings": settings}


def test_a_run_of_before_other_encoders_of_sound_goes_on():
    before, now = about(epochs=1), about(epochs=1, audio="vggish")
    assert continued(Path("run"), before, now) == now
    del before["members"]  # nor did they tell these
    assert continued(Path("run"), before, now) == now
    with pytest.raises(ConfigError, match=r"audio \(run: vggish, now: other\); expected what"):
        continued(Path("run"), before, about(epochs=1, audio="other"))


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def no_flock(request, monkeypatch):
    """As on NFS without its lock service, Lustre without -o flock, some mounts in user space."""

    def flock(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(folder.fcntl, "flock", flock)


def write_run(out):
    (out / "run.json").write_text("{}", encoding="utf-8")


@pytest.mark.parametrize("resume", [False, True])
def test_a_kill_at_the_first_file_leaves_a_folder_to_begin_in(tmp_path, resume):
    (tmp_path / f"{'0' * 32}.partial").touch()  # also another machine's
    with folder.hold(tmp_path, resume=resume) as before:
        assert before is None
    (tmp_path / "mine.partial").touch()
    with pytest.raises(ConfigError, match=r"holds 'mine.partial' and no run.json; expected"):
        with folder.hold(tmp_path, resume=resume):
            pass


def test_without_flock_the_stores_lock_holds_the_folder(tmp_path, no_flock):
    out = tmp_path / "run"
    with folder.hold(out, resume=False) as before:
        assert before is None
        holder = read_holder(store_path(out))
        assert (holder.host, holder.pid) == (socket.gethostname(), os.getpid())
        with pytest.raises(ConfigError) as caught, folder.hold(out, resume=True):
            pass
        assert str(caught.value) == (
            f"out={str(out)!r}: another process trains in it (host={holder.host},"
            f" pid={holder.pid}, since {holder.started}); expected none; wait for it to end, choose"
            f" another --out, or, if it is known to be dead, remove {str(out / 'lock.json')!r}"
        )
    assert not (out / "lock.json").exists()
    with folder.hold(out, resume=False):  # what locks leave behind is nothing strange
        write_run(out)
    with folder.hold(out, resume=True) as before:
        assert before == {}


def test_without_flock_a_dead_holder_of_this_machine_is_no_hindrance(tmp_path, no_flock):
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    dead = replace(Holder.me("run"), pid=done.pid)
    write_json(tmp_path / "lock.json", asdict(dead))
    with folder.hold(tmp_path, resume=False):
        assert read_holder(store_path(tmp_path)).pid == os.getpid()
    write_json(tmp_path / "lock.json", asdict(replace(dead, host="elsewhere")))
    with (
        pytest.raises(ConfigError, match=r"host=elsewhere.*if it is known to be dead, remove"),
        folder.hold(tmp_path, resume=False),
    ):
        pass
    (tmp_path / "lock.json").unlink()
    with folder.hold(tmp_path, resume=False):
        pass


def test_a_lock_file_holds_where_another_mount_has_flock(tmp_path):
    write_json(tmp_path / "lock.json", asdict(replace(Holder.me("run"), host="elsewhere")))
    with (
        pytest.raises(ConfigError, match="another process trains in it .host=elsewhere"),
        folder.hold(tmp_path, resume=False),
    ):
        pass


def test_other_refusals_of_flock_are_no_lack_of_it(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(folder.fcntl, "flock", flock)
    with pytest.raises(StorageFailure, match="EIO; failed"), folder.hold(tmp_path, resume=False):
        pass
