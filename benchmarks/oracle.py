"""Answers questions from exact rows by rule: what they tell, and so what no head can be above.

The rows of `benchmarks.exact_rows` say nearly all of a clip. Not whether of two of a kind that
sound together one is the louder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.datasets import Question
from avqa.datasets._synth.facts import Facts
from avqa.datasets._synth.questions import ask
from avqa.datasets._synth.score import BACKGROUNDS, LEVELS, PLACES, STROKES, Interval, Player, Scene
from benchmarks.exact_rows import GRID, ExactFeatures

Seen = Mapping[str, NDArray[np.bool_]]
"""Name of a column → where it is set: [T] of the sound, [T, P] of patches."""
Columns = Mapping[int, NDArray[np.bool_]]
"""Level or strokes → the same."""


class Oracle:
    """What can be said of videos by their exact rows alone."""

    def __init__(self, features: ExactFeatures) -> None:
        self._features = features
        self._instruments = tuple(features.truth["settings"]["instruments"])

    def right(self, questions: Sequence[Question]) -> NDArray[np.bool_]:
        """[N]: whether it answers each as the annotation does."""
        known: dict[str, dict[tuple[str, tuple[str, ...]], str]] = {}
        for video in dict.fromkeys(question.video_id for question in questions):
            asked = ask(Facts(self.scene(video)), self._instruments)
            known[video] = {(q.template, q.values): q.answer for q in asked}
        return np.array(
            [known[q.video_id].get((q.template, q.slots)) == q.answer for q in questions]
        )

    def scene(self, video: str) -> Scene:
        """The score of a video as far as its rows tell."""
        rows = self._features.read(video)
        heard, seen = (
            {name: rows[field][..., column].numpy() > 0 for column, name in enumerate(names)}
            for field, names in (
                ("audio", self._features.audio_names),
                ("patch", self._features.patch_names),
            )
        )
        return Scene(
            number=0,
            seconds=len(rows["audio"]),
            background=next(name for name in BACKGROUNDS if seen[name].any()),
            players=tuple(self._players(heard, seen)),
            voiceover=_intervals(heard["voiceover"]),
            num_distractors=0,
        )

    def _players(self, heard: Seen, seen: Seen) -> Iterator[Player]:
        for name in self._instruments:
            found = [
                (place, patches, seen[f"{name} sounds"][:, patches].any(1))
                for place in PLACES
                for patches in _apart(seen[f"{name} {place}"].any(0))
            ]
            loud = {level: heard[f"{name} {level} dB"] for level in LEVELS}
            quick = {strokes: seen[f"{name} {strokes} a second"] for strokes in STROKES}
            levels = _levels(loud, [sounds for _, _, sounds in found])
            for (place, patches, sounds), level in zip(found, levels, strict=True):
                strokes = _first(quick, (..., patches))
                yield Player(name, place, (0, 0, 0, 0), _intervals(sounds), level, strokes)
            sounds = heard[f"{name} sounds"]
            if not found and sounds.any():
                quick = {strokes: heard[f"{name} {strokes} a second"] for strokes in STROKES}
                level, strokes = _first(loud, sounds), _first(quick, sounds)
                yield Player(name, None, None, _intervals(sounds), level, strokes)


def _apart(covered: NDArray[np.bool_]) -> list[list[int]]:
    """Patches of each that stands in a column: rows without any are between two."""
    rows = covered.reshape(GRID, GRID).any(1)
    return [
        [p for p in np.flatnonzero(covered).tolist() if start <= p // GRID < end]
        for start, end in _intervals(rows)
    ]


def _levels(loud: Columns, sounds: Sequence[NDArray[np.bool_]]) -> list[int]:
    """Of each of a kind: by when it sounds alone, else, in any order, what no other of them has."""
    alone = [
        heard
        & ~np.logical_or.reduce([np.zeros_like(heard), *(s for s in sounds if s is not heard)])
        for heard in sounds
    ]
    known = {n: _first(loud, seconds) for n, seconds in enumerate(alone) if seconds.any()}
    free = {level: on for level, on in loud.items() if level not in known.values()}
    for n, heard in enumerate(sounds):
        if n not in known:
            known[n] = _first(free if _set(free, heard) else loud, heard)
            free.pop(known[n], None)
    return [known[n] for n in range(len(sounds))]


def _set(columns: Columns, where: Any) -> list[int]:
    return [value for value, on in columns.items() if on[where].any()]


def _first(columns: Columns, where: Any) -> int:
    """The first value whose column is set there; of what never sounds the first of all."""
    return next(iter(_set(columns, where)), next(iter(columns), 0))


def _intervals(on: NDArray[np.bool_]) -> tuple[Interval, ...]:
    """[start, end) of each run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(np.int8), [0]])))
    return tuple((int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True))
