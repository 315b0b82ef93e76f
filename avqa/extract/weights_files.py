"""Weights files: download, digest check, conversion to safetensors, verification.

Public names are those that `avqa.extract.weights` repeats.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avqa.caches import cache_dir, remove_leftovers, unfinished_name
from avqa.errors import DifferenceFound, StorageFailure, WeightsUnavailable
from avqa.extract import encoders
from avqa.extract.published import (
    both_ways,
    expected_shapes,
    hash_file,
    published,
    read_record,
    read_tensors,
    registry,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Known:
    """Weights that can be had."""

    name: str
    cached: bool
    """They are here."""
    digest: str
    """SHA-256 of the published file, or its first digits; empty where nobody published it."""
    licence: str
    address: str


def list_weights(*, cache: Path | None = None) -> list[Known]:
    """All known weights."""
    return [
        Known(name, cached(name, cache).is_file(), entry.digest, entry.licence, entry.address)
        for name, entry in registry().items()
    ]


def ensure(name: str, *, cache: Path | None = None) -> Path:
    """The cached safetensors file of ``name``, fetched if it is not there yet.

    Raises:
        UnknownName, WeightsUnavailable, StorageFailure: as `fetch`.
    """
    name = encoders.full_name(name)
    published(name)
    path = cached(name, cache)
    return path if path.is_file() else fetch(name, cache=cache)


def fetch(name: str, *, cache: Path | None = None) -> Path:
    """Download the published file, check its digest, convert it; the safetensors file.

    Raises:
        UnknownName: if there are no weights ``name``.
        WeightsUnavailable: if it cannot be downloaded, or is not the published file.
        StorageFailure: if the cache cannot be written.
    """
    name = encoders.full_name(name)
    entry = published(name)
    if not entry.address:
        raise WeightsUnavailable(
            f"weights {name} cannot be downloaded; expected an address; {both_ways(name)}"
        )
    folder = cache_dir(cache)
    with _temporary(folder, entry.file_name) as download:
        with download.open("wb") as file:
            for block in _download(name, entry.address):
                file.write(block)
        return import_file(name, download, cache=cache)


def import_file(name: str, path: str | Path, *, cache: Path | None = None) -> Path:
    """Check the digest of a published file and convert it; the safetensors file.

    Raises:
        UnknownName: if there are no weights ``name``.
        WeightsUnavailable: if the file is not the published one, or does not fit the network.
        StorageFailure: if the cache cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    name = encoders.full_name(name)
    entry = published(name)
    digest = hash_file(Path(path))
    if not digest.startswith(entry.digest):
        raise WeightsUnavailable(
            f"{path} is not {name}: sha256={digest[:12]}…; expected {entry.digest[:12]}…;"
            f" nothing of it was read; {both_ways(name)}"
        )
    tensors = _convert(name, Path(path))
    target = cached(name, cache)
    with _temporary(target.parent, target.name) as unfinished:
        try:
            save_file(tensors, unfinished, metadata={"avqa": name, "sha256": digest})
        except SafetensorError as error:  # the only way it has to say that the disk is full
            raise OSError(str(error)) from error
        _sort_metadata(unfinished)
        record = _record(unfinished) | {"published_sha256": digest}
        text = json.dumps(record, indent=2) + "\n"
        with _temporary(target.parent, target.with_suffix(".json").name) as written:
            written.write_text(text, encoding="utf-8")
            # The record goes first: a file without its record would be believed unchecked.
            written.rename(target.with_suffix(".json"))
        unfinished.rename(target)
    return target


def verify(names: Iterable[str] | None = None, *, cache: Path | None = None) -> list[str]:
    """Check cached weights: recorded digest, tensors, and what its encoder asks of each.

    Args:
        names: weights to check; by default all that are cached.
        cache: another cache than the environment's.

    Returns:
        One line per weights.

    Raises:
        UnknownName: if there are no weights of such a name.
        WeightsUnavailable: if one is not cached, or none is.
        DifferenceFound: if one is not what it should be.
    """
    wanted = (
        [encoders.full_name(n) for n in names]
        if names
        else [n for n in registry() if cached(n, cache).is_file()]
    )
    if not wanted:
        raise WeightsUnavailable(
            f"no weights in {cache_dir(cache)}; expected at least one; run"
            " `avqa weights fetch`, or `avqa weights import NAME FILE`"
        )
    return [_verify(name, cache) for name in wanted]


def _verify(name: str, cache: Path | None) -> str:
    entry = published(name)
    path = cached(name, cache)
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
    check_shapes(name, tensors)
    note = ""
    if entry.check is not None:
        try:
            note = f", {entry.check(tensors)}"
        except ValueError as error:
            raise DifferenceFound(f"weights {name}: {error}; {both_ways(name)}") from error
    return f"{name}: ok, sha256 {digest[:12]}, {len(tensors)} tensors{note}"


def _convert(name: str, path: Path) -> dict[str, Tensor]:
    """The tensors of a published file whose digest matched, as the architecture names them."""
    entry = published(name)
    try:
        tensors = _known_only(name, entry.convert(path))
    except Exception as error:  # whatever a parser raises on what it cannot parse
        first_line = str(error).strip().partition("\n")[0]
        raise WeightsUnavailable(
            f"{path} cannot be read as {name} ({type(error).__name__}: {first_line}); expected"
            f" {entry.file_name}; {both_ways(name)}"
        ) from error
    check_shapes(name, tensors)
    return {key: tensor.float().contiguous().clone() for key, tensor in tensors.items()}


def _known_only(name: str, raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """Without what the network does not have; with the counters that old files leave out."""
    import torch

    shapes = expected_shapes(name)
    counters = {k: torch.tensor(0) for k in shapes if k.endswith("num_batches_tracked")}
    return counters | {key: raw[key] for key in shapes if key in raw}


def check_shapes(name: str, tensors: Mapping[str, Tensor]) -> None:
    """Make sure that tensors are those of the network.

    Raises:
        WeightsUnavailable: names the first that is not.
    """
    given = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    wanted = expected_shapes(name)
    for key in sorted(wanted.keys() | given.keys()):
        if given.get(key) != wanted.get(key):
            raise WeightsUnavailable(
                f"weights {name} do not fit: {key}={given.get(key, 'nothing')}; expected"
                f" {wanted.get(key, 'no such name')};"
                f" {both_ways(name)}"
            )


def cached(name: str, cache: Path | None = None) -> Path:
    """Where the converted weights ``name`` are, if they are there."""
    return cache_dir(cache) / f"{name}.safetensors"


def _sort_metadata(path: Path) -> None:
    """Put the file's own entries in order: safetensors writes several in random order.

    The file's digest is part of recipes, and one published file has to give one digest.
    """
    with path.open("r+b") as file:
        header = file.read(int.from_bytes(file.read(8), "little"))
        entries = json.loads(header)["__metadata__"]
        before, after = (
            json.dumps(dict(order), separators=(",", ":")).encode()
            for order in (entries.items(), sorted(entries.items()))
        )
        file.seek(8)
        file.write(header.replace(before, after, 1))


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
        remove_leftovers(folder)  # of downloads that were killed: hundreds of megabytes
        made = folder / f".{name}.{unfinished_name()}"
        made.touch(exist_ok=False)  # as the user's umask has it: others may share the cache
        try:
            yield made
        finally:
            made.unlink(missing_ok=True)
    except OSError as error:
        raise StorageFailure(
            f"weights cache {folder} cannot be written ({error.strerror or error}); expected a"
            " folder with room; set AVQA_CACHE to another one"
        ) from error
