"""The pictures of a clip: background, distractors, players that move while they sound."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

from avqa.datasets._synth.instruments import INSTRUMENTS
from avqa.datasets._synth.score import Player, Scene

SIZE = 256
"""Pictures are square, so that a centre crop loses nothing."""
FPS = 10
FINE = 4
"""Everything is drawn this much larger and shrunk, for smooth edges."""
OUTLINE = (35, 30, 30)
LIGHT, DARK = (245, 245, 240), (40, 32, 30)
REST_TILT, PLAY_TILT, SWING = 0, 14, 9
"""Degrees: at rest, while sounding, and how far the strokes swing it."""
LIFT = 0.03
"""Share of the picture by which an instrument is raised while it sounds."""

Grey = tuple[int, int, int]


def pictures(scene: Scene, seed: int) -> Iterator[bytes]:
    """Yield the clip's pictures, RGB bytes of SIZE × SIZE, ``FPS`` a second."""
    rng = np.random.default_rng([seed, scene.number, 3])
    stage = _stage(scene.background, rng)
    for player in sorted(scene.players, key=_depth):
        _draw_person(stage, player, rng)
    distractors = [_Distractor(rng) for _ in range(scene.num_distractors)]
    for frame in range(scene.seconds * FPS):
        second = frame / FPS
        picture = stage.copy()
        for distractor in distractors:
            distractor.draw(picture, second)
        for player in sorted(scene.players, key=_depth):
            _draw_instrument(picture, player, second)
        yield picture.tobytes()


def _depth(player: Player) -> float:
    return player.box[3] if player.box else 0.0


def is_sounding(player: Player, second: float) -> bool:
    """Whether a player sounds at this time."""
    return any(start <= second < end for start, end in player.sounds)


def _draw_instrument(picture: Image.Image, player: Player, second: float) -> None:
    if player.box is None:
        return
    left, top, right, bottom = (edge * SIZE for edge in player.box)
    tilt, lift = float(REST_TILT), 0.0
    if is_sounding(player, second):
        tilt = PLAY_TILT + SWING * math.sin(2 * math.pi * player.strokes_per_second * second)
        lift = LIFT * SIZE
    sprite = _sprite(player.instrument, round(right - left), round(bottom - top), round(tilt))
    x = round((left + right - sprite.width) / 2)
    y = round((top + bottom - sprite.height) / 2 - lift)
    picture.paste(sprite, (x, y), sprite)


@functools.lru_cache(maxsize=4096)
def _sprite(instrument: str, width: int, height: int, tilt: int) -> Image.Image:
    """An instrument, tilted, RGBA."""
    large = _outlined(instrument).resize((width * FINE, height * FINE), Image.Resampling.BILINEAR)
    turned = large.rotate(-tilt, Image.Resampling.BILINEAR, expand=True)
    return turned.resize(
        (round(turned.width / FINE), round(turned.height / FINE)), Image.Resampling.BOX
    )


@functools.cache
def _outlined(instrument: str) -> Image.Image:
    """An instrument in a square of 100 × FINE, with a dark outline, RGBA."""
    look, scale, rim = INSTRUMENTS[instrument], FINE * 0.96, 2 * FINE
    picture = Image.new("RGBA", (100 * FINE, 100 * FINE))
    draw = ImageDraw.Draw(picture)
    for grown, colour in ((rim, OUTLINE), (0, look.colour)):
        for kind, numbers in look.shapes:
            points = [number * scale + rim for number in numbers]
            if kind == "polygon":
                draw.polygon(points, fill=colour, outline=colour, width=max(1, 2 * grown))
            elif kind in ("ellipse", "box"):
                x0, y0, x1, y1 = points
                shape = draw.ellipse if kind == "ellipse" else draw.rectangle
                shape((x0 - grown, y0 - grown, x1 + grown, y1 + grown), fill=colour)
            elif not grown:
                draw.rectangle(points, fill=LIGHT if kind == "light" else DARK)
    return picture


def _draw_person(stage: Image.Image, player: Player, rng: np.random.Generator) -> None:
    """Who plays it: a grey figure behind the instrument."""
    if player.box is None:
        return
    left, top, right, bottom = (edge * SIZE for edge in player.box)
    middle, tone = (left + right) / 2, int(rng.integers(95, 150))
    draw = ImageDraw.Draw(stage)
    shoulders = top + 4
    draw.ellipse((middle - 30, shoulders, middle + 30, bottom + 16), fill=(tone, tone, tone + 6))
    draw.rectangle((middle - 22, bottom - 20, middle + 22, bottom + 8), fill=(tone, tone, tone + 6))
    skin = int(rng.integers(150, 215))
    draw.ellipse(
        (middle - 11, shoulders - 20, middle + 11, shoulders + 4), fill=(skin, skin - 20, skin - 32)
    )


def _stage(background: str, rng: np.random.Generator) -> Image.Image:
    """A room or a field, pale and without the instruments' colours."""
    stage = Image.new("RGB", (SIZE, SIZE))
    draw = ImageDraw.Draw(stage)
    shade = int(rng.integers(-12, 13))
    (_draw_room if background == "indoor" else _draw_field)(draw, shade, rng)
    return stage


def _tone(colour: Grey, shade: int) -> Grey:
    red, green, blue = (max(0, min(255, value + shade)) for value in colour)
    return red, green, blue


def _draw_room(draw: ImageDraw.ImageDraw, shade: int, rng: np.random.Generator) -> None:
    floor = int(rng.integers(176, 200))
    draw.rectangle((0, 0, SIZE, floor), fill=_tone((204, 194, 180), shade))
    draw.rectangle((0, floor, SIZE, SIZE), fill=_tone((136, 120, 104), shade))
    draw.rectangle((0, floor - 5, SIZE, floor), fill=_tone((110, 98, 86), shade))
    for line in range(floor + 14, SIZE, 16):
        draw.line((0, line, SIZE, line), fill=_tone((122, 107, 92), shade))
    x, y = int(rng.integers(10, 190)), int(rng.integers(8, 36))
    draw.rectangle((x, y, x + 52, y + 44), fill=_tone((120, 108, 96), shade))
    draw.rectangle((x + 4, y + 4, x + 48, y + 40), fill=_tone((216, 220, 222), shade))
    draw.line((x + 26, y, x + 26, y + 44), fill=_tone((120, 108, 96), shade), width=3)


def _draw_field(draw: ImageDraw.ImageDraw, shade: int, rng: np.random.Generator) -> None:
    horizon = int(rng.integers(112, 148))
    draw.rectangle((0, 0, SIZE, horizon), fill=_tone((182, 200, 214), shade))
    draw.rectangle((0, horizon, SIZE, SIZE), fill=_tone((134, 152, 112), shade))
    for _ in range(4):
        x, y = int(rng.integers(0, SIZE - 40)), int(rng.integers(6, 60))
        draw.ellipse((x, y, x + 52, y + 18), fill=_tone((228, 232, 234), shade))
    for _ in range(3):
        x = int(rng.integers(0, SIZE))
        draw.rectangle((x - 3, horizon - 20, x + 3, horizon), fill=_tone((112, 98, 84), shade))
        draw.ellipse(
            (x - 15, horizon - 54, x + 15, horizon - 14), fill=_tone((104, 126, 96), shade)
        )


class _Distractor:
    """A grey ball or box that moves at its own pace, whoever sounds."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.round = bool(rng.random() < 0.5)
        self.half = int(rng.integers(7, 14))
        tone = int(rng.integers(95, 225))
        self.colour = _tone((tone, tone, tone), 0)
        self.centre = rng.uniform(0.1, 0.9, 2) * SIZE
        self.reach = rng.uniform(10, 60, 2)
        self.pace = rng.uniform(0.5, 3.0, 2)

    def draw(self, picture: Image.Image, second: float) -> None:
        x, y = self.centre + self.reach * np.sin(self.pace * second)
        box = (x - self.half, y - self.half, x + self.half, y + self.half)
        draw = ImageDraw.Draw(picture)
        (draw.ellipse if self.round else draw.rectangle)(box, fill=self.colour, outline=OUTLINE)
