"""Sets of questions, one file each: ``music_avqa.py`` is the data set ``music-avqa``.

A module of this package is a data set if it defines, beside its docstring:

- ``BIBTEX: str``: how to cite it (this is also what makes it one)
- ``LICENSE: str``: what its licence allows
- ``FILES: dict[str, tuple[str, ...]]``: by split, the paths tried below a folder, best first
- ``VARIANTS: dict[str, tuple[str, ...]]``: keywords of ``read`` and their values, default first
- ``COLUMNS: dict[str, Pairs]``: columns of its result table, see `avqa.datasets._parts.taxonomy`
- ``read(path, splits=None, **variant) -> list[Question]``: the questions of a folder or a file
- ``version(questions) -> str``: which release of the annotation these questions are
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from avqa.datasets._parts.question import SPLITS, Question
from avqa.errors import DatasetError, UnknownName

__all__ = ["Question", "load", "names", "read"]


@functools.cache
def names() -> tuple[str, ...]:
    """Names of all data sets, without importing them."""
    found = (m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
    return tuple(sorted(name.replace("_", "-") for name in found if _is_data_set(name)))


def _is_data_set(module: str) -> bool:
    spec = importlib.util.find_spec(f"{__name__}.{module}")
    return spec is not None and "\nBIBTEX = " in Path(str(spec.origin)).read_text(encoding="utf-8")


def load(name: str) -> ModuleType:
    """Import the module of one data set.

    Raises:
        UnknownName: if there is no such data set.
    """
    if name not in names():
        raise UnknownName("data set", name, names())
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


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
    for key, value in variant.items():
        if key not in module.VARIANTS:
            known = ", ".join(module.VARIANTS) or "none"
            raise DatasetError(
                f"{key}={value!r} is no choice of data set {name!r}; its choices: {known};"
                " leave it out"
            )
        if value not in module.VARIANTS[key]:
            raise UnknownName(key, value, module.VARIANTS[key])
    questions: list[Question] = module.read(Path(path), splits or None, **variant)
    return questions
