"""docs/curves.md and its picture, from what is done."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avqa.datasets import Question
from avqa.datasets._parts.floors import Table
from avqa.datasets._parts.taxonomy import COLUMNS
from avqa.training.drawing import plain_style
from avqa.training.table.paired import difference
from benchmarks.trained import Done
from benchmarks.trained_page import (
    Groups,
    grouped,
    in_short,
    of_looks,
    of_settings,
    of_types,
    percents,
)

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "curves.svg"


def page(
    about: Mapping[str, Any],
    done: Sequence[Done],
    rows: Mapping[str, Table],
    test: Sequence[Question],
    picture: Path = PICTURE,
) -> list[str]:
    """The lines of the whole page; draws the picture, too.

    Args:
        about: ``machine``, ``seen`` (questions that a training sees, by its videos), ``val`` and
            ``test`` (videos), ``made_for`` (form → types of question, and why), ``against`` (form).
        done: finished trainings.
        rows: name → score of what needs no training: ``template floor``, ``oracle``.
        test: those that every training was tested on.
        picture: to be drawn.
    """
    groups = grouped(done)
    floor = rows["template floor"]["All"].percent
    draw(groups, floor, picture)
    return [
        *_head(about, floor),
        *_curves(groups, about, test),
        *of_types(groups, rows, test),
        *_made_for(groups, about, test),
        *of_looks(groups, "about 200 of the test videos"),
        *of_settings(groups),
    ]


def _head(about: Mapping[str, Any], floor: float) -> list[str]:
    return [
        "# What heads learn from how many questions",
        "",
        "Written by `python -m benchmarks.curves`; do not edit. The questions of the"
        " [synthetic benchmark](synthetic.md), ten a video of 10 s, on exact rows: one-hot columns"
        " made from its truth, so that nothing is judged but the head. Each training starts from"
        f" new weights; {about['val']} videos choose the epoch, {about['test']:,} others are the"
        f" test, the same for all. Template floor {floor:.1f} %.",
        "",
        f"- Written on {about['machine']}; a thread a training, some on another machine or beside"
        " other work, so that times compare only roughly.",
        "- The papers' heads as they are printed but for what so few questions want: the table at"
        " the end has every setting. `bilinear` is [ours, of no paper](heads/bilinear.md).",
        "- *oracle* answers by rule from the same rows: not even they tell everything.",
        "- What is not there is not done yet: the same command goes on.",
        "",
    ]


def _curves(groups: Groups, about: Mapping[str, Any], test: Sequence[Question]) -> list[str]:
    sizes = sorted({videos for _, videos in groups})
    head = " | ".join(f"{videos:,} videos" for videos in sizes)
    lines = [
        "## Learning curves",
        "",
        "![Accuracy by number of training videos](images/curves.svg)",
        "",
        "Percent of all test questions, mean of the seeds, with its 95 % interval (videos are drawn"
        " and seeds differ); in brackets of as many training questions. Several passes: a training"
        f" with {', '.join(f'{v:,}' for v in about['seen'])} videos sees"
        f" {', '.join(f'{n / 1e6:g}' for n in about['seen'].values())} million questions,"
        " `bilinear` 2.5 times as many.",
        "",
        f"| | seeds | {head} |",
        "|---|---|" + "---|" * len(sizes),
    ]
    for form in dict.fromkeys(form for form, _ in groups):
        seeds = [str(len(groups[form, v])) if (form, v) in groups else "–" for v in sizes]
        shown = seeds[0] if len(set(seeds)) == 1 else " / ".join(seeds)
        cells = [in_short(groups.get((form, videos), ()), test) for videos in sizes]
        lines.append(f"| {form} | {shown} | {' | '.join(cells)} |")
    return [*lines, ""]


def _made_for(groups: Groups, about: Mapping[str, Any], test: Sequence[Question]) -> list[str]:
    against, sizes = about["against"], [videos for _, videos in groups]
    largest = max(sizes)
    lines = [
        "## What each is made for",
        "",
        f"Said before the trainings: in which types a head should be better than `{against}`, and"
        f" why. Points more than it with {largest:,} training videos, with their 95 % interval over"
        " videos drawn again and, where there are several, seeds.",
        "",
        "| | because it | type | more |  |",
        "|---|---|---|---|---|",
    ]
    for form, (columns, why) in about["made_for"].items():
        for column in columns:
            more = _more(groups, (form, largest), (against, largest), column, test)
            lines.append(f"| {form} | {why} | {column} | {more} |")
    return [*lines, ""]


def _more(
    groups: Groups,
    of: tuple[str, int],
    over: tuple[str, int],
    column: str,
    test: Sequence[Question],
) -> str:
    """Difference, interval and what they say; "not done" without both."""
    if of not in groups or over not in groups:
        return "not done | "
    inside = np.array([(q.modality, q.kind) in COLUMNS[column] for q in test])
    first, second = (np.stack([one.correct[inside] for one in groups[key]]) for key in (of, over))
    videos = [q.video_id for q, here in zip(test, inside, strict=True) if here]
    found = difference(first, second, videos)
    if found is None:
        return "not done | "
    verdict = "yes" if found.low > 0 else "no" if found.high < 0 else "not shown"
    return f"{found.mean:+.1f} ({found.low:+.1f} to {found.high:+.1f}) | {verdict}"


@plain_style()
def draw(groups: Groups, floor: float, path: Path) -> None:
    """Accuracy over the number of training videos, a line a form."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "curves"  # the same bytes for the same figures
    figure = Figure(figsize=(8, 5))
    axes = figure.subplots()
    for form in dict.fromkeys(form for form, _ in groups):
        sizes = sorted(videos for f, videos in groups if f == form)
        means = [statistics.fmean(percents(groups[form, videos])) for videos in sizes]
        axes.plot(sizes, means, marker="o", markersize=3, label=form)
    axes.axhline(floor, color="grey", linestyle=":", label="template floor")
    axes.set(xscale="log", xlabel="training videos, ten questions each", ylabel="test accuracy, %")
    axes.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
