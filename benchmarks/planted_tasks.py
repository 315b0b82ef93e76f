"""Questions whose answer was planted in one place, among distractors that look just like it.

An *item* is a marker plus a content, each a fixed random vector: "the guitar" and "red". The
question, or the sound, names a marker; the answer, one of 32, is the content found with it. A
video holds 8 markers (6 where said) with as many contents in random pairing: sums and means over
the places are the same whichever of them is asked about, and evidence has the distribution of the
distractors. Chance is 3 %; who knows all contents of the video but not which is asked for reaches
12.5 % (17 % of 6).

    second     the items are at 8 seconds, in sound, frame and all patches alike
    patch      at the 8 patches of every second, each second shuffled anew
    sounding   as patch, but the sound of the second names the marker, the question does not
    modality   as second, but sound and picture pair markers with contents on their own; the
               question names the marker and, in a word of its own, which of the two it asks about
    sense      as modality, but no word says which of the two, only the sentence's vector and
               the label of the question's type do
    worded     as modality, but only that word says which of the two, not the sentence's vector
    rare       as modality, but the picture is asked about in one question of 8
    cued       3 seconds name a marker beside a cue, 6 others hold items, in sound and picture
               alike; the question says nothing; sources are labelled
    attribute  as patch, but an item has two contents, of two kinds; the question names the marker
               and, in a word of its own, the kind
    elsewhere  as cued, but cue and marker are heard only and the items are seen only: never
               in the same second
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from avqa.heads import HeadInput

PLACES = 8
"""Seconds or patches that hold an item; markers that questions name."""
MARKERS = 16
"""Markers there are: the last is the cue, others beyond the first 8 are scenery."""
ANSWERS = 32
"""Contents."""
WIDTH = 64
NOISE = 0.3
FILLER, HEARD, SEEN, MARKER = 1, 2, 3, 4
"""Word numbers: a filler, the two modalities, then the markers."""
VOCABULARY = MARKER + MARKERS
NUM_WORDS = 6
CHANCE = 100 / ANSWERS


@dataclass(frozen=True)
class Planted:
    """A batch and what a head should find in it."""

    inputs: HeadInput
    answers: Tensor
    """[B] long."""
    place: Tensor
    """[B] second of the evidence, or [B, T] patch of it, by task."""
    asked: Tensor
    """[B] long: 0 sound, 1 picture (modality, sense, worded, rare; others 1); of `attribute`
    the kind of content."""
    word: Tensor
    """[B] position of the deciding word."""


class Codes:
    """The fixed random vectors of one seed, of norm 4 in every stream.

    As in CLIP's space, the word for a marker lies where its pictures lie.
    """

    def __init__(self, seed: int) -> None:
        g = torch.Generator().manual_seed(seed)

        def codes(n: int) -> Tensor:
            return 4 * F.normalize(torch.randn(n, WIDTH, generator=g), dim=1)

        self.heard, self.seen = codes(MARKERS), codes(MARKERS)
        self.heard_content, self.seen_content = codes(ANSWERS), codes(ANSWERS)
        self.words = torch.cat([codes(MARKER), self.seen])
        self.seen_other = codes(ANSWERS)
        """Contents of the second kind."""


def plant(task: str, codes: Codes, batch: int, g: torch.Generator) -> Planted:
    """A batch of a task.

    Shapes:
        T = 8 and P = 2 (second, modality, sense, worded, rare), 9 and 2 (cued, elsewhere),
        else 3 and 8
    """
    make = {
        "attribute": _attribute,
        "second": _second,
        "patch": _patch,
        "sounding": _sounding,
        "modality": _modality,
        "sense": _sense,
        "worded": _worded_alone,
        "rare": _rare,
        "cued": _cued,
        "elsewhere": _elsewhere,
    }
    return make[task](codes, batch, g)


def _shuffled(g: torch.Generator, *shape: int) -> Tensor:
    """Random permutations along the last axis."""
    return torch.rand(*shape, generator=g).argsort(-1)


def _contents(g: torch.Generator, *shape: int) -> Tensor:
    """Different contents along the last axis."""
    return _shuffled(g, *shape[:-1], ANSWERS)[..., : shape[-1]]


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
    sentence = torch.zeros(batch, WIDTH)
    if marker is not None:
        sentence = sentence + codes.words[MARKER + marker]
    if asked is not None:
        sentence = sentence + codes.words[torch.where(asked == 0, HEARD, SEEN)]
    return _worded(codes, tokens, g) | {
        "type_tokens": tokens[:, -2:-1],
        "keyword_tokens": tokens[:, -1:],
        "sentence": (said := _noisy(sentence, g)),
        "prompt": said,
        "eot": torch.full((batch,), NUM_WORDS),
    }


def _worded(codes: Codes, tokens: Tensor, g: torch.Generator) -> dict[str, Tensor]:
    start = torch.zeros(len(tokens), 1, dtype=torch.long)  # the same in every question
    return {
        "tokens": tokens,
        "words": _noisy(codes.words[torch.cat([start, tokens], 1)], g),
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
        bands=audio.unsqueeze(2),
        video=torch.arange(batch),
        **question,
    )
    seen = torch.ones(batch, dtype=torch.long)
    last = torch.full((batch,), NUM_WORDS - 1)
    return Planted(inputs, answers, place, seen if asked is None else asked, last)


def _pictures(codes_of_seconds: Tensor, g: torch.Generator) -> Tensor:
    """Two patches a second that show the same: [B, T, D] → [B, T, 2, D]."""
    return _noisy(codes_of_seconds[:, :, None].expand(-1, -1, 2, -1), g)


def _second(codes: Codes, batch: int, g: torch.Generator) -> Planted:
    markers, contents = _shuffled(g, batch, PLACES), _contents(g, batch, PLACES)
    marker = torch.randint(PLACES, (batch,), generator=g)
    place = _find(markers, marker)
    heard = codes.heard[markers] + codes.heard_content[contents]
    seen = codes.seen[markers] + codes.seen_content[contents]
    answers = contents.gather(1, place[:, None])[:, 0]
    question = _question(codes, marker, None, batch, g)
    return _pack(_noisy(heard, g), _pictures(seen, g), question, answers, place)


def _modality(codes: Codes, batch: int, g: torch.Generator, of_pictures: float = 1 / 2) -> Planted:
    markers, contents = _shuffled(g, batch, PLACES), _contents(g, batch, 2, PLACES)
    marker = torch.randint(PLACES, (batch,), generator=g)
    asked = (torch.rand(batch, generator=g) < of_pictures).long()
    place = _find(markers, marker)
    heard = codes.heard[markers] + codes.heard_content[contents[:, 0]]
    seen = codes.seen[markers] + codes.seen_content[contents[:, 1]]
    answers = contents[torch.arange(batch), asked].gather(1, place[:, None])[:, 0]
    question = _question(codes, marker, asked, batch, g)
    return _pack(_noisy(heard, g), _pictures(seen, g), question, answers, place, asked)


def _sense(codes: Codes, batch: int, g: torch.Generator) -> Planted:
    made = _modality(codes, batch, g)
    tokens = made.inputs.tokens
    assert tokens is not None
    silent = torch.where((tokens == HEARD) | (tokens == SEEN), FILLER, tokens)
    return replace(made, inputs=replace(made.inputs, **_worded(codes, silent, g)))


def _worded_alone(codes: Codes, batch: int, g: torch.Generator) -> Planted:
    made = _modality(codes, batch, g)
    assert made.inputs.tokens is not None
    said = _noisy(codes.words[made.inputs.tokens[:, -1]], g)
    return replace(made, inputs=replace(made.inputs, sentence=said, prompt=said))


def _rare(codes: Codes, batch: int, g: torch.Generator) -> Planted:
    return _modality(codes, batch, g, of_pictures=1 / 8)


def _maps(
    codes: Codes, marker: Tensor, batch: int, seconds: int, g: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Patches [B, T, 8, D], answers [B], the patch [B, T] with the marker, markers [B, T, 8].

    One pairing of markers with contents for the video, places shuffled in every second.
    """
    contents = _contents(g, batch, PLACES)  # of each marker
    markers = _shuffled(g, batch, seconds, PLACES)
    paired = contents[:, None].expand(-1, seconds, -1).gather(2, markers)
    patch = _noisy(codes.seen[markers] + codes.seen_content[paired], g)
    answers = contents.gather(1, marker[:, None])[:, 0]
    return patch, answers, _find(markers, marker[:, None].expand(-1, seconds)), markers


def _patch(codes: Codes, batch: int, g: torch.Generator, seconds: int = 3) -> Planted:
    marker = torch.randint(PLACES, (batch,), generator=g)
    patch, answers, place, _ = _maps(codes, marker, batch, seconds, g)
    audio = torch.randn(batch, seconds, WIDTH, generator=g) * 4 / WIDTH**0.5  # tells nothing
    return _pack(audio, patch, _question(codes, marker, None, batch, g), answers, place)


def _attribute(codes: Codes, batch: int, g: torch.Generator, seconds: int = 3) -> Planted:
    marker = torch.randint(PLACES, (batch,), generator=g)
    asked = torch.randint(2, (batch,), generator=g)
    patch, first, place, markers = _maps(codes, marker, batch, seconds, g)
    others = _contents(g, batch, PLACES)  # of each marker
    paired = others[:, None].expand(-1, seconds, -1).gather(2, markers)
    second = others.gather(1, marker[:, None])[:, 0]
    answers = torch.where(asked == 0, first, second)
    audio = torch.randn(batch, seconds, WIDTH, generator=g) * 4 / WIDTH**0.5  # tells nothing
    question = _question(codes, marker, asked, batch, g)
    return _pack(audio, patch + codes.seen_other[paired], question, answers, place, asked)


def _sounding(codes: Codes, batch: int, g: torch.Generator, seconds: int = 3) -> Planted:
    marker = torch.randint(PLACES, (batch,), generator=g)
    patch, answers, place, _ = _maps(codes, marker, batch, seconds, g)
    audio = _noisy(codes.heard[marker][:, None].expand(-1, seconds, -1), g)
    return _pack(audio, patch, _question(codes, None, None, batch, g), answers, place)


def _elsewhere(codes: Codes, batch: int, g: torch.Generator) -> Planted:
    return _cued(codes, batch, g, apart=True)


def _cued(
    codes: Codes,
    batch: int,
    g: torch.Generator,
    apart: bool = False,
    items: int = 6,
    cues: int = 3,
) -> Planted:
    markers = _shuffled(g, batch, PLACES)[:, :items]
    contents, order = _contents(g, batch, items), _shuffled(g, batch, items + cues)
    wanted = torch.randint(items, (batch, 1), generator=g)
    scenery = PLACES + _shuffled(g, 2, batch, items + cues, MARKERS - 1 - PLACES)[..., :2]

    def stream(marker: Tensor, content: Tensor, *, has_items: bool, has_cues: bool) -> Tensor:
        around = marker[scenery[int(has_cues)]].sum(2)  # [B, items + cues, D], of two markers
        paired = marker[markers] + content[contents]
        named = marker[MARKERS - 1] + marker[markers.gather(1, wanted)]
        first = paired if has_items else around[:, :items]
        last = named.expand(-1, cues, -1) if has_cues else around[:, items:]
        return torch.cat([first, last], 1).gather(1, order[..., None].expand(-1, -1, WIDTH))

    heard = stream(codes.heard, codes.heard_content, has_items=not apart, has_cues=True)
    seen = stream(codes.seen, codes.seen_content, has_items=True, has_cues=not apart)
    question = _question(codes, None, None, batch, g)
    question["sources"] = torch.zeros(batch, PLACES).scatter(1, markers, 1.0)
    answers = contents.gather(1, wanted)[:, 0]
    place = _find(order, wanted[:, 0])
    return _pack(_noisy(heard, g), _pictures(seen, g), question, answers, place)
