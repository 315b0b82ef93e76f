"""The ledger: every record of every run, in immutable segments of JSON lines.

``S/ledger/<run>/<number>.jsonl``; numbers rise through all runs, so their order is the order
of the commits. Only the driver writes. The newest record of a video wins. A line that cannot be
used costs its own record alone: who can do without is told nothing, `avqa verify` names it, and
`Ledger.require_sound` refuses. Where there are many segments they become few, and of which files
the rows were made is kept beside them: see `avqa.store.format.folding`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.errors import StoreError
from avqa.faults import reading
from avqa.store.format.chunks import RowPart
from avqa.store.format.decoding import read_object
from avqa.store.format.folding import segments as folding
from avqa.store.format.folding.sources import FILE, Sources, from_bytes
from avqa.store.format.lines import from_line, to_line
from avqa.store.format.records import (
    FeatureRecord,
    Fingerprint,
    Status,
    VideoRecord,
    feature_from,
    fingerprint_from,
    video_from,
)
from avqa.store.places.files import StorePath, store_path, with_retries

_SOURCE = re.compile(
    rb'"row":(\d+),"relpath":("(?:[^"\\]|\\.)*"),'
    rb'"fingerprint":{"size":(-?\d+),"mtime_ns":(-?\d+),"quick_hash":"([0-9a-f]*)"}'
)
"""Reads what a resumed run needs of a record thirty times faster than all of its JSON."""

_ROW = re.compile(rb'"row":(\d+)')
_LOST_ROWS = re.compile(rb'"lost_rows":\[\d')


@dataclass(frozen=True)
class BadLine:
    """A line of the ledger that cannot be used."""

    path: StorePath
    """Of its segment."""
    number: int
    """From 1; 0 if the segment as a whole is meant."""
    why: str
    raw: bytes

    def __str__(self) -> str:
        """As a part of a message."""
        return f"{str(self.path)!r} line={self.number}: {self.why}"


@dataclass(frozen=True)
class Segment:
    """One file of the ledger: the records of one checkpoint, or of many that were folded."""

    number: int
    path: StorePath
    part: RowPart | None = None
    """Records of other rows are passed over."""

    def records(self) -> list[VideoRecord]:
        """Its sound records."""
        return [video_from(plain) for plain in self.plain()]

    def plain(self) -> list[dict[str, Any]]:
        """Its sound records as plain JSON values: three times faster than `records`."""
        return [line for line in self._judged() if not isinstance(line, BadLine)]

    def newest_first(self) -> Iterator[dict[str, Any]]:
        """Its sound records as plain JSON values, the last one first, one at a time."""
        for line in reversed(self.lines()):
            if self.part is not None and not self.part.has(_row_in(line)):
                continue
            try:
                plain = from_line(line)
            except ValueError:
                continue
            yield plain

    def placed(
        self, rows: Collection[int] | None = None
    ) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
        """Where each of its sound records is, and its plain JSON values, one at a time.

        ``rows``: of these alone.
        """
        for number, line in enumerate(self.lines()):
            if rows is not None and _row_in(line) not in rows:
                continue
            if self.part is not None and not self.part.has(_row_in(line)):
                continue
            try:
                plain = from_line(line)
            except ValueError:
                continue
            yield (self.number, number), plain

    def bad_lines(self) -> list[BadLine]:
        """What of it cannot be used: each line is judged alone."""
        return [line for line in self._judged() if isinstance(line, BadLine)]

    def lines(self) -> list[bytes]:
        """Its lines as they are.

        Raises:
            StorageFailure: it cannot be read.
        """
        with reading(f"ledger segment {str(self.path)!r}"):
            return with_retries(lambda: folding.read_segment(self.path)).splitlines()

    def _judged(self) -> Iterator[dict[str, Any] | BadLine]:
        lines, part = self.lines(), self.part
        if not lines and (part is None or part.is_first):
            yield BadLine(self.path, 0, "it is empty", b"")
        for number, line in enumerate(lines, start=1):
            if part is not None and not part.has(_row_in(line)):
                continue
            try:
                yield from_line(line)
            except ValueError as error:
                yield BadLine(self.path, number, str(error), line)


def _row_in(line: bytes) -> int | None:
    """Row of a line, also of a damaged one, without reading all of it; None if it tells of none."""
    match = _ROW.search(line)  # no string holds it: its own quotes are escaped
    return int(match[1]) if match else None


def source_of(line: bytes) -> tuple[int, str, Fingerprint] | None:
    """Row, relpath and fingerprint of a line, which may be damaged elsewhere; None if unknown."""
    # A string's own quotes are escaped, so the pattern cannot match inside one.
    match = _SOURCE.search(line)
    if match is not None:
        row, relpath, size, mtime_ns, quick_hash = match.groups()
        try:
            name = str(json.loads(relpath)) if b"\\" in relpath else relpath[1:-1].decode("ascii")
        except ValueError:
            return None
        return int(row), name, Fingerprint(int(size), int(mtime_ns), quick_hash.decode())
    try:
        plain = from_line(line)
    except ValueError:
        return None
    return plain["row"], plain["relpath"], fingerprint_from(plain["fingerprint"])


def warnings_in(reports: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """What readers warned of in these readings of a video, each warning once."""
    return tuple(dict.fromkeys(text for told in reports for text in told.get("warnings", ())))


def lost_rows_in(reports: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """Rows whose frame was lost in one of these readings of a video, ascending."""
    return tuple(sorted({row for told in reports for row in told.get("lost_rows", ())}))


def newest_only(segments: Sequence[Segment]) -> Iterator[VideoRecord]:
    """Records in the order of their commits, without features that a later one replaced.

    Replaying an old failure would delete the chunk objects of a later success. One record is in
    memory at a time: a store may have millions.
    """
    repeated = _repeated_rows(segments)
    newest: dict[tuple[int, str], tuple[int, int]] = {}
    """Of rows with several records: (row, feature) → place of the one that counts."""
    for segment in segments if repeated is None or repeated else ():
        for place, plain in segment.placed(repeated):
            newest |= {(plain["row"], f["feature"]): place for f in plain["features"]}
    for segment in segments:
        for place, plain in segment.placed():
            row, told = plain["row"], plain["features"]
            features = [f for f in told if newest.get((row, f["feature"]), place) == place]
            if features:
                yield video_from({**plain, "features": features})


def _repeated_rows(segments: Sequence[Segment]) -> set[int] | None:
    """Rows that more than one line speaks of; None if a line does not tell in the usual place."""
    seen, repeated = _Rows(), set[int]()
    for segment in segments:
        for line in segment.lines():
            row = _row_in(line)
            if row is None:
                return None
            if row in seen:
                repeated.add(row)
            seen.add(row)
    return repeated


class _Rows:
    """A set of rows, of which there may be millions: a byte each."""

    def __init__(self) -> None:
        self._marks = bytearray()

    def __contains__(self, row: int) -> bool:
        return row < len(self._marks) and bool(self._marks[row])

    def add(self, row: int) -> None:
        if row >= len(self._marks):
            self._marks.extend(bytes(row + 1 - len(self._marks) + len(self._marks) // 2))
        self._marks[row] = 1


def failed_alone(records: Sequence[VideoRecord]) -> dict[tuple[int, str], VideoRecord]:
    """(row, feature) → record of its failure, without the video's other features."""
    return {
        (record.row, feature.feature): replace(record, features=(feature,), pts=())
        for record in records
        for feature in record.features
        if feature.status == Status.FAILED
    }


class Ledger:
    """All segments of a store."""

    def __init__(self, folder: StorePath, part: RowPart | None = None) -> None:
        """``folder`` is ``S/ledger``, which need not exist yet; ``part``: of its rows alone."""
        self._folder = store_path(folder)
        self._part = part
        self._last: int | None = None
        self._small: int | None = None
        """Segments that could be folded, as far as this run knows; None: not looked for yet."""
        self._kept = 0
        """Segment up to which sources are written down."""

    def segments(self, after: int = 0) -> list[Segment]:
        """Segments with a number above ``after``, oldest first."""
        files = folding.listed(self._folder)[0]
        found = [Segment(int(file.stem), file, self._part) for file in files]
        return [segment for segment in found if segment.number > after]

    @property
    def last(self) -> int:
        """Number of the newest segment, 0 if there is none."""
        if self._last is None:
            self._last = max((s.number for s in self.segments()), default=0)
        return self._last

    def append(self, run_id: str, records: Sequence[VideoRecord]) -> int:
        """Write one segment durably and return its number."""
        number = self.last + 1
        text = b"".join(to_line(record) + b"\n" for record in records)
        (self._folder / run_id / f"{number:06d}.jsonl").write(text)
        self._last = number
        self._small = None if self._small is None else self._small + 1
        return number

    def fold(self, upto: int) -> None:
        """Make few segments of many small ones, of those up to the number ``upto``.

        Records and their order are the same. It saves files alone: where the disk refuses, all
        stays as it was. To be called with the store's lock held.
        """
        if self._small is not None and self._small < folding.FOLD_SEGMENTS:
            return
        counting, covered = folding.listed(self._folder)
        small = [file for file in counting if file.parent.name != folding.FOLDED]
        with suppress(OSError):
            folding.remove(covered)  # left by a kill
            if len(small) >= folding.FOLD_SEGMENTS:
                folding.fold(self._folder, [f for f in small if folding.number_of(f) <= upto])
                small = []
        self._small = len(small) % folding.FOLD_SEGMENTS

    def begin_after(self, number: int) -> None:
        """Let no new segment have this number or a lower one, even if those are gone."""
        self._last = max(self.last, number)

    def bad_lines(self) -> list[BadLine]:
        """All lines that cannot be used, in order."""
        return [line for segment in self.segments() for line in segment.bad_lines()]

    def require_sound(self) -> None:
        """Refuse a ledger with bad lines, for who needs every record.

        Raises:
            StoreError: names the first one.
        """
        bad = self.bad_lines()
        if bad:
            raise StoreError(
                f"store {str(self._folder.parent)!r}: its ledger is damaged: {bad[0]}; bad"
                f" lines={len(bad)}; expected a record in every line; rebuild them with: avqa"
                f" verify --repair {self._folder.parent}"
            )

    def fingerprints(self) -> Sources:
        """Row → fingerprint of the file its newest record was made from.

        Bad lines count as far as they tell it. What `keep` wrote is read, and the segments after.
        """
        segments = self.segments()
        data = read_object(self._folder / FILE)
        kept = from_bytes(data) if data is not None else None
        if kept is None or kept.number > max((s.number for s in segments), default=0):
            kept = Sources()
        self._kept = kept.number
        for segment in segments:
            if segment.number > kept.number:
                kept.add(filter(None, map(source_of, segment.lines())))
                kept.number = segment.number
        return kept

    def keep(self, sources: Sources) -> None:
        """Write down what `fingerprints` gave, so that the next run need not read all records.

        It saves time alone: where the disk refuses, the next run reads them.
        """
        if sources.number != self._kept:
            with suppress(OSError):
                (self._folder / FILE).write(sources.to_bytes(), durable=False)
                self._kept = sources.number

    def failures(self, wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], FeatureRecord]:
        """Newest failure of these (row, feature) pairs, as far as there is one."""
        left, found = set(wanted), {}
        for segment in reversed(self.segments()):
            if not left:
                break
            if not any(b'"status":2' in line for line in segment.lines()):
                continue
            for record in reversed(segment.records()):
                for feature in record.features:
                    pair = (record.row, feature.feature)
                    if feature.status == Status.FAILED and pair in left:
                        left.remove(pair)
                        found[pair] = feature
        return found

    def failed(self) -> dict[tuple[int, str], VideoRecord]:
        """Newest failure of each (row, feature), whatever came after it."""
        found: dict[tuple[int, str], VideoRecord] = {}
        for segment in self.segments():
            if any(b'"status":2' in line for line in segment.lines()):
                found |= failed_alone(segment.records())
        return found

    def described(self) -> Iterator[tuple[int, VideoRecord]]:
        """(row, record) of those that may have described a video, one or two, the newest first.

        These are the newest one with an ok feature and the newest one that has an ok feature
        which no later record replaced. One is in memory at a time.
        """
        found, settled = _Rows(), _Rows()
        replaced: dict[str, _Rows] = {}
        for segment in reversed(self.segments()):
            for plain in segment.newest_first():
                row = plain["row"]
                features = {f["feature"]: f["status"] for f in plain["features"]}
                told = {feature: replaced.setdefault(feature, _Rows()) for feature in features}
                ok = [feature for feature, status in features.items() if status == Status.OK]
                stands = any(row not in told[feature] for feature in ok)
                for rows in told.values():
                    rows.add(row)
                if row not in settled and ok and (stands or row not in found):
                    found.add(row)
                    yield row, video_from({**plain, "features": ()})
                if stands:
                    settled.add(row)

    def reports(self) -> dict[int, list[dict[str, Any]]]:
        """Row → how the readings went that made what is there of it, the first one first.

        A feature that is added later is made by another reading than those before.
        """
        found: dict[int, list[dict[str, Any]]] = {}
        replaced: set[tuple[int, str]] = set()
        for segment in reversed(self.segments()):
            for plain in segment.newest_first():
                made = {(plain["row"], feature["feature"]) for feature in plain["features"]}
                if not made <= replaced:
                    found.setdefault(plain["row"], []).insert(0, plain.get("report", {}))
                replaced |= made
        return found

    def tells_of_lost_rows(self) -> bool:
        """Whether a record may; far faster than `reports`."""
        files = (segment.path for segment in self.segments())
        return any(_LOST_ROWS.search(folding.read_segment(file)) for file in files)

    def tells_of(self, rows: Mapping[str, int], wanted: Mapping[str, NDArray[np.bool_]]) -> bool:
        """Whether there is a record of a video, in its row of ``rows``, that is ``wanted``.

        Args:
            rows: video id → row.
            wanted: feature → which rows, ``[rows]``.
        """
        return any(
            bool(wanted[feature["feature"]][plain["row"]])
            for segment in self.segments()
            for plain in segment.newest_first()
            if rows.get(plain["video_id"]) == plain["row"]
            for feature in plain["features"]
            if feature["feature"] in wanted
        )

    def newest(self) -> Iterator[tuple[str, int, FeatureRecord]]:
        """(video id, row, newest record) of every feature of every video."""
        found: dict[str, dict[int, tuple[str, FeatureRecord]]] = {}
        for segment in self.segments():
            for _, plain in segment.placed():
                for feature in map(feature_from, plain["features"]):
                    of_rows = found.setdefault(feature.feature, {})
                    of_rows[plain["row"]] = plain["video_id"], feature
        for of_rows in found.values():
            for row, (video_id, feature) in of_rows.items():
                yield video_id, row, feature
