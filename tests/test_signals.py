"""The first signal drains, the second aborts."""

import os
import signal
import subprocess
import sys

import pytest

from avqa.errors import Aborted
from avqa.signals import Ending, Signals


def test_a_signal_drains_and_a_second_aborts():
    drained = []
    before = signal.getsignal(signal.SIGINT)  # ignored where the tests run in a shell's background
    with Signals(lambda: drained.append(1)) as signals:
        assert not signals.check()
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.check()
        assert signals.check()
        assert drained == [1]
        with pytest.raises(Aborted, match="aborted by a second signal") as caught:
            os.kill(os.getpid(), signal.SIGINT)
        assert caught.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is before


def test_last_words_are_written_whole_in_spite_of_a_signal():
    before = signal.getsignal(signal.SIGINT)
    with Ending() as ending:
        os.kill(os.getpid(), signal.SIGINT)
        assert ending.received == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_signal_amid_last_words_ends_the_process_without_an_exception():
    code = """
import os, signal
from avqa.signals import Ending
with Ending():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        print("whole", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        print("raised", flush=True)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (143, "whole\n", "")


def test_only_a_process_that_is_a_command_ends_at_once():
    code = """
import os, signal, sys
from avqa.signals import command_begins, end_at_once
if sys.argv[1] == "command":
    command_begins()
end_at_once(3)
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    sys.exit(4)
"""
    for kind, expected in (("command", 3), ("library", 4)):
        run = subprocess.run([sys.executable, "-c", code, kind], check=False)
        assert run.returncode == expected
