"""`avqa compare OURS THEIRS`: are two sets of features the same, and if not, how do they differ?

A side is a store, a folder of ``<video>.npy``, a folder of such folders, or one .npy file. Rows
are compared feature by feature (*streams*) over the videos that both sides have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from avqa.errors import ConfigError, DifferenceFound
from avqa.pipelines.npy.compared.sides import Side, pairs_of, read_side
from avqa.pipelines.npy.compared.stream import StreamReport, compare_stream
from avqa.pipelines.npy.questions import Annotations
from avqa.store.places.files import StorePath
from avqa.telling import objects

TOLERANCE = 0.999


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
    layout: str | None = None,
    annotations: Annotations | None = None,
    tolerance: float = TOLERANCE,
    say: Callable[[str], None] = lambda line: None,
) -> CompareReport:
    """Compare two sides stream by stream.

    Args:
        ours: store, folder or file.
        theirs: store, folder or file.
        feature: compare this one only, ``<encoder>/<tap>``.
        kind: what the files of a folder without a published name, or a file, are.
        layout: the repository that folders are from, where names alone do not tell.
        annotations: which question an id belongs to; files of questions need it.
        tolerance: smallest cosine of rows that count as equal.
        say: gets warnings.

    Raises:
        ConfigError: a side cannot be read, or they have nothing in common.
        UnknownName: there is no such kind or layout.
        RecipeMismatch, WeightsUnavailable: as `compare_questions`.
    """
    sides = read_side(ours, kind, layout), read_side(theirs, kind, layout)
    if sides[0].is_file and sides[1].is_file:
        for side in sides:  # two files are compared whatever their names
            for name, videos in side.streams.items():
                side.streams[name] = dict(zip(("file",), videos.values(), strict=True))
    of_questions, told = _questions(sides, ours, feature, annotations, tolerance, say)
    alone = bool(of_questions) and not sides[1].streams
    pairs, unmatched = ([], []) if alone else pairs_of(sides[0], sides[1], feature)
    reports = [
        compare_stream(name, sides[0].streams[mine], sides[1].streams[yours], tolerance)
        for name, mine, yours in pairs
    ]
    return CompareReport(ours, theirs, tolerance, reports + of_questions, unmatched + told)


def _questions(
    sides: tuple[Side, Side],
    store: StorePath,
    feature: str | None,
    annotations: Annotations | None,
    tolerance: float,
    say: Callable[[str], None],
) -> tuple[list[StreamReport], list[str]]:
    """Files of theirs that are named by question, and a line on each that is not compared.

    Raises:
        ConfigError: there are no others, and these cannot be compared either.
    """
    ours, theirs = sides
    not_read = [
        f"{side.choices.name}: not compared; expected folders of .npy; compare its numbers with"
        " `avqa import npy` into a store of its own and `FeatureStore.read_texts`"
        for side in sides
        if side.choices is not None
    ]
    if not_read and not (theirs.streams or theirs.questions):
        raise ConfigError(not_read[0])
    if annotations is not None and ours.is_store:
        from avqa.pipelines.npy.compared.readings import compare_questions

        found = [
            compare_questions(store, folder, path, annotations, tolerance, say)
            for folder, path in theirs.questions.values()
            if feature in (None, folder.feature)
        ]
        return found, not_read
    need = "files of questions need a store as OURS, --dataset and --annotations"
    told = [f"{name}: not compared; {need}" for name in (*ours.questions, *theirs.questions)]
    if told and not (ours.streams and theirs.streams):
        raise ConfigError(f"{told[0]}; expected all three; give them")
    return [], not_read + told
