"""A checkpoint's tensors, from a safetensors or a weights-only torch file; nothing is unpickled."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from avqa.errors import ConfigError
from avqa.faults import of_machine
from avqa.training.tensor_files import read_tensors

_EXPECTED = "expected a safetensors file, or a torch file of tensors alone"
_ZIP, _PICKLE = b"PK", b"\x80"
"""What torch files begin with."""
_PARALLEL = "module."
"""Begins every name that a network within ``DataParallel`` saves."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """All tensors by their names, on the CPU.

    A torch file may hold more, such as an optimizer's state: then the one dictionary in it that is
    of names and tensors is taken.

    Raises:
        ConfigError: it is no such file, is damaged, or would have to be unpickled.
    """
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise ConfigError(
            f"checkpoint {str(path)!r} cannot be read: {error.strerror}; {_EXPECTED}; check the"
            " path"
        ) from error
    is_torch = start.startswith((_ZIP, _PICKLE))
    state = _of_torch(path) if is_torch else _of_safetensors(path)
    if not state:
        raise ConfigError(f"checkpoint {str(path)!r} holds no tensor; {_EXPECTED}; take another")
    if all(name.startswith(_PARALLEL) for name in state):
        state = {name.removeprefix(_PARALLEL): tensor for name, tensor in state.items()}
    return state


def _of_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return read_tensors(path)[0]
    except (SafetensorError, OSError, ValueError, struct.error) as error:
        raise ConfigError(
            f"checkpoint {str(path)!r} cannot be read: {_first_line(error)}; {_EXPECTED}; take the"
            " published file as it is, or load it anew"
        ) from error


def _of_torch(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a later protocol of pickles: what fails is told below
            value = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it holds {found[1]}" if found else "it holds other than tensors"
        raise ConfigError(
            f"checkpoint {str(path)!r} would have to be unpickled, which may run code, and was not:"
            f" {what}; {_EXPECTED}; save its state_dict() as one where you trust it"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"checkpoint {str(path)!r} cannot be read: {_first_line(error)}; {_EXPECTED}; check it"
        ) from error
    except Exception as error:  # of a damaged file torch raises nearly anything
        if of_machine(error):
            raise
        raise ConfigError(
            f"checkpoint {str(path)!r} is damaged or no torch file of tensors:"
            f" {_first_line(error)}; {_EXPECTED}; load it anew"
        ) from error
    return _tensors_in(path, value)


def _tensors_in(path: Path, value: Any) -> dict[str, Tensor]:
    if _is_state(value):
        return dict(value)
    held = value if isinstance(value, Mapping) else {}
    inside = {str(name): entry for name, entry in held.items() if _is_state(entry)}
    if len(inside) != 1:
        what = f"{len(inside)} ({', '.join(inside)})" if inside else "none"
        raise ConfigError(
            f"checkpoint {str(path)!r}: dictionaries of names and tensors in it: {what}; expected"
            " one; save the network's state_dict() alone"
        )
    (state,) = inside.values()
    return dict(state)


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(n, str) and isinstance(t, Tensor) for n, t in value.items())
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
