"""docs/results.md, from what is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from avqa.datasets import Question
from avqa.datasets._parts.floors import Table
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

CLEAR = 10.0
"""Points above the template floor from which a head has learnt something of the videos."""


def page(
    about: Mapping[str, Any],
    done: Sequence[Done],
    rows: Mapping[str, Table],
    questions: Mapping[str, Sequence[Question]],
) -> list[str]:
    """The lines of the whole page.

    Args:
        about: ``machine``, ``store`` (a line), ``commands`` (that made it), ``forms`` (how many
            there are to train).
        done: finished trainings.
        rows: name → score of what needs no training of a head: floors and a probe.
        questions: split → those of the benchmark.
    """
    groups, test = grouped(done), questions["test"]
    return [
        *_head(about, groups, questions),
        *_in_short(groups, rows, test),
        *of_types(groups, rows, test),
        *of_looks(groups, "all of the test"),
        *of_settings(groups),
    ]


def _head(
    about: Mapping[str, Any], groups: Groups, questions: Mapping[str, Sequence[Question]]
) -> list[str]:
    counts = {split: len(these) for split, these in questions.items()}
    videos = len({q.video_id for these in questions.values() for q in these})
    commands = [about["commands"][part] for part in about["commands"]]
    return [
        "# Results on rendered clips",
        "",
        "Written by `python -m benchmarks.results`; do not edit. Every head on clips with a known"
        f" truth ([the benchmark](synthetic.md)): {videos:,} videos of 10 s,"
        f" {sum(counts.values()):,} questions ({counts['train']:,} train, {counts['val']:,} val,"
        f" {counts['test']:,} test), ten rows a video, CLIP ViT-B/32 and VGGish with seeded random"
        " weights: rows in which untrained networks left much unsaid. What heads learn of exact"
        " rows, and of how many questions, is on [a page of its own](curves.md). Nothing here says"
        " what a head is worth on MUSIC-AVQA.",
        "",
        f"- {about['machine']}; one thread a training.",
        f"- {about['store']}",
        "- The epoch is chosen on val; the test runs once.",
        f"- {len(groups)} of {about['forms']} forms are trained. What is not there is not done yet:"
        " the same command goes on.",
        "",
        "```text",
        *(command.format(bench="bench", store="features") for command in commands),
        "avqa train-head HEAD --store features --dataset music-avqa --annotations bench/annotations"
        " --set …",
        "```",
        "",
        "*HEAD-paper* is the paper's rate, batch, width and schedule, with all ten rows of a video;"
        " HEAD alone is what so few questions want: rows standardised by the training videos, a"
        " smaller width, words or slots that the question's encoder does not forget. The table at"
        " the end has every setting.",
        "",
    ]


def _in_short(groups: Groups, rows: Mapping[str, Table], test: Sequence[Question]) -> list[str]:
    floor = rows["template floor"]["All"].percent
    lines = [
        "## In short",
        "",
        f"Percent of all test questions, mean of the seeds, with its 95 % interval; in brackets of"
        f" the training questions, as they were when they were trained on. The template floor is"
        f" {floor:.1f} %: what is in bold is {CLEAR:g} points above it.",
        "",
        "| | seeds | all |",
        "|---|---|---|",
    ]
    for (form, _), seeds in groups.items():
        text = in_short(seeds, test)
        clears = sum(percents(seeds)) / len(seeds) >= floor + CLEAR
        lines.append(f"| {form} | {len(seeds)} | {f'**{text}**' if clears else text} |")
    return [*lines, ""]
