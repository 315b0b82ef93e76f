"""Small frames of the videos that a run's questions are about."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from avqa.datasets import Question
from avqa.datasets._parts.matching import match_rows
from avqa.errors import AvqaError
from avqa.pipelines.pages.media.posters import Videos, evenly
from avqa.store.places.files import store_path
from avqa.store.reader import FeatureStore, RandomWeightsWarning, open_store
from avqa.training.run import Member

MOST_VIDEOS = 1_000
"""Whose frames are on a page, some 6 kB each."""


def frames_beside(
    member: Member, wanted: Iterable[str], known: Iterable[Question], folder: Path
) -> tuple[dict[str, str], str | None]:
    """Frames of the first `MOST_VIDEOS` of some videos.

    Args:
        member: whose store says how long the videos are; without it the first frame is shown.
        wanted: ids of the videos as the questions have them, those to show first in front.
        known: the questions themselves, as far as they are at hand.
        folder: of the videos, or a list of them.

    Returns:
        Id → frames side by side, and a line on what is missing.

    Raises:
        ConfigError, LibraryMissing: as `Videos`.
    """
    names = list(dict.fromkeys(wanted))
    shown, files, asked = names[:MOST_VIDEOS], Videos(folder), list(known)
    its, durations = _matched(asked, files.ids), _Durations(member, asked)
    frames = files.frames({n: (its.get(n, n), evenly(durations.of(n))) for n in shown})
    if len(frames) == len(names):
        return frames, None
    why = f"not in {str(folder)!r}, not to be read, or behind the first {MOST_VIDEOS}"
    return frames, f"frames of {len(names) - len(frames)} of {len(names)} videos: {why}"


def _matched(questions: Sequence[Question], ids: Sequence[str]) -> Mapping[str, str]:
    """Id of a question's video → that of the file, or of the store."""
    try:
        rows = match_rows(questions, ids, held="the folder", option="--videos").rows
    except AvqaError:  # none is there: said with the number of those that are missing
        return {}
    pairs = zip(questions, rows, strict=True)
    return {question.video_id: ids[row] for question, row in pairs if row is not None}


class _Durations:
    """Of the videos, as a run's store has them, if it is there."""

    def __init__(self, member: Member, questions: Sequence[Question]) -> None:
        self._store: FeatureStore | None = None
        self._its: Mapping[str, str] = {}
        with contextlib.suppress(AvqaError), warnings.catch_warnings():
            warnings.simplefilter("ignore", RandomWeightsWarning)  # the page says it
            self._store = open_store(store_path(member.config.store))
            self._its = _matched(questions, self._store.video_ids)

    def of(self, name: str) -> float | None:
        """Seconds; None where they are not known."""
        with contextlib.suppress(AvqaError):
            if self._store is not None:
                return self._store.duration(self._its.get(name, name))
        return None
