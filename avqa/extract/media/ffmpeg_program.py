"""Running the bundled ffmpeg program: bounded output, killed with us, no shell."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import ffmpeg
import imageio_ffmpeg

from avqa.extract.media import file_checks
from avqa.extract.media.types import Limits
from avqa.extract.parent_death import die_with_parent

KEPT_LINES = 20
LINE_BYTES = 4096
_INPUT = "input"
_COLOURS = {"AV_LOG_FORCE_NOCOLOR": "1"}


def program() -> str:
    """Path of the bundled program."""
    found: str = imageio_ffmpeg.get_ffmpeg_exe()
    return found


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
    made: list[str] = ffmpeg.compile(output, cmd=program())
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
            # The null output complains about frames at one time; that is no damage.
            if ("[error]" in text or "[fatal]" in text) and "[null @" not in text:
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
