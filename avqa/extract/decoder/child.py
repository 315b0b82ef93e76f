"""The decoder process: ``python -m avqa.extract.decoder.child``, started by `spawn.Child`.

Line JSON comes in on standard input and goes out on a pipe of its own, because native libraries
print on standard output; arrays go through the ring. It is killed rather than asked to stop.
"""

from __future__ import annotations

import importlib
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from avqa.errors import AvqaError, ConfigError, EnvironmentFailure, LibraryMissing
from avqa.extract.decoder.link import Link
from avqa.extract.media.types import Limits, Reader
from avqa.extract.parent_death import die_with_parent
from avqa.extract.settings import Settings
from avqa.machine import keep_freed_memory

if TYPE_CHECKING:
    from avqa.extract.decoder.work import Work


_ALL, _DATA = 0, 5
"""Fields of ``/proc/self/statm``."""


def outlive_interrupts() -> None:
    """Leave Ctrl-C and SIGTERM to the parent, which drains and then ends us.

    Both arrive blocked. SIGINT stays so, for programs started from here too; SIGTERM is
    ignored instead, so that a reader can still terminate a program of its own.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


class Memory:
    """The limit on what one video may allocate."""

    def __init__(self) -> None:
        """Count what we have now as ours."""
        self._base = _data_bytes()

    @contextmanager
    def imports(self) -> Iterator[None]:
        """Count what is allocated inside as ours, not as the video's."""
        self.lift()
        before = _data_bytes()
        try:
            yield
        finally:
            after = _data_bytes()
            if self._base is not None and before is not None and after is not None:
                self._base += max(0, after - before)

    def limit(self, limit_bytes: int) -> None:
        """Let allocations fail beyond ``limit_bytes`` more than what is ours.

        Only Linux counts and limits them; elsewhere a video may take what there is.
        """
        if self._base is not None:
            _limit_data(self._base + limit_bytes)

    def is_short(self, limit_bytes: int) -> bool:
        """Whether limits of this process (``ulimit -v``, ``ulimit -d``) leave a video less."""
        _, data = resource.getrlimit(resource.RLIMIT_DATA)
        space, _ = resource.getrlimit(resource.RLIMIT_AS)
        taken = ((data, self._base), (space, _pages_bytes(_ALL)))
        return any(
            used is not None and limit != resource.RLIM_INFINITY and limit - used < limit_bytes
            for limit, used in taken
        )

    def lift(self) -> None:
        """Take the limit away."""
        if self._base is not None:
            _limit_data(None)


def _data_bytes() -> int | None:
    """Private writable memory of this process, as Linux counts it for the limit; else None."""
    return _pages_bytes(_DATA)


def _pages_bytes(field: int) -> int | None:
    try:
        with open("/proc/self/statm", encoding="utf-8") as file:
            return int(file.read().split()[field]) * resource.getpagesize()
    except OSError:
        return None


def _limit_data(soft: int | None) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    value = hard if soft is None else soft
    if hard != resource.RLIM_INFINITY and value != hard:
        value = min(value, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (value, hard))


def load_reader(name: str) -> Reader:
    """Find the reader: a name of `avqa.extract.readers`, or ``module:ATTRIBUTE`` in tests."""
    if ":" in name:
        module, _, attribute = name.partition(":")
        found: Reader = getattr(importlib.import_module(module), attribute)
        return found
    from avqa.extract import readers

    return readers.load(name).READER


def serve(link: Link, reader: Reader, memory: Memory) -> None:
    """Answer requests until the parent is gone or our state is in doubt."""
    from avqa.extract.decoder.work import Work, explain

    loaded: set[str] = set()
    while True:
        request = link.requests.get()
        settings = Settings(
            **{**request["settings"], "features": tuple(request["settings"]["features"])}
        )
        limits = Limits(**request["limits"])
        work = Work(link, reader, request["path"], settings, limits)
        try:
            with memory.imports():
                _load(work, request, loaded)
            link.send("ready")
            work.may_lack_memory = memory.is_short(limits.memory_bytes)
            memory.limit(limits.memory_bytes)
            work.run(request)
        except Exception as error:  # whatever it is, the parent is told
            memory.lift()
            answer = explain(error, request["path"], work.stage)
            if answer.get("reason") == "memory" and work.may_lack_memory:
                answer |= {"error": "left", "message": _short_of_memory(request["path"], limits)}
            link.send("error", **answer)
            if not answer.get("clean", True):
                os._exit(0)


def _short_of_memory(path: str, limits: Limits) -> str:
    return (
        f"no memory left for path={path!r}; expected {limits.memory_bytes / 1e9:g} GB, as"
        " --decoder-memory says, within the limits of this process (ulimit -v, ulimit -d); raise"
        " them, or give a --decoder-memory that they leave room for"
    )


def _load(work: Work, request: dict[str, Any], loaded: set[str]) -> None:
    """Import what the request needs; what fails there is nobody's video's fault.

    Raises:
        EnvironmentFailure: a library cannot be imported or used.
    """
    try:
        work.load(request, loaded)
    except AvqaError:
        raise
    except Exception as error:
        raise EnvironmentFailure(
            f"the decoder process cannot prepare {', '.join(request.get('inputs') or ['audio'])}:"
            f" {type(error).__name__}: {' '.join(str(error).split())}; expected its libraries to"
            " load; repair the installation, or set AVQA_CACHE to a folder that can be written"
        ) from error


def main() -> None:
    """Run the process."""
    name, replies, ring, parent = sys.argv[1:]
    die_with_parent(int(parent))
    outlive_interrupts()
    keep_freed_memory()
    link = Link(int(replies), int(ring))
    try:
        reader = load_reader(name)
        version = reader.version()
    except ConfigError as error:
        link.send("error", error="config", message=str(error))
    except LibraryMissing as error:
        link.send("error", error="environment", message=str(error))
    except ImportError as error:
        link.send(
            "error",
            error="environment",
            message=f"decoder {name!r} cannot be loaded: {error}; expected its library to be "
            "installed; install it or choose another --decoder",
        )
    else:
        link.send("hello", version=version)
        serve(link, reader, Memory())
    os._exit(0)


if __name__ == "__main__":
    main()
