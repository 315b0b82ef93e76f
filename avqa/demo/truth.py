"""Whether a head looked where the truth says: its `Evidence` against ``truth.json``.

A question is about the instruments that it names, or else about the one that is its answer, or that
stands where its answer says. Asked when: the seconds in which one of them sounds, if those are some
and not all. Asked where: the patches whose middle lies in the box of one of them. Chance is the
share of the seconds, or of the patches, that are right: what equal weights score on average.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from avqa.datasets import Question
from avqa.datasets._parts.vocabulary import INSTRUMENTS
from avqa.datasets._synth.score import PLACES
from avqa.heads import Evidence


@dataclass(frozen=True)
class Hits:
    """Means over questions, each in [0, 1]; chance is that of the same questions."""

    questions: int
    mass: float
    """Share of the weight that lies inside."""
    top: float
    """Whether the largest weight lies inside."""
    chance: float


def sounds_at(player: Mapping[str, Any], second: int) -> bool:
    """Whether a player sounds in a second."""
    return any(start <= second < end for start, end in player["sounds"])


def covered_patches(box: Sequence[float] | None, grid: int) -> list[int]:
    """Patches whose middle lies in a box of shares of the picture; none off screen.

    They are ``grid`` × ``grid``, row by row.
    """
    if box is None:
        return []
    left, top, right, bottom = box
    middles = [(i + 0.5) / grid for i in range(grid)]
    return [
        row * grid + column
        for row, y in enumerate(middles)
        for column, x in enumerate(middles)
        if left <= x <= right and top <= y <= bottom
    ]


def asked_players(question: Question, video: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Players of the instruments that a question is about."""
    named = {slot for slot in question.slots if slot in INSTRUMENTS}
    wanted = named or {question.answer} & set(INSTRUMENTS)
    if not wanted and question.answer in PLACES:
        return [player for player in video["players"] if player["place"] == question.answer]
    return [player for player in video["players"] if player["instrument"] in wanted]


def asked_seconds(question: Question, video: Mapping[str, Any]) -> Tensor | None:
    """[T] bool: when they sound; None where that is never, always, or not asked."""
    players = asked_players(question, video)
    inside = torch.tensor(
        [any(sounds_at(player, t) for player in players) for t in range(video["seconds"])]
    )
    return inside if bool(inside.any()) and not bool(inside.all()) else None


def asked_patches(question: Question, video: Mapping[str, Any], patches: int) -> Tensor | None:
    """[P] bool: where they are seen; None where nowhere, or not asked."""
    inside = torch.zeros(patches, dtype=torch.bool)
    for player in asked_players(question, video):
        inside[covered_patches(player["box"], math.isqrt(patches))] = True
    return inside if bool(inside.any()) else None


def hits(
    looked: Iterable[tuple[Question, Evidence, int]], truth: Mapping[str, Any]
) -> dict[str, Hits]:
    """How often weights lie inside, for every kind of evidence that the head has.

    Args:
        looked: a question, the evidence of its batch, its row in it.
        truth: as ``truth.json`` holds it.

    Returns:
        ``seconds``, ``audio_time``, ``frame_time`` and ``patches`` → hits; those without any
        question are left out. Patches are taken at the second with the largest weight, of those
        that the head looked into.
    """
    found: dict[str, list[tuple[float, float, float]]] = {}
    for question, evidence, row in looked:
        video = truth["videos"][question.video_id]
        when = asked_seconds(question, video)
        for kind in ("seconds", "audio_time", "frame_time"):
            weights = getattr(evidence, kind)
            if weights is not None and when is not None:
                found.setdefault(kind, []).append(_hit(weights[row], when))
        if evidence.patches is not None:
            where = asked_patches(question, video, evidence.patches.shape[2])
            if where is not None:
                found.setdefault("patches", []).append(_hit(_at_the_top(evidence, row), where))
    return {kind: _mean(rows) for kind, rows in found.items()}


def _at_the_top(evidence: Evidence, row: int) -> Tensor:
    """[P], the patches at the second that weighs most; the first of equals."""
    assert evidence.patches is not None
    patches = evidence.patches[row]
    into = patches.sum(1) > 0
    seconds = into.float() if evidence.seconds is None else evidence.seconds[row] * into
    return patches[int(seconds.argmax())]


def _hit(weights: Tensor, inside: Tensor) -> tuple[float, float, float]:
    """Mass, top and chance of one question; the top is shared by equal largest weights."""
    largest = weights == weights.max()
    top = float(inside[largest].float().mean())
    return float(weights[inside].sum() / weights.sum()), top, float(inside.float().mean())


def _mean(rows: list[tuple[float, float, float]]) -> Hits:
    mass, top, chance = (sum(column) / len(rows) for column in zip(*rows, strict=True))
    return Hits(len(rows), mass, top, chance)
