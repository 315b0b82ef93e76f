"""The questions of a clip: MUSIC-AVQA's templates, answered from the score.

A template is asked of a clip only where the answer is beyond dispute: loudness that differs by
6 dB or more, first and last a second or more apart, places that one player alone takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from avqa.datasets._synth.facts import Facts
from avqa.datasets._synth.score import PLACES, Player

NUMBERS = ("zero", "one", "two", "three", "four", "five")
ORDINALS = ("first", "second", "third", "fourth", "fifth")
LONGER_SECONDS = 2
"""*Playing longer* is by at least so much."""

Answer = tuple[tuple[str, ...], str]
"""Values of the template's placeholders, and the answer."""


@dataclass(frozen=True)
class Question:
    """A template of the field with its values filled, and its answer."""

    type: tuple[str, str]
    template: str
    values: tuple[str, ...]
    answer: str


def ask(facts: Facts, instruments: Sequence[str]) -> Iterator[Question]:
    """Every question that can be asked of a clip; ``instruments`` are all of the benchmark."""
    for kind, template, answers in TEMPLATES:
        for values, answer in answers(facts, instruments):
            yield Question(kind, template, values, answer)


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


def _two_sound(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    for pair in permutations(known, 2):
        yield pair, _yes(facts.heard >= set(pair))


def _how_many_heard(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    if len(facts.heard) == len(facts.sounding):  # two of a kind cannot be told apart by ear
        yield (), NUMBERS[len(facts.sounding)]


def _one_sounds(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    for name in known:
        yield (name,), _yes(name in facts.heard)


def _two_seen(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    for pair in permutations(known, 2):
        yield pair, _yes(facts.seen >= set(pair))


def _how_many_seen(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    for name in known:
        yield (name,), NUMBERS[sum(p.instrument == name for p in facts.visible)]


def _how_many_types_seen(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    yield (), NUMBERS[len(facts.seen)]


def _one_seen(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    for name in known:
        yield (name,), _yes(name in facts.seen)


def _beside(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    for player in facts.visible:
        for side in ("left", "right"):
            other = facts.beside(player, side)
            if other and facts.only(player.instrument) is player:
                yield (side, player.instrument), other.instrument


def _outermost(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    for word, places in (("leftest", PLACES), ("rightest", PLACES[::-1])):
        taken = [place for place in places if any(p.place == place for p in facts.visible)]
        player = facts.at(taken[0])
        if player and len(facts.visible) > 1:
            yield (word,), player.instrument


def _what_is_it(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    if len(facts.seen) == 1:
        yield (), facts.visible[0].instrument


def _where(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    yield (), facts.scene.background


def _always(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    for player in facts.visible:
        if facts.only(player.instrument) is player:
            yield (player.instrument,), _yes(player.sounds == ((0, facts.scene.seconds),))


def _voiceover(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    yield (), _yes(bool(facts.scene.voiceover))


def _from_the_picture(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    unseen = [p for p in facts.sounding if p.place is None]
    if facts.sounding and not facts.scene.voiceover and len(unseen) in (0, len(facts.sounding)):
        yield (), _yes(not unseen)


def _how_many_sounding(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    if facts.all_visible:
        yield (), NUMBERS[len(facts.sounding)]


def _how_many_silent(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    yield (), NUMBERS[sum(not p.sounds for p in facts.visible)]


def _how_many_of_a_kind_sound(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    if facts.all_visible:
        for name in sorted(facts.seen):
            yield (name,), NUMBERS[sum(p.instrument == name for p in facts.sounding)]


def _how_many_types_sound(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    if facts.all_visible:
        yield (), NUMBERS[len(facts.heard)]


def _sound_from_place(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    for word in ("first", "last"):
        player = facts.extreme(word)
        for place in PLACES:
            if player and facts.all_visible and facts.at(place):
                yield (word, place), _yes(player.place == place)


def _beside_extreme(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    for word in ("first", "last"):
        player = facts.extreme(word)
        for side in ("left", "right"):
            other = player and facts.all_visible and facts.beside(player, side)
            if other:
                yield (side, word), other.instrument


def _where_loudest(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    levels = sorted(p.level_db for p in facts.sounding)
    if not facts.all_visible or len(set(levels)) < 2:
        return
    for word, level in (("loudest", levels[-1]), ("lowest", levels[0])):
        if levels.count(level) == 1:
            [player] = [p for p in facts.sounding if p.level_db == level]
            yield (word,), str(player.place)


def _at_the_same_time(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    for player in facts.sounding:
        others = {p.instrument for p in facts.sounding if p is not player and p.overlaps(player)}
        if facts.only(player.instrument) is player and len(others) == 1:
            yield (player.instrument,), others.pop()


def _where_extreme(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    for word in ("first", "last"):
        player = facts.extreme(word)
        if player and facts.all_visible:
            yield (word,), str(player.place)


def _comes_in(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    starts = [p.sounds[0][0] for p in facts.by_start]
    if len(starts) > 1 and len(set(starts)) == len(starts) == len(facts.heard):
        for word, player in zip(ORDINALS, facts.by_start, strict=False):
            yield (word,), player.instrument


def _which_of_a_kind(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    for name in sorted(facts.seen):
        pair = [p for p in facts.sounding if p.instrument == name]
        if len(pair) != 2 or not facts.all_visible or pair[0].place == pair[1].place:
            continue
        for word in ("first", "last"):
            player = facts.extreme(word, pair)
            if pair[0].sounds == pair[1].sounds:
                yield (name, word), "simultaneously"
            elif player:
                yield (name, word), str(player.place)


def _before_or_after(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
    for player in facts.sounding:
        start = player.sounds[0][0]
        if facts.only(player.instrument) is not player:
            continue
        before = [p for p in facts.sounding if p.sounds[0][0] < start]
        after = [p for p in facts.sounding if p.sounds[0][0] > start]
        for word, others in (("before", before), ("after", after)):
            if len(others) == 1 and facts.only(others[0].instrument):
                yield (word, player.instrument), others[0].instrument


Compare = Callable[[Player, Player], bool | None]
"""Whether the first has more of it than the second; None where that is not clear."""


def _louder(one: Player, other: Player) -> bool | None:
    return None if one.level_db == other.level_db else one.level_db > other.level_db


def _more_rhythmic(one: Player, other: Player) -> bool | None:
    mine, others = one.strokes_per_second, other.strokes_per_second
    return None if mine == others else mine > others


def _longer(one: Player, other: Player) -> bool | None:
    difference = one.sounding_seconds - other.sounding_seconds
    return None if abs(difference) < LONGER_SECONDS else difference > 0


def _compared(
    compare: Compare, name: Callable[[Facts, Player], tuple[str, ...] | None]
) -> Callable[[Facts, Sequence[str]], Iterator[Answer]]:
    """Pairs of sounding players that ``name`` can tell apart, compared."""

    def answers(facts: Facts, known: Sequence[str]) -> Iterator[Answer]:
        for one, other in permutations(facts.sounding, 2):
            names, more = (name(facts, one), name(facts, other)), compare(one, other)
            if names[0] and names[1] and names[0] != names[1] and more is not None:
                yield names[0] + names[1], _yes(more)

    return answers


def _by_instrument(facts: Facts, player: Player) -> tuple[str, ...] | None:
    return (player.instrument,) if facts.only(player.instrument) is player else None


def _by_place(facts: Facts, player: Player) -> tuple[str, ...] | None:
    return (player.place,) if player.place and facts.at(player.place) is player else None


def _by_both(facts: Facts, player: Player) -> tuple[str, ...] | None:
    alike = [
        p for p in facts.visible if (p.instrument, p.place) == (player.instrument, player.place)
    ]
    return (player.instrument, player.place) if player.place and len(alike) == 1 else None


A_COUNT, A_COMP = ("Audio", "Counting"), ("Audio", "Comparative")
V_COUNT, V_LOC = ("Visual", "Counting"), ("Visual", "Location")
AV_EXIST, AV_COUNT = ("Audio-Visual", "Existential"), ("Audio-Visual", "Counting")
AV_LOC, AV_COMP = ("Audio-Visual", "Location"), ("Audio-Visual", "Comparative")
AV_TEMP = ("Audio-Visual", "Temporal")

TEMPLATES: tuple[
    tuple[tuple[str, str], str, Callable[[Facts, Sequence[str]], Iterator[Answer]]], ...
] = (
    (A_COUNT, "Are there <Object> and <Object> sound? ", _two_sound),
    (A_COUNT, "How many musical instruments were heard throughout the video?", _how_many_heard),
    (A_COUNT, "Is there a <Object> sound?", _one_sounds),
    (A_COMP, "Is the <Object> louder than the <Object>?", _compared(_louder, _by_instrument)),
    (
        A_COMP,
        "Is the <Object> more rhythmic than the <Object>?",
        _compared(_more_rhythmic, _by_instrument),
    ),
    (
        A_COMP,
        "Is the <Object> playing longer than the <Object>?",
        _compared(_longer, _by_instrument),
    ),
    (V_COUNT, "Are there <Object> and <Object> instruments in the video?", _two_seen),
    (V_COUNT, "How many <Object> are in the entire video?", _how_many_seen),
    (
        V_COUNT,
        "How many types of musical instruments appeared in the entire video?",
        _how_many_types_seen,
    ),
    (V_COUNT, "Is there a <Object> in the entire video?", _one_seen),
    (V_LOC, "What is the instrument on the <LR> of <Object>?", _beside),
    (V_LOC, "What kind of instrument is the <LRer> instrument? ", _outermost),
    (V_LOC, "What kind of musical instrument is it?", _what_is_it),
    (V_LOC, "Where is the performance?", _where),
    (AV_EXIST, "Is the <Object> in the video always playing?", _always),
    (AV_EXIST, "Is there a voiceover?", _voiceover),
    (AV_EXIST, "Is this sound from the instrument in the video?", _from_the_picture),
    (AV_COUNT, "How many instruments are sounding in the video?", _how_many_sounding),
    (
        AV_COUNT,
        "How many instruments in the video did not sound from beginning to end?",
        _how_many_silent,
    ),
    (AV_COUNT, "How many sounding <Object> in the video？", _how_many_of_a_kind_sound),
    (AV_COUNT, "How many types of musical instruments sound in the video?", _how_many_types_sound),
    (AV_LOC, "Is the <FL> sound coming from the <LR> instrument?", _sound_from_place),
    (AV_LOC, "What is the <LR> instrument of the <FL> sounding instrument?", _beside_extreme),
    (AV_LOC, "Where is the <LL> instrument?", _where_loudest),
    (
        AV_LOC,
        "Which is the musical instrument that sounds at the same time as the <Object>?",
        _at_the_same_time,
    ),
    (
        AV_COMP,
        "Is the <Object> on the <LR> louder than the <Object> on the <LR>?",
        _compared(_louder, _by_both),
    ),
    (
        AV_COMP,
        "Is the <Object> on the <LR> more rhythmic than the <Object> on the <LR>?",
        _compared(_more_rhythmic, _by_both),
    ),
    (
        AV_COMP,
        "Is the instrument on the <LR> louder than the instrument on the <LR>?",
        _compared(_louder, _by_place),
    ),
    (
        AV_COMP,
        "Is the instrument on the <LR> more rhythmic than the instrument on the <LR>?",
        _compared(_more_rhythmic, _by_place),
    ),
    (AV_TEMP, "What is the <TH> instrument that comes in?", _comes_in),
    (AV_TEMP, "Where is the <FL> sounding instrument?", _where_extreme),
    (AV_TEMP, "Which <Object> makes the sound <FL>?", _which_of_a_kind),
    (AV_TEMP, "Which instrument makes sounds <BA> the <Object>?", _before_or_after),
)
