"""Processes that end: what tests that kill, and tests of those left behind, wait for."""

import time

import psutil

SECONDS = 120
"""Enough on a machine that does much else: whoever ends does so in a fraction of one."""


def wait_until_gone(pid, seconds=SECONDS):
    """Whether a process ended within that time; one that nobody took leave of has, too."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False
