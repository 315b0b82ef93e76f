"""The published weights files, and where their converted copies are cached."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avqa.errors import UnknownName, WeightsUnavailable
from avqa.extract import encoders

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Published:
    """One weights file as its authors publish it."""

    address: str
    digest: str
    """SHA-256, or its first characters where the publisher gives no more."""
    licence: str
    encoder: str

    @property
    def file_name(self) -> str:
        """Last part of the address."""
        return self.address.rpartition("/")[2]


REGISTRY: dict[str, Published] = {
    "clip_vit_b32": Published(
        "https://openaipublic.azureedge.net/clip/models/"
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        "MIT",
        "clip_vit_b32",
    ),
    "resnet18": Published(
        "https://download.pytorch.org/models/resnet18-f37072fd.pth",
        "f37072fd",
        "BSD-3-Clause; ImageNet terms",
        "resnet18",
    ),
    "vggish": Published(
        "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",
        "10086976",
        "Apache-2.0",
        "vggish",
    ),
    "vggish_pca": Published(
        "https://github.com/harritaylor/torchvggish/releases/download/v0.1/"
        "vggish_pca_params-970ea276.pth",
        "970ea276",
        "Apache-2.0",
        "vggish",
    ),
}

DEFAULT_WEIGHTS = ("clip_vit_b32", "resnet18", "vggish")
"""What the default features need."""


def both_ways(name: str) -> str:
    """The advice to who has no weights."""
    return (
        f"run `avqa weights fetch {name}`, or download {published(name).address} elsewhere and"
        f" run `avqa weights import {name} FILE`"
    )


def published(name: str) -> Published:
    """The registry's entry.

    Raises:
        UnknownName: if there is none.
    """
    if name not in REGISTRY:
        raise UnknownName("weights", name, REGISTRY)
    return REGISTRY[name]


def cache_dir(cache: Path | None = None) -> Path:
    """``cache``, else $AVQA_CACHE, else $XDG_CACHE_HOME/avqa, else ~/.cache/avqa."""
    if cache is not None:
        return cache
    if own := os.environ.get("AVQA_CACHE"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "avqa"


def read_record(path: Path) -> dict[str, Any] | None:
    """What was written beside a safetensors file at its conversion; None if nothing (legible)."""
    try:
        record = json.loads(path.with_suffix(".json").read_text())
    except (OSError, ValueError):
        return None
    known = isinstance(record, dict) and {"size", "mtime_ns", "sha256"} <= record.keys()
    return record if known else None


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        WeightsUnavailable: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsUnavailable(
            f"weights file {path} cannot be read ({error.strerror}); expected a readable file;"
            " check the path and its permissions"
        ) from error


def read_tensors(name: str, path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        WeightsUnavailable: if it cannot be read as one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsUnavailable(
            f"weights {name}: {path} is no safetensors file ({error}); expected one that avqa"
            f" wrote; {both_ways(name)}"
        ) from error


def expected_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that the architecture has."""
    import torch

    if name == "vggish_pca":
        return {"pca.eigen_vectors": (128, 128), "pca.means": (128,)}
    with torch.device("meta"):
        network = encoders.load(published(name).encoder).architecture()
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
