"""The texts of a store, as the driver writes them; `avqa.store.format.texts` says what lies where.

Only the driver writes, under the store's lock. A chunk object is replaced as a whole and made
durable before the statuses of its texts are set.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.errors import StoreError
from avqa.store.format import layout, schema
from avqa.store.format.chunks import read_record
from avqa.store.format.columns import Column
from avqa.store.format.recipe_diff import diff_features, require_same
from avqa.store.format.records import Status
from avqa.store.format.texts import (
    ATTRIBUTE,
    CHUNK_TEXTS,
    COLUMNS,
    CONTENT,
    EOT,
    KEY,
    add_features,
    create_texts,
    damaged_texts,
    mark_of,
    object_name,
    text_entries,
    text_recipes,
)
from avqa.store.lock import Lock
from avqa.store.places.files import StorePath, storage_errors, store_path, with_retries


@dataclass(frozen=True)
class NewText:
    """A text to be added."""

    key: str
    """64 hexadecimal digits."""
    content: str
    eot: int


class Texts:
    """The texts of a store, opened for the driver."""

    def __init__(
        self,
        path: StorePath,
        lock: Lock,
        features: Iterable[str] | None = None,
        *,
        heal: bool = False,
    ) -> None:
        """Use `open`; ``path`` is the store directory S.

        ``features``: those that are written and may be pending; None: all that there are.

        With ``heal``, all texts of a damaged status column are pending, and `damaged` names the
        features.

        Raises:
            StoreError: a column is damaged; nothing but their content could replace the texts.
        """
        self._root = store_path(path) / schema.GROUP
        self._lock = lock
        self.entries = text_entries(layout.read_attributes(path))
        names = [*map(schema.status_name, self.entries), *COLUMNS]  # the key stays last
        self._columns = {
            name: _column(self._root, name, heal=heal and name not in COLUMNS) for name in names
        }
        self.features = tuple(self.entries if features is None else features)
        self.damaged = [
            name for name in self.entries if self._columns[schema.status_name(name)].damaged
        ]
        self._arrays = {name: schema.open_array(self._root, name) for name in self.entries}
        values = self._columns[KEY].values
        self._rows = {key.tobytes().hex(): row for row, key in enumerate(values)}
        for column in self._columns.values():
            column.cut(len(values))  # what a crash left half added
            column.extend(len(values))  # of a feature that is new
        self._show()

    @classmethod
    def open(
        cls,
        path: StorePath,
        specs: Sequence[schema.FeatureSpec],
        recipes: Mapping[str, Mapping[str, Any]],
        *,
        lock: Lock,
    ) -> Texts:
        """Open the texts of a store, or begin them if there are none.

        Features that it lacks are added, pending for every text; what is written from here on
        are these features alone.

        Raises:
            RecipeMismatch: those that are there were made by another recipe, or their texts were
                tokenised otherwise; names every differing key with both values. Nothing was
                written.
            StoreError: they are damaged.
            StorageFailure: the disk is full or read-only.
        """
        check_text_recipes(path, recipes)
        lock.check()
        with storage_errors(f"store {str(path)!r}"):
            known = text_entries(layout.read_attributes(path))
            new = [spec for spec in specs if spec.name not in known]
            if new:
                _create(store_path(path) / schema.GROUP, new, recipes)
            return cls(path, lock, recipes)

    def __len__(self) -> int:
        """Texts there are, in whatever state."""
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        """Whether the text with this key is there, in whatever state."""
        return key in self._rows

    def status(self, feature: str) -> NDArray[np.uint8]:
        """Status of every text: ``[texts]``, a copy."""
        return self._columns[schema.status_name(feature)].values.copy()

    def num_failed(self) -> int:
        """Texts of which a feature cannot be stored."""
        return int(np.any([self.status(f) == Status.FAILED for f in self.features], axis=0).sum())

    def _show(self) -> None:
        """Write the columns, and make the texts exist by giving all arrays their number."""
        for name, array in self._arrays.items():
            schema.set_shape(self._root, name, (len(self), *array.shape[1:]))
        for column in self._columns.values():
            column.flush(durable=True)
            column.commit_shape()

    def add(self, texts: Sequence[NewText]) -> None:
        """Append texts, all pending; keys that are there already are left out.

        Raises:
            StoreLocked: another run took the lock.
            StorageFailure: the disk is full or read-only.
        """
        new = {text.key: text for text in texts if text.key not in self._rows}
        first = len(self._rows)
        self._lock.check()
        for column in self._columns.values():
            column.extend(first + len(new))
        for row, text in enumerate(new.values(), start=first):
            self._columns[CONTENT][row] = text.content
            self._columns[EOT][row] = text.eot
            self._columns[KEY][row] = np.frombuffer(bytes.fromhex(text.key), np.uint8)
            self._rows[text.key] = row
        with storage_errors("the texts"):
            with_retries(self._show)

    def work(self) -> Iterator[tuple[NDArray[np.int64], list[str]]]:
        """(numbers, contents) of the pending texts of every chunk that has any, in order.

        A chunk object that cannot be read makes all its texts pending.
        """
        contents = self._columns[CONTENT].values
        for start in range(0, len(self), CHUNK_TEXTS):
            if self._pending(start).any():
                self._forget_damaged(start)
                rows = np.flatnonzero(self._pending(start)) + start
                yield rows, [str(content) for content in contents[rows]]

    def num_pending(self, keys: Iterable[str] | None = None) -> int:
        """Texts with a pending feature: all, or those of these keys."""
        of_features = [self.status(feature) for feature in self.features]
        pending = (np.array(of_features) == Status.PENDING).any(axis=0)
        rows = slice(None) if keys is None else [self._rows[key] for key in keys]
        return int(pending[rows].sum())

    def _pending(self, start: int) -> NDArray[np.bool_]:
        chunk = slice(start, start + CHUNK_TEXTS)
        of_features = [self.status(feature)[chunk] for feature in self.features]
        pending: NDArray[np.bool_] = (np.array(of_features) == Status.PENDING).any(axis=0)
        return pending

    def _forget_damaged(self, start: int) -> None:
        chunk = slice(start, start + CHUNK_TEXTS)
        for feature in self.features:
            ok = self.status(feature)[chunk] == Status.OK
            try:
                fine = not ok.any() or np.isfinite(self._read(feature, start)[ok]).all()
            except (ValueError, RuntimeError):
                fine = False
            if not fine:
                self._set(feature, np.flatnonzero(ok) + start, Status.PENDING)

    def _read(self, feature: str, start: int) -> NDArray[Any]:
        """The texts of a chunk that exist, of any status: ``[n, *shape]``."""
        array = self._arrays[feature]
        whole = schema.beyond_shape(array, (len(self), *array.shape[1:]))
        values: NDArray[Any] = np.asarray(whole[start : start + CHUNK_TEXTS])
        return values

    def _set(self, feature: str, rows: NDArray[np.int64], status: Status) -> None:
        column = self._columns[schema.status_name(feature)]
        for row in rows.tolist():
            column[row] = status
        column.flush(durable=True)

    def write(self, rows: NDArray[np.int64], values: Mapping[str, NDArray[Any]]) -> int:
        """Store the features of texts of one chunk and mark them ok.

        A text with a value that is not finite, or beyond what the stored type can hold, is
        marked failed instead.

        Args:
            rows: numbers of the texts, as `work` gives them.
            values: feature → ``[len(rows), *shape]``, for each of `features`.

        Returns:
            Bytes written.

        Raises:
            StoreLocked: another run took the lock; nothing was written.
            StorageFailure: the disk is full or read-only.
        """
        self._lock.heartbeat()
        with storage_errors("the texts' features"):
            return sum(
                with_retries(functools.partial(self._write, feature, rows, values[feature]))
                for feature in self.features
            )

    def _write(self, feature: str, rows: NDArray[np.int64], values: NDArray[Any]) -> int:
        array = self._arrays[feature]
        start = int(rows[0]) // CHUNK_TEXTS * CHUNK_TEXTS
        largest = np.abs(values.reshape(len(values), -1)).max(axis=1)
        fits = largest <= np.finfo(array.dtype).max  # false for NaN too
        chunk: NDArray[Any] = np.full(array.chunks, np.nan, array.dtype)
        ok = np.flatnonzero(self.status(feature)[start : start + CHUNK_TEXTS] == Status.OK)
        if len(ok):
            chunk[ok] = self._read(feature, start)[ok]
        chunk[rows[fits] - start] = values[fits]
        chunk[rows[~fits] - start] = np.nan
        grown = schema.beyond_shape(array, (start + CHUNK_TEXTS, *array.shape[1:]))
        grown[start:] = chunk
        path = self._root / feature / object_name(start // CHUNK_TEXTS, array.ndim - 1)
        path.sync()
        path.parent.sync()
        self._set(feature, rows[~fits], Status.FAILED)
        self._set(feature, rows[fits], Status.OK)
        return read_record(path).n_bytes

    def set_by_values(self, feature: str) -> None:
        """Set the statuses of a feature by its values: whole ones are ok.

        Others are pending, but for those that failed.

        Raises:
            StoreLocked: another run took the lock.
            StorageFailure: the disk is full or read-only.
        """
        self._lock.check()
        for start in range(0, len(self), CHUNK_TEXTS):
            known = self.status(feature)[start : start + CHUNK_TEXTS]
            try:
                values = self._read(feature, start)
                whole = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
            except (ValueError, RuntimeError):
                whole = np.zeros(len(known), bool)
            lost = ~whole & (known != Status.FAILED)
            with storage_errors("the texts' statuses"):
                self._set(feature, np.flatnonzero(whole) + start, Status.OK)
                self._set(feature, np.flatnonzero(lost) + start, Status.PENDING)

    def set_pending(self, feature: str, chunk: int) -> None:
        """Make the texts of a chunk of a feature pending: its object is not to be used.

        Raises:
            StoreLocked: another run took the lock.
            StorageFailure: the disk is full or read-only.
        """
        self._lock.check()
        start = chunk * CHUNK_TEXTS
        rows = np.arange(start, min(start + CHUNK_TEXTS, len(self)))
        with storage_errors("the texts' statuses"):
            self._set(feature, rows, Status.PENDING)


def check_text_recipes(
    path: StorePath, recipes: Mapping[str, Mapping[str, Any]], advice: str = ""
) -> None:
    """Make sure that a store's texts were made this way, if it has any; else ``advice``.

    Features that are new have to agree on what is tokenised: its end is stored once.

    Raises:
        RecipeMismatch: names every differing key with both values, and its features.
    """
    stored = text_recipes(layout.read_attributes(path))
    mark = {"text": {"mark": mark_of(stored)}} if stored else {}
    new = {name: mark for name in recipes if name not in stored}
    asked = {
        name: {"text": {"mark": mark_of({name: recipe})}} if name in new else recipe
        for name, recipe in recipes.items()
    }
    differing = diff_features(new | stored, asked) if stored else []
    require_same(f"texts of store {str(path)!r}", differing, advice)


def drop_texts(path: StorePath, lock: Lock) -> None:
    """Remove all texts and their features.

    Raises:
        StoreLocked: another run took the lock.
        StorageFailure: the disk is read-only.
    """
    lock.check()
    root = store_path(path) / schema.GROUP
    attrs = layout.read_attributes(path)
    with storage_errors(f"store {str(path)!r}"):
        # Without the attribute the arrays do not count; what a crash leaves is made anew.
        names = attrs.pop(ATTRIBUTE, {})
        layout.write_attributes(root, attrs)
        for name in ("text", *names, *map(schema.status_name, names)):
            (root / name).remove_folder()


def _create(
    root: StorePath,
    specs: Sequence[schema.FeatureSpec],
    recipes: Mapping[str, Mapping[str, Any]],
) -> None:
    attrs = layout.read_attributes(root.parent)
    known = text_entries(attrs)
    layout.check_specs(specs, attrs["features"] | known)
    group = schema.open_group(root)
    if known:
        add_features(group, specs, schema.open_array(root, KEY).shape[0])
    else:
        create_texts(group, specs)
    entries = {spec.name: layout.feature_entry(spec, recipes[spec.name]) for spec in specs}
    layout.write_attributes(root, {**attrs, ATTRIBUTE: dict(sorted((known | entries).items()))})


def _column(root: StorePath, name: str, *, heal: bool) -> Column:
    try:
        return Column(root, name, heal=heal)
    except StoreError as error:
        raise damaged_texts(name) from error
