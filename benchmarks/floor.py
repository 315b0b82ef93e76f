"""The floor: processor seconds that no pipeline can save, per clip of 60 s.

The bare networks (plain open_clip, torchvision and torchvggish modules on ready tensors, the
best of several batch sizes), and planned decoding of the frames. Networks are timed with every
core busy, one forward per core, because that is how any run that uses the machine meets them:
cores that share execution units cost more processor seconds together than alone.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import open_clip
import torch
from torchvggish.torchvggish import VGG, make_layers
from torchvision.models import resnet18

from avqa.extract import readers
from avqa.extract.media.grid import build_grid
from avqa.extract.media.types import Limits, Report
from avqa.machine import num_cores

BATCHES = (8, 16, 32, 64)


def bare_networks(dtype: torch.dtype) -> dict[str, tuple[torch.nn.Module, tuple[int, ...]]]:
    """Each forward that the default features need, with the shape of one row."""
    visual = open_clip.create_model("ViT-B-32-quickgelu").visual
    visual.output_tokens = True
    stride1 = resnet18()
    stride1.layer4[0].conv1.stride = (1, 1)
    stride1.layer4[0].downsample[0].stride = (1, 1)
    networks = {
        "CLIP": (visual, (3, 224, 224)),
        "ResNet-18 vector": (resnet18(), (3, 224, 224)),
        "ResNet-18 map": (torch.nn.Sequential(*list(stride1.children())[:-2]), (3, 224, 224)),
        "VGGish": (VGG(make_layers(), postprocess=False), (1, 96, 64)),
    }
    return {name: (net.eval().to(dtype), shape) for name, (net, shape) in networks.items()}


def seconds_per_row(
    network: torch.nn.Module, shape: tuple[int, ...], dtype: torch.dtype
) -> tuple[float, int]:
    """Processor seconds per row at the best batch size, and that size."""
    best = (float("inf"), 0)
    for batch in BATCHES:
        rows = torch.rand((batch, *shape)).to(dtype)
        best = min(best, (_busy_cost(lambda rows=rows: network(rows)) / batch, batch))
    return best


def _busy_cost(forward: Callable[[], object]) -> float:
    """Median processor seconds of one forward while every core runs the same."""
    costs: list[float] = []

    def work() -> None:
        torch.set_num_threads(1)
        with torch.inference_mode():
            forward()
            for _ in range(3):
                start = time.thread_time()
                forward()
                costs.append(time.thread_time() - start)

    threads = [threading.Thread(target=work) for _ in range(num_cores())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(costs)[len(costs) // 2]


def decoding(clips: Sequence[Path], rounds: int) -> dict[str, float]:
    """Median processor seconds per clip, planned, of key frames alone, and decord, in turn."""
    found: dict[str, list[float]] = {"planned": [], "key": [], "decord": []}
    for _ in range(rounds):
        for clip in clips:
            found["planned"].append(planned_decoding(clip))
            found["key"].append(planned_decoding(clip, "key"))
            found["decord"].append(decord_decoding(clip))
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def planned_decoding(video: Path, frame_at: str = "mid") -> float:
    """Processor seconds for the time table and the wanted frames of one clip."""
    reader = readers.load("pyav").READER
    start = time.process_time()
    probe = reader.probe(str(video), Limits())
    grid = build_grid(probe.times, frame_at, probe.average_fps)
    for _ in reader.frames(probe, sorted(set(grid.index.tolist())), Report()):
        pass
    return time.process_time() - start


def decord_decoding(video: Path) -> float:
    """Processor seconds of decord, one thread, for the same frames."""
    import decord

    probe = readers.load("pyav").READER.probe(str(video), Limits())
    wanted = build_grid(probe.times, "mid", probe.average_fps).index.tolist()
    start = time.process_time()
    decord.VideoReader(str(video), num_threads=1).get_batch(wanted).asnumpy()
    return time.process_time() - start
