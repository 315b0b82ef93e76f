"""What a worker reports about a video, and its form in the ledger.

A record travels worker → driver as a pickled value and lives in the ledger as one JSON
line. Lone surrogates in ``relpath`` (file names that are no UTF-8) survive both.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Status(IntEnum):
    """State of one feature of one video, as stored in ``/status/<feature>``."""

    PENDING = 0
    OK = 1
    FAILED = 2
    DELETED = 3
    ABSENT = 4
    """The video has no such stream: finished, not retried."""


FINISHED = (Status.OK, Status.FAILED, Status.ABSENT)
"""What a run has found out and need not do again."""


class RowFlag(IntFlag):
    """Bits of ``/index/row_flags``."""

    HAS_AUDIO = 1
    """The file has an audio stream: silence in it is recorded silence, not absence."""
    PARTIAL = 2
    """The file is damaged or ends before its declared length, and its good rows were kept."""


@dataclass(frozen=True, slots=True)
class ChunkRecord:
    """One chunk object as it lies on disk."""

    n_bytes: int
    """Size of the whole object, checksum included."""
    crc32c: int
    """The object's last four bytes: the checksum of everything before them."""


@dataclass(frozen=True, slots=True)
class FeatureRecord:
    """One feature of one video: its outcome and its chunk objects."""

    feature: str
    status: Status
    length: int
    """Valid seconds T; 0 unless the status is OK."""
    chunks: tuple[ChunkRecord, ...] = ()
    reason: str = ""
    message: str = ""
    stage: str = ""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a file was when it was read."""

    size: int
    mtime_ns: int
    quick_hash: str
    """blake2b over the size and the first, middle and last 1 MiB."""


UNKNOWN_FILE = Fingerprint(-1, 0, "")
"""Of a record that was rebuilt from a video's objects: nothing tells of its file any more."""


@dataclass(frozen=True, kw_only=True)
class VideoRecord:
    """One attempt at one video: what one run has to remember about it."""

    video_id: str
    row: int
    relpath: str
    fingerprint: Fingerprint
    duration: float
    """Seconds; NaN where unknown."""
    pts: tuple[float, ...]
    """Seconds of each row's frame, one per row."""
    audio_start: float | None
    audio_end: float | None
    row_flags: int
    features: tuple[FeatureRecord, ...]
    report: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    attempt: int = 1
    host: str = ""
    worker: str = ""
    finished_at: str = ""
    run_id: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the reader warned of, in its order; empty for a video that was not read."""
        return tuple(self.report.get("warnings", ()))

    def to_json(self) -> str:
        """One line of pure ASCII; `video_from` of its JSON gives an equal record."""
        return json.dumps(_plain(self), separators=(",", ":"))


def tombstone(
    video_id: str, row: int, features: Collection[str], run_id: str, finished_at: str
) -> VideoRecord:
    """The record of a video that is removed from a store."""
    return VideoRecord(
        video_id=video_id,
        row=row,
        relpath="",
        fingerprint=Fingerprint(0, 0, ""),
        duration=math.nan,
        pts=(),
        audio_start=None,
        audio_end=None,
        row_flags=0,
        features=tuple(FeatureRecord(name, Status.DELETED, 0) for name in features),
        finished_at=finished_at,
        run_id=run_id,
    )


def removed(status: Collection[NDArray[np.uint8]]) -> NDArray[np.bool_]:
    """Which rows were removed and not taken in again: ``[rows]``.

    Args:
        status: of every row, for every feature.
    """
    finished = np.any([np.isin(column, FINISHED) for column in status], axis=0)
    gone = np.any([column == Status.DELETED for column in status], axis=0)
    found: NDArray[np.bool_] = np.logical_and(gone, ~finished)
    return found


def _plain(record: VideoRecord) -> dict[str, Any]:
    plain = dict(vars(record))
    plain["duration"] = _or_null(record.duration)
    plain["report"] = {key: _or_null(value) for key, value in record.report.items()}
    file = record.fingerprint
    plain["fingerprint"] = {
        "size": file.size,
        "mtime_ns": file.mtime_ns,
        "quick_hash": file.quick_hash,
    }
    plain["features"] = [plain_feature(feature) for feature in record.features]
    return plain


def plain_feature(record: FeatureRecord) -> dict[str, Any]:
    """A feature as it stands in the ledger's line."""
    return {
        "feature": record.feature,
        "status": int(record.status),
        "length": record.length,
        "chunks": [[chunk.n_bytes, chunk.crc32c] for chunk in record.chunks],
        "reason": record.reason,
        "message": record.message,
        "stage": record.stage,
    }


def _or_null(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def video_from(plain: Mapping[str, Any]) -> VideoRecord:
    """The `VideoRecord` of its JSON form; unknown keys of later versions are dropped.

    Raises:
        KeyError: a field without a default is missing.
    """
    known = {k: v for k, v in plain.items() if k in VideoRecord.__dataclass_fields__}
    known["duration"] = math.nan if plain["duration"] is None else plain["duration"]
    known["pts"] = tuple(plain["pts"])
    known["fingerprint"] = fingerprint_from(plain["fingerprint"])
    known["features"] = tuple(feature_from(f) for f in plain["features"])
    return VideoRecord(**known)


def fingerprint_from(plain: Mapping[str, Any]) -> Fingerprint:
    """The `Fingerprint` of its JSON form; unknown keys of later versions are dropped."""
    return Fingerprint(plain["size"], plain["mtime_ns"], plain["quick_hash"])


def feature_from(plain: Mapping[str, Any]) -> FeatureRecord:
    """The `FeatureRecord` of its JSON form; unknown keys of later versions are dropped."""
    return FeatureRecord(
        sys.intern(plain["feature"]),  # one text for millions of records
        Status(plain["status"]),
        plain["length"],
        tuple(ChunkRecord(n_bytes, crc) for n_bytes, crc in plain["chunks"]),
        plain.get("reason", ""),
        plain.get("message", ""),
        plain.get("stage", ""),
    )
