"""Which file holds a split, and its rows as checked dictionaries."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from avqa.datasets._parts.fields import BadField
from avqa.datasets._parts.question import SPLITS, Question
from avqa.errors import DatasetError

Row = dict[str, Any]


def find(
    path: Path, splits: Sequence[str] | None, names: Mapping[str, Iterable[str]]
) -> dict[str, Path]:
    """Split → its file, in the order train, val, test.

    Args:
        path: a folder, or one file, whose split its name says or ``splits`` (then one) does.
        splits: those asked for; None: all that are there.
        names: split → paths tried below the folder, best first.
    """
    if path.is_dir():
        return _find_in_folder(path, splits, names)
    if not path.exists():
        raise DatasetError(
            f"annotations={str(path)!r} does not exist; expected a folder of question files or"
            " one of them; check --annotations"
        )
    said = [split for split in SPLITS if re.search(rf"(?<![a-z]){split}(?![a-z])", path.name)]
    if len(said) != 1:
        if splits is None or len(splits) != 1:
            raise DatasetError(
                f"file={str(path)!r} does not say its split; expected train, val or test in its"
                " name; rename it, or ask for one split"
            )
        said = list(splits)
    if splits is not None and list(splits) != said:
        raise DatasetError(
            f"file={str(path)!r} holds split {said[0]!r}, not {', '.join(splits)}; expected the"
            " file of the split asked for; ask for its split, or give another file"
        )
    return {said[0]: path}


def _find_in_folder(
    folder: Path, splits: Sequence[str] | None, names: Mapping[str, Iterable[str]]
) -> dict[str, Path]:
    found = {}
    for split in SPLITS:
        tried = tuple(names.get(split, ()))
        file = next((folder / name for name in tried if (folder / name).is_file()), None)
        if file is not None and (splits is None or split in splits):
            found[split] = file
        elif splits is not None and split in splits:
            raise DatasetError(
                f"no file of split {split!r} in annotations={str(folder)!r}; expected"
                f" {_one_of(tried)}; put it there, or give the file itself with --annotations"
            )
    if not found:
        tried = tuple(name for split in SPLITS for name in names.get(split, ()))
        raise DatasetError(
            f"no question file in annotations={str(folder)!r}; expected {_one_of(tried)}; put"
            " them there, or give one file with --annotations"
        )
    return found


def _one_of(names: tuple[str, ...]) -> str:
    """The file names of a list of paths, each once."""
    short = list(dict.fromkeys(Path(name).name for name in names))
    return " or ".join(short) if short else "no such split in this data set"


def parse_file(file: Path, parse: Callable[[Row], Question]) -> list[Question]:
    """Every row of a file as a question.

    Raises:
        DatasetError: if the file is no list of objects, or at the first row that ``parse``
            refuses; names file, row and question.
    """
    questions = []
    for number, row in enumerate(_rows(file)):
        try:
            questions.append(parse(row))
        except BadField as error:
            name = "question_id" if "question_id" in row else "id"
            raise DatasetError(
                f"file={str(file)!r} row={number} {name}={row.get(name)!r}: {error}"
            ) from error
    return questions


def _rows(file: Path) -> list[Row]:
    """The list of objects in one JSON file."""
    try:
        # A byte order mark is what spreadsheet programs leave at the start.
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        why = error.strerror or str(error)
        raise DatasetError(
            f"file={str(file)!r} cannot be read: {why.lower()}; expected a JSON file of questions;"
            " check --annotations"
        ) from error
    except (ValueError, RecursionError) as error:
        why = str(error).splitlines()[0]
        raise DatasetError(
            f"file={str(file)!r} is not JSON: {why}; expected a list of questions; download it"
            " again, or check --annotations"
        ) from error
    if not isinstance(found, list) or not found:
        what = "an empty list" if isinstance(found, list) else f"a {type(found).__name__}"
        raise DatasetError(
            f"file={str(file)!r} holds {what}; expected a list of questions; check --annotations"
        )
    for number, row in enumerate(found):
        if not isinstance(row, dict):
            raise DatasetError(
                f"file={str(file)!r} row={number} is a {type(row).__name__}; expected an object"
                " with video_id and a question; check --annotations"
            )
    return found
