"""`avqa ask`: questions about a video, answered by a trained head."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avqa.commands import options as option
from avqa.commands.reporting import reports_errors, say
from avqa.errors import ConfigError

if TYPE_CHECKING:
    from avqa.pipelines.ask.answer import Answer, Session
    from avqa.pipelines.ask.question import Asked, Typed

MOST_SHOWN = 5
"""Questions of a file named that cannot be asked."""


@reports_errors
def ask(
    run: Annotated[Path, typer.Argument(help="Folder of `avqa train-head`, or a member of it.")],
    video: Annotated[Path, typer.Argument(help="One video file.")],
    question: Annotated[
        str | None,
        typer.Argument(
            help="In quotes, as the training questions are put; without, questions are read from"
            " the terminal or a pipe, one a line."
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Answers printed.")] = 5,
    explain: Annotated[
        Path | None,
        typer.Option(
            help="Folder for pictures and numbers of where the head looked; of several questions"
            " one folder each in it."
        ),
    ] = None,
    choice: Annotated[
        list[str] | None,
        typer.Option(help="An option of a multiple choice; give it once for each."),
    ] = None,
    answer: Annotated[
        str | None, typer.Option(help="The right answer, to be marked in the pictures.")
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Questions, one a line; or .csv, .json, .jsonl with question, and if you like"
            " options, answer, video.",
        ),
    ] = None,
    device: option.Device = "auto",
) -> None:
    """Answer questions about any video with a trained head, and show where it looked.

    Features come from the run's store if it has the video, else they are made as the run's were.
    --device auto is the kind of device that made the run's features, if it is here.

    Example: avqa ask runs/pstp clip.mp4 "How many instruments are sounding in the video?"
    """
    from avqa.pipelines.ask import answer as asking
    from avqa.pipelines.ask import explain as explaining
    from avqa.pipelines.ask.asked_file import read_questions
    from avqa.pipelines.ask.question import Typed

    if question is not None and questions is not None:
        raise ConfigError(
            f"question={question!r} and questions={str(questions)!r}; expected one of them; leave"
            " the other out"
        )
    if answer is not None and question is None:
        raise ConfigError(
            f"answer={answer!r} without a question; expected one; put it behind the video, or give"
            " answers in a file of --questions"
        )
    if explain is not None:
        explaining.prepare_folder(explain)
    choices = tuple(choice or ())
    if question is not None:
        session = asking.Session(run, video, device, say)
        asked = session.read(Typed(question, choices, answer))
        _show(next(session.answers([asked])), top, explain)
    elif questions is not None:
        rows = read_questions(questions, video, say)
        session = asking.Session(run, video, device, say)
        _ask_all(session, questions, _with(choices, rows), top, explain)
    else:
        session = asking.Session(run, video, device, say)
        _ask_typed(session, choices, top, explain)


def _show(answer: Answer, top: int, folder: Path | None, number: int = 1) -> None:
    """Print an answer, of the video once; draw it if there is a folder."""
    from avqa.pipelines.ask.explain import explain

    lines = answer.lines(top)
    typer.echo("\n".join(["", *lines[1:]] if number > 1 else lines))
    if folder is not None:
        typer.echo(f"explained  {explain(answer, folder)[0]}")
    sys.stdout.flush()


def _with(choices: tuple[str, ...], rows: list[Typed]) -> list[Typed]:
    """Rows without options get those of the command."""
    from dataclasses import replace

    return [row if row.choices else replace(row, choices=choices) for row in rows]


def _ask_all(
    session: Session, file: Path, rows: list[Typed], top: int, folder: Path | None
) -> None:
    """Answer the questions of a file; nothing is made before all of them can be read."""
    asked: list[Asked] = []
    refused = []
    for row in rows:
        try:
            asked.append(session.read(row))
        except ConfigError as error:
            refused.append(f"{row.place}: {error}")
    if refused:
        shown = "; ".join(refused[:MOST_SHOWN]) + ("; …" if len(refused) > MOST_SHOWN else "")
        raise ConfigError(
            f"questions={str(file)!r}: {len(refused)} of {len(rows)} cannot be asked: {shown}"
        )
    for number, answer in enumerate(session.answers(asked), 1):
        _show(answer, top, _numbered(folder, number), number)


def _ask_typed(session: Session, choices: tuple[str, ...], top: int, folder: Path | None) -> None:
    """Answer what is typed, or comes through a pipe, as it comes."""
    from avqa.pipelines.ask.question import Typed

    number = refused = 0
    for line in _typed():
        try:
            asked = session.read(Typed(line, choices))
        except ConfigError as error:
            say(f"avqa: {error}")
            refused += 1
            continue
        number += 1
        _show(next(session.answers([asked])), top, _numbered(folder, number), number)
    if not number + refused and not _is_terminal():
        raise ConfigError(
            "no question came through standard input; expected one a line; type one behind the"
            " video, or give --questions"
        )
    if refused and not _is_terminal():
        raise typer.Exit(ConfigError.exit_code)


def _numbered(folder: Path | None, number: int) -> Path | None:
    return None if folder is None else folder / f"question-{number:04d}"


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _typed() -> Iterator[str]:
    """Lines of standard input; on a terminal, after a prompt, up to an empty one."""
    if not _is_terminal():
        yield from (line for line in sys.stdin or () if line.strip())
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (lines can be edited, and had back)
    say("questions in the words of the training questions; an empty line ends")
    with contextlib.suppress(EOFError):
        while line := _line("question> "):
            yield line


def _line(prompt: str) -> str:
    """What is typed behind a prompt, which does not get into answers that go to a file."""
    if not sys.stdout.isatty():
        typer.echo(prompt, err=True, nl=False)
        prompt = ""
    return input(prompt).strip()
