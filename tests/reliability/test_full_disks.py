"""Every writing command on a disk that is full, read-only or over its quota: exit code 5, one line.

Nothing that is not whole is under a final name, and with room the same command ends as ever.
"""

import errno
import random

import pytest
from helpers.reliability import commands, disks
from helpers.reliability.commands import COMMANDS

from avqa.errors import StoreError, StoreNotFound
from avqa.store.checks.verify import verify
from avqa.store.format.records import Status
from avqa.store.reader import FeatureStore

SEED = 20261130
ANSWERED_ALL_THE_SAME = {"ask --explain"}
"""What cannot be kept for the next question is said, and no reason not to answer this one."""


@pytest.fixture
def disk(tmp_path):
    with disks.mounted(tmp_path / "disk") as folder:
        yield folder


@pytest.mark.soak
@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_stops_the_command_and_costs_nothing(inputs, disk, tmp_path, name):
    """Without bytes, without inodes (a random part of what it takes), read-only, over a quota."""
    command, place = COMMANDS[name], disk / "place"
    place.mkdir()
    command.begin(inputs, place)
    before = disks.used(disk)
    whole = command.run(inputs, place, logs=tmp_path)
    assert whole.code == command.code, whole.said
    pairs = zip(disks.used(disk), before, strict=True)
    taken = [max(0, after - at_first) for after, at_first in pairs]  # `remove` gives some back
    expected = command.told(inputs, place)
    rng = random.Random(f"{SEED} {name}")
    failed = []
    for kind in ("bytes", "inodes", "read-only", "quota"):
        command.begin(inputs, place)
        try:
            stopped = stop(command, inputs, disk, tmp_path, kind, taken, whole, rng)
            judge_stopped(command, stopped, place, expected)
            again = command.run(
                inputs, place, command.again(stopped, command.words(inputs, place)), logs=tmp_path
            )
            complete = bool(command.is_there) and command.is_there in again.said
            assert again.code == command.code or complete, again.said
            found = command.told(inputs, place)
            assert found == expected, commands.difference(found, expected)
        except AssertionError as error:
            failed.append(f"{kind}: {str(error)[:2000]}")
        finally:
            disks.remount(disk, "rw")
            disks.give_room(disk)
    assert not failed, "\n".join(failed)


def stop(command, inputs, disk, logs, kind, taken, whole, rng):
    """Run the command where it cannot end, then give it what it lacked."""
    place, kill = disk / "place", {}
    if kind == "bytes":
        disks.leave_bytes(disk, int(taken[0] * rng.uniform(0, 0.99)))
    elif kind == "inodes":
        disks.leave_inodes(disk, int(taken[1] * rng.uniform(0, 0.99)))
    elif kind == "read-only":
        disks.remount(disk, "ro")
    else:
        kill = {"before_change": rng.randrange(whole.changes), "refused_with": errno.EDQUOT}
    stopped = command.run(inputs, place, logs=logs, **kill)
    disks.remount(disk, "rw")
    disks.give_room(disk)
    return stopped


def judge_stopped(command, stopped, place, expected):
    said = stopped.said
    if stopped.code == command.code and command.name in ANSWERED_ALL_THE_SAME:
        assert "warning: features are not kept" in said, said
        return
    assert stopped.code == 5, f"exit code {stopped.code}: {said}"
    assert stopped.line.startswith("avqa: "), said
    assert "; " in stopped.line, said
    assert "Traceback" not in said, said
    assert "internal error" not in said, said
    if (place / "S").exists():
        try:
            problems = verify(place / "S").problems
        except StoreNotFound:
            problems = []
        # As after a kill, columns may lag behind the ledger: `verify` says so, a run heals it.
        lags = {"index", "length", "status"}
        kept = [] if command.starts_from == "damaged" else problems
        bad = [str(problem) for problem in kept if problem.kind not in lags]
        assert bad == [], bad
        assert nothing_is_ok_without_rows(place / "S"), [str(problem) for problem in kept]
    elif not (place / "run").exists() and not (place / "cache").exists():
        strange = {
            name: value
            for name, value in commands.files(place).items()
            if expected.get(name) != value and not is_of_work(name)
        }
        assert strange == {}, f"under a final name: {strange}"


def is_of_work(name):
    """Whether a file is not meant to stay."""
    last = name.rpartition("/")[2]
    return last.startswith((".", "unfinished-"))


def nothing_is_ok_without_rows(store):
    """A reader refuses the store, or gives of all that is ok as many rows as its times."""
    try:
        reader = FeatureStore(store)
    except StoreError:
        return True
    return all(
        len(reader.read(name, feature)) == len(reader.pts(name)) > 0
        for name in reader.video_ids
        for feature in reader.features
        if reader.status(name, feature) == Status.OK and "imported" not in reader.recipe(feature)
    )
