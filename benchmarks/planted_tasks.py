"""Questions whose answer was planted in one place, among distractors that look just like it.

An *item* is a marker plus a content, each a fixed random vector: "the guitar" and "red". The
question names a marker, the answer is the content found with it. Every group of places that
could be pooled holds each of its markers once and each of the 8 contents equally often, in random
pairing: sums and means over the group are the same for every answer, and evidence has the
distribution of the distractors. Chance is 1 in 8.

    second    the pair is at one of 8 seconds, in sound, frame and all patches alike
    second16  at one of 16 seconds, more than the mean of a layer per second can keep apart
    patch     at one of 8 patches of every second, each second shuffled anew
    sounding  as patch, but the sound of the second names the marker, the question does not
    modality  sound and picture pair their markers with contents on their own, over 5 seconds;
              the question names the marker and which of the two is asked about (5 of the 8
              contents occur, so who knows them all but attends to none reaches 20 %)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from avqa.heads import HeadInput

NUM = 8
"""Contents, that is answers; also patches, and markers of the tasks in space."""
MARKERS = 16
"""Markers there are; tasks of fewer places use the first."""
WIDTH = 64
NOISE = 0.3
FILLER, HEARD, SEEN, MARKER = 1, 2, 3, 4
"""Word numbers: a filler, the two modalities, then the markers."""
VOCABULARY = MARKER + MARKERS
NUM_WORDS = 6
CHANCE = 100 / NUM


@dataclass(frozen=True)
class Planted:
    """A batch and what a head should find in it."""

    inputs: HeadInput
    answers: Tensor
    """[B] long."""
    place: Tensor
    """[B] second of the evidence, or [B, T] patch of it, by task."""
    asked: Tensor
    """[B] long: 0 sound, 1 picture (task modality; elsewhere 1)."""
    word: Tensor
    """[B] position of the deciding word."""


class Codes:
    """The fixed random vectors of one seed, of norm 4 in every stream."""

    def __init__(self, seed: int) -> None:
        g = torch.Generator().manual_seed(seed)

        def codes(n: int) -> Tensor:
            return 4 * F.normalize(torch.randn(n, WIDTH, generator=g), dim=1)

        self.heard, self.seen = codes(MARKERS), codes(MARKERS)
        self.heard_content, self.seen_content = codes(NUM), codes(NUM)
        self.words = codes(VOCABULARY)


def plant(task: str, codes: Codes, batch: int, g: torch.Generator) -> Planted:
    """A batch of a task.

    Shapes:
        T = 8 (second), 16 (second16), 5 (modality) or 3; P = 2 (tasks in time) or 8
    """
    make = {
        "second": _second,
        "second16": _second16,
        "modality": _modality,
        "patch": _patch,
        "sounding": _sounding,
    }
    return make[task](codes, batch, g)


def _shuffled(g: torch.Generator, *shape: int) -> Tensor:
    """Random permutations along the last axis."""
    return torch.rand(*shape, generator=g).argsort(-1)


def _noisy(x: Tensor, g: torch.Generator) -> Tensor:
    return x + NOISE * torch.randn(x.shape, generator=g)


def _find(markers: Tensor, marker: Tensor) -> Tensor:
    """Where along the last axis the marker is: [..., n], [...] → [...]."""
    return (markers == marker.unsqueeze(-1)).long().argmax(-1)


def _question(
    codes: Codes, marker: Tensor | None, asked: Tensor | None, batch: int, g: torch.Generator
) -> dict[str, Tensor]:
    """Fillers, then the modality, then the marker as last word: LSTMs forget through padding."""
    tokens = torch.full((batch, NUM_WORDS), FILLER)
    if asked is not None:
        tokens[:, -2] = torch.where(asked == 0, HEARD, SEEN)
    if marker is not None:
        tokens[:, -1] = MARKER + marker
    start = torch.zeros(batch, 1, dtype=torch.long)  # a start token, the same in every question
    words = _noisy(codes.words[torch.cat([start, tokens], 1)], g)
    sentence = torch.zeros(batch, WIDTH)
    if marker is not None:
        sentence = sentence + codes.words[MARKER + marker]
    if asked is not None:
        sentence = sentence + codes.words[torch.where(asked == 0, HEARD, SEEN)]
    return {
        "tokens": tokens,
        "words": words,
        "sentence": _noisy(sentence, g),
        "eot": torch.full((batch,), NUM_WORDS),
        "type_tokens": tokens[:, -2:-1],
        "keyword_tokens": tokens[:, -1:],
    }


def _pack(
    audio: Tensor,
    patch: Tensor,
    question: dict[str, Tensor],
    answers: Tensor,
    place: Tensor,
    asked: Tensor | None = None,
) -> Planted:
    batch, seconds = audio.shape[:2]
    inputs = HeadInput(
        valid=torch.ones(batch, seconds, dtype=torch.bool),
        audio=audio,
        patch=patch,
        frame=patch.mean(2),
        video=torch.arange(batch),
        **question,
    )
    seen = torch.ones(batch, dtype=torch.long)
    last = torch.full((batch,), NUM_WORDS - 1)
    return Planted(inputs, answers, place, seen if asked is None else asked, last)


def _second16(codes: Codes, batch: int, g: torch.Generator) -> Planted:
    return _second(codes, batch, g, seconds=16)


def _second(codes: Codes, batch: int, g: torch.Generator, seconds: int = 8) -> Planted:
    markers, contents = _shuffled(g, batch, seconds), _shuffled(g, batch, seconds) % NUM
    marker = torch.randint(seconds, (batch,), generator=g)
    place = _find(markers, marker)
    heard = codes.heard[markers] + codes.heard_content[contents]
    seen = (codes.seen[markers] + codes.seen_content[contents])[:, :, None].expand(-1, -1, 2, -1)
    answers = contents.gather(1, place[:, None])[:, 0]
    question = _question(codes, marker, None, batch, g)
    return _pack(_noisy(heard, g), _noisy(seen, g), question, answers, place)


def _modality(codes: Codes, batch: int, g: torch.Generator) -> Planted:
    markers = _shuffled(g, batch, NUM)[:, :5]
    contents = _shuffled(g, batch, 2, NUM)[..., :5]  # of sound and of picture
    marker = markers.gather(1, torch.randint(5, (batch, 1), generator=g))[:, 0]
    asked = torch.randint(2, (batch,), generator=g)
    place = _find(markers, marker)
    heard = codes.heard[markers] + codes.heard_content[contents[:, 0]]
    seen = codes.seen[markers] + codes.seen_content[contents[:, 1]]
    answers = contents[torch.arange(batch), asked].gather(1, place[:, None])[:, 0]
    question = _question(codes, marker, asked, batch, g)
    patch = _noisy(seen[:, :, None].expand(-1, -1, 2, -1), g)
    return _pack(_noisy(heard, g), patch, question, answers, place, asked)


def _pictures(
    codes: Codes, marker: Tensor, batch: int, seconds: int, g: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Patches [B, T, 8, D], answers [B] and the patch [B, T] that holds the marker.

    One pairing of markers with contents for the video, places shuffled in every second.
    """
    contents = _shuffled(g, batch, NUM)  # of each marker
    markers = _shuffled(g, batch, seconds, NUM)
    paired = contents[:, None].expand(-1, seconds, -1).gather(2, markers)
    patch = _noisy(codes.seen[markers] + codes.seen_content[paired], g)
    answers = contents.gather(1, marker[:, None])[:, 0]
    return patch, answers, _find(markers, marker[:, None].expand(-1, seconds))


def _patch(codes: Codes, batch: int, g: torch.Generator, seconds: int = 3) -> Planted:
    marker = torch.randint(NUM, (batch,), generator=g)
    patch, answers, place = _pictures(codes, marker, batch, seconds, g)
    audio = torch.randn(batch, seconds, WIDTH, generator=g) * 4 / WIDTH**0.5  # tells nothing
    return _pack(audio, patch, _question(codes, marker, None, batch, g), answers, place)


def _sounding(codes: Codes, batch: int, g: torch.Generator, seconds: int = 3) -> Planted:
    marker = torch.randint(NUM, (batch,), generator=g)
    patch, answers, place = _pictures(codes, marker, batch, seconds, g)
    audio = _noisy(codes.heard[marker][:, None].expand(-1, seconds, -1), g)
    return _pack(audio, patch, _question(codes, None, None, batch, g), answers, place)
