"""The store directory as a whole: making it, its attributes, the reserve on the disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from avqa.errors import ConfigError, StoreError, StoreNotFound
from avqa.store.format import schema
from avqa.store.format.recipe_diff import recipe_hash
from avqa.store.format.zarr_library import zarr
from avqa.store.places.files import StorePath, store_path, take_room

RESERVE = "ledger/.reserve"
RESERVE_BYTES = 64 * 2**20
"""Kept allocated, so that on a full disk the last records can still be written."""
PACKED = "packed"
"""Attribute of packed copies."""


_BEFORE_THE_STORE = {"lock.json", "ledger", "runs", "parts", schema.GROUP}


def refuse_foreign(path: StorePath, option: str) -> None:
    """Make sure that a store is or may be made at ``path``; buckets hold anything.

    Args:
        path: the store directory, which need not exist.
        option: the command's option that names it, for the message.

    Raises:
        ConfigError: it is a file or lies below one, or holds something else than a store.
    """
    folder = store_path(path).local
    if folder is None:
        return
    for place in (folder, *folder.absolute().parents):
        if place.exists() and not place.is_dir():
            raise ConfigError(
                f"store {str(path)!r}: {str(place)!r} is a file; expected a folder; give another"
                f" {option}"
            )
    if not folder.is_dir() or (folder / schema.GROUP / "zarr.json").exists():
        return
    # A first run may have been killed before the store existed.
    if {entry.name for entry in folder.iterdir()} - _BEFORE_THE_STORE:
        raise ConfigError(
            f"folder {str(path)!r} is no avqa store and not empty; expected a store or a new"
            f" folder; give another {option}"
        )


def build_group(
    root: StorePath,
    recipes: Mapping[str, Mapping[str, Any]],
    specs: Sequence[schema.FeatureSpec],
    chunk_seconds: int,
    expected_rows: int,
) -> None:
    """Create the Zarr group ``root`` without rows; what makes it exist is written last."""
    capacity = schema.capacity_for(expected_rows)
    check_specs(specs, {})
    built: dict[str, Any] = {}
    group = zarr.create_group(zarr.storage.MemoryStore(built), zarr_format=3)
    schema.create_index(group, capacity=capacity, chunk_seconds=chunk_seconds)
    for spec in specs:
        schema.create_feature(
            group,
            spec,
            rows=0,
            seconds=chunk_seconds,
            chunk_seconds=chunk_seconds,
            capacity=capacity,
        )
    features = {spec.name: feature_entry(spec, recipes[spec.name]) for spec in specs}
    attrs = {
        "schema": schema.SCHEMA,
        "pad": "zero",
        "chunk_seconds": chunk_seconds,
        "capacity": capacity,
        "features": dict(sorted(features.items())),
    }
    group.update_attributes(attrs)
    for name in sorted(built, key=lambda name: (name == "zarr.json", name)):
        (root / name).write(built[name].to_bytes())


def check_specs(
    specs: Sequence[schema.FeatureSpec], entries: Mapping[str, Mapping[str, Any]]
) -> None:
    """Make sure that these features can join the stored ones of the attributes ``entries``.

    Raises:
        ValueError: a name or dimension cannot be used.
    """
    for spec in specs:
        schema.check_spec(spec)
    stored = {n: dict(zip(e["dims"], e["shape"], strict=True)) for n, e in entries.items()}
    schema.check_sizes(stored | {s.name: dict(zip(s.dims, s.shape, strict=True)) for s in specs})


def feature_entry(spec: schema.FeatureSpec, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What the group's attributes say of a feature."""
    return {
        "shape": list(spec.shape),
        "dims": list(spec.dims),
        "dtype": spec.dtype,
        "recipe_hash": recipe_hash(recipe),
        "recipe": dict(recipe),
    }


def read_attributes(path: StorePath) -> dict[str, Any]:
    """Attributes of the group of the store directory ``path``.

    Raises:
        StoreNotFound: there is no store.
        StoreError: it has another schema, or is damaged.
    """
    file = path / schema.GROUP / "zarr.json"
    try:
        attrs: dict[str, Any] = json.loads(file.read_bytes())["attributes"]
    except FileNotFoundError as error:
        raise StoreNotFound(
            f"no store at {str(path)!r}; expected a folder that holds {schema.GROUP};"
            " make one with: avqa extract --videos DIR --out STORE"
        ) from error
    except (ValueError, KeyError) as error:
        raise StoreError(f"{str(file)!r} is damaged: {error}; restore it from a backup") from error
    if attrs.get("schema") != schema.SCHEMA:
        raise StoreError(
            f"store {str(path)!r} has schema={attrs.get('schema')!r}; expected"
            f" {schema.SCHEMA!r}; open it with the version of avqa that made it"
        )
    return attrs


def is_packed(attrs: Mapping[str, Any]) -> bool:
    """Whether these are the attributes of a packed copy, see `avqa.store.packing.pack`."""
    return bool(attrs.get(PACKED))


def refuse_packed(path: StorePath) -> None:
    """Make sure that ``path`` is no packed copy: nobody may write to one.

    Raises:
        StoreError: it is one.
    """
    if (path / schema.GROUP / "zarr.json").exists() and is_packed(read_attributes(path)):
        raise StoreError(
            f"store {str(path)!r} is a packed copy, which never changes; expected a working"
            " store; give the one that it was packed from, then pack that again with: avqa pack"
        )


def write_attributes(root: StorePath, attrs: Mapping[str, Any]) -> None:
    """Replace the attributes of the group ``root``."""
    file = root / "zarr.json"
    metadata = json.loads(file.read_bytes())
    metadata["attributes"] = dict(attrs)
    file.write(json.dumps(metadata, indent=2).encode("ascii"))


def allocate_reserve(path: StorePath) -> None:
    """Make sure that the reserve of the store directory is there; a bucket needs none."""
    folder = path.local
    if folder is None:
        return
    reserve = folder / RESERVE
    if reserve.exists():
        return
    reserve.parent.mkdir(exist_ok=True)
    with reserve.open("wb") as file:
        try:
            take_room(file.fileno(), RESERVE_BYTES)
        except OSError:
            reserve.unlink()
            raise


def free_reserve(path: StorePath) -> bool:
    """Give the reserve back to the disk; False if it is spent already, or there is no disk."""
    if path.local is None:
        return False
    try:
        (path / RESERVE).unlink()
    except FileNotFoundError:
        return False
    return True
