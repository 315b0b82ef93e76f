"""Whether another run may go on in a run's folder."""

import errno
import os
import socket
import subprocess
import sys
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.runs import tiny_fits
from helpers.runs.run_folders import config

from avqa import heads
from avqa.errors import ConfigError, StorageFailure, StoreError, StoreLocked
from avqa.pipelines.extraction.array_job import Partition
from avqa.pipelines.train import folder, replacing
from avqa.pipelines.train.folder import continued
from avqa.pipelines.train.members import take_member
from avqa.store.lock import Holder, read_holder
from avqa.store.places.files import store_path, write_json
from avqa.training.fitting.checkpoints import identity
from avqa.training.run import MemberConfig, read_about
from avqa.training.settings import LATER, resolve


def about(**settings):
    facts = {"head": "avst", "dataset": "d", "grounding": "", "questions": "digest", "options": {}}
    facts |= {"variants": ["default"], "same_as": {}, "seeds": 1, "members": ["default/seed-0"]}
    return {**facts, "settings": settings}


def test_a_run_of_before_other_encoders_of_sound_goes_on():
    before, now = about(epochs=1), about(epochs=1, **LATER)
    assert continued(Path("run"), before, now) == now
    del before["members"]  # nor did they tell these
    assert continued(Path("run"), before, now) == now
    with pytest.raises(ConfigError, match=r"audio \(run: vggish, now: other\); expected what"):
        continued(Path("run"), before, about(epochs=1, **LATER | {"audio": "other"}))


def test_a_run_of_before_goes_on_with_the_defaults_of_then(tmp_path):
    """One option did not exist, another was by default what it is no longer."""
    then = {"ground_score": "cosine", "ground_on": "norm"}
    today = asdict(heads.load("tjstg").Options())
    before = about(epochs=1) | {"head": "tjstg", "options": today | then}
    del before["options"]["ground_score"]
    assert folder.defaults_then(tmp_path / "none", "tjstg") == {}
    folder.begin(tmp_path, before)
    # Another video's sound was not heard then.
    assert folder.defaults_then(tmp_path, "tjstg") == then | {"dub": "ignore"}
    assert folder.defaults_then(tmp_path, "avst") == {}
    settings, options = resolve("tjstg", then=then)
    assert options == today | then
    assert resolve("tjstg", {"ground_on": "raw"}, then=then)[1]["ground_on"] == "raw"
    now = before | {"options": options, "settings": asdict(settings)}
    before["settings"] = now["settings"]
    assert continued(tmp_path, before, now)["options"] == options
    with pytest.raises(ConfigError, match=r"ground_score \(run: cosine, now: dot\).*expected what"):
        continued(tmp_path, before, now | {"options": today})
    read = MemberConfig.from_json(config("tjstg").to_json() | {"options": before["options"]})
    assert read.options == today | then
    assert "ground_score" not in identity_of(read.options)
    assert identity_of(today)["ground_score"] == "dot"


@pytest.mark.parametrize(
    ("head", "then"),
    [
        ("avst", {"stride_seconds": 6}),
        ("pstp", {"num_segments": 20, "top_k_segments": 7, "top_k_patches": 20}),
    ],
)
def test_a_run_of_before_on_avqa_goes_on_with_the_values_of_then(tmp_path, head, then):
    """It took what the paper has for MUSIC-AVQA's videos."""
    settings, options = (asdict(x) if is_dataclass(x) else x for x in resolve(head))
    before = about(**settings) | {"head": head, "dataset": "avqa", "options": options}
    folder.begin(tmp_path, before)
    found = folder.defaults_then(tmp_path, head)
    assert then.items() <= found.items()
    again, its = resolve(head, dataset="avqa", then=found)
    now = before | {"settings": asdict(again), "options": its}
    assert continued(tmp_path, before, now)["settings"] == before["settings"]
    today, its = resolve(head, dataset="avqa")
    now = before | {"settings": asdict(today), "options": its}
    with pytest.raises(ConfigError, match=rf"{next(iter(then))} \(run: "):
        continued(tmp_path, before, now)


def identity_of(options):
    """What a checkpoint of such a head is told apart by."""
    head = heads.build("tjstg", **options)
    nothing = SimpleNamespace(questions=())
    return identity(head, nothing, nothing, tiny_fits.settings(), 0)


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def no_flock(request, monkeypatch):
    """As on NFS without its lock service, Lustre without -o flock, some mounts in user space."""

    def flock(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(folder.fcntl, "flock", flock)


def refusal(out):
    with pytest.raises(ConfigError) as caught, folder.alone(out):
        pass
    return str(caught.value)


@pytest.mark.parametrize("resume", [False, True])
def test_a_kill_at_the_first_file_leaves_a_folder_to_begin_in(tmp_path, resume):
    (tmp_path / f"{'0' * 32}.partial").touch()  # also another machine's
    assert folder.begin(tmp_path, about(epochs=1), resume=resume) == about(epochs=1)
    (tmp_path / "run.json").unlink()
    (tmp_path / "mine.partial").touch()
    with pytest.raises(ConfigError, match=r"holds 'mine.partial' and no run.json; expected"):
        folder.begin(tmp_path, about(epochs=1), resume=resume)


def test_without_flock_the_stores_lock_holds_the_folder(tmp_path, no_flock, monkeypatch):
    monkeypatch.setattr(folder, "PATIENCE_SECONDS", 0.0)
    out = tmp_path / "run"
    with folder.alone(out):
        holder = read_holder(store_path(out))
        assert (holder.host, holder.pid) == (socket.gethostname(), os.getpid())
        assert refusal(out) == (
            f"out={str(out)!r}: another process (host={holder.host}, pid={holder.pid},"
            f" since {holder.started}) has held its lock for 0 s; expected moments; end it if it"
            f" hangs, or, if it is known to be dead, remove {str(out / 'lock.json')!r}"
        )
    assert not (out / "lock.json").exists()
    assert folder.begin(out, about(epochs=1)) == about(epochs=1)  # locks are nothing strange


def test_without_flock_a_dead_holder_is_no_hindrance(tmp_path, no_flock, monkeypatch):
    monkeypatch.setattr(folder, "PATIENCE_SECONDS", 0.0)
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    dead = replace(Holder.me("run"), pid=done.pid)
    write_json(tmp_path / "lock.json", asdict(dead))
    with folder.alone(tmp_path):
        assert read_holder(store_path(tmp_path)).pid == os.getpid()
    write_json(tmp_path / "lock.json", asdict(replace(dead, host="elsewhere")))
    assert "host=elsewhere" in refusal(tmp_path)
    make_old(tmp_path / "lock.json")
    with folder.alone(tmp_path):
        pass


def make_old(path):
    before = path.stat().st_mtime - 601
    os.utime(path, (before, before))


def test_a_lock_file_holds_where_another_mount_has_flock(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "PATIENCE_SECONDS", 0.0)
    write_json(tmp_path / "lock.json", asdict(replace(Holder.me("run"), host="elsewhere")))
    assert "another process (host=elsewhere" in refusal(tmp_path)
    make_old(tmp_path / "lock.json")
    with folder.alone(tmp_path):
        pass


def test_other_refusals_of_flock_are_no_lack_of_it(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(folder.fcntl, "flock", flock)
    with pytest.raises(StorageFailure, match="EIO; failed"), folder.alone(tmp_path):
        pass


def test_a_setting_that_is_left_open_is_the_runs(tmp_path):
    old, new = about(epochs=1), about(epochs=1, **LATER | {"batches": "shuffled"})
    assert folder.begin(tmp_path / "a", new, left_open=["batches"]) == new
    folder.begin(tmp_path / "old", old)
    (tmp_path / "old/default/seed-0/checkpoints").mkdir(parents=True)
    (tmp_path / "old/default/seed-0/config.json").touch()
    (tmp_path / "old/default/seed-0/checkpoints/last.ckpt").touch()
    found = folder.begin(tmp_path / "old", new, resume=True, left_open=["batches"])
    assert found["settings"]["batches"] == "grouped"  # as runs of before were
    with pytest.raises(ConfigError, match=r"batches \(run: grouped, now: shuffled\); expected"):
        folder.begin(tmp_path / "old", new, resume=True)


MEMBERS = ["default/seed-0", "default/seed-1", "question_only/seed-0", "question_only/seed-1"]


def asked(**changes):
    settings = LATER | changes.pop("settings", {})
    return about(**settings) | {"members": MEMBERS} | changes


def test_tasks_share_a_run_that_is_written_once(tmp_path):
    first = folder.begin(tmp_path, asked(command=["0"]), partition=Partition(0, 2))
    written = (tmp_path / "run.json").stat().st_ino
    assert folder.begin(tmp_path, asked(command=["1"]), partition=Partition(1, 2)) == first
    assert (tmp_path / "run.json").stat().st_ino == written
    with pytest.raises(ConfigError) as caught:
        folder.begin(tmp_path, asked(members=[*MEMBERS[:2], "q/seed-0"]), partition=Partition(1, 2))
    assert str(caught.value) == (
        f"--partition 1/2 {str(tmp_path)!r}: not asked for here: question_only/seed-0,"
        " question_only/seed-1; not in the run: q/seed-0; expected the members that the run began"
        " with; give every task the same --ablation and --seeds, or --resume to add some"
    )
    with pytest.raises(ConfigError, match=r"epochs \(run: None, now: 2\); expected what the run"):
        folder.begin(tmp_path, asked(settings={"epochs": 2}), partition=Partition(1, 2))
    more = asked(members=[*MEMBERS, "default/seed-2"])
    assert folder.begin(tmp_path, more, partition=Partition(0, 2), resume=True) == more


def test_a_task_that_was_begun_goes_on_by_resume(tmp_path):
    folder.begin(tmp_path, asked(), partition=Partition(0, 2))
    write_json(tmp_path / MEMBERS[2] / "config.json", {})
    folder.begin(tmp_path, asked(), partition=Partition(1, 2))
    with pytest.raises(ConfigError, match="question_only/seed-0 was begun before; expected none"):
        folder.begin(tmp_path, asked(), partition=Partition(0, 2))
    folder.begin(tmp_path, asked(), partition=Partition(0, 2), resume=True)


def write_all(path):
    for name in (*replacing._FILES, "checkpoints/last.ckpt", "logs/events", "answers.json"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("{}", encoding="utf-8")


def left(out):
    return sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())


def test_overwrite_removes_what_a_run_wrote_and_nothing_else(tmp_path):
    out, other = tmp_path / "run", tmp_path / "elsewhere"
    folder.begin(out, asked())
    for name in MEMBERS[:2]:
        write_all(out / name)
    write_all(out / "figures" / "seed-old")  # no member's name
    write_all(other)
    (out / MEMBERS[2] / "logs").mkdir(parents=True)
    (out / MEMBERS[2] / "checkpoints").symlink_to(other)
    for name in ("notes.txt", "table.csv", "table.txt", "table.md"):
        (out / name).touch()
    before, kept = left(other), left(out / "figures")
    with pytest.raises(ConfigError, match="go on with it by --resume, replace it by --overwrite"):
        folder.begin(out, asked())
    new = asked(settings={"epochs": 2})
    assert folder.begin(out, new, overwrite=True) == new
    assert read_about(out, "") == new
    assert left(out / "figures") == kept
    assert left(other) == before
    assert {*left(out)} - {f"figures/{name}" for name in kept} == {
        *("lock", "run.json", "notes.txt", "default/seed-0/answers.json"),
        "default/seed-1/answers.json",
    }


def test_overwrite_leaves_what_is_no_run_in_use_or_a_link(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"holds 'thesis.tex' and no run.json; expected an empty"):
        folder.begin(tmp_path / "thesis", asked(), overwrite=True)
    out = tmp_path / "run"
    first = folder.begin(out, asked())
    write_all(out / MEMBERS[0])
    kept = left(out)
    with take_member(out / MEMBERS[3]):
        with pytest.raises(ConfigError) as caught:
            folder.begin(out, asked(seeds=3), overwrite=True)
    assert str(caught.value).startswith(
        f"--overwrite: member {str(out / MEMBERS[3])!r} is trained by another process (host="
    )
    (out / "q").symlink_to(tmp_path / "thesis")
    (tmp_path / "thesis" / "seed-0").mkdir()
    (tmp_path / "thesis" / "seed-0" / "config.json").touch()
    with pytest.raises(ConfigError, match=f"--overwrite: {str(out / 'q')!r} is a link; expected"):
        folder.begin(out, asked(seeds=3), overwrite=True)
    assert (left(out), read_about(out, "")) == (kept, first)


def test_killed_while_it_is_replaced_the_old_run_is_there(tmp_path, monkeypatch):
    first = folder.begin(tmp_path, asked())
    write_all(tmp_path / MEMBERS[0])

    def killed(*_):
        with pytest.raises(StoreLocked):  # nobody begins one in between
            take_member(tmp_path / MEMBERS[1])
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "save_about", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.begin(tmp_path, asked(seeds=2), overwrite=True)
    monkeypatch.undo()
    assert read_about(tmp_path, "") == first
    assert not (tmp_path / MEMBERS[0] / "result.json").exists()
    assert folder.begin(tmp_path, asked(seeds=2), overwrite=True)["seeds"] == 2


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]"])
def test_a_damaged_lock_of_a_member_is_no_other_process(tmp_path, content):
    lock = tmp_path / "run/locks/default/seed-0/lock.json"
    lock.parent.mkdir(parents=True)
    lock.write_bytes(content)
    with pytest.raises(StoreError, match=r"member .*/default/seed-0': lock .* is damaged;") as told:
        take_member(tmp_path / "run/default/seed-0")
    assert not isinstance(told.value, StoreLocked)  # which would only leave the member out


def test_a_run_without_an_epoch_is_begun_anew_unless_somebody_trains_it(tmp_path):
    out = tmp_path / "run"
    folder.begin(out, about(epochs=1))
    with take_member(out / "default/seed-0"):
        with pytest.raises(ConfigError, match=r"holds a run; expected an empty folder; go on"):
            folder.begin(out, about(epochs=2))
    assert folder.begin(out, about(epochs=2)) == about(epochs=2)
    assert read_about(out, "a run")["settings"] == {"epochs": 2}
    (out / "default/seed-0/checkpoints").mkdir(parents=True)
    (out / "default/seed-0/config.json").touch()
    (out / "default/seed-0/checkpoints/last.ckpt").touch()
    with pytest.raises(ConfigError, match=r"holds a run; expected an empty folder; go on"):
        folder.begin(out, about(epochs=3))
