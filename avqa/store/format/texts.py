"""Texts and their features, beside the videos' in one group.

    text/key          (text, byte=32)  u1, hash that names the text
    text/content      (text)           string, as it was tokenised
    text/eot          (text)           u1, position of its end-of-text token
    status/<feature>  (text)           u1, see `records.Status`
    <feature>         (text, ...)      256 texts per chunk object; NaN where the status is not ok

There is no ledger: a text's features follow from its content, so what is lost is made pending and
encoded again.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.errors import FeatureMissing, StoreError
from avqa.store.format import schema
from avqa.store.format.columns import read_column
from avqa.store.format.records import Status
from avqa.store.places.files import StorePath
from avqa.store.zarr_library import zarr

ATTRIBUTE = "texts"
KEY, CONTENT, EOT = "text/key", "text/content", "text/eot"
CHUNK_TEXTS = 256
KEY_BYTES = 32
COLUMNS: dict[str, tuple[str, Any, tuple[int, ...], tuple[str, ...]]] = {
    CONTENT: ("str", "", (), ()),
    EOT: ("uint8", 0, (), ()),
    KEY: ("uint8", 0, (KEY_BYTES,), ("byte",)),  # the last one: its shape makes texts exist
}
"""Array → dtype, fill value, and shape and names of the axes of one text."""


def create_texts(group: zarr.Group, specs: Sequence[schema.FeatureSpec]) -> None:
    """Create the arrays of the texts, without any text, replacing unfinished ones."""
    for name, (dtype, fill, shape, dims) in COLUMNS.items():
        _create(group, name, dtype, fill, (schema.CAPACITY, *shape), dims)
    add_features(group, specs, 0)


def add_features(group: zarr.Group, specs: Sequence[schema.FeatureSpec], texts: int) -> None:
    """Create the arrays of features of so many ``texts``, all pending, as `create_texts`."""
    for spec in specs:
        status = schema.status_name(spec.name)
        _create(group, status, "uint8", 0, (schema.CAPACITY,), (), texts)
        _create(group, spec.name, spec.dtype, np.nan, (CHUNK_TEXTS, *spec.shape), spec.dims, texts)


def _create(
    group: zarr.Group,
    name: str,
    dtype: str,
    fill: Any,
    chunks: tuple[int, ...],
    dims: tuple[str, ...],
    texts: int = 0,
) -> None:
    schema.require_parents(group, name)
    group.create_array(
        name,
        shape=(texts, *chunks[1:]),
        chunks=chunks,
        dtype=dtype,
        fill_value=fill,
        compressors=[{"name": "crc32c"}],
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=("text", *dims),
        overwrite=True,
    )


def text_entries(attrs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Text feature → what a store's attributes say of it; empty if it has no texts."""
    found: dict[str, dict[str, Any]] = attrs.get(ATTRIBUTE, {})
    return found


def text_recipes(attrs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Text feature → recipe; empty if a store has no texts."""
    return {name: entry["recipe"] for name, entry in text_entries(attrs).items()}


def mark_of(recipes: Mapping[str, Mapping[str, Any]]) -> str:
    """What was put after every question before it was tokenised."""
    return str(next(iter(recipes.values())).get("text", {}).get("mark", ""))


def object_name(chunk: int, num_axes: int) -> str:
    """File of a chunk object; ``num_axes`` counts the axes after ``text``."""
    return ".".join(["c", str(chunk), *["0"] * num_axes])


def damaged_texts(name: str, why: str = "a chunk is damaged") -> StoreError:
    """The error for a column of the texts that cannot be read."""
    return StoreError(
        f"array {name}: {why}; expected what was written; rebuild it, or remove the texts, with:"
        " avqa verify --repair, then encode what is pending with: avqa questions"
    )


def questions_command(path: StorePath | None, features: Sequence[str], flags: str = "") -> str:
    """The command that makes features, of one encoder, of a data set's texts."""
    store = "STORE" if path is None else shlex.quote(str(path))
    made = f" --features {','.join(features)}" if features else ""
    return f"avqa questions{flags} --dataset NAME --annotations PATH --store {store}{made}"


def missing_text(text: str, path: StorePath, features: Sequence[str]) -> FeatureMissing:
    """The error for a text that a store has not, whose texts have these features."""
    of_encoder: dict[str, list[str]] = {}
    for name in features:
        of_encoder.setdefault(name.rpartition("/")[0], []).append(name)
    first, *others = of_encoder.values() or [[]]
    again = "".join(f", and with --features {','.join(names)}" for names in others)
    return FeatureMissing(
        f"no text {text!r} in store {str(path)!r}; expected one of its texts; add it with:"
        f" {questions_command(path, first)}{again}"
    )


def unfinished_text(text: str, path: StorePath, feature: str, status: Status) -> FeatureMissing:
    """The error for a feature that a text has not yet, or cannot have."""
    return FeatureMissing(
        f"text {text!r}: {feature} is {status.name.lower()}; expected ok; see `avqa status"
        f" {shlex.quote(str(path))}`, finish pending ones with:"
        f" {questions_command(path, [feature])}"
    )


class TextIndex:
    """What a reader has to know of a store's texts; plain values that can be pickled."""

    def __init__(
        self, root: StorePath, recipes: Mapping[str, Mapping[str, Any]], *, strict: bool = True
    ) -> None:
        """Read it from the group ``root``; ``recipes`` by feature.

        Raises:
            StoreError: a column is damaged; with ``strict`` also if it cannot be as it is.
        """
        keys, contents = _whole(root, KEY), _whole(root, CONTENT)
        self.keys = [key.tobytes().hex() for key in keys]
        # A run may add texts meanwhile; their keys come last.
        self.contents = [str(content) for content in contents[: len(keys)]]
        self.eot = _whole(root, EOT)[: len(keys)]
        statuses = {name: _whole(root, schema.status_name(name)) for name in recipes}
        for name, values in ((CONTENT, contents), (EOT, self.eot), *statuses.items()):
            if len(values) < len(keys):  # written before the keys, so that there are as many
                raise damaged_texts(name)
        self.status = {name: status[: len(keys)] for name, status in statuses.items()}
        if strict:
            self._check(root)
        # Texts are asked for as questions have them: without the mark they were encoded with.
        mark = mark_of(recipes)
        bare = [content.removesuffix(mark) for content in self.contents]
        rows = range(len(keys))
        self._rows = dict(zip(bare, rows)) | dict(zip(self.keys, rows, strict=True))  # noqa: B905

    def _check(self, root: StorePath) -> None:
        for name in COLUMNS:
            if read_column(root, name, schema.open_array(root, name, "r"))[1]:
                raise damaged_texts(name, "an object of it is gone")
        for feature, status in self.status.items():
            if (status > max(Status)).any():
                raise damaged_texts(schema.status_name(feature), "it holds what is no status")

    def row(self, text: str) -> int | None:
        """Number of a text, given as such or by its key."""
        return self._rows.get(text)


def _whole(root: StorePath, name: str) -> NDArray[Any]:
    try:
        return read_column(root, name, schema.open_array(root, name, "r"))[0]
    except StoreError as error:
        raise damaged_texts(name) from error


def read_rows(array: Any, rows: Sequence[int]) -> NDArray[Any]:
    """These texts of a feature: ``[n, *shape]``; every chunk object is read once.

    Raises:
        ValueError, RuntimeError: an object is damaged.
    """
    wanted = np.asarray(rows, np.int64)
    values = np.empty((len(wanted), *array.shape[1:]), array.dtype)
    for chunk in np.unique(wanted // CHUNK_TEXTS).tolist():
        start = chunk * CHUNK_TEXTS
        of_chunk = np.asarray(array[start : start + CHUNK_TEXTS])
        places = np.flatnonzero(wanted // CHUNK_TEXTS == chunk)
        values[places] = of_chunk[wanted[places] - start]
    return values
