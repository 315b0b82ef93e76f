"""One video of a store: `Video`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.store.format.records import Status
from avqa.store.views.readable import Readable
from avqa.telling import html


class Video(Mapping[str, NDArray[Any]]):
    """One video of a store, as a mapping of its features: name → ``[T, *shape]``.

        video = store["clip"]
        video["vggish/audio"]  # [T, 128], read at this moment

    It has the features that are ok, sorted. Nothing is kept: each look reads.
    """

    def __init__(self, store: Readable, video_id: str) -> None:
        """Use ``store[video_id]``."""
        self._store = store
        self.id = video_id

    def __getitem__(self, feature: str) -> NDArray[Any]:
        """One feature in the stored dtype; errors as `FeatureStore.read`."""
        return self._store.read(self.id, feature)

    def __contains__(self, feature: object) -> bool:
        """Whether a feature is there, without reading it."""
        return feature in self.features

    def __iter__(self) -> Iterator[str]:
        """Names of the features that are there."""
        return iter(self.features)

    def __len__(self) -> int:
        """Number of features that are there; the length in seconds is ``seconds``."""
        return len(self.features)

    __eq__ = object.__eq__  # not by reading all arrays of both
    __hash__ = object.__hash__

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that are ok."""
        status = self._store.status
        return tuple(f for f in self._store.features if status(self.id, f) == Status.OK)

    @property
    def seconds(self) -> int:
        """T, rows of its features; 0 if none is ok."""
        return self._store.length(self.id)

    @property
    def duration(self) -> float:
        """Length of the frame in seconds; NaN if unknown."""
        return self._store.duration(self.id)

    @property
    def pts(self) -> NDArray[np.float64]:
        """Time stamp in seconds of the frame of every row: ``[T]``."""
        return self._store.pts(self.id)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What its reader warned of."""
        return self._store.warnings(self.id)

    @property
    def lost_rows(self) -> NDArray[np.bool_]:
        """Seconds whose frame was lost to damage: ``[T]``."""
        return self._store.lost_rows(self.id)

    def status(self, feature: str) -> Status:
        """State of one of the store's features of this video."""
        return self._store.status(self.id, feature)

    def _states(self) -> list[tuple[str, str]]:
        """Feature → its shape, or why it is not there."""
        found = []
        for feature in self._store.features:
            state = self.status(feature)
            shape = self._store.length(self.id, feature), *self._store.row_layout(feature).shape
            text = f"{list(shape)}" if state == Status.OK else state.name.lower()
            found.append((feature, text))
        return found

    def __repr__(self) -> str:
        """Id, length, and each feature's shape or state."""
        states = ", ".join(f"{name} {text}" for name, text in self._states())
        return f"<Video {self.id!r}: {self.seconds} s; {states}>"

    def _repr_html_(self) -> str:
        """For a notebook."""
        return html.block(
            f"Video {self.id!r}, {self.seconds} s",
            html.table(("feature", "shape"), self._states()),
            notes=self.warnings,
        )
