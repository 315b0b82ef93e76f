"""What `avqa verify` found, and how it says so."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from avqa.errors import DifferenceFound, StorageFailure
from avqa.store.checks.textcheck import TextReport
from avqa.store.format.chunks import RowPart
from avqa.store.format.records import FeatureRecord
from avqa.store.places.files import StorePath
from avqa.telling.objects import Problem as ProblemObject
from avqa.telling.objects import RowsChecked, Verified

Level = Literal["size", "crc", "sample"]
Remedy = Literal["columns", "record", "pending", "aside", "file", "texts", "none"]
"""What `--repair` does: the columns anew from the ledger; a new record first; extract again; set a
file aside; write a file of ours anew; see `textcheck`; nothing."""


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be."""

    kind: str
    """missing, size, crc, not_finite, padding, status, length, index, ledger, metadata, run,
    orphan, partial, foreign, sample, unreadable (the video, by ``sample``), unread (the machine
    failed)."""
    array: str
    video_id: str
    row: int
    detail: str
    path: StorePath | None = None
    of_texts: bool = False
    """Concerns the questions' features."""
    remedy: Remedy = "pending"
    record: FeatureRecord | None = None
    """What the ledger should say, by the objects and the columns."""

    def __str__(self) -> str:
        """One line."""
        who = f" video={self.video_id!r} row={self.row}" if self.row >= 0 else ""
        return f"{self.kind}: {self.array}{who}: {self.detail}"

    def data(self) -> ProblemObject:
        """For programs."""
        of_video = self.row >= 0
        return {
            "kind": self.kind,
            "array": self.array,
            "video_id": self.video_id if of_video else None,
            "row": self.row if of_video else None,
            "detail": self.detail,
            "remedy": self.remedy,
        }


@dataclass
class VerifyReport:
    """What was checked and what was found."""

    path: StorePath
    level: Level
    videos: int = 0
    objects: int = 0
    n_bytes: int = 0
    uncommitted: int = 0
    """Objects of pending rows: an unfinished run's, to be written again. No problem."""
    problems: list[Problem] = field(default_factory=list)
    unread: list[Problem] = field(default_factory=list)
    """Objects that the machine did not give: nobody knows whether they are good."""
    repaired: bool = False
    """Something was repaired; foreign files are left as they are."""
    pending: set[bool] = field(default_factory=set)
    """Whether of texts (True) or of videos (False) something has become pending by the repair."""
    rebuilt_metadata: bool = False
    """Metadata of arrays was written anew, whatever else was found."""
    removed: StorePath | None = None
    """Where lies what the repair took away."""
    texts: TextReport = field(default_factory=TextReport)
    """What was found of the questions' features; its problems are among ``problems``."""
    random_weights: bool = False
    """Some feature was made with random weights."""
    packed: bool = False
    """The store is a packed copy: it cannot be repaired."""
    part: RowPart | None = None
    """The rows that were looked at, if not all."""
    filled_by: str = "avqa extract"
    """The command that makes its features, or takes them in."""

    @property
    def counts(self) -> dict[str, int]:
        """Kind → number of problems."""
        return dict(Counter(problem.kind for problem in self.problems))

    def raise_if_bad(self) -> None:
        """Turn problems that are not repaired into exit code 6, and a faulty machine into 5.

        Raises:
            StorageFailure: something could not be read, whatever else was found: the check is not
                whole, and nothing was repaired.
            DifferenceFound: there are problems.
        """
        if self.unread:
            raise StorageFailure(
                f"store {str(self.path)!r}: objects that could not be read={len(self.unread)},"
                f" problems={len(self.problems)}; expected to read all; nothing"
                f" {'but metadata ' if self.rebuilt_metadata else ''}was repaired;"
                " check the disk or mount and who may read the files, then run the same command"
                " again"
            )
        left = [p for p in self.problems if not self.repaired or p.remedy == "none"]
        if left:
            advice = (
                "`avqa verify --repair` rebuilds what can be, and marks the rest to be made again"
            )
            if all(problem.remedy == "none" for problem in left):
                advice = self._by_hand(left)
            if self.packed:
                advice = "fetch this packed copy again, or `avqa pack` the working store again"
            raise DifferenceFound(
                f"store {str(self.path)!r}: problems={len(left)}; expected none; {advice}"
            )

    @staticmethod
    def _by_hand(left: list[Problem]) -> str:
        """What to do about problems that no repair of the store mends."""
        kinds = {problem.kind for problem in left}
        ways = {
            "foreign": "remove foreign files by hand",
            "unreadable": "give the folder that has these videos with --videos, or see what became"
            " of them: their rows stay as they are",
        }
        return "; ".join(way for kind, way in ways.items() if kind in kinds) or "see above"

    def lines(self) -> list[str]:
        """Every problem, then the totals."""
        end = "no problem"
        if self.problems:
            kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(self.counts.items()))
            number = len(self.problems)
            end = f"{number} problem{'s' if number > 1 else ''} ({kinds})"
        if self.problems and {"metadata"} == self.counts.keys() and not self.repaired:
            end += "; nothing else is checked before it is rebuilt"
        if self.unread:
            end += f"; {len(self.unread)} objects could not be read"
        if self.repaired:
            end += f"; repaired, {self._what_next()}"
        if self.removed is not None:
            end += f"; what was taken away lies in {str(self.removed)!r}"
        foreign = self.counts.get("foreign", 0)
        if foreign:
            end += f"; avqa never removes foreign files: remove {foreign} by hand"
        if self.uncommitted:
            end += f"; {self.uncommitted} objects of unfinished videos"
        total = (
            f"store {str(self.path)!r}{self._of_part()} level={self.level}: {self.videos} videos,"
            f"{f' {self.texts.texts} texts,' if self.texts.texts else ''}"
            f" {self.objects} objects, {self.n_bytes / 1e6:.1f} MB checked; {end}"
        )
        lines = [*map(str, (*self.problems, *self.unread)), total]
        if self.random_weights:
            lines.append("RANDOM WEIGHTS: the store is in order, but its features mean nothing")
        return lines

    def data(self) -> Verified:
        """For programs."""
        return {
            "store": str(self.path),
            "level": self.level,
            "part": self._part_data(),
            "videos": self.videos,
            "texts": self.texts.texts,
            "objects": self.objects,
            "bytes": self.n_bytes,
            "uncommitted": self.uncommitted,
            "problems": [problem.data() for problem in self.problems],
            "unread": [problem.data() for problem in self.unread],
            "repaired": self.repaired,
            "removed": None if self.removed is None else str(self.removed),
            "random_weights": self.random_weights,
            "packed": self.packed,
        }

    def _part_data(self) -> RowsChecked | None:
        if self.part is None:
            return None
        rows = self.part.rows
        index, count = self.part.index, self.part.count
        return {"index": index, "count": count, "first": rows.start, "rows": len(rows)}

    def _of_part(self) -> str:
        if self.part is None:
            return ""
        rows = self.part.rows
        shown = f"rows {rows.start} to {rows.stop - 1}" if rows else "no row"
        return f" part {self.part.index}/{self.part.count} ({shown} of {self.part.total})"

    def _what_next(self) -> str:
        if not self.pending:
            return "nothing is pending by it"
        commands = [
            "`avqa questions`" if of_texts else f"`{self.filled_by}`"
            for of_texts in sorted(self.pending)
        ]
        return f"run {' and '.join(commands)} again to fill what is pending now"
