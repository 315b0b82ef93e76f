"""``explanation.html``: the video plays, and below it runs where the head looked."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avqa.pipelines.pages.page import data_uri, finite, render

MOST_STILLS = 60
"""Frames within the page, of longer videos evenly spread."""
STILL_WIDTH = 400
STRIP = 12
"""Frames beside each other below the video."""


@dataclass(frozen=True)
class Explained:
    """What the page shows beside ``explanation.json``."""

    numbers: Mapping[str, Any]
    """``explanation.json``."""
    subtitle: str
    looked_at: str
    duration: float
    """Seconds that the head could see."""
    stride: int
    """Seconds from one row to the next."""
    size: tuple[int, int]
    """Width and height of the video's frames."""
    strength: NDArray[np.float64] | None
    """[T, P]: how much a patch is tinted, 0 to 1; None of a head that weighs none."""
    spectrum: NDArray[np.float64] | None
    """[frequencies, times] in decibels, -60 to 0; None without audio."""
    spectrum_seconds: float
    mark: str
    """Loud line, of random weights; empty else."""


def chosen_stills(num_rows: int) -> list[int]:
    """The rows whose frames are in the page."""
    count = min(MOST_STILLS, num_rows)
    return sorted({round(row) for row in np.linspace(0, num_rows - 1, count)}) if count else []


def still(frame: Image.Image) -> str:
    """A small frame as part of the page."""
    width, height = frame.size
    scale = min(1.0, STILL_WIDTH / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    file = BytesIO()
    frame.convert("RGB").resize(size).save(file, "jpeg", quality=72)
    return data_uri(file.getvalue(), "image/jpeg")


def link_to(video: Path, folder: Path) -> str:
    """The address of a video as a page in ``folder`` names it: relative, whatever its name."""
    path = os.path.relpath(video.resolve(), folder.resolve())
    address = quote(os.fsencode(path))
    return f"./{address}"  # else a name with a colon were a protocol


def explanation_page(shown: Explained, stills: Mapping[int, str], link: str) -> bytes:
    """The page.

    Args:
        shown: what the head made of the question.
        stills: row → its frame, see `still`.
        link: to the video, see `link_to`.
    """
    numbers = shown.numbers
    rows = numbers["rows"]
    strength, grid = shown.strength, numbers["patch_grid"]
    data = {
        "duration": finite(shown.duration),
        "stride": shown.stride,
        "rows": [[row["second"], finite(row["pts_seconds"])] for row in rows],
        "curves": curves_of(rows),
        "patches": None if strength is None else np.rint(strength * 255).astype(int).tolist(),
        "grid": None if strength is None else _share_of(grid, shown.size),
        "stills": {str(row): still for row, still in stills.items()},
        "spectrum_seconds": finite(shown.spectrum_seconds),
    }
    return render(
        "explanation",
        title=numbers["question"],
        data=data,
        media="'self' file: blob:",
        numbers=numbers,
        shown=shown,
        link=link,
        spectrum=None if shown.spectrum is None else _picture(shown.spectrum),
        size=shown.size,
        strip=_strip(stills),
        most=max((a["probability"] for a in numbers["answers"]), default=1.0),
    )


_CURVES = {"sound": "audio", "pictures": "frames"}


def curves_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What runs below the video: audio and frames apart if the head tells, else both together."""
    found = [
        {"name": name, "weights": [finite(row[key]) for row in rows]}
        for key, name in _CURVES.items()
        if rows and rows[0][key] is not None
    ]
    if not found and rows and rows[0]["weight"] is not None:
        found = [{"name": "attention", "weights": [finite(row["weight"]) for row in rows]}]
    return found


def _share_of(grid: Mapping[str, Any], size: tuple[int, int]) -> dict[str, float]:
    """Where the patches lie, in parts of the frame's width and height."""
    width, height = size
    return {
        "side": math.isqrt(int(grid["patches"])),
        "left": round(grid["left"] / width, 5),
        "top": round(grid["top"] / height, 5),
        "width": round((grid["right"] - grid["left"]) / width, 5),
        "height": round((grid["bottom"] - grid["top"]) / height, 5),
    }


def _strip(stills: Mapping[int, str]) -> list[tuple[int, str]]:
    """Some of the frames, evenly spread."""
    rows = sorted(stills)
    chosen = np.linspace(0, len(rows) - 1, min(STRIP, len(rows)))
    return [(rows[round(place)], stills[rows[round(place)]]) for place in chosen]


def _picture(decibels: NDArray[np.float64]) -> str:
    """The spectrum, low frequencies below, as part of the page."""
    grey = ((decibels + 60) / 60 * 255).clip(0, 255).astype(np.uint8)[::-1]
    alpha = Image.fromarray(grey).resize((min(1200, max(grey.shape[1], 2)), 64))
    file = BytesIO()
    # The page's own colour shows through: one picture for light and dark.
    Image.merge("LA", (Image.new("L", alpha.size, 128), alpha)).save(file, "png")
    return data_uri(file.getvalue(), "image/png")
