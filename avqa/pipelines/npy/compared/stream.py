"""What `avqa compare` finds of one feature: gathered video by video, judged, and told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.errors import ConfigError
from avqa.pipelines.npy.compared.conventions import ALIKE, STEP, Facts, Rule, explain
from avqa.pipelines.npy.compared.match import (
    AcrossNorm,
    Cosines,
    Traits,
    best_shift,
    cosines,
    norms,
    overlap,
)
from avqa.pipelines.npy.compared.sides import Load
from avqa.pipelines.npy.compared.ten import MOVED, Ten, rows_of_ten
from avqa.pipelines.npy.npy_files import BadFile
from avqa.telling import objects

SCALE_TOLERANCE = 0.01
"""Norms may differ by 1 % before rows count as scaled: a cosine does not see it."""
AUDIO = ("vggish/",)
OPENAI = "clip_vit_"
TOKENS = "/tome14"
"""Features of which TSPM's files have ten rows."""
NORMED = "ast/"
"""Features that were taken before the last layer norm or behind it."""


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
    unit: str = "video"
    """What has rows."""

    def lines(self) -> list[str]:
        """For people."""
        only = [
            f"{count} only in {whose}"
            for count, whose in ((self.ours_only, "ours"), (self.theirs_only, "theirs"))
            if count
        ]
        lines = [
            f"{self.name}: {self.videos} {self.unit}s in both{''.join(f', {o}' for o in only)}"
        ]
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


def compare_stream(
    name: str,
    ours: dict[str, Load],
    theirs: dict[str, Load],
    tolerance: float,
    unit: str = "video",
) -> StreamReport:
    """Compare one feature over the videos that both sides have.

    Raises:
        ConfigError: there is none.
    """
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
        unit=unit,
    )
    matcher = Matcher(report, tolerance)
    for video in common:
        matcher.take(video, ours[video], theirs[video])
    matcher.judge()
    return report


class Matcher:
    """Gathers the videos of one stream and judges them."""

    def __init__(self, report: StreamReport, tolerance: float) -> None:
        """Begin; rows are alike from this cosine on."""
        self._report = report
        self._tolerance = tolerance
        self._tens: Counter[Ten] = Counter()
        self._norm = AcrossNorm()
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
            self._unreadable.append(f"{self._report.unit}={video!r} {error}")
            return
        self._report.ours.add(left)
        self._report.theirs.add(right)
        if len(left) != len(right):
            self._unequal.append(f"{video!r} {len(left)} and {len(right)}")
        left, right = self._fitted(left, right)
        if left.shape[1:] != right.shape[1:]:
            self._unlike.append(f"{left.shape[1:]} and {right.shape[1:]}")
            return
        if self._report.name.endswith(TOKENS):
            left, ten = rows_of_ten(left, right, self._tolerance)
            self._tens[ten] += 1
        elif len(right) <= 10 < len(left) and len(right) == min(10, len(left[::STEP])):
            left = left[::STEP][: len(right)]
            self._stepped += 1
        if self._report.name.startswith(NORMED):
            self._norm.add(left, right)
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

    def judge(self) -> None:
        """Fill in the report."""
        report = self._report
        report.notes += [f"{note} ({count} {report.unit}s)" for note, count in self._notes.items()]
        for many, what in (
            (self._unreadable, "cannot be read"),
            (self._unlike, "have rows of other shapes"),
            (self._unequal, "have other numbers of rows"),
        ):
            if many:
                report.reasons.append(f"{len(many)} {report.unit}s {what}")
                report.notes.append(f"{len(many)} {report.unit}s {what}; the first: {many[0]}")
        bad = report.ours.bad_rows + report.theirs.bad_rows
        if bad:
            report.reasons.append(f"{bad} rows hold NaN or infinity")
        if any(self._cosines):
            self._judge_rows()

    def _judge_rows(self) -> None:
        report, shift, tolerance = self._report, best_shift(self._cosines), self._tolerance
        report.shift = shift
        met = [(v, found[shift]) for v, found in zip(self._videos, self._cosines, strict=True)
               if shift in found]  # fmt: skip
        report.cosine = np.concatenate([values for _, values in met])
        video, values = min(met, key=lambda pair: float(pair[1].min()))
        report.lowest = f"{report.unit}={video!r} row={int(values.argmin()) + max(0, -shift)}"
        report.scale = self._scale(shift)
        median = float(np.median(report.cosine))
        if shift and median > ALIKE:  # else it is the luck of unrelated numbers
            report.reasons.append(f"rows are shifted by {shift:+d}")
        if report.cosine.min() < tolerance:
            low = int((report.cosine < tolerance).sum())
            report.reasons.append(
                f"{low} of {len(report.cosine)} rows have a cosine below {tolerance}"
            )
        moved = sum(self._tens[ten] for ten in MOVED)
        if moved:
            report.reasons.append(f"{moved} videos have their rows in another order")
        if abs(report.scale - 1) > SCALE_TOLERANCE:
            report.reasons.append(f"theirs are {report.scale:.4g} times as long")
        report.likely = explain(
            Facts(
                audio=report.name.startswith(AUDIO),
                equal=not report.reasons,
                openai=report.name.startswith(OPENAI),
                ours=report.ours,
                theirs=report.theirs,
                shift=shift,
                stepped=2 * self._stepped > len(self._videos),
                median=median,
                ten=self._usual_ten(),
                behind_norm=self._norm.whose(),
            )
        )

    def _usual_ten(self) -> Ten:
        """What most videos' ten rows are."""
        return self._tens.most_common(1)[0][0] if self._tens else ""

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
