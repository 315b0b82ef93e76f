"""The parent's side of the decoder process: one killable child, used for many videos."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.errors import (
    ConfigError,
    EnvironmentFailure,
    MediaError,
    StorageFailure,
    VideoLeft,
)
from avqa.extract.decoder.spawn import Child, ChildDied, ChildSilent, Message
from avqa.extract.media import file_checks
from avqa.extract.media.types import Limits, Report
from avqa.extract.settings import Settings
from avqa.faults import is_from_outside

START_SECONDS = 300.0
"""How long a child may take to start; imports from a cold network disk are slow."""
LOAD_SECONDS = 300.0
"""To load what a request needs; libraries may lie on disks that many jobs share."""


@dataclass(frozen=True)
class Request:
    """What to read of one video."""

    path: str
    inputs: tuple[str, ...]
    """``<encoder>/<input>`` names to prepare; none gives the header and the footer only."""
    settings: Settings
    limits: Limits
    full: bool = False
    """Decode everything instead of planning: for the second try."""
    max_rows: int | None = None
    """Cut the grid to this many rows: the good ones of a damaged file."""


@dataclass(frozen=True)
class Header:
    """What is known before any frame is decoded."""

    num_rows: int
    """T: rows every feature of this video has."""
    pts: NDArray[np.float64]
    """[T] time of each row's frame in seconds, the first frame of the file at 0."""
    index: NDArray[np.int64]
    """[T] place of each row's frame in the file's time table."""
    duration: float
    """Seconds from the first frame's appearance to the last one's end."""
    declared_seconds: float | None
    has_audio: bool
    width: int
    height: int
    codec: str


@dataclass(frozen=True)
class Block:
    """Some consecutive rows of one input: at most 16 of frames, 60 of audio."""

    input: str
    first_row: int
    rows: NDArray[Any]
    """[n, *shape], the receiver's own copy."""


@dataclass(frozen=True)
class Footer:
    """How the reading of one video went."""

    report: Report
    audio_start: float | None
    """Where real audio begins, in seconds on the frame's clock; none if there is none."""
    audio_end: float | None
    audio_error: MediaError | None
    """Why there is no (complete) audio; the frame rows are good all the same."""
    seconds: dict[str, float]
    """Processor seconds of the child by stage: probe, decode, prepare, audio, write."""


class DecoderProcess:
    """Decodes videos in a child process that can be killed.

    The child starts with the first video, serves many, and is replaced after a crash, a limit
    or an abandoned video. It dies with this process, whatever way this one ends. Use one from
    one thread at a time.
    """

    def __init__(self, reader: str) -> None:
        """Name the reader: one of `avqa.extract.readers.names`.

        A name with a colon, ``package.module:READER``, is imported in the child: the way to
        test with a reader made for it.
        """
        self.reader = reader
        self._child: Child | None = None
        self._killed = False
        self._version = ""
        self._greeted = self._loading = False

    def decode(self, request: Request) -> Iterator[Header | Block | Footer]:
        """Read one video: a `Header`, `Block`s with ascending rows per input, a `Footer`.

        Frames come before audio. A failure of the audio is told in the footer only. Closing
        the iterator early ends the child.

        Raises:
            MediaError: if the frames cannot be read; blocks received until then are good.
            ConfigError: if an input or the reader does not exist.
            EnvironmentFailure: if no child can be started.
            VideoLeft: if the child was killed from outside, or the video's disk fails.
        """
        message = {
            "op": "decode",
            "inputs": list(request.inputs),
            "full": request.full,
            "max_rows": request.max_rows,
        }
        return self._run(message, request.path, request.settings, request.limits)

    def probe(self, path: str, settings: Settings, limits: Limits) -> Header:
        """Read the time table only.

        Raises:
            MediaError: if the file cannot be read.
        """
        (header,) = self._run({"op": "probe"}, path, settings, limits)
        assert isinstance(header, Header)
        return header

    def write_frames(
        self,
        path: str,
        folder: str,
        settings: Settings,
        limits: Limits,
        max_rows: int | None = None,
    ) -> Iterator[Header | Footer]:
        """Let the child write frames and audio of the first rows, or of all, into ``folder``.

        Raises:
            MediaError: as `decode`.
            StorageFailure: if the folder's disk is full or read-only.
        """
        message = {"op": "frames", "folder": folder, "max_rows": max_rows}
        for item in self._run(message, path, settings, limits):
            assert not isinstance(item, Block)
            yield item

    def version(self) -> str:
        """Version of the reader's libraries, as the child has them."""
        self.start()
        return self._version

    def begin(self) -> None:
        """Start the child if it does not run, and wait for nothing.

        Raises:
            EnvironmentFailure: if none can be started.
        """
        if self._child is not None and self._child.alive():
            return
        self.close()
        try:
            self._child = Child(self.reader)
        except OSError as error:
            raise EnvironmentFailure(
                f"cannot start a decoder process: {error}; expected memory and processes to "
                "spare; use fewer --decoders or another machine"
            ) from error
        if self._killed:
            self.close()
            raise EnvironmentFailure("the decoder process was ended with its engine")

    def begin_loading(self, inputs: Sequence[str], settings: Settings) -> None:
        """Let the child load what ``inputs`` need, before there is a video, and wait for nothing.

        What goes wrong there is told by the first video's request, which needs the same.
        """
        self.begin()
        assert self._child is not None
        if self._loading:
            return
        message = {"op": "load", "path": "", "inputs": list(inputs)}
        details = {"settings": dataclasses.asdict(settings), "limits": dataclasses.asdict(Limits())}
        with contextlib.suppress(ChildDied):
            self._child.send({**message, **details})
            self._loading = True

    def start(self) -> None:
        """Start the child if it does not run: takes half a second the first video need not wait.

        Raises:
            EnvironmentFailure: if it does not come up.
            ConfigError: if there is no such reader.
        """
        self.begin()
        assert self._child is not None
        if self._greeted:
            return
        try:
            hello, _ = self._child.receive(START_SECONDS)
        except (ChildDied, ChildSilent) as error:
            noise = self._child.noise()
            self.close()
            raise EnvironmentFailure(
                f"the decoder process did not start: reader={self.reader!r}, {error or 'silent'}; "
                f"expected it within {START_SECONDS:.0f} s; it printed: {noise or 'nothing'}"
            ) from error
        if hello["kind"] != "hello":
            self.close()
            raise _error(hello)
        self._version = hello["version"]
        self._greeted = True

    def _await_loading(self) -> None:
        """Wait for what `begin_loading` began; a child that fails at it is replaced."""
        assert self._child is not None
        try:
            kind = ""
            while kind != "end":
                answer, _ = self._child.receive(LOAD_SECONDS)
                kind = answer["kind"]
                if kind == "error":
                    raise ChildSilent
            self._loading = False
        except (ChildDied, ChildSilent):
            self.close()
            self.start()

    @property
    def pid(self) -> int | None:
        """Process id of the child, if one runs."""
        return self._child.pid if self._child is not None else None

    def kill(self) -> None:
        """Kill the child for good, from any thread: one that waits for it gets an error."""
        self._killed = True
        child = self._child
        if child is not None:
            child.kill()

    def close(self) -> None:
        """End the child. The next call starts another."""
        child, self._child = self._child, None
        self._greeted = self._loading = False
        if child is not None:
            child.close()

    def __enter__(self) -> DecoderProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()

    def _run(
        self, message: Message, path: str, settings: Settings, limits: Limits
    ) -> Iterator[Header | Block | Footer]:
        self.start()
        if self._loading:
            self._await_loading()
        assert self._child is not None
        conversation = _Conversation(self._child, self.reader, path, limits)
        details = {
            "path": path,
            "settings": dataclasses.asdict(settings),
            "limits": dataclasses.asdict(limits),
        }
        try:
            yield from conversation.run({**message, **details})
        finally:
            if not conversation.clean:
                self.close()


class _Conversation:
    """One request and its answers."""

    def __init__(self, child: Child, reader: str, path: str, limits: Limits) -> None:
        self._child = child
        self._reader = reader
        self._path = path
        self._limit = limits.timeout_seconds
        self._left = limits.timeout_seconds
        self._stage = "probe"
        self._so_far: Message = {}
        self._loaded = False
        self._over = False
        self.clean = False
        """The child is ready for another request."""

    def run(self, message: Message) -> Iterator[Header | Block | Footer]:
        try:
            self._child.send(message)
            answer = self._first_answer()
            while True:
                item = self._take(answer)
                if item is not None:
                    yield item
                if self._over:
                    return
                answer, waited = self._child.receive(self._left)
                self._left -= waited
        except (ChildDied, ChildSilent) as error:
            failure = self._failure(error)
            if self._stage != "sound" or isinstance(failure, VideoLeft):
                raise failure from error
        # The frames have all been handed over; only the audio is lost.
        yield _footer({**self._so_far, "audio_error": _message(failure)})

    def _first_answer(self) -> Message:
        """The child has loaded what the request needs: that is never the video's fault.

        Raises:
            EnvironmentFailure: it has not, in all that time.
            ChildDied: the process ended.
        """
        try:
            answer, _ = self._child.receive(LOAD_SECONDS)
        except ChildSilent as error:
            raise EnvironmentFailure(
                f"the decoder process has not loaded its libraries within {LOAD_SECONDS:g} s;"
                " expected a few seconds; the machine or the disk of the installation is"
                " overloaded, or a library hangs: run it again, with fewer --decoders"
            ) from error
        return answer

    def _take(self, answer: Message) -> Header | Block | Footer | None:
        kind = answer["kind"]
        if kind == "header":
            self._stage = "decode"
            self._limit += answer["duration"]
            self._left += answer["duration"]
            return _header(answer)
        if kind == "block":
            rows = self._child.ring.take(answer["slot"], answer["dtype"], answer["shape"])
            with contextlib.suppress(ChildDied):  # this block is good; the next wait will tell
                self._child.send({"op": "free", "slot": answer["slot"]})
            return Block(answer["input"], answer["first_row"], rows)
        if kind == "stage":
            self._stage = answer["stage"]
            self._so_far = answer
            return None
        if kind == "ready":
            self._loaded = True
            return None
        if kind == "spent":  # work that is ours rather than the file's: not counted
            self._left += answer["seconds"]
            return None
        self._over = True
        self.clean = answer.get("clean", True)
        if kind == "footer":
            return _footer(answer)
        if kind == "end":
            return None
        raise _error(answer)

    def _failure(self, error: ChildDied | ChildSilent) -> MediaError | VideoLeft:
        where = f"reader={self._reader!r}, stage={self._stage!r}, path={self._path!r}"
        if isinstance(error, ChildSilent):
            return MediaError(
                "timeout",
                f"decoding took too long: {where}; expected at most {self._limit:g} s "
                "(the limit and the video's own length); use --video-timeout to allow more, or "
                "look at the file",
                stage=self._stage,
            )
        noise = f" (it printed last: {error.noise})" if error.noise else ""
        if is_from_outside(error.returncode) or not self._loaded:
            before = "" if self._loaded else " before it opened the video"
            return VideoLeft(
                f"the decoder process {error.cause}{before}: {where}; expected it to be left alone,"
                " with memory and processor time to spare; use fewer --decoders or less"
                f" --decoder-memory, or raise the limits (memory, ulimit -t){noise}"
            )
        if "bad_alloc" in error.noise:
            return MediaError("memory", file_checks.too_much_memory(where), stage=self._stage)
        return MediaError(
            "crash",
            f"the decoder process {error.cause}: {where}; expected frames or an error; "
            f"look at the file or try another --decoder{noise}",
            stage=self._stage,
        )


def _header(answer: Message) -> Header:
    return Header(
        num_rows=len(answer["index"]),
        pts=np.array(answer["pts"], np.float64),
        index=np.array(answer["index"], np.int64),
        duration=answer["duration"],
        declared_seconds=answer["declared_seconds"],
        has_audio=answer["has_audio"],
        width=answer["width"],
        height=answer["height"],
        codec=answer["codec"],
    )


def _footer(answer: Message) -> Footer:
    error = answer.get("audio_error")
    audio_error = _error(error) if error else None
    assert audio_error is None or isinstance(audio_error, MediaError)
    return Footer(
        report=Report(**answer["report"]),
        audio_start=answer.get("audio_start"),
        audio_end=answer.get("audio_end"),
        audio_error=audio_error,
        seconds=answer["seconds"],
    )


def _message(error: MediaError) -> Message:
    return {
        "error": "media",
        "reason": error.reason,
        "message": str(error),
        "stage": error.stage,
    }


def _error(answer: Message) -> MediaError | ConfigError | EnvironmentFailure:
    if answer["error"] == "left":
        return VideoLeft(answer["message"])
    if answer["error"] == "media":
        return MediaError(answer["reason"], answer["message"], stage=answer["stage"])
    if answer["error"] == "storage":
        return StorageFailure(answer["message"])
    if answer["error"] == "environment":
        return EnvironmentFailure(answer["message"])
    return ConfigError(answer["message"])
