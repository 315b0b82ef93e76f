"""``python -m benchmarks.networks``: the large encoders beside the bare networks that they are.

Bare: open_clip's, timm's, torchvision's and transformers' own modules with weights of their own on
rows that are ready, at the better of two batch sizes; ours: what `avqa extract` runs, on uint8
frames and spectrograms, with its batch of a CPU. Both on one thread, in turn, in processor seconds
a row. Writes docs/benchmarks_networks.md; with ``--only`` only those features' rows.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from avqa.extract import encoders, weights
from avqa.extract.encoders._parts.frozen import DTYPES
from benchmarks.__main__ import has_bf16, machine

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks_networks.md"
TARGET = 1.15
BARE_BATCHES = (1, 4)


@dataclass(frozen=True)
class Bare:
    """The network that an encoder is, from the library that defines it."""

    what: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    """Of a row."""


def _open_clip(model: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import open_clip

        visual: nn.Module = open_clip.create_model(model).visual
        return visual

    return make


def _timm(model: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import timm

        network: nn.Module = timm.create_model(model, num_classes=0)
        return network

    return make


def _r2plus1d() -> nn.Module:
    from torchvision.models.video import r2plus1d_18

    network: nn.Module = r2plus1d_18()
    return network


def _ast() -> nn.Module:
    from transformers import ASTConfig, ASTModel

    network: nn.Module = ASTModel(ASTConfig())
    return network


BARE: Mapping[str, Bare] = {
    "clip_vit_l14/frame": Bare("open_clip", _open_clip("ViT-L-14-quickgelu"), (3, 224, 224)),
    "clip_vit_l14_336/frame": Bare(
        "open_clip", _open_clip("ViT-L-14-336-quickgelu"), (3, 336, 336)
    ),
    "clip_vit_l14_336/tome14": Bare(
        "open_clip, no token merged", _open_clip("ViT-L-14-336-quickgelu"), (3, 336, 336)
    ),
    "vit_l16_384/tome14": Bare(
        "timm, no token merged", _timm("vit_large_patch16_384"), (3, 384, 384)
    ),
    "swin_v2_l_192/pool": Bare("timm", _timm("swinv2_large_window12_192"), (3, 192, 192)),
    "r2plus1d_18/pool": Bare("torchvision", _r2plus1d, (3, 1, 112, 112)),
    "ast/class": Bare("transformers", _ast, (1024, 128)),
}
"""Feature → what it is of."""
TRIED = """
Where Swin-V2-L's time went in fp32, when timm's own forward made its rows, frame by frame: 77 %
into the products of its linear layers, of few rows, whose weights the bare network reads once for
four frames; 7 % into those of attention; 4 % into the bias of places and the mask, the same for
every frame; the rest into copies, norms and activations. Tried in turn with the bare network, six
rounds, ours ÷ bare in fp32 and bf16: timm's forward 1.11 and 1.23; bias and mask computed once
1.06 and 1.10; layers packed for their shape as well, GELU on the way out, 0.81 and 0.95;
attention in one operation as well 0.78 and 0.98. The last is what is there; with norms that are
not zero its rows differ from timm's by at most 1.2e-5, of 1.2 in the mean.
"""


@dataclass(frozen=True)
class Cost:
    """Processor seconds a row."""

    feature: str
    precision: str
    ours: float
    bare: float

    @property
    def ratio(self) -> float:
        """Ours to the bare network's."""
        return self.ours / self.bare


def measure(feature: str, precision: str, rounds: int) -> Cost:
    """Both in turn, so that a machine whose speed changes is as fast for both."""
    dtype, bare = DTYPES[precision], BARE[feature]
    network = bare.make().eval().to(dtype)
    rows = {batch: torch.rand((batch, *bare.shape)).to(dtype) for batch in BARE_BATCHES}
    run = _ours(feature, precision)
    ours: list[float] = []
    theirs: dict[int, list[float]] = {batch: [] for batch in BARE_BATCHES}
    with torch.inference_mode():
        for warm in [True, *[False] * rounds]:
            mine = run()
            costs = {n: _seconds(lambda x=x: network(x)) / n for n, x in rows.items()}
            if not warm:
                ours.append(mine)
                for batch, cost in costs.items():
                    theirs[batch].append(cost)
    best = min(statistics.median(costs) for costs in theirs.values())
    return Cost(feature, precision, statistics.median(ours), best)


def _ours(feature: str, precision: str) -> Callable[[], float]:
    """What runs the encoder once and gives its processor seconds a row."""
    name, tap = encoders.split_feature(feature)
    module = encoders.load(name)
    state = weights.load_state(name, weights.resolve("random:0"))
    options = {key: option.default for key, option in module.OPTIONS.items()}
    network = module.build(state, options, "cpu", precision)  # type: ignore[arg-type]
    (source,) = module.INPUTS
    batch = module.BATCH["cpu"]
    spec = module.INPUTS[source]
    shape = (batch, *spec.shape)
    rows = torch.randint(0, 256, shape, dtype=torch.uint8)
    rows = rows if spec.dtype == "uint8" else torch.randn(shape)
    return lambda: _seconds(lambda: network.forward(source, rows, [tap])) / batch


def _seconds(forward: Callable[[], Any]) -> float:
    start = time.process_time()
    forward()
    return time.process_time() - start


def page(costs: list[Cost], about: str, rounds: int, before: str = "") -> str:
    """The whole page; rows that were not measured now are those of ``before``, the old page."""
    table = {_key(line): line for line in before.splitlines() if line.startswith("| `")}
    table |= {_key(line): line for line in map(_row, costs)}
    order = [(f"`{name}`", precision) for name in BARE for precision in DTYPES]
    lines = [
        "# The large encoders beside their bare networks",
        "",
        "Written by `python -m benchmarks.networks`; do not edit. Processor seconds a row on one"
        f" thread, both in turn, medians of {rounds} rounds. {about}.",
        "",
        "Bare: the library's own module on rows that are ready, at the better of"
        f" {' and '.join(map(str, BARE_BATCHES))} rows a forward. Ours: what `avqa extract` runs on"
        f" frames and spectrograms, its normalisation included. Asked: at most {TARGET}.",
        "",
        "| feature | bare network of | precision | ours, s | bare, s | ours ÷ bare |",
        "|---|---|---|---|---|---|",
    ]
    lines += [table[key] for key in order if key in table]
    absent = [name for name in BARE if f"`{name}`" not in {name for name, _ in table}]
    if absent:
        missing = ", ".join(f"`{name}` ({BARE[name].what})" for name in absent)
        lines += ["", f"Not here, since its library is not installed: {missing}."]
    return "\n".join(lines) + "\n" + TRIED


def _row(cost: Cost) -> str:
    missed = "" if cost.ratio <= TARGET else " **missed**"
    return (
        f"| `{cost.feature}` | {BARE[cost.feature].what} | {cost.precision} |"
        f" {cost.ours:.3f} | {cost.bare:.3f} | {cost.ratio:.2f}{missed} |"
    )


def _key(row: str) -> tuple[str, str]:
    """Feature and precision of a row of the table."""
    cells = [cell.strip() for cell in row.split("|")]
    return cells[1], cells[3]


def main() -> None:
    """Measure, print, write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default=",".join(BARE), help="others keep their rows")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    costs = []
    for feature in asked.only.split(","):
        if BARE[feature].what == "transformers" and find_spec("transformers") is None:
            continue
        for precision in ("fp32", *(("bf16",) if has_bf16() else ())):
            cost = measure(feature, precision, asked.rounds)
            print(f"{feature} {precision}: {cost.ratio:.2f}", flush=True)
            costs.append(cost)
    before = "" if asked.only == ",".join(BARE) else PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page(costs, machine(), asked.rounds, before), encoding="utf-8")


if __name__ == "__main__":
    main()
