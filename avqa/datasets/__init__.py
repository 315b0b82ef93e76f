"""Sets of questions, one file each: ``music_avqa.py`` is the data set ``music-avqa``.

`DatasetModule` is the contract; ``docs/plugins.md`` has an example.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from avqa.datasets._parts.fields import BadField, normal_text, text_field, video_field
from avqa.datasets._parts.files import Row, find, parse_file
from avqa.datasets._parts.question import SPLITS, Keys, Question
from avqa.datasets._parts.taxonomy import Pairs
from avqa.datasets._parts.vocabulary import Vocabulary
from avqa.errors import DatasetError, UnknownName
from avqa.plugins import Kind

__all__ = [
    "DATASETS",
    "BadField",
    "DatasetModule",
    "Keys",
    "Question",
    "Row",
    "Vocabulary",
    "chosen",
    "columns",
    "find",
    "fixed_vocabulary",
    "is_one_split",
    "load",
    "names",
    "normal_text",
    "notes",
    "parse_file",
    "read",
    "text_field",
    "told",
    "video_field",
]


class DatasetModule(Protocol):
    """What the file of a data set defines, beside its docstring.

    It may also define

    - ``VOCABULARY: Vocabulary``: fixed answers and words; without, they are built from the
      training questions
    - ``columns(questions) -> dict[str, Pairs]``: in place of ``COLUMNS``, where these follow from
      the questions
    - ``notes(path) -> list[str]``: what is to be said of how the questions were read, one line
      each; it may have the keywords of ``VARIANTS``, too
    - ``WHOLE_FILES = True``: one file may hold all splits, unless its name is that of a split
    """

    BIBTEX: str
    """How to cite it."""
    LICENSE: str
    """What its licence allows."""
    FILES: dict[str, tuple[str, ...]]
    """By split (``train``, ``val``, ``test``), the paths tried below a folder, best first."""
    VARIANTS: dict[str, tuple[str, ...]]
    """Keywords of ``read`` and their values, the default first; ``all`` chooses nothing."""
    COLUMNS: dict[str, Pairs]
    """Column of the result table → type pairs it counts, in printing order; ``All`` is last."""

    def read(self, path: Path, splits: Sequence[str] | None = None) -> list[Question]:
        """The questions of a folder or a file; the keywords of ``VARIANTS`` follow.

        Args:
            path: a folder that holds ``FILES``, or one of them.
            splits: those to read, in the order train, val, test; None: all that are there.

        Raises:
            DatasetError: a file is missing or cannot be used; names file, row and question.
        """

    def version(self, questions: Iterable[Question]) -> str:
        """Which release of the annotation these questions are, or ``unknown``."""


def _complaints(module: DatasetModule) -> Iterator[str]:
    if not (module.__doc__ or "").strip():
        yield "the docstring is missing; expected one that begins with what the data set is"
    if not module.FILES or not set(module.FILES) <= set(SPLITS) or not all(module.FILES.values()):
        yield (
            f"FILES has splits {', '.join(module.FILES) or 'none'}; expected paths for some of"
            f" {', '.join(SPLITS)}"
        )
    keywords = inspect.signature(module.read).parameters
    for key, values in module.VARIANTS.items():
        default = keywords[key].default if key in keywords else None
        if not values or default != values[0]:
            yield (
                f"VARIANTS[{key!r}] is {values!r}; expected values of a keyword of read, its"
                " default first"
            )
    if not module.COLUMNS or list(module.COLUMNS)[-1] != "All":
        yield f"COLUMNS has {', '.join(module.COLUMNS) or 'none'}; expected All as the last"
        return
    for name, pairs in module.COLUMNS.items():
        if not pairs <= module.COLUMNS["All"]:
            yield f"COLUMNS[{name!r}] has pairs that All lacks; expected All to count every one"


DATASETS: Kind[DatasetModule] = Kind(
    "data set", __name__, "avqa.datasets", DatasetModule, _complaints, hyphens=True
)


def names() -> tuple[str, ...]:
    """Names of all data sets, without importing them."""
    return DATASETS.names()


def load(name: str) -> DatasetModule:
    """Import the module of one data set.

    Raises:
        UnknownName: if there is no such data set.
        PluginError: if it breaks the contract.
    """
    return DATASETS.load(name)


def fixed_vocabulary(name: str) -> Vocabulary | None:
    """The vocabulary of a data set that has its own; None: it is built from training questions."""
    found: Vocabulary | None = getattr(load(name), "VOCABULARY", None)
    return found


def columns(name: str, questions: Iterable[Question]) -> dict[str, Pairs]:
    """Columns of the result table of a data set's questions, see `DatasetModule`."""
    module = load(name)
    made: Callable[[Iterable[Question]], dict[str, Pairs]] | None
    made = getattr(module, "columns", None)
    return module.COLUMNS if made is None else made(questions)


def chosen(name: str, given: Mapping[str, str]) -> dict[str, str]:
    """Every choice that a data set leaves, as given or by default; empty where it leaves none.

    Raises:
        UnknownName: there is no such data set, or no such value of a choice.
        DatasetError: the data set does not leave this choice; says which it does.
    """
    variants = load(name).VARIANTS
    for key, value in given.items():
        if key not in variants:
            known = "; ".join(f"{k} ({', '.join(values)})" for k, values in variants.items())
            raise DatasetError(
                f"{key}={value!r} is no choice of data set {name!r}; its choices:"
                f" {known or 'none'}; leave it out"
            )
        if value not in variants[key]:
            raise UnknownName(f"{key} of {name}", value, variants[key])
    return {key: given.get(key, values[0]) for key, values in variants.items()}


def told(choices: Mapping[str, str]) -> str:
    """Choices for people: ``edition=bias``; empty of those that choose nothing."""
    return ", ".join(f"{key}={value}" for key, value in choices.items() if value != "all")


def notes(name: str, path: Path | str, **variant: str) -> list[str]:
    """What is to be said of how a data set's questions are read from ``path``.

    Raises:
        As `chosen`, and DatasetError: a file cannot be read.
    """
    made: Callable[..., list[str]] | None = getattr(load(name), "notes", None)
    choices = chosen(name, variant)
    if made is None:
        return []
    read_by = inspect.signature(made).parameters
    return made(Path(path), **{key: value for key, value in choices.items() if key in read_by})


def is_one_split(name: str, path: Path) -> bool:
    """Whether ``path`` is a file whose questions are all of one split."""
    whole = getattr(load(name), "WHOLE_FILES", False)
    return path.is_file() and not (whole and path.stem not in SPLITS)


def read(
    name: str, path: Path | str, splits: Sequence[str] | None = None, **variant: str
) -> list[Question]:
    """All questions of the splits asked for, split by split, in the order of the files.

    Args:
        name: a data set, one of `names`.
        path: the folder of its annotation, as downloaded or flat, or one file of it.
        splits: some of ``train``, ``val``, ``test``; by default those whose file is there.
        **variant: the data set's own choices, see its ``VARIANTS``.

    Raises:
        UnknownName: if there is no such data set, split or value of a variant.
        DatasetError: if a file is missing or cannot be used; names file, row and question.
    """
    module = load(name)
    for split in splits or ():
        if split not in SPLITS:
            raise UnknownName("split", split, SPLITS)
    choices: dict[str, Any] = chosen(name, variant)
    return module.read(Path(path), splits or None, **choices)
