"""Running the ffmpeg program, bundled or the user's: bounded output, killed with us, no shell."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import ffmpeg

from avqa import programs
from avqa.errors import EnvironmentFailure, LibraryMissing, MediaError, VideoLeft
from avqa.extract.media import file_checks
from avqa.extract.media.types import Limits
from avqa.extract.parent_death import die_with_parent
from avqa.faults import is_from_outside

OLDEST = (7, 1)
"""The first that crops as the container says; ``-/filter`` from a file is older."""
KEPT_LINES = 20
LINE_BYTES = 4096
_HARMLESS = re.compile(r"\[null @|could not find sync byte")
"""The null output complains about frames at one time, TS about zeros between its packets."""
_LIMIT = re.compile(r"pthread_create\(\) failed|initializing .*Resource temporarily")
_NOT_RUN = (126, 127)
"""Exit codes of the loader and of shells, for a program that they could not run."""
_INPUT = "input"
_COLOURS = {"AV_LOG_FORCE_NOCOLOR": "1"}


def version() -> str:
    """The program's own word for its version, as ``7.0.2-static``.

    Raises:
        LibraryMissing: it does not run, or lacks what the command lines here say.
    """
    path = programs.ffmpeg()
    command = [path, "-version"]
    try:
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
        word = done.stdout.decode(errors="replace").split()[2]
    except (OSError, IndexError) as error:
        raise _unusable(f"ffmpeg program {path!r} does not run: {error}") from error
    found = re.match(r"n?(\d+)\.(\d+)", word)  # builds of a day have a hash for a number
    if found and (int(found[1]), int(found[2])) < OLDEST:
        raise _unusable(f"ffmpeg program {path!r} is version {word}")
    return word


def _unusable(what: str) -> LibraryMissing:
    oldest = ".".join(map(str, OLDEST))
    return LibraryMissing(
        f"{what}; expected ffmpeg {oldest} or newer; unset IMAGEIO_FFMPEG_EXE or let it name"
        " another, or choose another --decoder"
    )


@functools.cache
def channels(layout: str) -> tuple[str, ...]:
    """Names of the channels of a layout as the program prints it; none if it does not tell them.

    ``5.1``, ``6 channels (FL+FR+FC+LFE+BL+BR)`` or ``6 channels``.
    """
    told = re.search(r"\((\w+(?:\+\w+)+)\)$", layout)
    return tuple(told[1].split("+")) if told else _layouts().get(layout, ())


@functools.cache
def _layouts() -> dict[str, tuple[str, ...]]:
    """Names of the layouts that the program knows → the channels of each."""
    command = [programs.ffmpeg(), "-hide_banner", "-layouts"]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    words = [line.split() for line in done.stdout.decode(errors="replace").splitlines()]
    return {line[0]: tuple(line[1].split("+")) for line in words if len(line) == 2}


def crashed(path: str, program: Running) -> MediaError | EnvironmentFailure | None:
    """The error of a video at which the program died by a signal, or did not run as it should.

    None if it ended by itself: what it says is of the video then.
    """
    code = program.finish()
    if program.limit:
        return VideoLeft(
            f"the ffmpeg program {programs.ffmpeg()!r} got no more of the system:"
            f" {program.limit!r}; expected threads to spare; raise the limits"
            " (ulimit -u, a container's pids limit), or use fewer --decoders"
        )
    if code in _NOT_RUN:
        return _unusable(
            f"ffmpeg program {programs.ffmpeg()!r} does not run any more: exit code {code}"
        )
    if code >= 0:
        return None
    name = signal.Signals(-code).name
    what = f"the ffmpeg program {programs.ffmpeg()!r} died by {name} at path={path!r}"
    if is_from_outside(code):
        return VideoLeft(
            f"{what}; expected it to be left alone, with memory and processor time to spare; use"
            " fewer --decoders, or raise the limits (memory, ulimit -t)"
        )
    return MediaError(
        "crash",
        f"{what}; expected it to"
        " read or refuse the file; let IMAGEIO_FFMPEG_EXE name another, or choose another"
        " --decoder",
    )


def require_own_end(path: str, program: Running) -> None:
    """Make sure that a program that gives no more has not been ended by others.

    Raises:
        EnvironmentFailure: it was; one that crashed has lost what is left of the video.
    """
    died = crashed(path, program)
    if isinstance(died, EnvironmentFailure):
        raise died


def source(limits: Limits) -> Any:
    """The input, with the white lists and limits; `arguments` puts the path in."""
    return ffmpeg.input(
        _INPUT,
        protocol_whitelist=",".join(file_checks.PROTOCOLS),
        format_whitelist=",".join(file_checks.FORMATS),
        max_pixels=file_checks.codec_pixels(limits),
        threads=1,
    )


def arguments(path: str, output: Any) -> list[str]:
    """Command line of ffmpeg-python's ``output`` for the file ``path``, which is absolute.

    ``-copyts`` keeps the file's own clock; the level is printed before every message. The path
    is put in here because ffmpeg-python takes UTF-8 only.
    """
    made: list[str] = ffmpeg.compile(output, cmd=programs.ffmpeg())
    made[made.index("-i") + 1] = f"file:{path}"
    return [made[0], "-nostdin", "-hide_banner", "-copyts", "-loglevel", "level+info", *made[1:]]


class Running:
    """A started program, its standard output, and its messages as they come."""

    def __init__(self, process: subprocess.Popen[bytes], take: Callable[[str], None]) -> None:
        """Read the messages in a thread, handing each line to ``take``."""
        self._process = process
        self._take = take
        self.errors: deque[str] = deque(maxlen=KEPT_LINES)
        self.num_errors = 0
        self.limit = ""
        """What it lacked of the system, in its own words; it may end with any exit code then."""
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    @property
    def output(self) -> IO[bytes]:
        """Its standard output."""
        assert self._process.stdout is not None  # noqa: S101 - made with a pipe below
        return self._process.stdout

    def _listen(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - made with a pipe below
        # A message without an end must not fill the memory.
        while line := self._process.stderr.readline(LINE_BYTES):
            text = line.decode("utf-8", "surrogateescape").rstrip()
            if _LIMIT.search(text):
                self.limit = self.limit or text
            if ("[error]" in text or "[fatal]" in text) and not _HARMLESS.search(text):
                self.num_errors += 1
                self.errors.append(re.sub(r"\[[^]]*\] ?", "", text))
            self._take(text)

    def finish(self) -> int:
        """Wait for its end; the exit code."""
        code = self._process.wait()
        self._thread.join()
        return code


@contextmanager
def running(command: Sequence[str], take: Callable[[str], None]) -> Iterator[Running]:
    """Start ``command``; it is killed on leaving, however that happens."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_COLOURS,
        preexec_fn=functools.partial(die_with_parent, os.getpid()),
    ) as process:
        started = Running(process, take)
        try:
            yield started
        finally:
            process.kill()
            started.finish()  # its messages must be read to the end before they are closed
