"""The columns of a store's texts, made anew from each other where they can be."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from avqa.errors import StoreError
from avqa.store.checks.removed import Removed
from avqa.store.format import layout, schema
from avqa.store.format.columns import Column, read_column
from avqa.store.format.texts import CONTENT, EOT, KEY, mark_of, text_recipes
from avqa.store.lock import Lock
from avqa.store.places.files import StorePath
from avqa.store.text_writer import drop_texts

METADATA = "zarr.json"


def mend_columns(
    path: StorePath,
    names: Collection[str],
    removed: Removed,
    key_of: Callable[[str, str], str],
    end_of_text: Callable[[Sequence[str]], Sequence[int]] | None,
) -> bool:
    """Write keys and positions anew from the contents; False, with nothing done, if that fails.

    Args:
        path: the store directory.
        names: arrays that are damaged, lost or wrong; ``text``: nobody knows which.
        removed: for their objects.
        key_of: (content, mark) → key.
        end_of_text: texts → positions of their last token.
    """
    root = path / schema.GROUP
    mark = mark_of(text_recipes(layout.read_attributes(path)))
    try:
        values, lost = read_column(root, CONTENT, schema.open_array(root, CONTENT, "r"))
    except StoreError:
        return False
    contents = [str(content) for content in values]
    wrong = {name for name in (KEY, EOT) if name in names or _unreadable(root, name)}
    if lost or CONTENT in names or not _agree(root, contents, wrong, key_of, mark):
        return False
    if EOT in wrong and end_of_text is None:
        return False
    if KEY in wrong:
        keys = [np.frombuffer(bytes.fromhex(key_of(c, mark)), np.uint8) for c in contents]
        _write(root, KEY, keys, removed)
    if EOT in wrong and end_of_text is not None:
        _write(root, EOT, list(end_of_text(contents)), removed)
    return True


def _unreadable(root: StorePath, name: str) -> bool:
    try:
        read_column(root, name, schema.open_array(root, name, "r"))
    except StoreError:
        return True
    return False


def _agree(
    root: StorePath,
    contents: list[str],
    wrong: Collection[str],
    key_of: Callable[[str, str], str],
    mark: str,
) -> bool:
    """Whether the contents are those of the keys, or keys are not to be had."""
    if KEY in wrong:
        return len(set(contents)) == len(contents) and all(contents)
    keys, _ = read_column(root, KEY, schema.open_array(root, KEY, "r"))
    told = [key.tobytes().hex() for key in keys]
    return told == [key_of(content, mark) for content in contents[: len(told)]]


def _write(root: StorePath, name: str, values: Sequence[Any], removed: Removed) -> None:
    for file in sorted(key for key in (root / name).sizes() if key != METADATA):
        removed.move(root / name / file)
    column = Column(root, name, heal=True)
    for row, value in enumerate(values[: column.rows]):
        column[row] = value
    column.flush(durable=True)


def keep_statuses(path: StorePath, removed: Removed) -> None:
    """Keep copies of the statuses, which may be replaced."""
    root = path / schema.GROUP
    for feature in text_recipes(layout.read_attributes(path)):
        folder = root / schema.status_name(feature)
        for file in sorted(key for key in folder.sizes() if key != METADATA):
            removed.keep(folder / file)


def drop(path: StorePath, lock: Lock, removed: Removed) -> None:
    """Take all texts away: nothing but their content could replace them."""
    root = path / schema.GROUP
    names = text_recipes(layout.read_attributes(path))
    for name in (KEY, CONTENT, EOT, *names, *map(schema.status_name, names)):
        for file in sorted((root / name).sizes()):
            removed.move(root / name / file)
    drop_texts(path, lock)
