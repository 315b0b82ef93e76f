"""Names of unfinished files: they tell whose they are, so that a kill leaves none for ever.

A file is written under such a name and renamed when it is whole. Whoever writes into the same
folder later removes those of processes of this machine that are no more.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import socket
import uuid
from contextlib import suppress
from pathlib import Path

from avqa.machine import pid_namespace

_NAME = re.compile(r"([0-9a-f]{12})([0-9a-f]{8})[0-9a-f]{12}")


def unfinished_name() -> str:
    """32 hexadecimal digits: where pids like ours count, our pid, what tells our files apart."""
    return f"{_machine()}{os.getpid():08x}{uuid.uuid4().hex[:12]}"


def is_unfinished(name: str) -> bool:
    """Whether a file has such a name, whoever's it is."""
    return _NAME.search(name) is not None


def remove_leftovers(folder: Path) -> None:
    """Remove files with such a name in theirs whose process is dead; others' are left alone."""
    with suppress(OSError):  # a folder that cannot be listed or changed keeps them
        for entry in os.scandir(folder):
            found = _NAME.search(entry.name)
            if found and found[1] == _machine() and not _lives(int(found[2], 16)):
                with suppress(OSError):
                    os.unlink(entry.path)


@functools.cache
def _machine() -> str:
    place = f"{socket.gethostname()} {pid_namespace()}"
    return hashlib.sha256(place.encode()).hexdigest()[:12]


def _lives(pid: int) -> bool:
    """Whether there is a process of this number; another one than the writer does no harm."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
