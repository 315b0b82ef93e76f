"""SHA-256 of what a run's files hold, so that damage, mix-ups and edits are seen.

A JSON file holds its own; ``result.json`` holds those of the member's other files. Files that were
written before there were digests hold none and are taken as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

KEY = "sha256"
"""Where a JSON object holds the digest of the rest of it."""


def of_json(value: Mapping[str, Any]) -> str:
    """Of a JSON object, however it is laid out."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def of_file(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_state(value: Any) -> str:
    """Of nested dictionaries and lists of tensors and plain values, as checkpoints are."""
    digest = hashlib.sha256()
    _add(digest, value)
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    """Take in a value with its type, so that no two states look alike."""
    if isinstance(value, torch.Tensor):
        digest.update(f"tensor {value.dtype} {tuple(value.shape)} ".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, Mapping):
        digest.update(f"dict {len(value)} ".encode())
        for key, inner in value.items():
            _add(digest, key)
            _add(digest, inner)
    elif isinstance(value, (list, tuple)):
        digest.update(f"list {len(value)} ".encode())
        for inner in value:
            _add(digest, inner)
    else:
        digest.update(f"{type(value).__name__} {value!r} ".encode())


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """The object with its own digest."""
    return {**value, KEY: of_json(value)}


def unsealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """The object without its digest, which it need not have.

    Raises:
        ValueError: it is that of another content.
    """
    content = {key: inner for key, inner in value.items() if key != KEY}
    if KEY in value and value[KEY] != of_json(content):
        raise ValueError(f"its content is not that of its {KEY}: it is damaged or was edited")
    return content
