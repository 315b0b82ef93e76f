"""Reading published weights files without running anything that is in them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any


def read_state_dict(path: Path) -> dict[str, Any]:
    """A pickled dictionary of tensors or numpy arrays."""
    import numpy as np
    import torch

    # Arrays are pickled by a function of numpy; numpy has renamed its module since.
    rebuild: Any = np.empty(0).__reduce__()[0]
    names = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
    types = [np.ndarray, np.dtype, type(np.dtype(np.float32)), type(np.dtype(np.float64))]
    with torch.serialization.safe_globals([*((rebuild, name) for name in names), *types]):
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def read_torchscript(path: Path) -> dict[str, Any]:
    """The tensors of a TorchScript archive."""
    import torch

    with warnings.catch_warnings():
        for kind in (DeprecationWarning, FutureWarning):  # TorchScript as such is going
            warnings.simplefilter("ignore", kind)
        state: dict[str, Any] = torch.jit.load(path, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    return state


def read_safetensors(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file."""
    from safetensors.torch import load_file

    state: dict[str, Any] = load_file(path)
    return state


def read_any(path: Path) -> dict[str, Any]:
    """The tensors of a file of any of these kinds, told by how it begins, not by its name."""
    import zipfile

    with path.open("rb") as file:
        length, begin = int.from_bytes(file.read(8), "little"), file.read(1)
    if begin == b"{" and length < path.stat().st_size:
        return read_safetensors(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                return read_torchscript(path)
    return read_state_dict(path)
