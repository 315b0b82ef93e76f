"""One part of the check: what it is given, and how it keeps what it finds as it finds it.

``python -m benchmarks.gpu.part MODULE SETUP FILE SECONDS`` runs a part in this process.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PRECISIONS = ("fp32", "bf16", "fp16")
TRAINED = {
    "pstp": ("visual=clip_vit_b32", "audio=vggish", "batch_size=16"),
    "avst": ("visual=clip_vit_b32", "audio=vggish", "batch_size=16", "stride_seconds=1"),
}
"""Heads that are trained → settings."""
NAMES = (
    *("clip_vit_b32/frame", "clip_vit_b32/patch", "resnet18/pool", "resnet18/map"),
    "vggish/audio",
)


@dataclass(frozen=True)
class Setup:
    """What all parts are given; travels as JSON."""

    material: str
    """Folder of `material.make`."""
    work: str
    """Folder for stores, runs and weights, gone at the end."""
    cores: int
    stand_in: bool = False
    """There is no GPU: the CPU is made to look like one, see ``standin``."""
    features: tuple[str, ...] = NAMES
    heads: tuple[str, ...] = tuple(TRAINED)
    settings: tuple[str, ...] = ()
    """Of heads, beyond `TRAINED`."""
    precisions: tuple[str, ...] = PRECISIONS
    batches: tuple[int, ...] = (32, 64, 128, 256, 512)
    decoders: tuple[int, ...] = (2, 4, 8, 14)
    loops: int = 6
    """Times that a clip is repeated to make a video."""
    epochs: int = 8
    slot: float = 12.0
    """Seconds that one measurement of whole videos may take."""

    def text(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Setup:
        """From `text`."""
        found: dict[str, Any] = json.loads(text)
        lists = {k: tuple(v) for k, v in found.items() if isinstance(v, list)}
        return cls(**found | lists)


class Run:
    """A part under way; everything it finds is in its file at once."""

    def __init__(self, setup: Setup, file: Path, seconds: float) -> None:
        """``seconds``: how long the part may take."""
        self.setup = setup
        self.work = Path(setup.work)
        self._file = file
        self._end = time.monotonic() + seconds
        self.found: dict[str, Any] = {"checks": [], "tables": {}, "notes": []}

    def left(self) -> float:
        """Seconds that the part has left."""
        return self._end - time.monotonic()

    def check(self, what: str, found: object, expected: str, ok: bool) -> None:
        """Keep what was compared, and whether it is as expected."""
        self.found["checks"].append(
            {"what": what, "found": str(found), "expected": expected, "ok": bool(ok)}
        )
        self.save()

    def row(self, table: str, **cells: object) -> dict[str, Any]:
        """Add a row to a table; who changes it afterwards calls `save`."""
        self.found["tables"].setdefault(table, []).append(cells)
        self.save()
        return cells

    def note(self, text: str) -> None:
        """Keep a sentence."""
        self.found["notes"].append(text)
        self.save()

    def save(self) -> None:
        """Write everything found so far; whole, or as it was."""
        unfinished = self._file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self.found), encoding="utf-8")
        os.replace(unfinished, self._file)

    def weights(self) -> str:
        """Those that the part `machine` drew, else drawn anew."""
        folder = self.work / "weights"
        return str(folder) if folder.is_dir() else "random:0"


def main() -> None:
    """Run the part whose module the command line names."""
    module, setup, file, seconds = sys.argv[1:]
    run = Run(Setup.read(setup), Path(file), float(seconds))
    run.save()
    importlib.import_module(module).measure(run)


if __name__ == "__main__":
    main()
