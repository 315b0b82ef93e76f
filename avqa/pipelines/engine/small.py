"""Last batches, as small as the bits allow: a video of two seconds needs two rows of sixteen.

Numbers must not depend on company, so every batch is padded to its network's one shape, unless a
smaller one is known to give the same bits. Which kernels a shape gets is the libraries' choice on
this very machine, so nothing is taken on trust: the first small batch of a size is computed both
ways and compared, its padded rows are used, and what came out is kept for later runs.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import platform
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avqa.caches import cache_dir, remove_leftovers, unfinished_name
from avqa.extract.encoders import Device, Network, Precision
from avqa.pipelines.engine.batching import Batch

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "small_batches"
"""Of the cache: a file for every machine and version of the libraries."""
MIN_DISTINCT = 64
"""Values that a comparison has to be of: a batch of silence may be zeros both ways."""
_LIBRARIES = ("MKL_", "ONEDNN_", "DNNL_", "ATEN_", "TORCH")


class SmallBatches:
    """Forwards of batches that may have fewer rows than their network's; threads share it."""

    def __init__(self, device: Device, precision: Precision, cache: Path | None = None) -> None:
        """Read nothing yet; ``cache`` replaces the user's."""
        self._kind = f"{device} {precision}"
        self._folder = cache_dir(cache) / FOLDER
        self._lock = threading.Lock()
        self._same: dict[str, bool] | None = None
        """Input, size and taps → whether small batches have the bits of whole ones."""

    def forward(self, network: Network, batch: Batch, taps: Sequence[str]) -> dict[str, Tensor]:
        """The network's results for the rows of a batch, in their order; more rows may follow."""
        import torch

        def run(size: int) -> dict[str, Tensor]:
            return network.forward(batch.input.rpartition("/")[2], rows(size), taps)

        def rows(size: int) -> Tensor:
            return torch.from_numpy(batch.array(size))

        size = size_for(batch.num_rows)
        if size >= batch.size:
            return run(batch.size)
        key = f"{batch.input} {size} of {batch.size}, {self._kind}: {' '.join(sorted(taps))}"
        known = self._known().get(key)
        if known:
            return run(size)
        whole = run(batch.size)
        if known is None and tells(whole, batch.num_rows):
            try:
                same = _are_same(whole, run(size), batch.num_rows)
            except Exception:  # an encoder that somebody brought may take whole batches only
                same = False
            self._keep(key, same=same)
        return whole

    def _known(self) -> dict[str, bool]:
        with self._lock:
            if self._same is None:
                self._same = _read(self._file())
            return self._same

    def _file(self) -> Path:
        return self._folder / f"{machine()}.json"

    def _keep(self, key: str, *, same: bool) -> None:
        known = self._known()
        with self._lock, contextlib.suppress(OSError):  # a cache that cannot be written
            known[key] = same
            known.update(_read(self._file()) | known)
            self._folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self._folder)
            made = self._folder / f".{unfinished_name()}"
            made.write_text(json.dumps(known, indent=1, sort_keys=True), encoding="utf-8")
            made.replace(self._file())


def size_for(rows: int) -> int:
    """The next power of two: few sizes, each of which is compared once."""
    return 1 << (rows - 1).bit_length()


def tells(outputs: Mapping[str, Tensor], rows: int) -> bool:
    """Whether a comparison of these rows tells anything: finite numbers, and not all alike."""
    return all(
        bool(values[:rows].isfinite().all())
        and len(set(values[:rows].flatten().tolist())) >= MIN_DISTINCT
        for values in outputs.values()
    )


def _are_same(whole: Mapping[str, Tensor], small: Mapping[str, Tensor], rows: int) -> bool:
    return all(values[:rows].equal(small[tap][:rows]) for tap, values in whole.items())


def _read(file: Path) -> dict[str, bool]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    good = isinstance(found, dict) and all(isinstance(value, bool) for value in found.values())
    return found if good else {}


@functools.cache
def machine() -> str:
    """Of what chooses kernels: processor, GPU, versions, variables; 16 hexadecimal digits."""
    import torch

    parts = [torch.__version__, torch.__config__.show(), platform.machine()]
    parts.append(torch.backends.cpu.get_cpu_capability())
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name())
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        parts += [
            next(line for line in lines if line.startswith(k)) for k in ("model name", "flags")
        ]
    parts += [f"{n}={v}" for n, v in sorted(os.environ.items()) if n.startswith(_LIBRARIES)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
