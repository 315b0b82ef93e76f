"""One question at a time about whichever video, with what was loaded for the last one kept."""

from __future__ import annotations

import contextlib
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

from avqa.errors import AvqaError, ConfigError
from avqa.extract.decoder.process import DecoderProcess
from avqa.faults import of_machine, traceback_text
from avqa.pipelines.ask.answer import Answer, Session
from avqa.pipelines.ask.explain import explain
from avqa.pipelines.ask.question import Typed
from avqa.pipelines.engine.early import begun
from avqa.telling import Say

KEPT = 20
"""Explanations that are kept; a page that shows an older one is empty when it is loaded again."""
END_SECONDS = 30.0
"""For what is under way when the server ends."""
VIDEO = "video"
"""Address of the video beside its explanation."""


@dataclass(frozen=True)
class Explanation:
    """Files that may be looked at."""

    folder: Path
    video: Path


class Desk:
    """Answers and explains; safe to use from several threads, which wait for each other."""

    def __init__(self, run: Path, device: str, room: Path, say: Say) -> None:
        """``room`` is a folder of ours for the explanations."""
        self._run, self._device, self._room, self._say = run, device, room, say
        self._lock = threading.Lock()
        self._decoder: DecoderProcess | None = None
        self._of_session = contextlib.ExitStack()
        self._session: tuple[object, Session] | None = None
        self._explanations: dict[int, Explanation] = {}
        self._number = 0
        self._closed = False

    def answer(self, video: Path, text: str) -> Answer:
        """Answer a question.

        Raises:
            AvqaError: as `Session`; the next question may be asked all the same.
        """
        with self._lock:
            try:
                self._refuse_if_closed()
                session = self._session_about(video)
                asked = session.read(Typed(text))
                kept, self._session = self._session, None  # what has failed half-way is not kept
                (answer,) = session.answers([asked])
                self._session = kept
            except AvqaError:
                self._refuse_if_closed()  # which is why it failed
                raise
            return answer

    def explain(self, answer: Answer) -> int:
        """Draw where the head looked.

        Returns:
            The explanation's number, see `explanation`.

        Raises:
            MediaError, StorageFailure: as `avqa.pipelines.ask.explain.explain`.
        """
        with self._lock:
            self._refuse_if_closed()
            self._number += 1
            folder = self._room / str(self._number)
            explain(answer, folder, link=f"./{VIDEO}")
            self._explanations[self._number] = Explanation(folder, answer.video)
            for number in sorted(self._explanations)[:-KEPT]:
                shutil.rmtree(self._explanations.pop(number).folder, ignore_errors=True)
            return self._number

    def explanation(self, number: int) -> Explanation | None:
        """The one of this number, if it is kept."""
        return self._explanations.get(number)

    def close(self) -> None:
        """Answer no more, and wait a while for what is under way: it writes into the room."""
        self._closed = True
        if self._decoder is not None:
            self._decoder.kill()
        if not self._lock.acquire(blocking=False):
            self._say("a question is under way; it is given a while to end")
            if not self._lock.acquire(timeout=END_SECONDS):
                return
        self._of_session.close()
        self._lock.release()

    def _session_about(self, video: Path) -> Session:
        status = video.stat() if video.is_file() else None
        key = (video, status and (status.st_size, status.st_mtime_ns))
        if self._session is None or self._session[0] != key:
            self._session = None  # its rows and networks go before others come
            self._of_session.close()
            # One for each video: an extraction ends the one that it was given.
            self._decoder = self._of_session.enter_context(begun(None))
            made = Session(self._run, video, self._device, self._say, self._decoder)
            self._session = key, made
        return self._session[1]

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ConfigError("the server is ending; expected it to go on; start it again")


def told(error: Exception, say: Say) -> str:
    """What a page shows of an error: the command's one line. A defect's traceback goes to ``say``.

    The server goes on, whatever one question met.
    """
    known = error if isinstance(error, AvqaError) else of_machine(error)
    if known is None:
        say(traceback_text(error).decode("utf-8", "replace"))
        line = (
            f"internal error: {type(error).__name__}: {error}; expected no such thing; report the"
            " traceback that the terminal shows"
        )
    else:
        line = str(known)
    line = "avqa: " + line.replace("\n", " ")
    say(line)
    return line
