"""Splits by video: the same video never on two sides, without any state or order.

MUSIC-AVQA is split by question: half of the validation videos are test videos too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Mapping

from avqa.datasets._parts.question import SPLITS, Question

FRACTIONS: Mapping[str, float] = {"train": 0.7, "val": 0.1, "test": 0.2}
DERIVED = re.compile(r"(_#\d+)?(_flip)?$")
"""What MUSIC-AVQA-v2.0 adds to a video's id for another cut of it and for its mirror image."""


def video_position(video_id: str, seed: int) -> float:
    """Where a video stands in [0, 1): uniform over videos, the same for a video's derivatives."""
    source = DERIVED.sub("", video_id, count=1)
    digest = hashlib.sha256(f"{seed}:{source}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def video_disjoint(
    questions: Iterable[Question], seed: int = 0, fractions: Mapping[str, float] = FRACTIONS
) -> list[Question]:
    """The same questions with new splits that share no video; each video's place is its hash.

    Args:
        questions: of any splits; order and keys stay.
        seed: another seed is another split.
        fractions: share of the videos per split; together 1.

    Raises:
        ValueError: if the fractions are no such shares.
    """
    wrong = set(fractions) - set(SPLITS) or any(share < 0 for share in fractions.values())
    if wrong or abs(sum(fractions.values()) - 1) > 1e-9:
        raise ValueError(f"fractions={dict(fractions)}; expected shares of {SPLITS} that sum to 1")
    split_of: dict[str, str] = {}
    moved = []
    for question in questions:
        video = question.video_id
        if video not in split_of:
            split_of[video] = _split_at(video_position(video, seed), fractions)
        moved.append(dataclasses.replace(question, split=split_of[video]))
    return moved


def _split_at(position: float, fractions: Mapping[str, float]) -> str:
    chosen, reached = "", 0.0
    for split, share in fractions.items():
        if position >= reached:
            chosen = split
        reached += share
    return chosen
