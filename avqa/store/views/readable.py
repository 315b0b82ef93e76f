"""What the views ask of a store; `avqa.store.reader.FeatureStore` has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from avqa.store.format.records import Status
from avqa.store.places.files import StorePath


class RowLayout(NamedTuple):
    """What one second of a feature looks like."""

    shape: tuple[int, ...]
    dims: tuple[str, ...]
    """Name of each axis of ``shape``."""
    dtype: np.dtype[Any]


class TextReader(Protocol):
    """Features of texts, of a store or of a few texts at hand."""

    @property
    def path(self) -> StorePath | None:
        """The store; None of texts at hand."""

    @property
    def text_features(self) -> tuple[str, ...]:
        """Names of the texts' features."""

    def eot(self, text: str) -> int:
        """Position of a text's end-of-text token."""

    def read_texts(self, texts: Sequence[str], feature: str) -> NDArray[Any]:
        """One feature of these texts, or of the texts with these keys: ``[n, *shape]``."""


class Readable(Protocol):
    """A store that can be read; `avqa.store.reader.FeatureStore` says what each of these gives."""

    path: StorePath

    @property
    def packed(self) -> bool: ...  # noqa: D102
    @property
    def features(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def text_features(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def texts(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def video_ids(self) -> tuple[str, ...]: ...  # noqa: D102

    def __len__(self) -> int: ...
    def __contains__(self, video_id: object) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def row_layout(self, feature: str) -> RowLayout: ...  # noqa: D102
    def recipe(self, feature: str) -> dict[str, Any]: ...  # noqa: D102
    def recipe_hash(self, feature: str) -> str: ...  # noqa: D102
    def random_weights(self, feature: str) -> bool: ...  # noqa: D102
    def counts(self, feature: str) -> Mapping[Status, int]: ...  # noqa: D102
    def status(self, video_id: str, feature: str) -> Status: ...  # noqa: D102
    def length(self, video_id: str, feature: str | None = None) -> int: ...  # noqa: D102
    def require(self, video_id: str, feature: str) -> None: ...  # noqa: D102
    def read(self, video_id: str, feature: str) -> NDArray[Any]: ...  # noqa: D102
    def pts(self, video_id: str) -> NDArray[np.float64]: ...  # noqa: D102
    def duration(self, video_id: str) -> float: ...  # noqa: D102
    def warnings(self, video_id: str) -> tuple[str, ...]: ...  # noqa: D102
    def lost_rows(self, video_id: str) -> NDArray[np.bool_]: ...  # noqa: D102
