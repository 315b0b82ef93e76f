"""The first signal drains, the second aborts."""

import os
import signal

import pytest

from avqa.errors import Aborted
from avqa.signals import Signals


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
