"""`avqa compare OURS THEIRS`: are two sets of features the same, and if not, how do they differ?

A side is a store, a folder of ``<video>.npy``, a folder of such folders, or one .npy file. Rows
are compared feature by feature (*streams*) over the videos that both sides have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.errors import ConfigError, DifferenceFound, StoreNotFound
from avqa.pipelines.npy.conventions import ALIKE, STEP, Facts, Rule, explain
from avqa.pipelines.npy.dumps import find_dumps
from avqa.pipelines.npy.exporting import file_names
from avqa.pipelines.npy.kinds import CLASS_TOKEN, FRAME, Kind, kind_named
from avqa.pipelines.npy.layouts import folder_at
from avqa.pipelines.npy.match import Cosines, Traits, best_shift, cosines, norms, overlap
from avqa.pipelines.npy.npy_files import BadFile, read_header
from avqa.store.commit import Store
from avqa.store.format.records import Status
from avqa.store.places.files import StorePath, store_path
from avqa.store.reader import FeatureStore
from avqa.telling import objects

TOLERANCE = 0.999
SCALE_TOLERANCE = 0.01
"""Norms may differ by 1 % before rows count as scaled: a cosine does not see it."""
UNNAMED = "rows"
"""Stream of a file whose kind nobody said."""
AUDIO = ("vggish/",)

Load = Callable[[], NDArray[Any]]


@dataclass
class Side:
    """One argument: stream → video → how to read its rows ``[T, *row]``."""

    path: StorePath | Path
    streams: dict[str, dict[str, Load]] = field(default_factory=dict)
    is_file: bool = False


@dataclass
class StreamReport:
    """What was found of one stream."""

    name: str
    videos: int
    ours_only: int
    theirs_only: int
    ours: Traits
    theirs: Traits
    notes: list[str]
    reasons: list[str]
    """Why the sides differ; empty if they are equal."""
    shift: int = 0
    cosine: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """Of every pair of rows that meet at ``shift``."""
    scale: float = 1.0
    """Median of |theirs| / |ours|."""
    lowest: str = ""
    """Where the smallest cosine is."""
    likely: Rule | None = None

    def lines(self) -> list[str]:
        """For people."""
        only = [
            f"{count} only in {whose}"
            for count, whose in ((self.ours_only, "ours"), (self.theirs_only, "theirs"))
            if count
        ]
        lines = [f"{self.name}: {self.videos} videos in both{''.join(f', {o}' for o in only)}"]
        for whose, traits in (("ours", self.ours), ("theirs", self.theirs)):
            if traits.rows:
                dtypes = ", ".join(sorted(traits.dtypes))
                about = "; ".join(traits.notes())
                lines.append(f"  {whose}: {traits.rows_text()}, dtype={dtypes}; {about}")
        lines += [f"  {note}" for note in self.notes]
        if len(self.cosine):
            low, middle, high = np.quantile(self.cosine, (0, 0.5, 1))
            lines.append(
                f"  best row shift {self.shift:+d}; cosine per row min={low:.6f}"
                f" median={middle:.6f} max={high:.6f} over {len(self.cosine)} rows;"
                f" lowest at {self.lowest}; norm theirs/ours={self.scale:.4f}"
            )
        if self.likely is not None:
            lines.append(f"  likely convention of theirs: {self.likely.convention}")
            lines.append(f"  nearest recipe: {self.likely.recipe}")
        return lines

    def data(self) -> objects.Stream:
        """For programs."""
        return {
            "name": self.name,
            "videos": self.videos,
            "ours_only": self.ours_only,
            "theirs_only": self.theirs_only,
            "ours": _side_data(self.ours),
            "theirs": _side_data(self.theirs),
            "shift": self.shift,
            "cosine": self._cosines(),
            "scale": self.scale,
            "convention": self.likely.convention if self.likely else None,
            "recipe": self.likely.recipe if self.likely else None,
            "reasons": list(self.reasons),
            "notes": list(self.notes),
        }

    def _cosines(self) -> objects.Cosines | None:
        if not len(self.cosine):
            return None
        low, middle, high = map(float, np.quantile(self.cosine, (0, 0.5, 1)))
        return {
            "rows": len(self.cosine),
            "min": low,
            "median": middle,
            "max": high,
            "lowest": self.lowest,
        }


def _side_data(traits: Traits) -> objects.Side:
    notes = traits.notes() if traits.rows else []
    return {"rows": traits.total, "dtypes": sorted(traits.dtypes), "notes": notes}


@dataclass(repr=False)
class CompareReport:
    """All streams, and the verdict."""

    ours: StorePath
    theirs: StorePath
    tolerance: float
    streams: list[StreamReport]
    unmatched: list[str]

    def __repr__(self) -> str:
        """The `lines`."""
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """For people; the last line is the verdict."""
        lines = [line for stream in self.streams for line in stream.lines()]
        lines += self.unmatched
        different = [stream for stream in self.streams if stream.reasons]
        if not different:
            return [
                *lines,
                f"verdict: equal: {len(self.streams)} streams, every cosine at least"
                f" {self.tolerance}",
            ]
        told = "; ".join(f"{stream.name}: {', '.join(stream.reasons)}" for stream in different)
        return [*lines, f"verdict: different: {told}"]

    def data(self) -> objects.Compared:
        """For programs."""
        return {
            "ours": str(self.ours),
            "theirs": str(self.theirs),
            "tolerance": self.tolerance,
            "equal": not any(stream.reasons for stream in self.streams),
            "streams": [stream.data() for stream in self.streams],
            "unmatched": list(self.unmatched),
        }

    def raise_if_different(self) -> None:
        """Turn a difference into exit code 6.

        Raises:
            DifferenceFound: a stream differs.
        """
        names = [stream.name for stream in self.streams if stream.reasons]
        if names:
            raise DifferenceFound(
                f"{str(self.theirs)!r} differs from {str(self.ours)!r} in {', '.join(names)};"
                f" expected cosines of at least {self.tolerance}; see the lines above for the"
                " likely convention"
            )


def compare(
    ours: StorePath,
    theirs: StorePath,
    *,
    feature: str | None = None,
    kind: str | None = None,
    tolerance: float = TOLERANCE,
) -> CompareReport:
    """Compare two sides stream by stream.

    Args:
        ours: store, folder or file.
        theirs: store, folder or file.
        feature: compare this one only, ``<encoder>/<tap>``.
        kind: what the files of a folder without a published name, or a file, are.
        tolerance: smallest cosine of rows that count as equal.

    Raises:
        ConfigError: a side cannot be read, or they have nothing in common.
    """
    sides = _side(ours, kind), _side(theirs, kind)
    if sides[0].is_file and sides[1].is_file:
        for side in sides:  # two files are compared whatever their names
            for name, videos in side.streams.items():
                side.streams[name] = dict(zip(("file",), videos.values(), strict=True))
    pairs, unmatched = _pairs(sides[0], sides[1], feature)
    reports = [
        _compare_stream(name, sides[0].streams[mine], sides[1].streams[yours], tolerance)
        for name, mine, yours in pairs
    ]
    return CompareReport(ours, theirs, tolerance, reports, unmatched)


def _side(path: StorePath, kind: str | None) -> Side:
    if Store.exists(path):
        return _store_side(path)
    file = store_path(path).local
    if file is None:
        raise StoreNotFound(f"no store at {str(path)!r}; expected one; check the address")
    if file.is_dir():
        return _folder_side(file, kind)
    if not file.is_file():
        raise ConfigError(
            f"{str(path)!r} is not there; expected a store, a folder of <video>.npy or an .npy"
            " file; check the path"
        )
    folder = None if kind else folder_at(file.resolve().parent.name)
    known = folder.kind if folder else kind
    of = kind_named(known) if known else None
    try:
        _read_file(file, of)
    except BadFile as error:
        raise ConfigError(f"file {str(path)!r}: {error}") from error
    return Side(file, _streams([file], of), is_file=True)


def _store_side(path: StorePath) -> Side:
    reader = FeatureStore(path)
    names = {i: name.removesuffix(".npy") for i, name in file_names(reader.video_ids).items()}
    side = Side(path)
    for feature in reader.features:
        side.streams[feature] = {
            name: partial(reader.read, video_id, feature)
            for video_id, name in names.items()
            if reader.status(video_id, feature) == Status.OK
        }
    return side


def _folder_side(path: Path, kind: str | None) -> Side:
    side = Side(path)
    for dump in find_dumps(path, kind):
        side.streams |= _streams(dump.paths, dump.kind)
    return side


def _streams(paths: Sequence[Path], kind: Kind | None) -> dict[str, dict[str, Load]]:
    if kind is None:
        return {UNNAMED: {path.stem: partial(_read_file, path, None) for path in paths}}
    return {
        part.feature: {path.stem: partial(_read_part, path, kind, number) for path in paths}
        for number, part in enumerate(kind.parts)
    }


def _read_part(path: Path, kind: Kind, number: int) -> NDArray[Any]:
    rows = _read_file(path, kind)
    return kind.split(rows)[number] if rows.shape[1:] == kind.row else rows


def _read_file(path: Path, kind: Kind | None) -> NDArray[Any]:
    """Rows of a file of any width, a leading 1 squeezed.

    Raises:
        BadFile: no numbers, or no rows of them.
    """
    header = read_header(path)
    if header.dtype.kind not in "fiu":
        raise BadFile("dtype", f"dtype={header.dtype}; expected numbers; check what wrote it")
    rows = header.memory(path)
    rank = len(kind.row) + 1 if kind else 2
    if rows.ndim > rank and rows.shape[0] == 1:
        rows = rows[0]
    if rows.ndim < 2:
        raise BadFile("shape", f"shape={header.shape}; expected rows, rank 2 or more; check it")
    return rows


def _pairs(
    ours: Side, theirs: Side, feature: str | None
) -> tuple[list[tuple[str, str, str]], list[str]]:
    """(name, stream of ours, stream of theirs), and a line on each stream without a partner."""
    mine, yours = (_asked(side, feature) for side in (ours, theirs))
    pairs = [(name, name, name) for name in mine if name in yours]
    for left, right in ((CLASS_TOKEN, FRAME), (FRAME, CLASS_TOKEN)):
        # An extracted class token is the frame feature.
        if left in mine and left not in yours and right in yours and right not in mine:
            pairs.append((f"{left} with {right}", left, right))
    if not pairs and len(mine) == 1 and len(yours) == 1 and UNNAMED in (mine[0], yours[0]):
        pairs = [(mine[0] if mine[0] != UNNAMED else yours[0], mine[0], yours[0])]
    if not pairs:
        raise ConfigError(
            f"{str(ours.path)!r} holds {', '.join(ours.streams)} and {str(theirs.path)!r} holds"
            f" {', '.join(theirs.streams)}; expected a feature in both; say which with --feature,"
            " or what files are with --kind"
        )
    met = {name for _, *names in pairs for name in names}
    unmatched = [
        f"{name}: only in {whose}, not compared"
        for names, whose in ((mine, "ours"), (yours, "theirs"))
        for name in names
        if name not in met
    ]
    return pairs, unmatched


def _asked(side: Side, feature: str | None) -> list[str]:
    if feature is None or list(side.streams) == [UNNAMED]:
        return list(side.streams)
    if feature in side.streams:
        return [feature]
    if feature == FRAME and CLASS_TOKEN in side.streams:
        return [CLASS_TOKEN]
    raise ConfigError(
        f"{str(side.path)!r} has no {feature}; expected one of {', '.join(side.streams)};"
        " check --feature"
    )


def _compare_stream(
    name: str, ours: dict[str, Load], theirs: dict[str, Load], tolerance: float
) -> StreamReport:
    common = [video for video in ours if video in theirs]
    if not common:
        raise ConfigError(
            f"{name}: no video is in both sides ({len(ours)} and {len(theirs)} videos); expected"
            " the same ids; check that both come from one data set"
        )
    report = StreamReport(
        name,
        len(common),
        len(ours) - len(common),
        len(theirs) - len(common),
        Traits(),
        Traits(),
        [],
        [],
    )
    matcher = _Matcher(report)
    for video in common:
        matcher.take(video, ours[video], theirs[video])
    matcher.judge(tolerance)
    return report


class _Matcher:
    """Gathers the videos of one stream and judges them."""

    def __init__(self, report: StreamReport) -> None:
        self._report = report
        self._videos: list[str] = []
        self._cosines: list[Cosines] = []
        self._norms: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        self._unequal: list[str] = []
        self._unlike: list[str] = []
        self._unreadable: list[str] = []
        self._stepped = 0
        self._notes: Counter[str] = Counter()

    def take(self, video: str, ours: Load, theirs: Load) -> None:
        """Read and compare one video; only numbers per row are kept."""
        try:
            left, right = ours(), theirs()
        except BadFile as error:
            self._unreadable.append(f"video={video!r} {error}")
            return
        self._report.ours.add(left)
        self._report.theirs.add(right)
        if len(left) != len(right):
            self._unequal.append(f"{video!r} {len(left)} and {len(right)}")
        left, right = self._fitted(left, right)
        if left.shape[1:] != right.shape[1:]:
            self._unlike.append(f"{left.shape[1:]} and {right.shape[1:]}")
            return
        if len(right) <= 10 < len(left) and len(right) == min(10, len(left[::STEP])):
            left = left[::STEP][: len(right)]
            self._stepped += 1
        self._videos.append(video)
        self._cosines.append(cosines(left, right))
        with np.errstate(invalid="ignore", over="ignore"):
            self._norms.append((norms(left), norms(right)))

    def _fitted(self, left: NDArray[Any], right: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The same rows in one form: channel last, without a class token that one side has."""
        if left.shape[1:] == right.shape[1:]:
            return left, right
        fitted = []
        for whose, rows, other in (("ours", left, right), ("theirs", right, left)):
            if rows.ndim == 4 and np.moveaxis(rows, 1, -1).shape[1:] == other.shape[1:]:
                self._notes[f"channels come first in {whose}"] += 1
                rows = np.moveaxis(rows, 1, -1)
            elif rows.ndim == 3 and rows.shape[1] == other.shape[1] + 1:
                self._notes[f"{whose} holds the class token before the patches"] += 1
                rows = rows[:, 1:]
            fitted.append(rows)
        return fitted[0], fitted[1]

    def judge(self, tolerance: float) -> None:
        """Fill in the report."""
        report = self._report
        report.notes += [f"{note} ({count} videos)" for note, count in self._notes.items()]
        for many, what in (
            (self._unreadable, "cannot be read"),
            (self._unlike, "have rows of other shapes"),
            (self._unequal, "have other numbers of rows"),
        ):
            if many:
                report.reasons.append(f"{len(many)} videos {what}")
                report.notes.append(f"{len(many)} videos {what}; the first: {many[0]}")
        bad = report.ours.bad_rows + report.theirs.bad_rows
        if bad:
            report.reasons.append(f"{bad} rows hold NaN or infinity")
        if any(self._cosines):
            self._judge_rows(tolerance)

    def _judge_rows(self, tolerance: float) -> None:
        report, shift = self._report, best_shift(self._cosines)
        report.shift = shift
        met = [(v, found[shift]) for v, found in zip(self._videos, self._cosines, strict=True)
               if shift in found]  # fmt: skip
        report.cosine = np.concatenate([values for _, values in met])
        video, values = min(met, key=lambda pair: float(pair[1].min()))
        report.lowest = f"video={video!r} row={int(values.argmin()) + max(0, -shift)}"
        report.scale = self._scale(shift)
        median = float(np.median(report.cosine))
        if shift and median > ALIKE:  # else it is the luck of unrelated numbers
            report.reasons.append(f"rows are shifted by {shift:+d}")
        if report.cosine.min() < tolerance:
            low = int((report.cosine < tolerance).sum())
            report.reasons.append(
                f"{low} of {len(report.cosine)} rows have a cosine below {tolerance}"
            )
        if abs(report.scale - 1) > SCALE_TOLERANCE:
            report.reasons.append(f"theirs are {report.scale:.4g} times as long")
        report.likely = explain(
            Facts(
                audio=report.name.startswith(AUDIO),
                equal=not report.reasons,
                ours=report.ours,
                theirs=report.theirs,
                shift=shift,
                stepped=2 * self._stepped > len(self._videos),
                median=median,
            )
        )

    def _scale(self, shift: int) -> float:
        """Median of |theirs| / |ours| over rows neither zero nor bad; 1 if there are none."""
        ratios = []
        for ours, theirs in self._norms:
            mine, yours = overlap(len(ours), len(theirs), shift)
            left, right = ours[mine], theirs[yours]
            good = (left > 0) & (right > 0) & np.isfinite(left) & np.isfinite(right)
            ratios.append(right[good] / left[good])
        every = np.concatenate(ratios)
        return float(np.median(every)) if len(every) else 1.0
