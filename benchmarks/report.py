"""docs/benchmarks.md from the figures of one run."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks import report_typed

NETWORKS = ("CLIP", "ResNet-18 vector", "ResNet-18 map", "VGGish")


BESIDE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks_beside.md"
ELSEWHERE = (
    "## On pages of their own",
    "",
    "- [Training](benchmarks_training.md): questions a second of every head, what it gains by"
    " meeting each video once, where its time goes (`python -m benchmarks.training`).",
    "- [Heads](benchmarks_heads.md) at width 512 (`python -m benchmarks.heads`);"
    " [very many videos](scaling.md) (`python -m benchmarks.scale`, `benchmarks.scale_array`).",
)


def page(f: dict[str, Any]) -> str:
    """The whole page."""
    typed = report_typed.sections(f)
    parts = [*_head(f), *_claims(f), *_chain(f), *typed, *_profile(f), *_floor(f)]
    return "\n".join([*parts, "", *_beside(), *ELSEWHERE, ""])


def _beside(page: Path = BESIDE) -> list[str]:
    """The ratios of training beside other programs, from their own page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return [
        "## Training beside other programs",
        "",
        f"From [its own page]({page.name}), which says what is what"
        " (`python -m benchmarks.beside`).",
        "",
        *(line for line in lines if line.startswith("|")),
        "",
    ]


def _head(f: dict[str, Any]) -> list[str]:
    return [
        "# Benchmarks",
        "",
        "Written by `make bench`; do not edit. Medians; what is compared was measured in turn in"
        " one run.",
        "",
        f"- Machine: {f['machine']}; {f['date']}.",
        f"- Material: {f['num_clips']} clips of {f['clip_seconds']} s, 1280×720, 30 fps, H.264"
        " (x264 medium) with AAC, moving textures and grain: `benchmarks/clips.py`.",
        "- Features: CLIP frame and patch, ResNet-18 vector and 14×14 map, VGGish; seeded random"
        " weights of the real architectures.",
        "- Steady state: models loaded, decoder running; from the first frame decoded to the"
        " last byte written and committed.",
        "",
    ]


def _wall(f: dict[str, Any], run: str) -> float:
    return statistics.median(seconds for seconds, _ in f["steady"][run])


def _chain_wall(f: dict[str, Any], device: str = "cpu") -> float:
    return statistics.median(sum(run.values()) for run in f["steady"][f"{device} chain"])


def _ours(f: dict[str, Any]) -> list[str]:
    return [name for name in f["steady"] if not name.endswith("chain")]


def _floor_seconds(f: dict[str, Any], dtype: str = "float32") -> float:
    """Wall seconds that the floor allows for all clips."""
    rows = f["clip_seconds"]
    networks = sum(cost for cost, _ in f["networks"][dtype].values()) * rows
    return float(f["num_clips"] * (networks + f["decoding"]["planned"]) / f["num_cores"])


def _claims(f: dict[str, Any]) -> list[str]:
    chain = _chain_wall(f)
    even = f["evenness"]
    decoding = f["decoding"]["planned"] / f["decoding"]["decord"]
    key = f["decoding"]["key"] / f["decoding"]["planned"]
    rows = [
        *report_typed.claims(f, chain / f["num_clips"], _floor_seconds(f) / f["num_clips"]),
        ("planned decoding ÷ decord, rendered clips", decoding, "at most 0.62", 0.62, False),
        ("`--frame-at key` ÷ planned decoding, rendered clips", key, "about 0.1", 0.15, False),
        ("`avqa --help`, seconds", f["startup"], "under 0.5", 0.5, False),
        (
            "peak memory of any process, GB",
            max(runs["fp32"]["all"]["peak"] for runs in f["typed"]) / 1e9,
            "under 2.5",
            2.5,
            False,
        ),
        ("second ÷ first hundred of 200 videos", even[1] / even[0], "at most 1.05", 1.05, False),
    ]
    if "cuda chain" in f["steady"]:
        gpu = _chain_wall(f, "cuda")
        for precision, least in (("fp32", 2.5), ("bf16", 5.0)):
            ratio = gpu / _wall(f, f"cuda {precision}")
            what = f"usual chain ÷ avqa, both on the GPU, {precision}"
            rows.append((what, ratio, f"at least {least:g}", least, True))
    lines = ["| what | measured | target | |", "|---|---|---|---|"]
    for what, value, target, limit, more in rows:
        met = value >= limit if more else value <= limit
        lines.append(f"| {what} | {value:.2f} | {target} | {'met' if met else '**missed**'} |")
    lines += ["", f"The usual chain takes {chain / _floor_seconds(f):.2f} times the fp32 floor"]
    if f["bf16"]:
        lines[-1] += f" and {chain / _floor_seconds(f, 'bfloat16'):.2f} times the bf16 one"
    lines[-1] += (
        ": that is how many times faster than it anything that runs the bare networks on this"
        " machine can be, whatever it does about files, decoding and batches."
    )
    return [*lines, ""]


def _chain(f: dict[str, Any]) -> list[str]:
    seconds = f["num_clips"] * f["clip_seconds"]
    lines = [
        "## Time for all clips",
        "",
        "| run | seconds | hours of video per hour |",
        "|---|---|---|",
    ]
    for name in _ours(f):
        wall = _wall(f, name)
        lines.append(f"| avqa, {name}, steady state | {wall:.1f} | {seconds / wall:.1f} |")
    for device in ("cpu", "cuda"):
        if f"{device} chain" in f["steady"]:
            chain = _chain_wall(f, device)
            lines.append(
                f"| usual chain, {device}, loading left out | {chain:.1f} | {seconds / chain:.1f} |"
            )
    lines.append(
        f"| the floor, fp32 | {_floor_seconds(f):.1f} | {seconds / _floor_seconds(f):.1f} |"
    )
    for precision in f["typed"][0]:
        wall = statistics.median(runs[precision]["all"]["wall"] for runs in f["typed"])
        lines.append(
            f"| `avqa extract` as typed, {precision} | {wall:.1f} | {seconds / wall:.1f} |"
        )
        start = wall - f["num_clips"] * report_typed.further_clip(f, precision)
        lines.append(f"| of that, start-up and shut-down | {start:.1f} | |")
    lines += ["", "The usual chain by script, seconds: "]
    names = f["steady"]["cpu chain"][0]
    chains = f["steady"]["cpu chain"]
    parts = [f"{name} {statistics.median(run[name] for run in chains):.1f}" for name in names]
    return [*lines[:-1], lines[-1] + ", ".join(parts) + ".", ""]


def _profile(f: dict[str, Any]) -> list[str]:
    lines = ["## Where the processor time goes, per clip", ""]
    stages = ("encode", "probe", "decode", "prepare", "sound", "write")
    lines += ["| run | " + " | ".join(stages) + " | sum |", "|---" * (len(stages) + 2) + "|"]
    for name in _ours(f):
        values = [
            statistics.median(run[1].get(stage, 0.0) for run in f["steady"][name]) / f["num_clips"]
            for stage in stages
        ]
        cells = " | ".join(f"{value:.2f} s" for value in values)
        lines.append(f"| avqa, {name} | {cells} | {sum(values):.2f} s |")
    return [*lines, "", "On a GPU, `encode` is wall time, the others processor time.", ""]


def _floor(f: dict[str, Any]) -> list[str]:
    lines = [
        "## The floor",
        "",
        "Bare networks on ready tensors, processor milliseconds per row with every core busy, at"
        " the best batch size; planned decoding, processor seconds per clip.",
        "",
        "| precision | " + " | ".join(NETWORKS) + " |",
        "|---" * (len(NETWORKS) + 1) + "|",
    ]
    for precision, costs in f["networks"].items():
        cells = " | ".join(f"{1000 * costs[n][0]:.1f} (batch {costs[n][1]})" for n in NETWORKS)
        lines.append(f"| {precision} | {cells} |")
    d, even = f["decoding"], f["evenness"]
    return [
        *lines,
        "",
        f"Planned decoding {d['planned']:.2f} s, decord {d['decord']:.2f} s for the same frames"
        f" (one thread each), `--frame-at key` {d['key']:.2f} s; pixel-identical to a full"
        " decode, see `tests/extract/decode`.",
        "",
        f"200 short videos with stubbed networks: {1000 * even[0]:.0f} ms per video in the first"
        f" hundred, {1000 * even[1]:.0f} ms in the second; the process grew by"
        f" {even[2] / 1e6:.1f} MB over the second.",
    ]
