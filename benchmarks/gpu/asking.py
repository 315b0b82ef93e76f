"""A run made on the CPU, asked on the GPU: the answers of the CPU."""

from __future__ import annotations

import json
import re
from pathlib import Path

from avqa.extract.weights_files import _record
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
    begun = {}
    for device in ("cpu", CUDA):
        cache = run.work / f"cache-{device}"
        give_weights(run, cache)
        asked = ("ask", out, video, QUESTION, "--device", device)
        begun[device] = typed.begin(*asked, AVQA_CACHE=str(cache))
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


def give_weights(run: Run, cache: Path) -> None:
    """Put the files that the part `machine` drew into a cache: `avqa ask` looks there alone."""
    for file in (run.work / "weights").glob("*.safetensors"):
        cache.mkdir(exist_ok=True)
        path = cache / file.name
        path.unlink(missing_ok=True)
        path.hardlink_to(file)
        path.with_suffix(".json").write_text(json.dumps(_record(path)), encoding="utf-8")


def answers(said: str) -> dict[str, float]:
    """Answer → per cent."""
    return {name: float(percent) for name, percent in _ANSWER.findall(said)}
