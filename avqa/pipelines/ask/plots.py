"""Answers as bars, attention over time, and both with the pictures on one page.

`Figure` without pyplot: no global state, no display.
"""

from __future__ import annotations

import textwrap
import warnings
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SOUND, PICTURE, BOTH, CHOSEN = "#2a6fbb", "#e07b1f", "#5b6770", "#f2c94c"
DPI = 110
MOST_SHOWN = 8
"""Answers drawn."""


@dataclass(frozen=True)
class Spectrum:
    """How loud the sound is at every frequency."""

    decibels: NDArray[np.float64]
    """[frequencies, times], 0 for the loudest."""
    seconds: float
    kilohertz: float


@dataclass(frozen=True)
class TimeView:
    """Attention over the rows of a video."""

    seconds: tuple[int, ...]
    """Of each row."""
    duration: float
    """Seconds."""
    curves: dict[str, NDArray[np.float64]]
    """``sound``, ``pictures`` or ``attention`` → weight of each row, sums to 1."""
    chosen: tuple[int, ...]
    """Seconds whose pictures are shown."""
    spectrum: Spectrum | None
    """None without sound."""


@dataclass(frozen=True)
class Page:
    """Everything of the composite picture."""

    question: str
    subtitle: str
    answers: Sequence[tuple[str, float]]
    """Answer → probability, the best first."""
    time: TimeView
    pictures: Sequence[tuple[str, Image.Image]]
    """Caption → picture, in the order of time."""
    footer: str


def spectrum_of(path: Path) -> Spectrum:
    """Short-time spectrum of a mono 16-bit WAV, 25 ms windows every 20 ms, 60 dB deep."""
    with wave.open(str(path)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
    window, hop = rate // 40, rate // 50
    padded = np.pad(samples, (0, max(0, window - len(samples))))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    power = np.abs(np.fft.rfft(pieces * np.hanning(window), axis=1)).T ** 2
    decibels = 10 * np.log10(power.clip(1e-9) / max(power.max(), 1e-6))
    return Spectrum(decibels.clip(-60, 0), len(samples) / rate, rate / 2000)


def draw_time(view: TimeView, title: str) -> bytes:
    """``time.png``."""
    figure = _figure(9, 3.8)
    _time_axes(figure, figure.add_gridspec(2, 1, height_ratios=[3, 2]), view)
    figure.suptitle(_wrapped(title, 90), fontsize=11, parse_math=False)
    return _png(figure)


def draw_page(page: Page) -> bytes:
    """``explanation.png``: the question, its answers, attention over time, the pictures."""
    lines = _wrapped(page.question, 90)
    shape = max((image.height / image.width for _, image in page.pictures), default=0.5)
    columns = max(4, len(page.pictures))
    figure = _figure(12, 4.2 + 0.25 * lines.count("\n") + 11.8 / columns * shape)
    figure.suptitle(lines, fontsize=15, fontweight="bold", x=0.01, ha="left", parse_math=False)
    parts = figure.add_gridspec(3, 1, height_ratios=[0.1, 2.8, 11.8 / columns * shape + 0.3])
    head = figure.add_subplot(parts[0])
    head.axis("off")
    head.text(0, 0.5, page.subtitle, fontsize=10, color=BOTH, va="center", parse_math=False)
    top = parts[1].subgridspec(1, 2, width_ratios=[1, 1.7], wspace=0.05)
    _answer_axes(figure.add_subplot(top[0]), page.answers)
    _time_axes(figure, top[1].subgridspec(2, 1, height_ratios=[3, 2]), page.time)
    bottom = parts[2].subgridspec(1, columns, wspace=0.02)
    for place, (caption, image) in enumerate(page.pictures):
        axes = figure.add_subplot(bottom[place])
        axes.imshow(np.asarray(image), interpolation="antialiased")
        axes.set_title(caption, fontsize=9)
        axes.set(xticks=[], yticks=[])
    figure.supxlabel(page.footer, fontsize=9, color=BOTH, x=0.01, ha="left", parse_math=False)
    return _png(figure)


def _answer_axes(axes: Any, answers: Sequence[tuple[str, float]]) -> None:
    shown = list(answers[:MOST_SHOWN])
    places = range(len(shown))
    percents = [100 * probability for _, probability in shown]
    colours = [PICTURE if place == 0 else "#c9ced3" for place in places]
    bars = axes.barh(places, percents, color=colours, height=0.7)
    axes.bar_label(bars, [f"{p:.1f} %" for p in percents], padding=4, fontsize=10)
    names = [textwrap.shorten(name, 28, placeholder=" …") for name, _ in shown]
    axes.set_yticks(list(places), names, fontsize=11, parse_math=False)
    axes.invert_yaxis()
    axes.set(xlim=(0, max(percents) * 1.28), xticks=[])
    axes.set_title("answers", fontsize=10, loc="left", color=BOTH)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(left=False)


def _time_axes(figure: Any, grid: Any, view: TimeView) -> None:
    above = figure.add_subplot(grid[0])
    _attention(above, view)
    below = figure.add_subplot(grid[1], sharex=above)
    if view.spectrum is None:
        below.text(0.5, 0.5, "no sound", transform=below.transAxes, ha="center", va="center")
        below.set(yticks=[])
    else:
        found = view.spectrum
        extent = (0.0, found.seconds, 0.0, found.kilohertz)
        below.imshow(
            found.decibels, origin="lower", aspect="auto", extent=extent, cmap="Blues", vmin=-60
        )
        below.set_ylabel("sound (kHz)", fontsize=9)
    below.set(xlim=(0, max(view.duration, view.seconds[-1] + 1)))
    below.set_xlabel("second", fontsize=9)
    below.xaxis.get_major_locator().set_params(integer=True, nbins=20)
    above.tick_params(labelbottom=False, labelsize=9)
    below.tick_params(labelsize=9)


def _attention(axes: Any, view: TimeView) -> None:
    """Bars of each row's weight in percent, beside each other for several curves."""
    colour = {"audio": SOUND, "frames": PICTURE, "attention": BOTH}
    for second in view.chosen:
        axes.axvspan(second + 0.03, second + 0.97, color=CHOSEN, alpha=0.35, linewidth=0)
    width = 0.9 / max(1, len(view.curves))
    for place, (name, weights) in enumerate(view.curves.items()):
        lefts = np.array(view.seconds) + 0.05 + place * width
        axes.bar(lefts, 100 * weights, width, align="edge", color=colour[name], label=name)
    axes.set_title(_attention_title(view), fontsize=10, loc="left", color=BOTH)
    axes.set_ylabel("% of attention", fontsize=9)
    if not view.curves:
        axes.set(yticks=[], ylabel="")
    else:
        axes.margins(y=0.12)
    if len(view.curves) > 1:
        axes.legend(fontsize=9, ncols=2, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _attention_title(view: TimeView) -> str:
    if not view.curves:
        return "this head does not choose seconds (shown ones: yellow)"
    return "attention over time (pictures shown below: yellow)"


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.1, h_pad=0.06)
    return figure


def _png(figure: Any) -> bytes:
    file = BytesIO()
    with warnings.catch_warnings():
        # A question in a script that the font has not is drawn as boxes; its text is in the JSON.
        warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
        figure.savefig(file, format="png")
    return file.getvalue()


def _wrapped(text: str, width: int) -> str:
    """At most three lines."""
    return "\n".join(textwrap.wrap(text, width, max_lines=3, placeholder=" …"))
