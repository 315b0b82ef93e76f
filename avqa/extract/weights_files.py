"""Weights files: download, digest check, conversion to safetensors, verification.

Public names are those that `avqa.extract.weights` repeats.
"""

from __future__ import annotations

import http.client
import json
import os
import tempfile
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avqa.errors import DifferenceFound, StorageFailure, WeightsUnavailable
from avqa.extract.published import (
    REGISTRY,
    both_ways,
    cache_dir,
    expected_shapes,
    hash_file,
    published,
    read_record,
    read_tensors,
)

if TYPE_CHECKING:
    from torch import Tensor

KNOWN_MEAN, KNOWN_DEVIATION, KNOWN_TOLERANCE = 0.131, 0.238, 0.1
"""VGGish's published smoke test: its embedding of a 1 kHz sine, before PCA."""


def list_weights(*, cache: Path | None = None) -> list[str]:
    """One line per known weights: name, whether it is here, digest, licence, address."""
    lines = []
    for name, entry in REGISTRY.items():
        here = _cached(name, cache).is_file()
        lines.append(
            f"{name:<13} {'cached' if here else 'absent':<7} sha256 {entry.digest[:8]}…"
            f"  {entry.licence}  {entry.address}"
        )
    return lines


def ensure(name: str, *, cache: Path | None = None) -> Path:
    """The cached safetensors file of ``name``, fetched if it is not there yet.

    Raises:
        UnknownName, WeightsUnavailable, StorageFailure: as `fetch`.
    """
    published(name)
    path = _cached(name, cache)
    return path if path.is_file() else fetch(name, cache=cache)


def fetch(name: str, *, cache: Path | None = None) -> Path:
    """Download the published file, check its digest, convert it; the safetensors file.

    Raises:
        UnknownName: if the registry has no ``name``.
        WeightsUnavailable: if it cannot be downloaded, or is not what the registry says.
        StorageFailure: if the cache cannot be written.
    """
    entry = published(name)
    folder = cache_dir(cache)
    with _temporary(folder, entry.file_name) as download:
        with download.open("wb") as file:
            for block in _download(name, entry.address):
                file.write(block)
        return import_file(name, download, cache=cache)


def import_file(name: str, path: str | Path, *, cache: Path | None = None) -> Path:
    """Check the digest of a published file and convert it; the safetensors file.

    Raises:
        UnknownName: if the registry has no ``name``.
        WeightsUnavailable: if the file is not the published one, or does not fit the network.
        StorageFailure: if the cache cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    entry = published(name)
    digest = hash_file(Path(path))
    if not digest.startswith(entry.digest):
        raise WeightsUnavailable(
            f"{path} is not {name}: sha256={digest[:12]}…; expected {entry.digest[:12]}…;"
            f" nothing of it was read; {both_ways(name)}"
        )
    tensors = _convert(name, Path(path))
    target = _cached(name, cache)
    with _temporary(target.parent, target.name) as unfinished:
        try:
            save_file(tensors, unfinished, metadata={"avqa": name, "sha256": digest})
        except SafetensorError as error:  # the only way it has to say that the disk is full
            raise OSError(str(error)) from error
        record = _record(unfinished) | {"published_sha256": digest}
        # The record goes first: a file without its record would be believed unchecked.
        target.unlink(missing_ok=True)
        target.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
        unfinished.rename(target)
    return target


def verify(names: Iterable[str] | None = None, *, cache: Path | None = None) -> list[str]:
    """Check cached weights: recorded digest, tensors, and what VGGish says to a sine.

    Args:
        names: weights to check; by default all that are cached.
        cache: another cache than the environment's.

    Returns:
        One line per weights.

    Raises:
        UnknownName: if the registry has no such name.
        WeightsUnavailable: if one is not cached, or none is.
        DifferenceFound: if one is not what it should be.
    """
    wanted = list(names) if names else [n for n in REGISTRY if _cached(n, cache).is_file()]
    if not wanted:
        raise WeightsUnavailable(
            f"no weights in {cache_dir(cache)}; expected at least one; run"
            " `avqa weights fetch`, or `avqa weights import NAME FILE`"
        )
    return [_verify(name, cache) for name in wanted]


def _verify(name: str, cache: Path | None) -> str:
    published(name)
    path = _cached(name, cache)
    if not path.is_file():
        raise WeightsUnavailable(f"weights {name} are not cached: no {path}; {both_ways(name)}")
    record, digest = read_record(path), hash_file(path)
    if record is None or record["sha256"] != digest:
        recorded = "nothing" if record is None else record["sha256"][:12]
        raise DifferenceFound(
            f"weights {name}: sha256={digest[:12]}, recorded at import: {recorded};"
            f" {both_ways(name)}"
        )
    tensors = read_tensors(name, path)
    _check_shapes(name, tensors)
    note = ""
    if name == "vggish":
        note = ", known answer " + _known_answer(tensors)
    return f"{name}: ok, sha256 {digest[:12]}, {len(tensors)} tensors{note}"


def _known_answer(state: dict[str, Tensor]) -> str:
    """VGGish's embedding of 3 s of a 1 kHz sine against the published mean and deviation."""
    import numpy as np
    import torch

    from avqa.extract.encoders import vggish
    from avqa.extract.settings import Settings

    sine = np.sin(2 * np.pi * 1000 / 16_000 * np.arange(48_000)).astype(np.float32)
    windows = np.stack([sine[k * 15_360 :][: vggish.WINDOW] for k in range(3)])
    settings = Settings(features=("vggish/audio",))
    mel = np.zeros((vggish.BATCH["cpu"], vggish.FRAMES, vggish.BANDS), np.float32)
    mel[:3] = vggish.prepare("mel", windows, settings)
    network = vggish.build(settings, state)
    rows = network.forward("mel", torch.from_numpy(mel), ["audio"])["audio"][:3].numpy()
    mean, deviation = float(rows.mean()), float(rows.std())
    for value, known in ((mean, KNOWN_MEAN), (deviation, KNOWN_DEVIATION)):
        if abs(value - known) > KNOWN_TOLERANCE * known:
            raise DifferenceFound(
                f"weights vggish: a 1 kHz sine gives mean={mean:.3f} deviation={deviation:.3f};"
                f" expected {KNOWN_MEAN} and {KNOWN_DEVIATION} within 10 %;"
                f" {both_ways('vggish')}"
            )
    return f"mean {mean:.3f} deviation {deviation:.3f}"


def _convert(name: str, path: Path) -> dict[str, Tensor]:
    """The tensors of a published file whose digest matched, as the architecture names them."""
    try:
        raw = _read_clip(path) if name == "clip_vit_b32" else _read_state_dict(path)
        tensors = _renamed_pca(raw) if name == "vggish_pca" else _known_only(name, raw)
    except WeightsUnavailable:
        raise
    except Exception as error:  # whatever a parser raises on what it cannot parse
        first_line = str(error).strip().partition("\n")[0]
        raise WeightsUnavailable(
            f"{path} cannot be read as {name} ({type(error).__name__}: {first_line}); expected"
            f" {published(name).file_name}; {both_ways(name)}"
        ) from error
    _check_shapes(name, tensors)
    return {key: tensor.float().contiguous().clone() for key, tensor in tensors.items()}


def _read_clip(path: Path) -> dict[str, Any]:
    """OpenAI's file is a TorchScript archive, half of it in half precision."""
    import torch

    with warnings.catch_warnings():
        for kind in (DeprecationWarning, FutureWarning):  # TorchScript as such is going
            warnings.simplefilter("ignore", kind)
        state: dict[str, Any] = torch.jit.load(path, map_location="cpu").state_dict()  # type: ignore[no-untyped-call]
    return state


def _read_state_dict(path: Path) -> dict[str, Any]:
    import numpy as np
    import torch

    # The PCA file holds numpy arrays; numpy has renamed its module since.
    rebuild: Any = np.empty(0).__reduce__()[0]
    names = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
    types = [np.ndarray, np.dtype, type(np.dtype(np.float32)), type(np.dtype(np.float64))]
    with torch.serialization.safe_globals([*((rebuild, name) for name in names), *types]):
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def _known_only(name: str, raw: dict[str, Any]) -> dict[str, Tensor]:
    """Without what the network does not have; with the counters that old files leave out."""
    import torch

    shapes = expected_shapes(name)
    counters = {k: torch.tensor(0) for k in shapes if k.endswith("num_batches_tracked")}
    return counters | {key: raw[key] for key in shapes if key in raw}


def _renamed_pca(raw: dict[str, Any]) -> dict[str, Tensor]:
    import torch

    return {
        "pca.eigen_vectors": torch.as_tensor(raw["pca_eigen_vectors"]),
        "pca.means": torch.as_tensor(raw["pca_means"]).reshape(-1),
    }


def _check_shapes(name: str, tensors: dict[str, Tensor]) -> None:
    given = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    wanted = expected_shapes(name)
    for key in sorted(wanted.keys() | given.keys()):
        if given.get(key) != wanted.get(key):
            raise WeightsUnavailable(
                f"weights {name} do not fit: {key}={given.get(key)}; expected {wanted.get(key)};"
                f" {both_ways(name)}"
            )


def _cached(name: str, cache: Path | None) -> Path:
    return cache_dir(cache) / f"{name}.safetensors"


def _record(path: Path) -> dict[str, Any]:
    stat = path.stat()
    return {
        "sha256": hash_file(path),
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,  # survives the rename
    }


def _download(name: str, address: str) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(address, timeout=30) as response:
            while block := response.read(1 << 20):
                yield block
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is an open response, too
        raise WeightsUnavailable(
            f"weights {name} cannot be downloaded from {address} ({error}); expected a connection;"
            f" {both_ways(name)}"
        ) from error


@contextmanager
def _temporary(folder: Path, name: str) -> Iterator[Path]:
    """A file of our own in ``folder``, gone afterwards unless it was renamed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, made = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
        os.close(handle)
        try:
            yield Path(made)
        finally:
            Path(made).unlink(missing_ok=True)
    except OSError as error:
        raise StorageFailure(
            f"weights cache {folder} cannot be written ({error.strerror or error}); expected a"
            " folder with room; set AVQA_CACHE to another one"
        ) from error
