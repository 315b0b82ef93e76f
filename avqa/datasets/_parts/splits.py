"""Splits by video: the same video never on two sides, without any state or order.

MUSIC-AVQA is split by question: half of the validation videos are test videos too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from avqa.datasets._parts.question import SPLITS, Question

FRACTIONS: Mapping[str, float] = {"train": 0.7, "val": 0.1, "test": 0.2}
DERIVED = re.compile(r"(_#\d+)?(_flip)?$")
"""What MUSIC-AVQA-v2.0 adds to a video's id for another cut of it and for its mirror image."""


def _source(video_id: str) -> str:
    """The video that another one is a cut or mirror image of."""
    return DERIVED.sub("", video_id, count=1)


def video_position(video_id: str, seed: int) -> float:
    """Where a video stands in [0, 1): uniform over videos, the same for a video's derivatives."""
    digest = hashlib.sha256(f"{seed}:{_source(video_id)}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _leads(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Source of every video that is in a pair → the first by name of all that it is joined to."""
    group: dict[str, set[str]] = {}
    for pair in pairs:
        joined = set[str]().union(*(group.get(name, {name}) for name in map(_source, pair)))
        group |= dict.fromkeys(joined, joined)
    return {name: min(joined) for name, joined in group.items()}


def split_videos(
    video_ids: Iterable[str],
    seed: int = 0,
    fractions: Mapping[str, float] = FRACTIONS,
    together: Iterable[tuple[str, str]] = (),
) -> dict[str, str]:
    """Video id → split, by the place of its hash: further videos move none that is there.

    Where few videos leave a split empty, it gets the one whose place is nearest to its share, of
    a split that has two or more: only such a video may move when others are added.

    Args:
        video_ids: each as often as it comes.
        seed: another seed is another split.
        fractions: share of the videos per split; together 1.
        together: pairs of ids, of these or others, that come to one split, and what is joined by
            several: all stand where the first of them by name does.

    Raises:
        ValueError: if the fractions are no such shares.
    """
    wrong = set(fractions) - set(SPLITS) or any(share < 0 for share in fractions.values())
    if wrong or abs(sum(fractions.values()) - 1) > 1e-9:
        raise ValueError(f"fractions={dict(fractions)}; expected shares of {SPLITS} that sum to 1")
    leads = _leads(together)
    positions = {
        video: video_position(leads.get(_source(video), video), seed)
        for video in dict.fromkeys(video_ids)
    }
    split_at = {place: _split_at(place, fractions) for place in positions.values()}
    first = 0.0
    for split, share in fractions.items():
        if share and split not in split_at.values() and split_at:
            _fill(split_at, split, first, first + share)
        first += share
    return {video: split_at[place] for video, place in positions.items()}


def _fill(split_at: dict[float, str], split: str, first: float, end: float) -> None:
    """Give an empty split the place nearest to its share, unless others would be empty then."""
    held = Counter(split_at.values())
    movable = [place for place, of in split_at.items() if held[of] > 1]
    if movable:
        split_at[min(movable, key=lambda p: (max(first - p, p - end), p))] = split


def video_disjoint(
    questions: Iterable[Question],
    seed: int = 0,
    fractions: Mapping[str, float] = FRACTIONS,
    *,
    heard: bool = False,
) -> list[Question]:
    """The same questions with new splits that share no video; see `split_videos`.

    Args:
        questions: of any splits; order and keys stay.
        seed: another seed is another split.
        fractions: share of the videos per split; together 1.
        heard: whether the sound of another video, which a question may have, is no other split's
            either.

    Raises:
        ValueError: if the fractions are no such shares.
    """
    questions = list(questions)
    pairs = [(q.video_id, q.sound_id) for q in questions if heard and q.sound_id is not None]
    split_of = split_videos((q.video_id for q in questions), seed, fractions, pairs)
    return [dataclasses.replace(q, split=split_of[q.video_id]) for q in questions]


def _split_at(position: float, fractions: Mapping[str, float]) -> str:
    chosen, reached = "", 0.0
    for split, share in fractions.items():
        if position >= reached:
            chosen = split
        reached += share
    return chosen
