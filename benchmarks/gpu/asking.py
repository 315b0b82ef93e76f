"""A run made on the CPU, asked on the GPU: the answers of the CPU."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.gpu import material, typed
from benchmarks.gpu.device import CUDA
from benchmarks.gpu.part import Run
from benchmarks.gpu.training import extract, words

QUESTION = "How many instruments are sounding in the video?"
CLOSE = 0.5
"""Per cent by which an answer may differ between CPU and GPU."""
_ANSWER = re.compile(r"^(?:answer)?\s+(\S[^%]*?)\s{2,}(\d+\.\d) %$", re.MULTILINE)


def measure(run: Run) -> None:
    store, out = run.work / "bench-cpu", run.work / "asked"
    if not store.exists():
        extract(run, store, "cpu")
    head = run.setup.heads[-1]
    typed.must(run, f"{head} trained on the CPU", *words(run, head, store, out, "cpu", 1))
    clips = Path(run.setup.material)  # the store knows the ensembles by what is in them
    video = clips / material.CLIPS / f"{material.heights(clips)[0]}.mp4"
    said = {}
    # A cache of its own each: what one kind of device made is not to serve the other.
    begun = {
        device: typed.begin(
            *("ask", out, video, QUESTION, "--device", device),
            AVQA_CACHE=str(run.work / f"cache-{device}"),
        )
        for device in ("cpu", CUDA)
    }
    for device, each in begun.items():
        done = each.end()
        made = "extracted" in done.out
        run.check(
            f"asked on {device}",
            f"exit code {done.code}, rows {'extracted' if made else 'found'}",
            "exit code 0, rows extracted",
            done.code == 0 and made,
        )
        said[device] = answers(done.out)
        run.row("Asking", device=device, seconds=f"{done.seconds:.1f}", answers=str(said[device]))
    one, other = said["cpu"], said[CUDA]
    apart = max((abs(one[name] - other.get(name, 0.0)) for name in one), default=100.0)
    run.check(
        "answers of both",
        f"{apart:.2f} % apart",
        f"at most {CLOSE:g} %",
        bool(one) and apart <= CLOSE,
    )


def answers(said: str) -> dict[str, float]:
    """Answer → per cent."""
    return {name: float(percent) for name, percent in _ANSWER.findall(said)}
