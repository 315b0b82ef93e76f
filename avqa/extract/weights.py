"""Network weights: what the encoders declare, a cache of verified files, and seeded random ones.

A published file is parsed only after its digest matched. It is converted once to safetensors,
which holds tensors and nothing that runs, and loaded from there ever after:

    <cache>/clip_vit_b32.safetensors    the tensors, named as the architecture names them
    <cache>/clip_vit_b32.json           their digest, and that of the published file
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from avqa.caches import cache_dir
from avqa.errors import ConfigError, WeightsUnavailable
from avqa.extract import builds, encoders
from avqa.extract.published import (
    both_ways,
    default_weights,
    hash_file,
    read_record,
    read_tensors,
)
from avqa.extract.weights_files import (
    check_shapes,
    ensure,
    fetch,
    import_file,
    list_weights,
    verify,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "WeightsSource",
    "cache_dir",
    "default_weights",
    "ensure",
    "fetch",
    "import_file",
    "list_weights",
    "load_state",
    "resolve",
    "verify",
]


_DRAWING = threading.Lock()


@dataclass(frozen=True)
class WeightsSource:
    """Where a run's weights come from, and what they are; plain data that travels."""

    source: str
    """As the user said it: ``pretrained``, a directory or ``random:SEED``."""
    seed: int | None = None
    """For ``random:SEED`` only."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Weights name → its safetensors file, for those that are there."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Weights name → SHA-256 of that file."""

    def describe(self, name: str) -> dict[str, str]:
        """What the recipe says of the weights ``name``.

        The place of a file is not part of it: what counts is what is in it.

        Raises:
            WeightsUnavailable: if they are not there.
        """
        if self.seed is not None:
            return {"source": self.source}
        self.path(name)
        return {"source": "file", "sha256": self.digests[name]}

    def path(self, name: str) -> Path:
        """The safetensors file of the weights ``name``.

        Raises:
            WeightsUnavailable: if it is not there.
        """
        if name not in self.files:
            place = "" if self.source == "pretrained" else f" in {self.source}"
            raise WeightsUnavailable(
                f"weights {name} are missing{place}; expected {name}.safetensors; {both_ways(name)}"
            )
        return self.files[name]


def resolve(source: str, needed: Iterable[str] = (), *, cache: Path | None = None) -> WeightsSource:
    """What ``pretrained``, a directory or ``random:SEED`` stands for; imports no torch.

    Args:
        source: the user's word.
        needed: weights names that must be there; others are not looked for.
        cache: where `import_file` puts files, instead of the environment's.

    Raises:
        ConfigError: if ``source`` is none of the three.
        WeightsUnavailable: if one of ``needed`` is missing, or was changed since its import.
        EnvironmentFailure: torch and torchvision do not fit together: no network could be built.
    """
    builds.check()
    if match := re.fullmatch(r"random:(\d+)", source):
        return WeightsSource(source, seed=int(match[1]))
    folder = cache_dir(cache) if source == "pretrained" else Path(source).absolute()
    if source != "pretrained" and not folder.is_dir():
        raise ConfigError(
            f"weights={source!r} is no folder; expected pretrained, random:SEED or a folder with"
            " NAME.safetensors files; see `avqa weights list`"
        )
    paths = {name: folder / f"{name}.safetensors" for name in needed}
    files = {name: path for name, path in paths.items() if path.is_file()}
    digests = {name: file_digest(name, path) for name, path in files.items()}
    found = WeightsSource(source, files=files, digests=digests)
    for name in paths:
        found.path(name)
    return found


def file_digest(name: str, path: Path) -> str:
    """SHA-256 of a safetensors file: the recorded one if size and time are as recorded.

    Raises:
        WeightsUnavailable: if the file is not the one that was recorded.
    """
    record = read_record(path)
    stat = path.stat()
    if record and record["size"] == stat.st_size and record["mtime_ns"] == stat.st_mtime_ns:
        return str(record["sha256"])
    digest = hash_file(path)
    if record and record["sha256"] != digest:
        raise WeightsUnavailable(
            f"weights {name} changed since their import: sha256={digest[:12]}; expected"
            f" {record['sha256'][:12]} ({path}); {both_ways(name)}"
        )
    return digest


def load_state(encoder: str, source: WeightsSource) -> dict[str, Tensor]:
    """The weights of one encoder as named float32 CPU tensors; none for one without weights.

    ``clip_vit_b32`` comes with both towers; ``vggish`` with its PCA where that is at hand.

    Raises:
        UnknownName: if there is no such encoder.
        WeightsUnavailable: if a file is missing, is no safetensors file or of another network.
    """
    module = encoders.load(encoder)
    if source.seed is not None:
        return _random_state(encoder, source.seed)
    # Only named taps need the others: who asks for one is told at once.
    always = set(module.WEIGHTS).intersection(
        *(encoders.weights_of([f"{encoder}/{tap}"]) for tap in module.TAPS)
    )
    state: dict[str, Tensor] = {}
    for name in module.WEIGHTS:
        if name not in always and name not in source.files:
            continue
        path = source.path(name)
        if file_digest(name, path) != source.digests[name]:
            raise WeightsUnavailable(
                f"weights {name} at {path} are not those of this run's recipe;"
                f" expected sha256={source.digests[name][:12]}; give every worker the same files"
            )
        tensors = read_tensors(name, path)
        if source.source != "pretrained":  # those in the cache were checked at their import
            check_shapes(name, tensors)
        state |= tensors
    return state


def _random_state(encoder: str, seed: int) -> dict[str, Tensor]:
    """Each library's own initialisation, from a generator of this encoder's own.

    The libraries draw from the global generator: it is forked, seeded and put back, by one thread
    at a time.
    """
    import torch

    digest = hashlib.sha256(f"{seed}:{encoder}".encode()).digest()
    state: dict[str, Tensor] = {}
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int.from_bytes(digest[:8], "little"))
        for weights in encoders.load(encoder).WEIGHTS.values():
            state |= weights.random()
    return {name: tensor.detach() for name, tensor in state.items()}
