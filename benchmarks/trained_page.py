"""What the pages of trainings on the synthetic benchmark share, from what is done."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from avqa.datasets import Question
from avqa.datasets._parts.floors import Table, score_table
from avqa.datasets._parts.taxonomy import COLUMNS
from avqa.training.table.flips import FLIP
from avqa.training.table.intervals import interval
from avqa.units import clock
from benchmarks.trained import KINDS, Done

Groups = Mapping[tuple[str, int], Sequence[Done]]
"""Form and number of videos → its seeds."""


def grouped(done: Sequence[Done]) -> dict[tuple[str, int], list[Done]]:
    """In the order in which they came."""
    groups: dict[tuple[str, int], list[Done]] = {}
    for one in done:
        groups.setdefault((one.unit.form, one.unit.videos), []).append(one)
    return groups


def percents(seeds: Sequence[Done]) -> list[float]:
    """Right answers of each seed."""
    return [100 * float(one.correct.mean()) for one in seeds]


def in_short(seeds: Sequence[Done], test: Sequence[Question]) -> str:
    """Mean of the seeds, its interval, and in brackets that of training questions."""
    if not seeds:
        return ""
    known = statistics.fmean(100 * one.train_accuracy for one in seeds)
    between = interval(np.stack([one.correct for one in seeds]), [q.video_id for q in test])
    return f"{statistics.fmean(percents(seeds)):.1f} ({between}) [{known:.0f}]"


def of_types(groups: Groups, rows: Mapping[str, Table], test: Sequence[Question]) -> list[str]:
    """A table of the two largest sizes each.

    Args:
        groups: what is done.
        rows: name → score of what needs no training of a head.
        test: the questions that every training was tested on.
    """
    sizes = sorted({videos for _, videos in groups}, reverse=True)
    lines = ["## By type of question", ""]
    for videos in sizes[:2]:
        lines += [
            f"{videos:,} training videos; mean of the seeds.",
            "",
            f"| | seeds | {' | '.join(COLUMNS)} | {FLIP} |",
            "|---|---|" + "---|" * (len(COLUMNS) + 1),
        ]
        lines += [f"| {name} | | {_means([table])} | |" for name, table in rows.items()]
        for (form, of), seeds in groups.items():
            if of == videos:
                tables = [score_table(zip(test, one.correct, strict=True)) for one in seeds]
                flips = [100 * one.flips for one in seeds if one.flips is not None]
                flip = f"{statistics.fmean(flips):.1f}" if flips else ""
                lines.append(f"| {form} | {len(seeds)} | {_means(tables)} | {flip} |")
        lines.append("")
    told = f"{FLIP}: of the comparisons asked both ways round, those that are answered differently,"
    return [*lines, f"{told} as all should be.", ""]


def _means(tables: Sequence[Table]) -> str:
    return " | ".join(f"{statistics.fmean(t[c].percent for t in tables):.1f}" for c in COLUMNS)


def of_looks(groups: Groups, asked: str) -> list[str]:
    """Where heads look, by the truth; ``asked``: what the questions are about."""
    lines = [
        "## Where they look",
        "",
        f"Share of the questions, {asked}, in which a head's most weight is on"
        " a second in which the instrument that is asked about sounds, or on a patch that shows"
        " it; in brackets what equal weights score. Mean of the seeds; largest size of each.",
        "",
        "| | videos | seconds | patches |",
        "|---|---|---|---|",
    ]
    for form in dict.fromkeys(form for form, _ in groups):
        videos = max(v for f, v in groups if f == form)
        seeds = [one.looked for one in groups[form, videos] if one.looked]
        cells = [_inside([s[kind] for s in seeds if kind in s]) for kind in KINDS]
        if any(cells):
            lines.append(f"| {form} | {videos:,} | {' | '.join(cells)} |")
    return [*lines, ""] if len(lines) > 6 else []


def _inside(hits: Sequence[tuple[float, float, int]]) -> str:
    if not hits:
        return ""
    top, chance = (100 * statistics.fmean(column) for column in list(zip(*hits, strict=True))[:2])
    return f"{top:.0f} % [{chance:.0f}] of {hits[0][2]}"


def of_settings(groups: Groups) -> list[str]:
    """How each was trained."""
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
