"""Reading features: `open_store` → `FeatureStore`, a mapping of video ids to videos.

Arrays stay open between reads, which makes a read several times faster than opening the group each
time. A `FeatureStore` may be pickled, and used after a fork: every process opens arrays of its own.
"""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from avqa.errors import FeatureMissing, StoreError, UnknownName, UnknownVideo
from avqa.faults import machine_fault, reading
from avqa.store import dtypes
from avqa.store.format import layout, schema
from avqa.store.format.arrays import impossible
from avqa.store.format.chunks import FeatureObjects
from avqa.store.format.columns import REBUILD, read_column
from avqa.store.format.ledger import Ledger, lost_rows_in, warnings_in
from avqa.store.format.recipe_diff import has_random_weights as has_random_weights
from avqa.store.format.recipe_diff import is_imported, making_command
from avqa.store.format.records import Status, removed
from avqa.store.format.schema import length_name, status_name
from avqa.store.format.texts import (
    TextIndex,
    missing_text,
    read_rows,
    text_entries,
    text_recipes,
    unfinished_text,
)
from avqa.store.places.files import StorePath, store_path
from avqa.store.views.mapping import StoreViews
from avqa.store.views.readable import RowLayout
from avqa.store.views.readable import TextReader as TextReader
from avqa.units import path_text

_ADVICE = {
    Status.PENDING: "run `avqa extract` on this store to finish it",
    Status.FAILED: "see `avqa status {store}`; try again with `avqa extract --retry-failed`",
    Status.DELETED: "it was removed; `avqa extract` takes it in again",
    Status.ABSENT: "the video has no such stream; leave it out or use zeros",
}
_PACKED_ADVICE = "in a packed copy it stays so; finish the working store and `avqa pack` it again"


class RandomWeightsWarning(UserWarning):
    """A store's features come from seeded random weights: fine for tests, not for science."""


def open_store(path: str | os.PathLike[str] | StorePath) -> FeatureStore:
    """Open a store for reading.

        store = avqa.open_store("features")
        rows = store.read("clip", "clip_vit_b32/frame")  # [T, 512]

    Warns with `RandomWeightsWarning` if features were made with random weights.

    Raises:
        StoreNotFound: there is no store at ``path``.
        StoreError: it has another schema or is damaged.
        ConfigError: ``path`` is none.
    """
    place = path if isinstance(path, StorePath) else path_text("path", path)
    store = FeatureStore(store_path(place))
    names = (*store.features, *store.text_features)
    made_up = [name for name in names if has_random_weights(store.recipe(name))]
    if made_up:
        warnings.warn(
            f"store {str(path)!r}: random weights made {', '.join(made_up)};"
            " use them for tests only; extract with --weights pretrained for results",
            RandomWeightsWarning,
            stacklevel=2,
        )
    return store


class _Column(NamedTuple):
    """A column as it was read."""

    values: NDArray[Any]
    lost: tuple[str, ...]


class FeatureStore(StoreViews):
    """The features of a store as it was when opened; `reload` looks again.

    A mapping of video ids, in row order: store["clip"]["vggish/audio"]  # [T, 128]
    """

    def __init__(self, path: StorePath) -> None:
        """Use `open_store`, which also warns of random weights."""
        self.path = store_path(path).absolute()
        self._root = self.path / schema.GROUP
        self._arrays: dict[str, Any] = {}
        self._pid = os.getpid()
        self.reload()

    def reload(self) -> None:
        """Read attributes, ids, statuses and lengths again: a run may have added some.

        Raises:
            StoreNotFound, StoreError: as `open_store`.
        """
        self._attrs = layout.read_attributes(self.path)
        self._arrays = {}
        self._objects: dict[str, FeatureObjects] = {}
        self._texts: TextIndex | None = None
        self._reports: dict[int, list[dict[str, Any]]] | None = None
        self._lost: dict[int, tuple[int, ...]] | None = None
        names = [name for f in self.features for name in (status_name(f), length_name(f))]
        columns = {name: self._column(name) for name in (schema.VIDEO_ID, *names)}
        for name, why in impossible(columns, self._attrs["capacity"]):
            raise StoreError(f"array {name}: {why}; {self._rebuilding()}")
        ids = columns[schema.VIDEO_ID].values
        self._rows = {str(name): row for row, name in enumerate(ids) if name}
        self._status = {f: columns[status_name(f)].values[: len(ids)] for f in self.features}
        self._length = {f: columns[length_name(f)].values[: len(ids)] for f in self.features}
        gone = removed(self._status.values())
        self._here = {name: row for name, row in self._rows.items() if not gone[row]}
        for feature in self.features:
            self._require_statuses(feature, columns[status_name(feature)].lost)

    def _require_statuses(self, feature: str, lost: Sequence[str]) -> None:
        """Refuse lost statuses of rows with a length: as pending they would be left out."""
        height = self._array(status_name(feature)).chunks[0]
        for name in lost:
            start = int(name.split(".")[1]) * height
            if self._length[feature][start : start + height].any():
                raise StoreError(
                    f"array {status_name(feature)}: {name} is gone; expected a status of what has"
                    f" a length; {self._rebuilding()}"
                )

    def _rebuilding(self) -> str:
        return self._mending("extract") if self.packed else REBUILD

    def __getstate__(self) -> dict[str, Any]:
        """Leave open arrays and the ledger behind: another process opens its own."""
        return self.__dict__ | {"_arrays": {}, "_objects": {}, "_reports": None}

    def _array(self, name: str) -> Any:
        if self._pid != os.getpid():
            self._arrays, self._pid = {}, os.getpid()
        if name not in self._arrays:
            self._arrays[name] = schema.open_array(self._root, name, mode="r")
        return self._arrays[name]

    def _column(self, name: str) -> _Column:
        return _Column(*read_column(self._root, name, self._array(name)))

    @property
    def packed(self) -> bool:
        """Whether it is a packed copy, made by `avqa pack`."""
        return layout.is_packed(self._attrs)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, ``<encoder>/<tap>``, sorted."""
        return tuple(sorted(self._attrs["features"]))

    @property
    def text_features(self) -> tuple[str, ...]:
        """Names of the texts' features, sorted; none before `avqa questions`."""
        return tuple(sorted(text_entries(self._attrs)))

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts as they were tokenised, in the order in which they came."""
        return tuple(self._text_index().contents) if self.text_features else ()

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Ids of all videos that were not removed, in row order."""
        return tuple(self._here)

    def __len__(self) -> int:
        """Number of `video_ids`."""
        return len(self._here)

    def __contains__(self, video_id: object) -> bool:
        """Whether a video is one of `video_ids`."""
        return isinstance(video_id, str) and video_id in self._here

    def recipe(self, feature: str) -> dict[str, Any]:
        """Everything that decided the numbers of a feature, of videos or of texts.

        Raises:
            UnknownName: the store has no such feature.
        """
        recipe: dict[str, Any] = self._entry(feature)["recipe"]
        return recipe

    def recipe_hash(self, feature: str) -> str:
        """SHA-256 of the recipe's canonical JSON.

        Raises:
            UnknownName: the store has no such feature.
        """
        return str(self._entry(feature)["recipe_hash"])

    def made_by(self, feature: str) -> dict[str, Any]:
        """``recipe_hash`` and ``recipe``, as a run keeps them.

        Raises:
            UnknownName: the store has no such feature.
        """
        return {"recipe_hash": self.recipe_hash(feature), "recipe": self.recipe(feature)}

    def random_weights(self, feature: str) -> bool:
        """Whether seeded random weights made a feature.

        Raises:
            UnknownName: the store has no such feature.
        """
        return has_random_weights(self.recipe(feature))

    def row_layout(self, feature: str) -> RowLayout:
        """Shape, names of axes and dtype of one second of a feature.

        Raises:
            UnknownName: the store has no such feature.
            StoreError: its array's metadata is damaged.
        """
        self._check_feature(feature)
        array = self._array(feature)
        dims = array.metadata.dimension_names or ()
        return RowLayout(tuple(array.shape[2:]), tuple(dims[2:]), array.dtype)

    def counts(self, feature: str) -> dict[Status, int]:
        """How many videos have a feature in each state.

        Raises:
            UnknownName: the store has no such feature.
        """
        self._check_feature(feature)
        return {state: int((self._status[feature] == state).sum()) for state in Status}

    def _entry(self, feature: str) -> dict[str, Any]:
        entries: dict[str, Any] = {**self._attrs["features"], **text_entries(self._attrs)}
        if feature not in entries:
            raise UnknownName("feature", feature, entries)
        entry: dict[str, Any] = entries[feature]
        return entry

    def status(self, video_id: str, feature: str) -> Status:
        """State of a feature of a video.

        Raises UnknownName: the store has no such feature or video.
        """
        self._check_feature(feature)
        return Status(int(self._status[feature][self._row(video_id)]))

    def read(self, video_id: str, feature: str) -> NDArray[Any]:
        """One feature of one video: ``[T, *shape]`` in the stored dtype, without padding.

        Raises:
            UnknownName: the store has no such feature or video.
            FeatureMissing: it is not there for this video; says why and what to run.
            StoreError: the stored object is damaged.
        """
        self.require(video_id, feature)
        row = self._row(video_id)
        length = int(self._length[feature][row])
        values = self._values(
            f"video {video_id!r}: {feature}", "extract", lambda: self._rows_of(feature, row, length)
        )
        if not 0 < length == len(values):
            raise StoreError(
                f"video {video_id!r}: {feature} has rows={len(values)}; expected"
                f" {length or 'some'}, as its length says; {self._mending('extract')}"
            )
        # Stored values are finite and missing objects read as the fill: look at one per object.
        firsts = values[:: self._attrs["chunk_seconds"]]
        if dtypes.is_fill(firsts.reshape(len(firsts), -1)[:, 0]).any():
            raise FeatureMissing(
                f"video {video_id!r}: {feature} has status ok but an object of it is gone;"
                f" expected all; {self._mending('extract')}"
            )
        return values

    def _rows_of(self, feature: str, row: int, length: int) -> NDArray[Any]:
        """A video's rows, the fill where an object is gone."""
        array = self._array(feature)
        if self.packed or "shard_videos" not in self._entry(feature):
            rows: NDArray[Any] = array[row, :length]
            return rows
        if feature not in self._objects:
            self._objects[feature] = FeatureObjects(self._root, feature)
        values = self._objects[feature].values(row, length)
        return dtypes.missing((length, *array.shape[2:]), array.dtype) if values is None else values

    def require(self, video_id: str, feature: str) -> None:
        """Make sure that a feature of a video is there.

        Raises:
            UnknownName: the store has no such feature or video.
            FeatureMissing: it is not there for this video; says why and what to run.
        """
        status = self.status(video_id, feature)
        if status == Status.OK:
            return
        recipe = self.recipe(feature)
        advice = _ADVICE[status]
        if is_imported(recipe) and status != Status.ABSENT:
            advice = f"take its file in with `{making_command(recipe)}`"
        if self.packed and status != Status.ABSENT:
            advice = f"see `avqa status {{store}}`; {_PACKED_ADVICE}"
        raise FeatureMissing(
            f"video {video_id!r}: {feature} is {status.name.lower()}; expected ok;"
            f" {advice.format(store=shlex.quote(str(self.path)))}"
        )

    def zero_rows(self, feature: str, count: int) -> NDArray[Any]:
        """So many rows of zeros in a feature's shape and stored dtype: ``[count, *shape]``."""
        self._check_feature(feature)
        array = self._array(feature)
        return np.zeros((count, *array.shape[2:]), array.dtype)

    def _values(self, what: str, command: str, read: Callable[[], Any]) -> NDArray[Any]:
        """What zarr reads: its errors mean damage unless they are the machine's."""
        with reading(what):
            try:
                values: NDArray[Any] = read()
            except (ValueError, RuntimeError) as error:
                if machine_fault(error):
                    raise
                raise StoreError(
                    f"{what} is damaged ({error}); expected its checksum to fit;"
                    f" {self._mending(command)}"
                ) from error
        return values

    def read_text(self, text: str, feature: str) -> NDArray[Any]:
        """One feature of one text: ``[512]`` for a sentence, ``[77, 512]`` for words.

        Args:
            text: as `avqa.datasets.Question.text` has it, or its key in hexadecimal.
            feature: one of `text_features`.

        Raises:
            FeatureMissing: it is not there for this text; says why and what to run.
            StoreError: the stored object is damaged.
        """
        values: NDArray[Any] = self.read_texts([text], feature)[0]
        return values

    def read_texts(self, texts: Sequence[str], feature: str) -> NDArray[Any]:
        """One feature of many texts: ``[n, *shape]``, far faster than one by one.

        Raises:
            FeatureMissing, StoreError: as `read_text`.
        """
        rows = [self._text_row(text) for text in texts]
        if feature not in self.text_features:
            raise UnknownName("text feature", feature, self.text_features)
        status = self._text_index().status[feature][rows]
        for number in np.flatnonzero(status != Status.OK).tolist():
            raise unfinished_text(texts[number], self.path, feature, Status(status[number]))
        values = self._values(feature, "questions", lambda: read_rows(self._array(feature), rows))
        if np.isnan(values[..., 0]).any():
            raise FeatureMissing(
                f"{feature} has status ok but an object of it is gone; expected all;"
                f" {self._mending('questions')}"
            )
        return values

    def _mending(self, command: str) -> str:
        """What to do about a damaged object that ``command`` made."""
        if self.packed:
            return "fetch this packed copy again, or `avqa pack` the working store again"
        return f"run `avqa verify --repair`, then `avqa {command}`"

    def eot(self, text: str) -> int:
        """Position of a text's end-of-text token among its 77; positions after it say nothing.

        Raises:
            FeatureMissing: the store has no such text.
        """
        row = self._text_row(text)
        return int(self._text_index().eot[row])

    def _text_row(self, text: str) -> int:
        row = self._text_index().row(text) if self.text_features else None
        if row is None:
            raise missing_text(text, self.path, self.text_features)
        return row

    def _text_index(self) -> TextIndex:
        if self._texts is None:
            self._texts = TextIndex(self._root, text_recipes(self._attrs))
        return self._texts

    def length(self, video_id: str, feature: str | None = None) -> int:
        """Valid seconds T of a video, or of one feature of it; 0 of what is not ok.

        Raises:
            UnknownName: the store has no such video or feature.
        """
        if feature is not None:
            self._check_feature(feature)
        row = self._row(video_id)
        asked = self.features if feature is None else (feature,)
        return max((int(self._length[f][row]) for f in asked if self._ok(f, row)), default=0)

    def _ok(self, feature: str, row: int) -> bool:
        return bool(self._status[feature][row] == Status.OK)

    def pts(self, video_id: str) -> NDArray[np.float64]:
        """Time stamp in seconds of the frame of every row: ``[T]``.

        Raises:
            UnknownName: the store has no such video.
            StoreError: some are lost.
        """
        row, length = self._row(video_id), self.length(video_id)
        values = self._values(
            f"video {video_id!r}: {schema.PTS}",
            "extract",
            lambda: self._array(schema.PTS)[row, :length],
        )
        imported = any(is_imported(self.recipe(feature)) for feature in self.features)
        if np.isnan(values).any() and not imported:
            raise StoreError(
                f"video {video_id!r}: {schema.PTS} lacks time stamps; expected one of every row;"
                f" {self._rebuilding()}"
            )
        return values

    def duration(self, video_id: str) -> float:
        """Length of the frame in seconds; NaN if unknown.

        Raises:
            UnknownName: the store has no such video.
        """
        return float(self._array("index/duration")[self._row(video_id)])

    def audio_extent(self, video_id: str) -> tuple[float, float] | None:
        """Start and end of the audio in seconds on the frame's clock; None without audio.

        Raises:
            UnknownName: the store has no such video.
        """
        row = self._row(video_id)
        start, end = (float(self._array(f"index/audio_{end}")[row]) for end in ("start", "end"))
        return None if np.isnan(start) else (start, end)

    def warnings(self, video_id: str) -> tuple[str, ...]:
        """What readers warned of in a video: damage passed over, sound that is lost or left out.

        Raises:
            UnknownName: the store has no such video.
        """
        row = self._row(video_id)
        return warnings_in(self._read_reports().get(row, ()))

    def lost_rows(self, video_id: str) -> NDArray[np.bool_]:
        """Seconds of a video whose frame was lost to damage: ``[T]``, true where it was.

        Frame features hold zeros there; the rows on either side are good.

        Raises:
            UnknownName: the store has no such video.
        """
        row = self._row(video_id)
        lost = np.zeros(self.length(video_id), np.bool_)
        rows = self._lost_rows().get(row, ())
        lost[[number for number in rows if number < len(lost)]] = True
        return lost

    def _lost_rows(self) -> dict[int, tuple[int, ...]]:
        """Row → its lost ones, of those that have any."""
        if self._lost is None:
            tells = Ledger(self.path / "ledger").tells_of_lost_rows()
            reports = self._read_reports() if tells else {}
            found = {row: lost_rows_in(of_row) for row, of_row in reports.items()}
            self._lost = {row: rows for row, rows in found.items() if rows}
        return self._lost

    def _read_reports(self) -> dict[int, list[dict[str, Any]]]:
        if self._reports is None:
            self._reports = Ledger(self.path / "ledger").reports()
        return self._reports

    def _row(self, video_id: str) -> int:
        row = self._rows.get(video_id)
        if row is None:
            raise UnknownVideo(str(self.path), video_id, self._rows)
        return row

    def _check_feature(self, feature: str) -> None:
        if feature not in self._attrs["features"]:
            raise UnknownName("feature", feature, self.features)
