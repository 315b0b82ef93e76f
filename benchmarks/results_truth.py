"""Whether a head looked where the truth says: its `Evidence` against ``truth.json``.

A question is about the instruments that it names, or else about the one that is its answer. Asked
when: the seconds in which one of them sounds, if those are some and not all. Asked where: the
patches whose middle lies in the box of one of them. Chance is the share of the seconds, or of the
patches, that are right: what equal weights score on average.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from avqa.datasets import Question
from avqa.datasets._parts.vocabulary import INSTRUMENTS
from avqa.heads import Evidence
from benchmarks.results_exact import GRID, covered_patches, sounds_at


@dataclass(frozen=True)
class Hits:
    """Means over questions, each in [0, 1]; chance is that of the same questions."""

    questions: int
    mass: float
    """Share of the weight that lies inside."""
    top: float
    """Whether the largest weight lies inside."""
    chance: float


def asked_players(question: Question, video: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Players of the instruments that a question is about."""
    named = {slot for slot in question.slots if slot in INSTRUMENTS}
    wanted = named or {question.answer} & set(INSTRUMENTS)
    return [player for player in video["players"] if player["instrument"] in wanted]


def asked_seconds(question: Question, video: Mapping[str, Any]) -> Tensor | None:
    """[T] bool: when they sound; None where that is never, always, or not asked."""
    players = asked_players(question, video)
    inside = torch.tensor(
        [any(sounds_at(player, t) for player in players) for t in range(video["seconds"])]
    )
    return inside if bool(inside.any()) and not bool(inside.all()) else None


def asked_patches(question: Question, video: Mapping[str, Any]) -> Tensor | None:
    """[P] bool: where they are seen; None where nowhere, or not asked."""
    inside = torch.zeros(GRID * GRID, dtype=torch.bool)
    for player in asked_players(question, video):
        inside[covered_patches(player["box"])] = True
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
        when, where = asked_seconds(question, video), asked_patches(question, video)
        for kind in ("seconds", "audio_time", "frame_time"):
            weights = getattr(evidence, kind)
            if weights is not None and when is not None:
                found.setdefault(kind, []).append(_hit(weights[row], when))
        if evidence.patches is not None and where is not None:
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
