"""docs/curves.md and its picture, from what is done."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avqa.datasets import Question
from avqa.datasets._parts.floors import floors, score_table
from avqa.datasets._parts.taxonomy import COLUMNS
from avqa.training.drawing import plain_style
from avqa.training.table.intervals import interval
from avqa.training.table.paired import difference
from avqa.units import clock

if TYPE_CHECKING:
    from benchmarks.curves import Done

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "curves.svg"


def page(
    about: Mapping[str, Any],
    done: Sequence[Done],
    train: Sequence[Question],
    test: Sequence[Question],
    picture: Path = PICTURE,
) -> str:
    """The whole page; draws the picture, too.

    Args:
        about: ``machine``, ``seen`` (questions that a training sees, by its videos), ``val`` and
            ``test`` (videos), ``made_for`` (form → types of question, and why), ``against`` (form).
        done: finished trainings.
        train: all training questions, for the floors.
        test: those that every training was tested on.
        picture: to be drawn.
    """
    groups = _grouped(done)
    floor = floors(train, test)["template"]
    draw(groups, floor["All"].percent, picture)
    parts = [
        _head(about, floor["All"].percent),
        _curves(groups, about, test),
        _types(groups, floor, test),
        _made_for(groups, about, test),
        *([_looked(groups)] if any(one.looked for one in done) else []),
        _settings(groups),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


Groups = Mapping[tuple[str, int], Sequence["Done"]]
"""Form and number of videos → its seeds."""


def _grouped(done: Sequence[Done]) -> dict[tuple[str, int], list[Done]]:
    groups: dict[tuple[str, int], list[Done]] = {}
    for one in done:
        groups.setdefault((one.unit.form, one.unit.videos), []).append(one)
    return groups


def _percents(seeds: Sequence[Done]) -> list[float]:
    return [100 * float(one.correct.mean()) for one in seeds]


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
        f"- {about['machine']}; one thread a training.",
        "- The papers' heads as they are printed but for what so few questions want: the table at"
        " the end has every setting. `bilinear` is [ours, of no paper](heads/bilinear.md).",
        "- What is not there is not done yet: the same command goes on.",
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
        cells = [_cell(groups.get((form, videos), ()), test) for videos in sizes]
        lines.append(f"| {form} | {shown} | {' | '.join(cells)} |")
    return lines


def _cell(seeds: Sequence[Done], test: Sequence[Question]) -> str:
    if not seeds:
        return ""
    known = statistics.fmean(100 * one.train_accuracy for one in seeds)
    between = interval(np.stack([one.correct for one in seeds]), [q.video_id for q in test])
    return f"{statistics.fmean(_percents(seeds)):.1f} ({between}) [{known:.0f}]"


def _types(groups: Groups, floor: Any, test: Sequence[Question]) -> list[str]:
    sizes = sorted({videos for _, videos in groups}, reverse=True)
    lines = ["## By type of question"]
    for videos in sizes[:2]:
        lines += [
            "",
            f"{videos:,} training videos; mean of the seeds.",
            "",
            f"| | seeds | {' | '.join(COLUMNS)} |",
            "|---|---|" + "---|" * len(COLUMNS),
            f"| template floor | | {' | '.join(f'{floor[c].percent:.1f}' for c in COLUMNS)} |",
        ]
        for (form, of), seeds in groups.items():
            if of == videos:
                tables = [score_table(zip(test, one.correct, strict=True)) for one in seeds]
                means = [statistics.fmean(t[c].percent for t in tables) for c in COLUMNS]
                cells = " | ".join(f"{mean:.1f}" for mean in means)
                lines.append(f"| {form} | {len(seeds)} | {cells} |")
    return lines


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
    return lines


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


def _looked(groups: Groups) -> list[str]:
    lines = [
        "## Where they look",
        "",
        "Share of the questions, about 200 of the test videos, in which a head's most weight is on"
        " a second in which the instrument that is asked about sounds, or on a patch that shows"
        " it; in brackets what equal weights score. Mean of the seeds; largest size of each.",
        "",
        "| | videos | seconds | patches |",
        "|---|---|---|---|",
    ]
    for form in dict.fromkeys(form for form, _ in groups):
        videos = max(v for f, v in groups if f == form)
        seeds = [one.looked for one in groups[form, videos] if one.looked]
        cells = [_inside([s[kind] for s in seeds if kind in s]) for kind in ("seconds", "patches")]
        if any(cells):
            lines.append(f"| {form} | {videos:,} | {' | '.join(cells)} |")
    return lines


def _inside(hits: Sequence[tuple[float, float, int]]) -> str:
    if not hits:
        return ""
    top, chance = (100 * statistics.fmean(column) for column in list(zip(*hits, strict=True))[:2])
    return f"{top:.0f} % [{chance:.0f}] of {hits[0][2]}"


def _settings(groups: Groups) -> list[str]:
    lines = [
        "## Settings",
        "",
        "Beside each head's defaults; the largest size of each. Parameters with these rows.",
        "",
        "| | videos | parameters | epoch | time | settings |",
        "|---|---|---|---|---|---|",
    ]
    for form in dict.fromkeys(form for form, _ in groups):
        videos = max(v for f, v in groups if f == form)
        seeds = groups[form, videos]
        epochs = ", ".join(str(one.best_epoch) for one in seeds)
        took = clock(statistics.fmean(one.seconds for one in seeds))
        given = ", ".join(f"{key}={value}" for key, value in seeds[0].given.items())
        lines.append(
            f"| {form} | {videos:,} | {seeds[0].parameters:,} | {epochs} | {took} | `{given}` |"
        )
    return lines


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
        means = [statistics.fmean(_percents(groups[form, videos])) for videos in sizes]
        axes.plot(sizes, means, marker="o", markersize=3, label=form)
    axes.axhline(floor, color="grey", linestyle=":", label="template floor")
    axes.set(xscale="log", xlabel="training videos, ten questions each", ylabel="test accuracy, %")
    axes.legend(fontsize="small")
    figure.savefig(path, metadata={"Date": None})
