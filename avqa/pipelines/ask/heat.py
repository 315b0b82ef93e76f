"""Patch weights drawn over the pictures that the patches are of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from avqa.training.fitting.curves import RED

LONG_SIDE = 640
"""Pixels of the longer side of a drawn picture, whatever size the video has."""
COLOURS = "YlOrRd"
"""Of matplotlib: from a weight like all others to the strongest."""
STRONGEST = 0.75
"""Opacity of the strongest patch."""
LEAST_SCALE = 2.0
"""Weight, times the number of patches, that gets full colour at least: where all patches weigh
nearly alike nothing may look strong."""


MARK_SIZE, LEAST_SIZE = 18, 7
"""Points of the letters of a mark, where there is room for them, and at least."""


class Box(NamedTuple):
    """A rectangle in pixels of a picture; may reach beyond it."""

    left: float
    top: float
    right: float
    bottom: float


def is_center(crop: str | None) -> bool:
    """Whether something of a frame's long side, or of both, is not seen."""
    return crop is not None and crop.startswith("center")


def _center(crop: str) -> float:
    """Side of the square as share of the frame's shorter side."""
    side, _, short = crop.removeprefix("center").partition(" of ")
    return int(side) / int(short) if short else 1.0


def grid_box(crop: str, width: int, height: int) -> Box:
    """Where the patches lie in a picture of ``width`` × ``height``.

    Args:
        crop: of the feature's recipe: ``center`` (the middle square), ``center 384 of 438`` (that
            share of it), ``squash`` (everything) or ``pad`` (everything, and black bars up to a
            square).
        width: of the picture as the video shows it.
        height: likewise.
    """
    if crop == "squash":
        return Box(0.0, 0.0, width, height)
    # The same for center and pad: a square around the middle.
    half = _center(crop) * min(width, height) / 2 if is_center(crop) else max(width, height) / 2
    return Box(width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)


def strongest_of(maps: NDArray[np.float64]) -> float:
    """The largest weight in maps [..., P] as multiple of an even share."""
    return float(maps.max(initial=0.0) * maps.shape[-1])


def strength_of(weights: NDArray[np.float64], strongest: float) -> NDArray[np.float64]:
    """How much patches are tinted, 0 to 1: by how much more than an even share they weigh.

    Args:
        weights: [..., P], of each frame; sums to 1.
        strongest: of the frames shown together, see `strongest_of`: it gets the full colour.
    """
    scale = max(LEAST_SCALE, strongest)
    strength: NDArray[np.float64] = (weights * weights.shape[-1] - 1) / (scale - 1)
    return strength.clip(0, 1)


def draw_heat(
    picture: Image.Image, weights: NDArray[np.float64] | None, crop: str, strongest: float
) -> Image.Image:
    """A picture with its patches tinted by how much more than an even share they weigh.

    Args:
        picture: as the video shows it.
        weights: [P], row-major, sums to 1; None leaves the picture as it is.
        crop: see `grid_box`.
        strongest: of the pictures drawn together, see `strongest_of`: it gets the full colour.
    """
    picture = _fitted(picture.convert("RGB"))
    if weights is None:
        return picture
    box = grid_box(crop, *picture.size)
    strength = strength_of(weights, strongest)
    heat = _spread(strength, box, picture.size)
    inside = _spread(np.ones_like(strength), box, picture.size)[..., None]
    shown = np.asarray(picture, np.float64)
    shown = shown * (0.45 + 0.55 * inside)  # what no patch saw is darker
    opacity = STRONGEST * heat[..., None]
    drawn = (1 - opacity) * shown + opacity * _colours(heat)
    image = Image.fromarray(drawn.round().astype(np.uint8))
    if is_center(crop):
        edges = [box.left, box.top, box.right - 1, box.bottom - 1]
        ImageDraw.Draw(image).rectangle(edges, outline="white", width=2)
    return image


def _fitted(picture: Image.Image) -> Image.Image:
    scale = LONG_SIDE / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def _spread(values: NDArray[np.float64], box: Box, size: tuple[int, int]) -> NDArray[np.float64]:
    """Values of patches [P] at every pixel [H, W], 0 outside ``box``."""
    side = round(len(values) ** 0.5)
    width, height = round(box.right - box.left), round(box.bottom - box.top)
    cells = Image.fromarray(values.reshape(side, side).astype(np.float32))
    smooth = cells.resize((width, height), Image.Resampling.BICUBIC)
    canvas = Image.new("F", size, 0.0)
    canvas.paste(smooth, (round(box.left), round(box.top)))
    return np.asarray(canvas, np.float64).clip(0, 1)  # the filter overshoots


def _colours(strength: NDArray[np.float64]) -> NDArray[np.float64]:
    """[H, W] in 0 to 1 → [H, W, 3] in 0 to 255."""
    from matplotlib import colormaps

    # The palest third of the scale hardly shows on a picture, the darkest end looks black.
    rgb: NDArray[np.float64] = colormaps[COLOURS](0.3 + 0.55 * strength)[..., :3] * 255
    return rgb


def with_mark(picture: Image.Image, text: str) -> Image.Image:
    """A picture with a line over its upper edge, as wide as that."""
    drawn = picture.copy()
    canvas = ImageDraw.Draw(drawn)
    size = MARK_SIZE
    font = ImageFont.load_default(size)
    while canvas.textlength(text, font) > picture.width - 2 * MARK_SIZE and size > LEAST_SIZE:
        size -= 1
        font = ImageFont.load_default(size)
    canvas.rectangle([0, 0, picture.width, 2 * size], fill=RED)
    canvas.text((picture.width / 2, size), text, fill="white", font=font, anchor="mm")
    return drawn
