"""``python -m benchmarks [--rounds N] [--clips N]``: measure everything, write docs/benchmarks.md.

Figures are medians over rounds; what is compared is measured in turn within one run, because a
machine's speed changes over minutes. Nothing here is asserted: the page says what fell short.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from avqa.machine import num_cores
from benchmarks import as_typed, floor, starts, steady
from benchmarks.clips import SECONDS, benchmark_clips
from benchmarks.report import page
from benchmarks.usual_chain import run_chain

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run all parts; figures also go to build/bench/figures.json as they come."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=12, help="of the 12 clips, use the first N")
    arguments = parser.parse_args()
    work = ROOT / "build" / "bench"
    clips = benchmark_clips(work / "clips")[: arguments.clips]
    folder = work / "taken"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for clip in clips:
        (folder / clip.name).hardlink_to(clip)
    bf16 = has_bf16()
    figures: dict[str, Any] = {
        "machine": machine(),
        "num_cores": num_cores(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "num_clips": len(clips),
        "clip_seconds": SECONDS,
        "rounds": arguments.rounds,
        "bf16": bf16,
    }
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        out = Path(scratch)
        for name, measure in parts(clips, work, out, arguments.rounds).items():
            print(f"measuring: {name}", flush=True)
            figures[name] = measure()
        figures["steady"], figures["typed"] = {}, []
        for number in range(arguments.rounds):
            print(f"measuring: round {number + 1} of {arguments.rounds}", flush=True)
            side_by_side(figures["steady"], folder, clips, out, bf16)
            kinds = ("fp32", *(("bf16",) if bf16 else ()))
            figures["typed"].append({kind: as_typed.runs(clips, work, kind) for kind in kinds})
            (work / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
            (ROOT / "docs" / "benchmarks.md").write_text(page(figures), encoding="utf-8")
    print("wrote docs/benchmarks.md")


def parts(clips: list[Path], work: Path, out: Path, rounds: int) -> dict[str, Callable[[], object]]:
    """Name → measurement, in order: everything but the runs side by side."""
    dtypes = [torch.float32, *([torch.bfloat16] if has_bf16() else [])]
    return {
        "decoding": lambda: floor.decoding(clips[::3], rounds),
        "networks": lambda: {str(d).removeprefix("torch."): networks(d) for d in dtypes},
        "startup": lambda: statistics.median(steady.startup() for _ in range(5)),
        "starts": lambda: starts.starts(work, rounds),
        "real": lambda: as_typed.of_real_files(work, out),
        "evenness": lambda: even(out, rounds),
    }


def networks(dtype: torch.dtype) -> dict[str, tuple[float, int]]:
    """Processor seconds per row of each bare network, and the batch size that gave it."""
    found = floor.bare_networks(dtype)
    return {name: floor.seconds_per_row(net, shape, dtype) for name, (net, shape) in found.items()}


def side_by_side(
    results: dict[str, list[object]], folder: Path, clips: list[Path], out: Path, bf16: bool
) -> None:
    """Time avqa and the usual chain in turn, on CPU, and on a GPU if there is one; one round."""
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        for precision in ("fp32", *(["bf16"] if bf16 or device == "cuda" else [])):
            store = out / f"store-{device}-{precision}"
            with steady.warm_extractor(folder, store, precision, device) as warm:
                run = warm.run()
            shutil.rmtree(store)
            results.setdefault(f"{device} {precision}", []).append([run.wall_seconds, run.stages])
            print(f"  avqa {device} {precision}: {run.wall_seconds:.1f} s", flush=True)
        chain = run_chain(clips, out / "chain", device)
        shutil.rmtree(out / "chain")
        results.setdefault(f"{device} chain", []).append(chain)
        print(f"  usual chain, {device}: {sum(chain.values()):.1f} s", flush=True)


def even(out: Path, rounds: int) -> list[float]:
    """Medians of `steady.evenness`."""
    runs = [steady.evenness(short_clips(), out / "even") for _ in range(rounds)]
    ratio = sorted(runs, key=lambda run: run[1] / run[0])[len(runs) // 2]
    return list(ratio)


def short_clips() -> Path:
    """The built-in sample: short clips for the run of two hundred."""
    from avqa.demo.sample import render_sample

    folder = ROOT / "build" / "sample"
    render_sample(folder)
    return folder


def has_bf16() -> bool:
    """Whether the processor has bf16 instructions."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags or "bf16" in flags.split()


def machine() -> str:
    """Processor, cores, memory, versions: what the figures belong to."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{name}, {num_cores()} cores, {gpu}, torch {torch.__version__.split('+')[0]}"


if __name__ == "__main__":
    main()
