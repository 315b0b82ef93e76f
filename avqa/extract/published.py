"""The weights that the encoders declare, and where their converted copies are cached."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avqa.errors import PluginError, UnknownName, WeightsUnavailable
from avqa.extract import encoders
from avqa.extract.encoders import Weights
from avqa.extract.settings import DEFAULT_FEATURES

if TYPE_CHECKING:
    from torch import Tensor


def registry() -> dict[str, Weights]:
    """Name → weights, of all encoders there are.

    Raises:
        PluginError: two encoders have weights of one name.
    """
    found: dict[str, Weights] = {}
    for encoder in encoders.names():
        for name, entry in encoders.load(encoder).WEIGHTS.items():
            if found.setdefault(name, entry) is not entry:
                raise PluginError(
                    f"encoder {encoder!r}: weights {name!r} are another encoder's, too; expected a"
                    " name of its own; rename them"
                )
    return found


def default_weights() -> list[str]:
    """What the default features need."""
    return list(encoders.weights_of(DEFAULT_FEATURES))


def both_ways(name: str) -> str:
    """The advice to who has no weights."""
    if not published(name).address:
        return "nobody has published any: use --weights random:0, or choose another model"
    return (
        f"run `avqa weights fetch {name}`, or download {published(name).address} elsewhere and"
        f" run `avqa weights import {name} FILE`"
    )


def published(name: str) -> Weights:
    """The weights of this name.

    Raises:
        UnknownName: if there are none.
    """
    if "/" in name:
        return encoders.load(name).WEIGHTS[name]
    known = registry()
    if name not in known:
        raise UnknownName("weights", name, known)
    return known[name]


def read_record(path: Path) -> dict[str, Any] | None:
    """What was written beside a safetensors file at its conversion; None if nothing (legible)."""
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
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
    """All tensors of a safetensors file, which stays mapped as long as a matrix of it is in use.

    Raises:
        WeightsUnavailable: if it cannot be read as one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load, load_file

    try:
        try:
            tensors = load_file(path)
            # A bias that a network keeps would keep all of the file in memory.
            return {key: t.clone() if t.ndim < 2 else t for key, t in tensors.items()}
        except (SafetensorError, OSError, ValueError):  # one that cannot be mapped, for one
            return load(path.read_bytes())
    except (SafetensorError, OSError) as error:
        raise WeightsUnavailable(
            f"weights {name}: {path} is no safetensors file ({error}); expected one that avqa"
            f" wrote; {both_ways(name)}"
        ) from error


def expected_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors that the architecture has."""
    import torch

    with torch.device("meta"):
        state = published(name).random()
    return {key: tuple(tensor.shape) for key, tensor in state.items()}
