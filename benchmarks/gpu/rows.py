"""Every encoder's rows on the device: against the CPU, and whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avqa.extract import encoders, weights
from avqa.extract.settings import Settings
from avqa.pipelines.engine.ticket import inputs_of
from benchmarks.gpu.device import CUDA
from benchmarks.gpu.part import Run

ROWS = 48
AGREES = {"fp32": (0.99999, 2e-3), "bf16": (0.99, 0.2), "fp16": (0.9999, 2e-2)}
"""Precision → least cosine of a row, and largest difference as a share of the largest value."""


@dataclass(frozen=True)
class Difference:
    """Between rows of one tap, [rows, ...] each."""

    cosine: float
    """Least of any row."""
    largest: float
    share: float
    """``largest`` ÷ the largest value expected."""


def difference(found: Tensor, expected: Tensor) -> Difference:
    """How far ``found`` is from ``expected``; rows that are zero in both agree."""
    a, b = found.double().flatten(1), expected.double().flatten(1)
    norms = a.norm(dim=1) * b.norm(dim=1)
    cosines = torch.where(norms > 0, (a * b).sum(1) / norms.clamp(min=1e-300), 1.0)
    cosines[(a.norm(dim=1) > 0) != (b.norm(dim=1) > 0)] = 0.0
    largest = float((a - b).abs().max())
    return Difference(float(cosines.min()), largest, largest / max(float(b.abs().max()), 1e-300))


def measure(run: Run) -> None:
    source = weights.resolve(run.weights(), encoders.weights_of(run.setup.features))
    needed = inputs_of(run.setup.features)
    for encoder in dict.fromkeys(name.partition("/")[0] for name in needed):
        taps = {
            name.partition("/")[2]: taps
            for name, taps in needed.items()
            if name.startswith(f"{encoder}/")
        }
        state = weights.load_state(encoder, source)
        for key, those in taps.items():
            module = encoders.load(encoder)
            prepared = torch.from_numpy(material(encoder, key, ROWS))
            expected = forward(
                build(encoder, state, "cpu", "fp32"), key, prepared, those, module.BATCH["cpu"]
            )
            for precision in run.setup.precisions:
                _measure(run, f"{encoder}/{key}", state, prepared, expected, precision)


def _measure(
    run: Run,
    name: str,
    state: Mapping[str, Tensor],
    prepared: Tensor,
    expected: Mapping[str, Tensor],
    precision: str,
) -> None:
    """One input in one precision."""
    encoder, _, key = name.partition("/")
    batch = encoders.load(encoder).BATCH[CUDA]
    network = build(encoder, state, CUDA, precision)
    found = forward(network, key, prepared, tuple(expected), batch)
    for tap, values in found.items():
        seen = difference(values, expected[tap])
        cosine, share = AGREES[precision]
        run.row(
            "Against fp32 on the CPU",
            feature=f"{encoder}/{tap}",
            precision=precision,
            rows=len(values),
            **{"least cosine": f"{seen.cosine:.7f}", "largest difference": f"{seen.largest:.2e}"},
            **{"of the largest value": f"{seen.share:.2e}"},
        )
        run.check(
            f"{encoder}/{tap} in {precision} against fp32 on the CPU",
            f"cosine {seen.cosine:.7f}, difference {seen.share:.1e} of the largest value",
            f"cosine at least {cosine:g}, difference at most {share:g}",
            seen.cosine >= cosine and seen.share <= share,
        )
    for what, moved in company(network, key, prepared, tuple(expected), batch).items():
        most = max(float((moved[tap] - found[tap][: len(moved[tap])]).abs().max()) for tap in found)
        run.check(f"{name} in {precision}, {what}", f"{most:.1e} apart", "the same bits", most == 0)


def build(encoder: str, state: Mapping[str, Tensor], device: str, precision: str) -> Any:
    """A frozen network with its default options."""
    options = Settings().options_of(encoder)
    return encoders.load(encoder).build(state, options, device, precision)  # type: ignore[arg-type]


def forward(
    network: Any, key: str, rows: Tensor, taps: Sequence[str], batch: int
) -> dict[str, Tensor]:
    """All rows in batches of one size, the last one filled up with zeros, as the engine does."""
    parts: list[dict[str, Tensor]] = []
    for first in range(0, len(rows), batch):
        some = rows[first : first + batch]
        full = torch.zeros((batch, *rows.shape[1:]), dtype=rows.dtype)
        full[: len(some)] = some
        out = network.forward(key, full, taps)
        parts.append({tap: values[: len(some)] for tap, values in out.items()})
    return {tap: torch.cat([part[tap] for part in parts]) for tap in taps}


def company(
    network: Any, key: str, rows: Tensor, taps: Sequence[str], batch: int
) -> dict[str, dict[str, Tensor]]:
    """The first rows again: once more, each alone, and at other places among others."""
    few = rows[: max(1, min(len(rows), batch) // 2)]
    alone = [network.forward(key, _at(0, row[None], batch), taps) for row in few[:3]]
    last = _at(batch - len(few), few.flip(0), batch)
    last[: batch - len(few)] = rows[-1]
    moved = network.forward(key, last, taps)
    return {
        "twice": forward(network, key, rows, taps, batch),
        "a row alone": {tap: torch.cat([out[tap][:1] for out in alone]) for tap in taps},
        "at another place among others": {
            tap: values[batch - len(few) :].flip(0) for tap, values in moved.items()
        },
    }


def _at(place: int, rows: Tensor, batch: int) -> Tensor:
    """A batch of zeros with rows from one place on."""
    full = torch.zeros((batch, *rows.shape[1:]), dtype=rows.dtype)
    full[place : place + len(rows)] = rows
    return full


def material(encoder: str, key: str, count: int) -> NDArray[Any]:
    """Prepared rows of something lifelike: textures, and tones in noise."""
    module, random = encoders.load(encoder), np.random.default_rng(0)
    spec, options = module.INPUTS[key], Settings().options_of(encoder)
    if spec.kind == "frame":
        wide = waves(random, 360, 640 + count)
        return module.prepare(key, [wide[:, k : k + 640] for k in range(count)], options)
    time = np.arange(spec.window) / 16_000
    tones = np.sin(2 * np.pi * (110 * 2 ** (np.arange(count) / 6))[:, None] * time)
    noise = random.normal(0, 0.1, (count, spec.window))
    return module.prepare(key, (0.3 * tones + noise).astype(np.float32), options)


def waves(random: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """A colour frame [height, width, 3] of waves in all directions, long ones high, and noise."""
    y, x = np.mgrid[:height, :width]
    frame = np.zeros((height, width, 3))
    for _ in range(40):
        (down, right), colour = random.normal(0, 0.05, 2), random.normal(0, 1, 3)
        wave = np.sin(down * y + right * x + 2 * np.pi * random.random())
        frame += colour * wave[..., None] / (1 + 40 * np.hypot(down, right))
    frame += random.normal(0, 0.05, frame.shape)
    return np.clip(128 + 40 * frame, 0, 255).astype(np.uint8)
