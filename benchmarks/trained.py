"""Trainings of a benchmark: of what form, how they ended; kept as lines, so that one can go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avqa.demo.truth import Hits
from avqa.units import clock

KINDS = ("seconds", "patches")
"""Of evidence that is held against the truth."""


@dataclass(frozen=True)
class Form:
    """A head and what is set of it."""

    head: str
    given: dict[str, str]
    longer: float = 1.0
    """Times as many questions seen as other heads."""


@dataclass(frozen=True)
class Unit:
    """One training."""

    form: str
    videos: int
    """Whose questions it is trained on."""
    seed: int

    @property
    def name(self) -> str:
        """What it is called where it is told of."""
        return f"{self.form}-{self.videos}-seed-{self.seed}"


@dataclass(frozen=True)
class Done:
    """How a unit ended."""

    unit: Unit
    given: dict[str, str]
    """Settings and options that differ from the head's."""
    correct: NDArray[np.bool_]
    """[N], of the test questions."""
    best_epoch: int
    val_accuracy: float
    train_accuracy: float
    seconds: float
    parameters: int
    looked: Mapping[str, tuple[float, float, int]] = field(default_factory=dict)
    """One of `KINDS` → share of the questions in which the most weight is inside what the question
    is about, of equal weights, and of how many."""

    flips: float | None = None
    """Share of the comparisons whose answer turns when they are asked the other way round; None
    where they were not."""

    @classmethod
    def of_line(cls, line: str) -> Done:
        """What `line` wrote."""
        value = json.loads(line)
        value["unit"] = Unit(**value["unit"])
        packed = np.frombuffer(bytes.fromhex(value["correct"]), np.uint8)
        value["correct"] = np.unpackbits(packed, count=value.pop("total")).astype(bool)
        return cls(**value)

    def line(self) -> str:
        """As JSON, its end included."""
        value = {**vars(self), "unit": vars(self.unit), "total": len(self.correct)}
        value["correct"] = np.packbits(self.correct).tobytes().hex()
        return json.dumps(value) + "\n"


def keep(path: Path, done: Done) -> None:
    """Add its line."""
    with path.open("a", encoding="utf-8") as kept:
        kept.write(done.line())


def finished(path: Path, given: Callable[[Unit], dict[str, str] | None]) -> dict[Unit, Done]:
    """What was trained in just the way that is now wanted; of the same unit the last one.

    Args:
        path: of the lines; none yet if it is not there.
        given: what is now set of a unit; None of one that is no longer wanted.
    """
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = [Done.of_line(line) for line in lines]
    return {done.unit: done for done in found if done.given == given(done.unit)}


def go_on(
    path: Path,
    units: Iterable[Unit],
    given: Callable[[Unit], dict[str, str] | None],
    run: Callable[[Unit], Done],
    write: Callable[[], None],
) -> None:
    """Train what is missing and keep it; the page is written after each, and at the end."""
    done = finished(path, given)
    for unit in (unit for unit in units if unit not in done):
        found = run(unit)
        keep(path, found)
        percent = 100 * found.correct.mean()
        print(f"{unit.name}: {percent:.1f} %, {clock(found.seconds)}", flush=True)
        write()
    write()


def looks(found: Mapping[str, Hits]) -> dict[str, tuple[float, float, int]]:
    """As `Done.looked` has it."""
    return {
        kind: (hit.top, hit.chance, hit.questions) for kind, hit in found.items() if kind in KINDS
    }


def replace_page(path: Path, lines: Iterable[str]) -> None:
    """Write a page anew, whole or not at all."""
    unfinished = path.with_name(f"unfinished-{path.name}")
    unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")
    unfinished.replace(path)
