"""What `avqa ask` was asked: one question, those of a file, or what is typed as it comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avqa.errors import ConfigError
from avqa.extract.decoder.process import DecoderProcess
from avqa.pipelines.ask.answer import Answer, Session
from avqa.pipelines.ask.asked_file import read_questions
from avqa.pipelines.ask.question import Asked, Typed
from avqa.telling import Say, objects

MOST_SHOWN = 5
"""Questions of a file named that cannot be asked."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Arguments of the command."""

    run: Path
    video: Path
    question: str | None = None
    choices: tuple[str, ...] = ()
    """Options of a multiple choice, of every question that has none of its own."""
    answer: str | None = None
    """The right one."""
    questions: Path | None = None
    """A file of them."""
    device: str = "auto"


@dataclass
class Told:
    """An answer as the command tells it."""

    answer: Answer
    top: int
    """Answers shown."""
    number: int
    """From 1: the video is named once."""
    explained: Path | None = None

    def lines(self) -> list[str]:
        """For people."""
        lines = self.answer.lines(self.top)
        return ["", *lines[1:]] if self.number > 1 else lines

    def data(self) -> objects.Answered:
        """For programs."""
        explained = None if self.explained is None else str(self.explained)
        return {**self.answer.data(self.top), "explained": explained}


def as_object(told: Sequence[Told]) -> objects.Answers:
    """All answers about a video; at least one."""
    first = told[0].answer
    config = first.member.config
    return {
        "run": str(first.member.path),
        "head": config.head,
        "variant": config.variant,
        "seed": config.seed,
        "video": str(first.video),
        "random_weights": first.random_weights,
        "answers": [one.data() for one in told],
    }


def answers(
    request: Request,
    lines: Iterable[str],
    say: Say,
    *,
    typed: bool,
    decoder: DecoderProcess | None = None,
) -> Iterator[Answer]:
    """The answer to each question that was asked.

    Args:
        request: what to ask.
        lines: questions as they come, where the request has none.
        say: gets progress, warnings, and why a line cannot be asked.
        typed: a person types the lines and has seen what was refused.
        decoder: one that was begun before.

    Raises:
        ConfigError: the request cannot be; a question of a file cannot be read, and nothing was
            asked; some of the lines could not, or there were none.
        RunDamaged, RecipeMismatch, MediaError, WeightsUnavailable: as `Session`.
    """
    _check(request)
    if request.question is not None:
        session = _session(request, say, decoder)
        one = Typed(request.question, request.choices, request.answer)
        yield from session.answers([session.read(one)])
    elif request.questions is not None:
        rows = read_questions(request.questions, request.video, say)
        session = _session(request, say, decoder)
        yield from session.answers(_all_read(session, request, rows))
    else:
        yield from _as_they_come(_session(request, say, decoder), request, lines, say, typed=typed)


def _check(request: Request) -> None:
    if request.question is not None and request.questions is not None:
        raise ConfigError(
            f"question={request.question!r} and questions={str(request.questions)!r}; expected one"
            " of them; leave the other out"
        )
    if request.answer is not None and request.question is None:
        raise ConfigError(
            f"answer={request.answer!r} without a question; expected one; put it behind the video,"
            " or give answers in a file of --questions"
        )


def _session(request: Request, say: Say, decoder: DecoderProcess | None) -> Session:
    return Session(request.run, request.video, request.device, say, decoder)


def _all_read(session: Session, request: Request, rows: list[Typed]) -> list[Asked]:
    """The questions of a file; nothing is made before all of them can be read."""
    asked: list[Asked] = []
    refused = []
    for row in rows:
        try:
            asked.append(session.read(replace(row, choices=row.choices or request.choices)))
        except ConfigError as error:
            refused.append(f"{row.place}: {error}")
    if refused:
        shown = "; ".join(refused[:MOST_SHOWN]) + ("; …" if len(refused) > MOST_SHOWN else "")
        raise ConfigError(
            f"questions={str(request.questions)!r}: {len(refused)} of {len(rows)} cannot be asked:"
            f" {shown}"
        )
    return asked


def _as_they_come(
    session: Session, request: Request, lines: Iterable[str], say: Say, *, typed: bool
) -> Iterator[Answer]:
    """A line that cannot be asked is told, and the next one taken."""
    number = refused = 0
    for line in lines:
        number += 1
        try:
            asked = session.read(Typed(line, request.choices))
        except ConfigError as error:
            say(f"avqa: {error}")
            refused += 1
            continue
        yield from session.answers([asked])
    if typed:
        return
    if not number:
        raise ConfigError(
            "no question came through standard input; expected one a line; type one behind the"
            " video, or give --questions"
        )
    if refused:
        raise ConfigError(
            f"{refused} of {number} questions cannot be asked; expected none; the lines above say"
            " why"
        )
