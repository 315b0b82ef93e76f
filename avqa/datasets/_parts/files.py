"""Which file holds a split, and its rows as questions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from avqa.datasets._parts.fields import BadField, shown
from avqa.datasets._parts.question import SPLITS
from avqa.datasets._parts.rows import Row as Row
from avqa.datasets._parts.rows import rows_of
from avqa.errors import DatasetError

Parsed = TypeVar("Parsed")
OTHER_NAMES = {"val": ("valid", "validation", "dev")}
SPLIT_OF = {split: split for split in SPLITS} | {
    name: split for split, names in OTHER_NAMES.items() for name in names
}
"""What files and columns call a split → the split."""
OTHER_ENDINGS = (".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".csv", ".csv.gz", ".tsv")
"""Of files that stand in for a ``.json``: read, or refused by what they are, never passed over."""


def find(
    path: Path, splits: Sequence[str] | None, names: Mapping[str, Iterable[str]]
) -> dict[str, Path]:
    """Split → its file, in the order train, val, test.

    Args:
        path: a folder, or one file, whose split its name says, or the field ``split`` of its rows,
            or ``splits`` (then one).
        splits: those asked for; None: all that are there.
        names: split → paths tried below the folder, best first. ``valid``, ``validation`` and
            ``dev`` may stand for ``val`` in them.
    """
    if path.is_dir():
        return _find_in_folder(path, splits, names)
    if not path.exists():
        raise DatasetError(
            f"annotations={str(path)!r} does not exist; expected a folder of question files or"
            " one of them; check --annotations"
        )
    held = list(there(path, names))
    if not held:
        if splits is None or len(splits) != 1:
            raise DatasetError(
                f"file={str(path)!r} does not say its split; expected train, val or test in its"
                " name; rename it, or ask for one split"
            )
        held = list(splits)
    if splits is not None and not set(splits) <= set(held):
        raise DatasetError(
            f"file={str(path)!r} holds split {', '.join(map(repr, held))}, not"
            f" {', '.join(splits)}; expected the file of the split asked for; ask for its split,"
            " or give another file"
        )
    return {split: path for split in held if splits is None or split in splits}


def there(path: Path, names: Mapping[str, Iterable[str]]) -> dict[str, Path]:
    """Split → its file as `find`, as far as names and rows say it; it may be empty."""
    if path.is_dir():
        found = {split: _in_folder(path, split, tuple(names.get(split, ()))) for split in SPLITS}
        return {split: file for split, file in found.items() if file is not None}
    said = _said(path)
    # Only a data set whose files are JSON has rows that can say it.
    is_json = all(name.endswith(".json") for tried in names.values() for name in tried)
    if len(said) != 1 and path.exists():
        said = _splits_in_rows(path) if is_json else []
    return dict.fromkeys(said, path)


def digest_note(split: str, file: Path) -> str:
    """Which file the questions of a split came from: for figures that depend on it.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise DatasetError(
            f"file={str(file)!r} cannot be read: {why}; expected a file of questions; check"
            " --annotations"
        ) from error
    return f"{split} file: {file.name!r}, sha256={found}"


def _said(file: Path) -> list[str]:
    """The splits that a file's name has as words."""
    words = re.split(r"[^a-z]+", file.name.lower())
    return [split for split in SPLITS if any(SPLIT_OF.get(word) == split for word in words)]


def _splits_in_rows(file: Path) -> list[str]:
    """The splits that the rows' field ``split`` names; none if it names no split."""
    rows = rows_of(file)
    splits = [_split_of(row) for row in rows]
    if None in splits and any(splits):
        number = splits.index(None)
        raise DatasetError(
            f"file={str(file)!r} row={number}: split={shown(rows[number].get('split'))}; expected"
            f" one of {', '.join(SPLIT_OF)}, as in other rows; correct or remove the row"
        )
    return [split for split in SPLITS if split in splits]


def _split_of(row: Row) -> str | None:
    named = row.get("split")
    return SPLIT_OF.get(named.strip().lower()) if isinstance(named, str) else None


def _find_in_folder(
    folder: Path, splits: Sequence[str] | None, names: Mapping[str, Iterable[str]]
) -> dict[str, Path]:
    found = {}
    for split in SPLITS:
        tried = tuple(names.get(split, ()))
        if splits is not None and split not in splits:
            continue
        file = _in_folder(folder, split, tried)
        if file is not None:
            found[split] = file
        elif splits is not None:
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


def _in_folder(folder: Path, split: str, tried: tuple[str, ...]) -> Path | None:
    spelt = _spellings(split, tried)
    return next((folder / name for name in spelt if (folder / name).is_file()), None)


def _spellings(split: str, names: tuple[str, ...]) -> Iterator[str]:
    """The paths, then with other names of the split, then with other endings."""
    others = []
    for name in names:
        folder, slash, file = name.rpartition("/")
        for word in OTHER_NAMES.get(split, ()):
            spelt = re.sub(rf"(?<![a-z]){split}(?![a-z])", word, file)
            others += [f"{folder}{slash}{spelt}"] if spelt != file else []
    yield from names
    yield from others
    for name in (*names, *others):
        if name.endswith(".json"):
            yield from (name.removesuffix(".json") + ending for ending in OTHER_ENDINGS)


def _one_of(names: tuple[str, ...]) -> str:
    """The file names of a list of paths, each once."""
    short = list(dict.fromkeys(Path(name).name for name in names))
    return " or ".join(short) if short else "no such split in this data set"


def parse_file(
    file: Path, parse: Callable[[Row], Parsed], split: str | None = None
) -> list[Parsed]:
    """Every row of a file, as a question most often; of several splits, those of ``split``.

    Args:
        file: JSON, or JSON lines.
        parse: refuses a row with a `BadField`.
        split: that of the file; the rows' field ``split`` must agree with it, unless the file's
            name says none. None: the field is not looked at.

    Raises:
        DatasetError: if the file is no list of objects, or at the first row that ``parse``
            refuses; names file, row and question.
    """
    questions = []
    says = len(_said(file)) == 1
    for number, row in enumerate(rows_of(file)):
        try:
            if split is not None and _split_of(row) not in (split, None):
                if says:
                    raise BadField(
                        f"split={shown(row['split'])} in a file of split {split!r}; expected"
                        f" {split}; move the row, or rename the file so that it names no split"
                    )
                continue
            questions.append(parse(row))
        except BadField as error:
            name = "question_id" if "question_id" in row else "id"
            raise DatasetError(
                f"file={str(file)!r} row={number} {name}={shown(row.get(name))}: {error}"
            ) from error
    return questions
