"""Every writing command, killed at any moment and typed again, leaves what nobody disturbed."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys

import pytest
from helpers.extraction import light
from helpers.reliability import commands
from helpers.reliability.commands import COMMANDS
from helpers.reliability.typed import Done

SEED = 20261129
TOGETHER = 4
"""Kills of one test."""


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "part"),
    [(name, part) for name in COMMANDS for part in range(-(-COMMANDS[name].kills // TOGETHER))],
)
def test_killed_at_any_moment(inputs, tmp_path, name, part):
    """Half of the kills fall before a change of the disk, spread over all, half at any time."""
    command, place = COMMANDS[name], tmp_path / "place"
    command.begin(inputs, place)
    whole = command.run(inputs, place)
    assert whole.code == command.code, whole.said
    assert whole.changes > 0
    expected = command.told(inputs, place)
    rng = random.Random(f"{SEED} {name} {part}")
    failed, killed = [], 0
    count = min(TOGETHER, command.kills - part * TOGETHER)
    moments = kills(count, whole, rng)
    while killed < count:
        moment = next(moments)
        command.begin(inputs, place)
        last = command.run(inputs, place, **moment)
        if last.code != -signal.SIGKILL:
            continue  # it was faster than before
        killed += 1
        try:
            goes_on(command, inputs, place, last, expected)
        except AssertionError as error:
            failed.append(f"{moment}: {str(error)[:2000]}")
    print(f"{name}: {killed} kills")
    assert not failed, "\n".join(failed)


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("name", [n for n, command in COMMANDS.items() if not command.stand_in])
def test_the_program_killed_at_a_system_call(inputs, tmp_path, name):
    """The stand-in for it, a process that is forked, is all that differs from the test above."""
    command, place = COMMANDS[name], tmp_path / "place"
    command.begin(inputs, place)
    assert command.run(inputs, place).code == command.code
    expected = command.told(inputs, place)
    calls = "rename,renameat,renameat2,mkdir"
    for number in (3, 1):  # of a command that makes fewer, the first
        command.begin(inputs, place)
        traced = [
            *("strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", f"trace={calls}"),
            *("-e", f"inject={calls}:signal=KILL:when={number}"),
            *(sys.executable, "-m", "avqa", *map(str, command.words(inputs, place))),
        ]
        with (tmp_path / "log").open("wb") as log:
            environ = light.environment() | command.environment(inputs, place)
            process = subprocess.Popen(traced, env=environ, stdout=log, stderr=log, process_group=0)
            code = process.wait(timeout=300)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if "killed by SIGKILL" in (tmp_path / "trace").read_text(encoding="utf-8"):
            break
    assert "killed by SIGKILL" in (tmp_path / "trace").read_text(encoding="utf-8")
    goes_on(command, inputs, place, Done(code, "", -1, 0.0), expected)


def kills(count, whole, rng):
    """Moments to kill a command at, without end; half of what is wanted are spread over all."""
    spread = count // 2
    for number in range(spread):
        share = (number + rng.random()) / spread
        yield {"before_change": int(share * whole.changes)}
    while True:
        yield {"after_seconds": rng.uniform(0.02, whole.seconds)}


def goes_on(command, inputs, place, last, expected):
    """Typed again as its page says, it ends as if nothing had been."""
    words = command.again(last, command.words(inputs, place))
    done = command.run(inputs, place, words)
    complete = bool(command.is_there) and command.is_there in done.said
    assert done.code == command.code or complete, f"exit code {done.code}: {done.said}"
    assert "internal error" not in done.said
    assert "Traceback" not in done.said
    found = command.told(inputs, place)
    assert found == expected, commands.difference(found, expected)
