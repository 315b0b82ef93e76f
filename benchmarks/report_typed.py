"""The part of docs/benchmarks.md that is about commands as they are typed."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.as_typed import marginal

START_TARGETS = {
    "extract": ("`avqa extract` of one clip of 2 s, seconds", 6.0),
    "nothing to do": ("`avqa extract` with nothing to do, seconds", 0.8),
    "ask, features kept": ("`avqa ask`, features kept from before, seconds", 3.0),
    "ask, nothing kept": ("`avqa ask`, nothing kept, seconds", 6.0),
    "train-head": ("`avqa train-head` to its first batch, seconds", 5.0),
}
REAL_DECODING = 0.95
"""Planned decoding ÷ decord, at most."""
Claim = tuple[str, float, str, float, bool]
"""What, measured, target in words, its limit, and whether more is better."""


def further_clip(f: dict[str, Any], precision: str) -> float:
    """Median seconds of each clip but the first, as typed."""
    return statistics.median(marginal(runs[precision], f["num_clips"]) for runs in f["typed"])


def claims(f: dict[str, Any], chain: float, floor: float) -> list[Claim]:
    """Of commands as typed.

    Args:
        f: figures of the whole benchmark.
        chain: seconds that the usual chain takes for a clip.
        floor: seconds that the fp32 floor allows for one.
    """
    fp32 = further_clip(f, "fp32")
    rows: list[Claim] = [
        ("usual chain ÷ avqa as typed, per further clip, fp32", chain / fp32, "at least 2.7", 2.7,
         True),
        ("avqa as typed ÷ floor, per further clip, fp32", fp32 / floor, "at most 1.05", 1.05,
         False),
    ]  # fmt: skip
    if f["bf16"]:
        ratio = chain / further_clip(f, "bf16")
        what = "usual chain ÷ avqa as typed, per further clip, bf16"
        rows.insert(1, (what, ratio, "at least 4.5", 4.5, True))
    for name, (what, limit) in START_TARGETS.items():
        start = f["starts"][name]
        rows.append((what, start["sign"] or start["wall"], f"at most {limit:g}", limit, False))
    for kind, figures in f["real"].items():
        ratio = figures["planned"] / figures["decord"]
        what = f"planned decoding ÷ decord, real file, {kind}"
        rows.append((what, ratio, f"at most {REAL_DECODING}", REAL_DECODING, False))
    return rows


def sections(f: dict[str, Any]) -> list[str]:
    """Starts, processor time by process, and real files."""
    return [*_starts(f), *_processes(f), *_real(f)]


def _starts(f: dict[str, Any]) -> list[str]:
    lines = [
        "## Starts",
        "",
        "As typed, with weights in the cache, in seconds; what the command's own process imports,"
        " package by package, its decoder's process apart. `train-head` is a whole run of one epoch"
        " of two questions, which are one batch; its target above is for the line that this epoch"
        " is done, validated and kept. A first run of all compiles, and compares small batches with"
        " whole ones: it is left out.",
        "",
        "| start | wall | user | system | page faults | most of the imports |",
        "|---|---|---|---|---|---|",
    ]
    for name, start in f["starts"].items():
        parts = ", ".join(f"{package} {value:.2f}" for package, value in start["imports"].items())
        lines.append(
            f"| {name} | {start['wall']:.2f} | {start['user']:.2f} | {start['system']:.2f} |"
            f" {start['faults']:,} | {parts} |"
        )
    return [*lines, ""]


def _processes(f: dict[str, Any]) -> list[str]:
    lines = [
        "## Processor time as typed",
        "",
        f"`avqa extract` of all {f['num_clips']} clips, all its processes by what they do; one clip"
        " alone, and each further one.",
        "",
        "| run | one clip | each further | process | user | system | page faults of all |",
        "|---|---|---|---|---|---|---|",
    ]
    for precision in f["typed"][0]:
        runs = [round_[precision] for round_ in f["typed"]]
        one = statistics.median(run["one"]["wall"] for run in runs)
        faults = statistics.median(run["all"]["faults"] for run in runs)
        for number, role in enumerate(runs[0]["all"]["processes"]):
            user, system = (
                statistics.median(run["all"]["processes"].get(role, (0, 0))[i] for run in runs)
                for i in (0, 1)
            )
            first = f"{precision} | {one:.1f} | {further_clip(f, precision):.1f}"
            shown = " | | " if number else first
            lines.append(f"| {shown} | {role} | {user:.1f} | {system:.1f} | {faults:,.0f} |")
    return [*lines, ""]


def _real(f: dict[str, Any]) -> list[str]:
    lines = ["## Real files", ""]
    if not f["real"]:
        return [*lines, "Not measured: there is no `../shared/media`.", ""]
    lines += [
        "A clip of real footage looped to a minute, and encoded anew; seconds per further clip, and"
        " of one thread that decodes the frames alone; key frames: with `--frame-at key`.",
        "",
        "| clip | avqa as typed | usual chain | ratio | planned decoding | key frames | decord |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, row in f["real"].items():
        lines.append(
            f"| {kind} | {row['avqa']:.1f} | {row['chain']:.1f} |"
            f" {row['chain'] / row['avqa']:.2f} | {row['planned']:.2f} | {row['key']:.2f} |"
            f" {row['decord']:.2f} |"
        )
    return [*lines, ""]
