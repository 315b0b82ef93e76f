"""Clocks that are set back or ahead, between a kill and the next try: the outcome is the same."""

import itertools
import random
import signal

import pytest
from helpers.reliability import commands
from helpers.reliability.commands import COMMANDS

SEED = 20261202
SHIFTS = (-86400.0, 86400.0, 700.0, -700.0)
"""A day, and more than the ten minutes after which a lock may be taken from another host."""
ORDERED = (
    *("extract --partition", "finalize", "questions", "remove", "import npy", "pack"),
    *("verify --repair", "train-head", "export npy", "weights import"),
)
"""Commands that have locks, parts, ledgers, checkpoints or records of files' times."""


@pytest.mark.soak
@pytest.mark.parametrize("name", ORDERED)
def test_clocks_decide_nothing(inputs, tmp_path, name):
    """Killed on one clock, typed again on another: two pairs of clocks for each command."""
    command, place = COMMANDS[name], tmp_path / "place"
    command.begin(inputs, place)
    whole = command.run(inputs, place)
    assert whole.code == command.code, whole.said
    expected = command.told(inputs, place)
    rng = random.Random(f"{SEED} {name}")
    pairs = rng.sample(list(itertools.permutations(SHIFTS, 2)), 2)
    failed = []
    for first, second in pairs:
        command.begin(inputs, place)
        change = rng.randrange(whole.changes)
        last = command.run(inputs, place, before_change=change, clock=first)
        assert last.code == -signal.SIGKILL, last.said
        try:
            words = command.again(last, command.words(inputs, place))
            done = command.run(inputs, place, words, clock=second)
            complete = bool(command.is_there) and command.is_there in done.said
            assert done.code == command.code or complete, done.said
            found = command.told(inputs, place)
            assert found == expected, commands.difference(found, expected)
        except AssertionError as error:
            failed.append(f"{first} s, change {change}, {second} s: {str(error)[:2000]}")
    print(f"{name}: {len(pairs)} pairs of clocks")
    assert not failed, "\n".join(failed)
