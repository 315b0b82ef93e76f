"""Tensors of a safetensors file, also where its library cannot have them.

That library maps files into memory, which some file systems do not do (some FUSE and 9p mounts),
and takes paths of UTF-8 alone. There the file is read as any other.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors, on the CPU, and what the file says of itself.

    Raises:
        OSError: it cannot be read.
        SafetensorError: it is no such file, or damaged.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load

    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return state, file.metadata() or {}
    except (SafetensorError, OSError, ValueError):
        data = path.read_bytes()
        state = load(data)  # says what is wrong, if it is the file
        (n_bytes,) = struct.unpack_from("<Q", data)
        return state, json.loads(data[8 : 8 + n_bytes]).get("__metadata__", {})
