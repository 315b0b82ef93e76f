"""Where avqa and the libraries that it uses keep files of their own.

A numeric user in a container has no home, and a cluster's home may be read-only: numba, matplotlib
and others then fail while they are imported. `settle` gives them another place before that, in
every process, since every process imports avqa first.

A file is written under a name that tells whose it is, and renamed when it is whole. Whoever writes
into the same folder later removes those of processes of this machine that are no more: a kill
leaves none for ever.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import socket
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path

from avqa.machine import pid_namespace

_LIBRARIES = {
    "NUMBA_CACHE_DIR": "numba",
    "MPLCONFIGDIR": "matplotlib",
    "TORCH_HOME": "torch",
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",
    "HF_HOME": "huggingface",
}
"""Variable that a library reads → its folder."""
_UNFINISHED = re.compile(r"([0-9a-f]{12})([0-9a-f]{8})[0-9a-f]{12}")


def cache_dir(cache: Path | None = None) -> Path:
    """``cache``, else $AVQA_CACHE, else $XDG_CACHE_HOME/avqa, else ~/.cache/avqa.

    Where there is no home either, a folder of this user's beside other temporary files.
    """
    if cache is not None:
        return cache
    if own := os.environ.get("AVQA_CACHE"):
        return Path(own)
    shared = _users_cache()
    return _temporary() if shared is None else shared / "avqa"


def settle() -> None:
    """Where the user's cache cannot be written, let libraries use a folder that can.

    It is ``libraries`` in $AVQA_CACHE, or in a temporary folder. What the user has set stays;
    weights that lie in a cache that can only be read are still found.
    """
    shared = _users_cache()
    if shared is not None and is_writable(shared):
        return
    own = os.environ.get("AVQA_CACHE")
    try:
        folder = (Path(own) if own and is_writable(Path(own)) else _temporary()) / "libraries"
    except OSError:  # there is no place for temporary files either
        return
    if shared is not None and not own:
        os.environ["AVQA_CACHE"] = str(shared / "avqa")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    for variable, name in _LIBRARIES.items():
        os.environ.setdefault(variable, str(folder / name))


def in_use() -> dict[str, Path | None]:
    """Variable → the folder that it, or else its default, stands for.

    None where a library has no single folder of its own: numba keeps files beside the code.
    """
    shared = _users_cache()
    found: dict[str, Path | None] = {"AVQA_CACHE": cache_dir()}
    for variable, name in _LIBRARIES.items():
        has_default = shared is not None and name not in ("numba", "torchinductor")
        default = shared / name if shared and has_default else None
        found[variable] = Path(os.environ[variable]) if os.environ.get(variable) else default
    return found


def _users_cache() -> Path | None:
    """The folder that all programs of this user share; None without a home."""
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared)
    try:
        return Path.home() / ".cache"
    except RuntimeError:  # neither $HOME nor an entry among the system's users
        return None


def is_writable(folder: Path) -> bool:
    """Whether files can be made there, or the folder itself."""
    # os.path: a folder that may not be looked into is an error for `Path.exists`.
    there = next(p for p in (folder, *folder.absolute().parents) if os.path.exists(p))
    return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)


@functools.cache
def _temporary() -> Path:
    """A folder of this user's own; nobody else may have put anything there."""
    folder = Path(tempfile.gettempdir()) / f"avqa-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if status.st_uid == os.getuid() and not status.st_mode & 0o022 and not folder.is_symlink():
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="avqa-"))


def unfinished_name() -> str:
    """32 hexadecimal digits: where pids like ours count, our pid, what tells our files apart."""
    return f"{_machine()}{os.getpid():08x}{uuid.uuid4().hex[:12]}"


def is_unfinished(name: str) -> bool:
    """Whether a file has such a name, whoever's it is."""
    return _UNFINISHED.search(name) is not None


def remove_leftovers(folder: Path) -> None:
    """Remove files with such a name in theirs whose process is dead; others' are left alone."""
    with suppress(OSError):  # a folder that cannot be listed or changed keeps them
        for entry in os.scandir(folder):
            found = _UNFINISHED.search(entry.name)
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
