"""Questions of a file: a text with one a line, or rows with options and right answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from avqa.datasets._parts.custom_rows import ENDINGS, PlacedRow, read_rows
from avqa.errors import ConfigError
from avqa.pipelines.ask.question import Typed

COLUMNS = ("question", "options", "answer", "video")


def read_questions(file: Path, video: Path, say: Callable[[str], None]) -> list[Typed]:
    """All questions of a file that are about a video, in its order.

    Args:
        file: ``.json`` (a list of texts or of objects), ``.jsonl``, ``.csv`` or ``.tsv`` with the
            columns of `COLUMNS`, of which only ``question`` must be there; any other is a text.
        video: rows with another file's name in ``video`` are left out.
        say: is told how many are.

    Raises:
        ConfigError: there is no such file, or no question in it.
        DatasetError: a row cannot be read.
    """
    if not file.is_file():
        raise ConfigError(
            f"no such file: questions={str(file)!r}; expected a text with one question a line, or"
            f" {', '.join(ENDINGS)}; check --questions"
        )
    found = list(_typed(file))
    if not found:
        raise ConfigError(
            f"questions={str(file)!r} hold no question; expected one a line, or one a row; fill it"
        )
    about = [typed for typed, of in found if of is None or of in (video.name, video.stem)]
    if not about:
        raise ConfigError(
            f"questions={str(file)!r}: none of {len(found)} is about video={video.name!r}; expected"
            " some; correct the column video, or leave it out"
        )
    if len(about) < len(found):
        say(f"{len(about)} of {len(found)} questions are about {video.name}; others are left out")
    return about


def _typed(file: Path) -> Iterator[tuple[Typed, str | None]]:
    """Each question, and the name of the video that it is about, where that is told."""
    ending = file.suffix.lower()
    texts = _json_texts(file) if ending == ".json" else None
    if ending not in ENDINGS:
        texts = _lines(file)
    if texts is None:
        yield from (_of_row(file, row) for row in read_rows(file))
    else:
        for place, text in texts.items():
            if text.strip():
                yield Typed(text.strip(), place=place), None


def _lines(file: Path) -> dict[str, str]:
    try:
        lines = file.read_bytes().decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"questions={str(file)!r} cannot be read: {error}; expected UTF-8 text with one"
            " question a line; check --questions"
        ) from error
    return {f"line={number}": line for number, line in enumerate(lines, 1)}


def _json_texts(file: Path) -> dict[str, str] | None:
    """Place → text of a JSON list of texts; None if it is anything else."""
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        return None
    return {f"row={number}": text for number, text in enumerate(value)}


def _of_row(file: Path, row: PlacedRow) -> tuple[Typed, str | None]:
    values = row.values
    question = values.get("question")
    if not isinstance(question, str) or not question.strip():
        raise ConfigError(
            f"questions={str(file)!r} {row.place}: question={question!r}; expected a text; the"
            f" columns that are read: {', '.join(COLUMNS)}"
        )
    options = values.get("options")
    parted = options.split("|") if isinstance(options, str) else options or ()
    if not isinstance(parted, list | tuple):
        raise ConfigError(
            f"questions={str(file)!r} {row.place}: options={options!r}; expected a list, or a text"
            " with | between them; correct the row"
        )
    choices = tuple(_text(option) or "" for option in parted)
    video = _text(values.get("video"))
    name = None if video is None else video.replace("\\", "/").rpartition("/")[2]
    return Typed(question, choices, _text(values.get("answer")), row.place), name


def _text(value: Any) -> str | None:
    """A cell, of which a number is one as well; None if it is empty."""
    return None if value is None or not str(value).strip() else str(value).strip()
