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
