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

from avqa.training.drawing import plain_style
from avqa.training.fitting.curves import RANDOM_MARK, RED

SOUND, PICTURE, BOTH, CHOSEN = "#2a6fbb", "#e07b1f", "#5b6770", "#f2c94c"
DPI = 110
RIGHT = "#2e7d32"
MOST_SHOWN = 8
"""Answers drawn."""
INSIDE_ABOVE = 0.68
"""Probability from which the number stands in its bar."""
ROOM = 12
"""Percent that the number of a bar takes up; it makes way for the line of guessing."""
MOST_LEVEL = 10
"""Words whose names stand side by side; more are turned."""


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
    """All answers → probability, the best first."""
    time: TimeView
    pictures: Sequence[tuple[str, Image.Image]]
    """Caption → picture, in the order of time."""
    footer: str
    right: str | None = None
    """The right answer, if it is known."""
    words: Sequence[tuple[str, float]] = ()
    """Word → its weight in the question; empty for a head that does not weigh them."""
    modality: tuple[float, float] | None = None
    """Shares of frames and audio; None for a head that has none."""
    random_weights: bool = False


def spectrum_of(path: Path) -> Spectrum:
    """Short-time spectrum of a mono 16-bit WAV, 25 ms windows every 20 ms, 60 dB deep."""
    import librosa  # slow, and only a picture needs it

    with wave.open(str(path)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32768
    window, hop = rate // 40, rate // 50
    padded = np.pad(samples, (0, max(0, window - len(samples))))
    size = np.abs(librosa.stft(padded, n_fft=window, hop_length=hop, center=False))
    decibels = librosa.amplitude_to_db(size, ref=max(float(size.max()), 1e-3), top_db=None)
    return Spectrum(decibels.clip(-60, 0), len(samples) / rate, rate / 2000)


@plain_style()
def draw_time(view: TimeView, title: str, *, random_weights: bool = False) -> bytes:
    """``time.png``."""
    figure = _figure(9, 4.0 if random_weights else 3.8)
    _time_axes(figure, figure.add_gridspec(2, 1, height_ratios=[3, 2]), view)
    lines = [_wrapped(title, 90), *([RANDOM_MARK] if random_weights else [])]
    colour = RED if random_weights else "black"
    figure.suptitle("\n".join(lines), fontsize=11, color=colour, parse_math=False)
    return _png(figure)


@plain_style()
def draw_page(page: Page) -> bytes:
    """``explanation.png``: question, answers, attention over time and words, the pictures."""
    lines = _wrapped(page.question, 90)
    shape = max((image.height / image.width for _, image in page.pictures), default=0.5)
    columns = max(4, len(page.pictures))
    shares = 1.0 * bool(page.words or page.modality) + 0.5 * (len(page.words) > MOST_LEVEL)
    below = 11.8 / columns * shape
    figure = _figure(12, 4.2 + shares + 0.25 * lines.count("\n") + below)
    figure.suptitle(lines, fontsize=15, fontweight="bold", x=0.01, ha="left", parse_math=False)
    heights = [0.1, 2.8, *([shares] if shares else []), below + 0.3]
    parts = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    _head_axes(figure.add_subplot(parts[0]), page)
    top = parts[1].subgridspec(1, 2, width_ratios=[1, 1.7], wspace=0.05)
    _answer_axes(figure.add_subplot(top[0]), page)
    _time_axes(figure, top[1].subgridspec(2, 1, height_ratios=[3, 2]), page.time)
    if shares:
        _share_axes(figure, parts[2], page)
    bottom = parts[len(heights) - 1].subgridspec(1, columns, wspace=0.02)
    for place, (caption, image) in enumerate(page.pictures):
        axes = figure.add_subplot(bottom[place])
        axes.imshow(np.asarray(image), interpolation="antialiased")
        axes.set_title(caption, fontsize=9)
        axes.set(xticks=[], yticks=[])
    figure.supxlabel(page.footer, fontsize=9, color=BOTH, x=0.01, ha="left", parse_math=False)
    return _png(figure)


def _head_axes(axes: Any, page: Page) -> None:
    axes.axis("off")
    axes.text(0, 0.5, page.subtitle, fontsize=10, color=BOTH, va="center", parse_math=False)
    if page.random_weights:
        place = {"x": 1, "y": 0.5, "ha": "right", "va": "center"}
        axes.text(s=RANDOM_MARK, fontsize=11, fontweight="bold", color=RED, **place)


def shown_answers(page: Page) -> list[tuple[str, float]]:
    """The best answers, and the right one whatever its probability."""
    late = [pair for pair in page.answers[MOST_SHOWN:] if pair[0] == page.right]
    return [*page.answers[: MOST_SHOWN - len(late)], *late]


def _answer_axes(axes: Any, page: Page) -> None:
    """Bars from 0 to 100 %, with what each answer gets where nothing tells them apart."""
    shown = shown_answers(page)
    places = range(len(shown))
    best = page.answers[0][0]
    colours = [
        RIGHT if name == page.right else PICTURE if name == best else "#c9ced3" for name, _ in shown
    ]
    axes.barh(places, [100 * p for _, p in shown], color=colours, height=0.7)
    guess = 100 / len(page.answers)
    for place, (name, p) in enumerate(shown):
        end = guess if 100 * p < guess < 100 * p + ROOM else 100 * p
        text = f"{100 * p:.1f} %{', right' if name == page.right else ''}"
        inside = p > INSIDE_ABOVE
        side = {"ha": "right" if inside else "left", "color": "white" if inside else "black"}
        axes.text(end + (-1.5 if inside else 1.5), place, text, va="center", fontsize=10, **side)
    names = [textwrap.shorten(name, 28, placeholder=" …") for name, _ in shown]
    axes.set_yticks(list(places), names, fontsize=11, parse_math=False)
    for label, (name, _) in zip(axes.get_yticklabels(), shown, strict=True):
        label.set_color(RIGHT if name == page.right else "black")
    axes.invert_yaxis()
    axes.axvline(guess, color="black", linestyle="--", linewidth=1, zorder=0.5)
    axes.set(xlim=(0, 100), xticks=[0, 25, 50, 75, 100])
    axes.set_xlabel(f"probability (%); dashed: guessing, {guess:.1f} %", fontsize=9)
    axes.tick_params(axis="x", labelsize=9)
    axes.set_title(_answer_title(page), fontsize=10, loc="left", color=BOTH, parse_math=False)
    for side_name in ("top", "right"):
        axes.spines[side_name].set_visible(False)
    axes.tick_params(axis="y", left=False)


def _answer_title(page: Page) -> str:
    if page.right is None:
        return "answers"
    if page.right in dict(page.answers):
        return "answers (green: the right one)"
    name = textwrap.shorten(page.right, 28, placeholder=" …")
    return f"answers; right: {name}, none of this head's"


def _share_axes(figure: Any, grid: Any, page: Page) -> None:
    """Shares of frames and audio beside the words' weights; either may be missing."""
    both = grid.subgridspec(1, 2, width_ratios=[1, 1.7], wspace=0.05)
    if page.modality is not None:
        _modality_axes(figure.add_subplot(both[0]), page.modality)
    if page.words:
        _word_axes(figure.add_subplot(both[1]), page.words)


def _modality_axes(axes: Any, shares: tuple[float, float]) -> None:
    left = 0.0
    for name, share, colour in zip(("frames", "audio"), shares, (PICTURE, SOUND), strict=True):
        axes.barh(0, 100 * share, left=100 * left, color=colour, height=0.6, label=name)
        left += share
    axes.set(xlim=(0, 100), xticks=[0, 25, 50, 75, 100], yticks=[], ylim=(-0.5, 0.5))
    title = f"shares (%): frames {100 * shares[0]:.0f}, audio {100 * shares[1]:.0f}"
    axes.set_title(title, fontsize=10, loc="left", color=BOTH)
    axes.tick_params(labelsize=9)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _word_axes(axes: Any, words: Sequence[tuple[str, float]]) -> None:
    places = range(len(words))
    axes.bar(places, [100 * weight for _, weight in words], color=BOTH, width=0.7)
    names = [textwrap.shorten(word, 14, placeholder="…") or "·" for word, _ in words]
    turned = {"rotation": 30, "ha": "right"} if len(words) > MOST_LEVEL else {}
    axes.set_xticks(list(places), names, fontsize=9, parse_math=False, **turned)
    axes.axhline(100 / len(words), color="black", linestyle="--", linewidth=1)
    axes.set_title(
        "weight of each word (%); dashed: an even share", fontsize=10, loc="left", color=BOTH
    )
    axes.tick_params(axis="y", labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


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
