"""docs/results.md from what is done."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from avqa.datasets._parts.floors import Table
from avqa.datasets._parts.taxonomy import COLUMNS
from avqa.heads import load
from avqa.units import clock

if TYPE_CHECKING:
    from benchmarks.results_units import Done, Kind

CLEAR = 10.0
"""Points above the template floor from which a head has learnt something of the videos."""
NAMES: dict[Kind, str] = {
    "paper": "the paper's recipe",
    "scaled": "fitted recipe, scaled features",
    "exact": "fitted recipe, exact features",
}
LOOKED = {
    "seconds": "seconds",
    "audio_time": "seconds of the sound",
    "frame_time": "seconds of the pictures",
    "patches": "patches",
}
BASELINES = ("question_only", "late_fusion")


def page(about: Mapping[str, str], done: Sequence[Done], rows: Mapping[str, Table]) -> str:
    """The whole page.

    Args:
        about: ``machine``, ``progress``, ``store``: a line each.
        done: finished trainings.
        rows: name → score of what needs no training: floors and probes.
    """
    parts = [_head(about), _types(done, rows), _faults(done, rows), _looked(done), _how(done)]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _head(about: Mapping[str, str]) -> list[str]:
    return [
        "# Results on the synthetic benchmark",
        "",
        "Written by `python -m benchmarks.results`; do not edit. Every head on clips with a known"
        " truth ([the benchmark](synthetic.md)): 200 videos of 10 s, 2,000 questions (1,200 train,"
        " 400 val, 400 test), ten rows a video, no stride, 49 patches, CLIP ViT-B/32 and VGGish"
        " with seeded random weights. The figures show what heads and features can do with so few"
        " questions; they say nothing of a head's worth on MUSIC-AVQA.",
        "",
        f"- {about['machine']}",
        f"- {about['store']}",
        f"- {about['progress']}",
        "- Percent of the test questions; the epoch is chosen on val, the test runs once. 400 test"
        " questions: one standard error is 2.5 points, of a type with 44 questions 7.",
        "",
        "Three ways to train; the table at the end has all settings:",
        "",
        "- **paper**: `avqa train-head` with the paper's rate, batch and schedule. 1,200 questions"
        " in batches of 64 are 19 steps an epoch; the papers take 500.",
        "- **scaled**: a recipe fitted to so few questions, the same for every head: batches of 16,"
        " which are 75 steps an epoch, a rate of 3e-4 (baselines 1e-3), for heads that read words"
        " through an LSTM `pack=true forget_bias=2`"
        " ([why](heads/sasr.md#does-it-use-the-question)), and what lets a head find planted"
        " evidence ([which](heads.md#does-each-module-earn-its-place)). It reads the same features"
        " with mean 0 and standard deviation 1 per column (over the training videos): behind random"
        " weights rows are nearly alike; what all have in common is 99 % of the length of VGGish's,"
        " 97 % of CLIP's vectors, 78 % of its patches.",
        "- **exact**: as scaled, on one-hot rows made from `truth.json`, of the same shapes: what"
        " sounds, how loud, how many strokes; what stands in which patch, whether it sounds.",
    ]


def _cells(table: Sequence[Table]) -> str:
    found = []
    for column in COLUMNS:
        text = f"{_mean(table, column):.1f}"
        found.append(f"**{text}**" if column == "All" else text)
    return " | ".join(found)


def _mean(tables: Sequence[Table], column: str) -> float:
    return statistics.fmean(table[column].percent for table in tables)


def _grouped(done: Sequence[Done]) -> dict[tuple[str, Kind], list[Done]]:
    """Head and kind → its seeds; heads in the order in which they came."""
    groups: dict[tuple[str, Kind], list[Done]] = {}
    for one in done:
        groups.setdefault((one.unit.head, one.unit.kind), []).append(one)
    return groups


def _heads(done: Sequence[Done]) -> list[str]:
    """Baselines first."""
    names = dict.fromkeys(one.unit.head for one in done)
    return sorted(names, key=lambda name: (name not in BASELINES, name))


def _types(done: Sequence[Done], rows: Mapping[str, Table]) -> list[str]:
    groups = _grouped(done)
    lines = [
        "## By type of question",
        "",
        f"| | way | seeds | {' | '.join(COLUMNS)} |",
        "|---|---|---|" + "---|" * len(COLUMNS),
    ]
    lines += [f"| {name} | | | {_cells([table])} |" for name, table in rows.items()]
    for head in _heads(done):
        for kind in NAMES:
            if seeds := groups.get((head, kind)):
                cells = _cells([one.scores for one in seeds])
                lines.append(f"| {head} | {kind} | {len(seeds)} | {cells} |")
    return lines


def _faults(done: Sequence[Done], rows: Mapping[str, Table]) -> list[str]:
    floor = rows["template floor"]["All"].percent
    groups = _grouped(done)
    lines = [
        "## Head, features or budget?",
        "",
        f"The template floor is {floor:.1f} %. A head has learnt something of the videos from"
        f" {floor + CLEAR:.1f} %, in bold; what is named is the first change that lets it.",
        "",
        f"| head | {' | '.join(NAMES.values())} | what stood in the way |",
        "|---|" + "---|" * (len(NAMES) + 1),
    ]
    for head in _heads(done):
        of_head = {kind: groups[head, kind] for kind in NAMES if (head, kind) in groups}
        cells = [_all(of_head.get(kind), floor) for kind in NAMES]
        fault = "" if head == "question_only" else verdict(of_head, floor)
        lines.append(f"| {head} | {' | '.join(cells)} | {fault} |")
    probes = "; ".join(
        f"{name} {rows[name]['All'].percent:.1f} %" for name in rows if "probe" in name
    )
    return [
        *lines,
        "",
        f"A linear probe of question ⊗ video (ridge regression on the products of the question's"
        f" words and template with the mean and the largest row of the video): {probes}.",
    ]


def _all(seeds: Sequence[Done] | None, floor: float) -> str:
    if not seeds:
        return ""
    percents = [one.scores["All"].percent for one in seeds]
    mean = statistics.fmean(percents)
    text = f"{mean:.1f}" + (f" ± {statistics.stdev(percents):.1f}" if len(percents) > 1 else "")
    return f"**{text}**" if mean >= floor + CLEAR else text


def verdict(of_head: Mapping[Kind, Sequence[Done]], floor: float) -> str:
    """The first change that brings a head over the floor by `CLEAR` points."""
    clears = {
        kind: _mean([one.scores for one in seeds], "All") >= floor + CLEAR
        for kind, seeds in of_head.items()
    }
    if clears.get("paper"):
        return "nothing"
    if clears.get("scaled"):
        return "recipe or the features' scale"
    if clears.get("exact"):
        return "features: what they tell" if "scaled" in clears else "recipe or features"
    return "the head, or the budget" if "exact" in clears else ""


def _looked(done: Sequence[Done]) -> list[str]:
    lines = [
        "## Do selection and attention hit the truth?",
        "",
        "Test questions about instruments (those that the question names, else the one that is the"
        " answer). *Seconds*: those in which one of them sounds, of questions where these are some"
        " and not all. *Patches*, at the second that weighs most: those whose middle lies in the"
        " box of one of them. *Mass*: the share of the weight that lies inside; *top*: how often"
        " the largest weight does. *Chance*: what equal weights have.",
        "",
        "| head | way | what | questions | mass | top | chance |",
        "|---|---|---|---|---|---|---|",
    ]
    return lines + [line for one in _firsts(done) for line in _hit_lines(one)]


def _firsts(done: Sequence[Done]) -> list[Done]:
    """Seed 0 of every head and kind."""
    order = _heads(done)
    first = [one for one in done if one.unit.seed == 0]
    return sorted(first, key=lambda o: (order.index(o.unit.head), [*NAMES].index(o.unit.kind)))


def _hit_lines(one: Done) -> Iterator[str]:
    for kind, name in LOOKED.items():
        if hit := one.hits.get(kind):
            yield (
                f"| {one.unit.head} | {one.unit.kind} | {name} | {hit.questions} |"
                f" {100 * hit.mass:.1f} % | {100 * hit.top:.1f} % | {100 * hit.chance:.1f} % |"
            )


def _how(done: Sequence[Done]) -> list[str]:
    lines = [
        "## How they were trained",
        "",
        "| head | way | M parameters | rate | batch | epochs | best | val | time | set |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in _firsts(done):
        recipe = load(one.unit.head).PAPER.recipe
        given = dict(one.assignments)
        rate = given.pop("learning_rate", f"{recipe.learning_rate:g}")
        batch = given.pop("batch_size", str(recipe.batch_size))
        epochs = given.pop("epochs")
        rest = " ".join(f"{key}={value}" for key, value in given.items())
        lines.append(
            f"| {one.unit.head} | {one.unit.kind} | {one.parameters / 1e6:.2f} | {rate} | {batch} |"
            f" {epochs} | {one.best_epoch} | {100 * one.val_accuracy:.1f} % |"
            f" {clock(one.seconds)} | `{rest}` |"
        )
    return [*lines, "", f"All trainings together: {clock(sum(o.seconds for o in done))}."]
