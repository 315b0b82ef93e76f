"""The score of a clip: who stands where, who sounds when, how loud and how often.

A pure function of the settings' seed and the clip's number. Everything else (pictures, sound,
questions, truth) is made from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avqa.datasets._synth.instruments import INSTRUMENTS
from avqa.errors import ConfigError, UnknownName

PLACES = ("left", "middle", "right")
LEVELS = (0, -6, -12)
"""Loudness in dB below the loudest."""
STROKES = (1, 2, 4)
"""Strokes per second: the field's *more rhythmic* is at least twice as many here."""
BACKGROUNDS = ("indoor", "outdoor")
MIN_INSTRUMENTS = 4
SECONDS = range(2, 301)
QUESTIONS = range(1, 61)
MAX_PLAYERS = 4
MIN_VIDEOS, MAX_VIDEOS = 3, 99_999_999

Interval = tuple[int, int]
"""Whole seconds [start, end)."""
Box = tuple[float, float, float, float]
"""Left, top, right, bottom as shares of the picture."""


@dataclass(frozen=True)
class Settings:
    """What one benchmark was asked to be."""

    videos: int
    seconds: int
    instruments: tuple[str, ...]
    seed: int
    questions: int = 10
    """A video, about."""
    both_orders: bool = False
    """Whether each comparison is also asked the other way round."""


@dataclass(frozen=True)
class Player:
    """One instrument of a clip."""

    instrument: str
    place: str | None
    """left, middle or right; None is off screen."""
    box: Box | None
    """Where the instrument is at rest."""
    sounds: tuple[Interval, ...]
    """Empty: silent throughout."""
    level_db: int
    strokes_per_second: int

    @property
    def sounding_seconds(self) -> int:
        """How long it sounds in all."""
        return sum(end - start for start, end in self.sounds)

    def overlaps(self, other: Player) -> bool:
        """Whether both sound in some second."""
        return any(a < d and c < b for a, b in self.sounds for c, d in other.sounds)


@dataclass(frozen=True)
class Scene:
    """The score of one clip."""

    number: int
    seconds: int
    background: str
    players: tuple[Player, ...]
    voiceover: tuple[Interval, ...]
    num_distractors: int

    @property
    def video_id(self) -> str:
        """Eight digits, as MUSIC-AVQA's real videos."""
        return f"{self.number:08d}"


def check_settings(
    videos: int,
    seconds: int,
    instruments: str,
    seed: int,
    questions: int = Settings.questions,
    both_orders: bool = False,
) -> Settings:
    """Read ``instruments``, a count or names parted by commas, and check all values.

    Raises:
        ConfigError: naming the option, its value, what is allowed.
    """
    if not MIN_VIDEOS <= videos <= MAX_VIDEOS:
        raise ConfigError(
            f"videos={videos}; expected {MIN_VIDEOS} to {MAX_VIDEOS}: train, val and test each"
            " need videos of their own; check --videos"
        )
    if seconds not in SECONDS:
        raise ConfigError(
            f"seconds={seconds}; expected {SECONDS[0]} to {SECONDS[-1]}; check --seconds"
        )
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed={seed}; expected 0 to 2^63 - 1; check --seed")
    if questions not in QUESTIONS:
        raise ConfigError(
            f"questions={questions}; expected {QUESTIONS[0]} to {QUESTIONS[-1]} a video; check"
            " --questions"
        )
    return Settings(videos, seconds, _chosen(instruments), seed, questions, both_orders)


def _chosen(instruments: str) -> tuple[str, ...]:
    known = tuple(INSTRUMENTS)
    expected = f"expected {MIN_INSTRUMENTS} to {len(known)} instruments"
    if instruments.strip().lstrip("-").isdigit():
        count = int(instruments)
        names = known[: max(count, 0)]
    else:
        names = tuple(name.strip() for name in instruments.split(",") if name.strip())
        count = len(names)
    for name in names:
        if name not in INSTRUMENTS:
            raise UnknownName("instrument", name, known)
    if not MIN_INSTRUMENTS <= count <= len(known) or len(set(names)) < len(names):
        raise ConfigError(
            f"instruments={instruments}; {expected}, each once; give a number or names parted by"
            " commas: check --instruments"
        )
    return names


def split_of(settings: Settings) -> dict[str, range]:
    """Clip numbers of each split: a fifth each for val and test, at least one."""
    held_out = max(1, round(settings.videos / 5))
    train = settings.videos - 2 * held_out
    return {
        "train": range(1, train + 1),
        "val": range(train + 1, train + held_out + 1),
        "test": range(train + held_out + 1, settings.videos + 1),
    }


def compose(settings: Settings, number: int) -> Scene:
    """The score of clip ``number`` (from 1); depends on no other clip and not on their count."""
    rng = np.random.default_rng([settings.seed, number])
    visible = _instruments(rng, settings.instruments)
    places = _places(rng, len(visible))
    hushed = rng.random() < 0.08  # nobody in the picture sounds
    speaks = [not hushed and rng.random() < 0.75 for _ in visible]
    cast: list[tuple[str, str | None, Box | None]] = [
        (name, place, box) for name, (place, box) in zip(visible, places, strict=True)
    ]
    others = [name for name in settings.instruments if name not in visible]
    if others and rng.random() < (0.6 if hushed else 0.15):
        cast.append((str(rng.choice(others)), None, None))
        speaks.append(True)
    sounds = _intervals(rng, settings.seconds, speaks)
    if len(visible) > 1 and visible[0] == visible[1] and speaks[0] and rng.random() < 0.5:
        sounds[1] = sounds[0]  # two of a kind that sound simultaneously
    levels = [*rng.permutation(LEVELS), *rng.choice(LEVELS, MAX_PLAYERS)]
    players = tuple(
        Player(name, place, box, heard, int(level), int(rng.choice(STROKES)))
        for (name, place, box), heard, level in zip(cast, sounds, levels, strict=False)
    )
    speech = _intervals(rng, settings.seconds, [rng.random() < 0.3])[0]
    return Scene(
        number,
        settings.seconds,
        str(rng.choice(BACKGROUNDS)),
        players,
        speech,
        int(rng.integers(3)),
    )


def _instruments(rng: np.random.Generator, known: Sequence[str]) -> list[str]:
    """One to four instruments; now and then the first two are of one kind."""
    chosen = [str(name) for name in rng.permutation(known)[: rng.integers(1, MAX_PLAYERS + 1)]]
    if len(chosen) > 1 and rng.random() < 0.4:
        chosen[1] = chosen[0]
    return chosen


def _places(rng: np.random.Generator, count: int) -> list[tuple[str, Box]]:
    """A column each while there are three; a fourth stands behind one of them."""
    columns = [int(column) for column in rng.permutation(len(PLACES))[:count]]
    back = [bool(rng.random() < 0.5) for _ in columns]
    if count > len(columns):
        columns.append(int(rng.integers(len(PLACES))))
        back.append(not back[columns.index(columns[-1])])
    found = []
    for column, behind in zip(columns, back, strict=True):
        width, height = 0.30 * rng.uniform(0.95, 1.05), 0.33 * rng.uniform(0.95, 1.05)
        middle = (column + 0.5) / len(PLACES) + rng.uniform(-0.012, 0.012)
        bottom = (0.52 if behind else 0.96) + rng.uniform(-0.02, 0.02)
        box = (middle - width / 2, bottom - height, middle + width / 2, bottom)
        left, top, right, bottom = (round(float(edge), 4) for edge in box)
        found.append((PLACES[column], (left, top, right, bottom)))
    return found


def _intervals(
    rng: np.random.Generator, seconds: int, speaks: Sequence[bool]
) -> list[tuple[Interval, ...]]:
    """When each one sounds: always, once or twice; where there is room, no two begin together."""
    free = [int(start) for start in rng.permutation(seconds - 1)]
    found: list[tuple[Interval, ...]] = []
    for speaking in speaks:
        kind = rng.random()
        if not speaking:
            found.append(())
        elif kind < 0.25:
            found.append(((0, seconds),))
        else:
            start = free.pop() if free else int(rng.integers(seconds - 1))
            end = int(rng.integers(min(start + 2, seconds), seconds + 1))
            found.append(_parted(rng, start, end) if kind > 0.75 else ((start, end),))
    return found


def _parted(rng: np.random.Generator, start: int, end: int) -> tuple[Interval, ...]:
    """Cut a pause out of an interval that is long enough."""
    if end - start < 4:
        return ((start, end),)
    first = int(rng.integers(start + 1, end - 2))
    second = int(rng.integers(first + 1, end - 1))
    return ((start, first), (second, end))
