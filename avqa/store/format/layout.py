"""The store directory as a whole: making it, its attributes, the reserve on the disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from avqa.errors import ConfigError, StoreError, StoreNotFound
from avqa.faults import reading
from avqa.store.format import schema
from avqa.store.format.decoding import crc32c, read_object
from avqa.store.format.recipe_diff import canonical_json, recipe_hash
from avqa.store.places.files import StorePath, store_path, take_room
from avqa.store.zarr_library import zarr

RESERVE = "ledger/.reserve"
RESERVE_BYTES = 64 * 2**20
"""Kept allocated, so that on a full disk the last records can still be written."""
PACKED = "packed"
"""Attribute of packed copies."""
COPY = "ledger/group.json"
"""Second copy of the group's metadata, of stores that are written."""
REMOVED = "removed"
"""Folder for what `avqa verify --repair` takes away, by run."""
_SEAL = "crc32c"
_COUNTS = ("chunk_seconds", "capacity")
_ENTRY = {"shape", "dims", "dtype", "recipe", "recipe_hash"}


_BEFORE_THE_STORE = {"lock.json", "ledger", "runs", "parts", REMOVED, schema.GROUP, schema.LOOSE}


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
    shard_videos: Mapping[str, int],
) -> None:
    """Create the Zarr group ``root`` without rows; what makes it exist is written last.

    ``shard_videos``: feature → videos of a shard, for those in shards.
    """
    capacity = schema.CAPACITY
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
            shard_videos=shard_videos.get(spec.name, 0),
        )
    features = {
        spec.name: feature_entry(spec, recipes[spec.name], shard_videos.get(spec.name, 0))
        for spec in specs
    }
    attrs = {
        "schema": schema_of(features),
        "pad": "zero",
        "chunk_seconds": chunk_seconds,
        "capacity": capacity,
        "features": dict(sorted(features.items())),
    }
    group.update_attributes(sealed(attrs))
    for name in sorted(built, key=lambda name: (name == "zarr.json", name)):
        (root / name).write(built[name].to_bytes())


def add_features(
    root: StorePath,
    attrs: Mapping[str, Any],
    specs: Sequence[schema.FeatureSpec],
    recipes: Mapping[str, Mapping[str, Any]],
    shard_videos: Mapping[str, int],
    *,
    rows: int,
    seconds: int,
) -> dict[str, Any]:
    """Make the arrays of new features, then the attributes that make them count; these.

    A crash before leaves the store as it was.
    """
    features = dict(attrs["features"])
    check_specs(specs, features)
    group = schema.open_group(root)
    for spec in specs:
        videos = shard_videos.get(spec.name, 0)
        schema.create_feature(
            group,
            spec,
            rows=rows,
            seconds=seconds,
            chunk_seconds=attrs["chunk_seconds"],
            capacity=attrs["capacity"],
            shard_videos=videos,
        )
        features[spec.name] = feature_entry(spec, recipes[spec.name], videos)
    found = {**attrs, "schema": schema_of(features), "features": dict(sorted(features.items()))}
    write_attributes(root, found)
    return found


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


def feature_entry(
    spec: schema.FeatureSpec, recipe: Mapping[str, Any], shard_videos: int = 0
) -> dict[str, Any]:
    """What the group's attributes say of a feature."""
    return {
        "shape": list(spec.shape),
        "dims": list(spec.dims),
        "dtype": spec.dtype,
        "sparse": spec.sparse,
        "recipe_hash": recipe_hash(recipe),
        "recipe": dict(recipe),
        **({"shard_videos": shard_videos} if shard_videos else {}),
    }


def shard_videos_of(features: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Feature → videos of a shard, by the attributes, for those in shards."""
    return {name: e["shard_videos"] for name, e in features.items() if e.get("shard_videos")}


def schema_of(features: Mapping[str, Mapping[str, Any]]) -> str:
    """Schema of a working store with these features."""
    return schema.SHARDED if shard_videos_of(features) else schema.SCHEMA


def keep_loose(path: StorePath, attrs: Mapping[str, Any]) -> None:
    """Make the group for chunks that are in no shard yet, if there are shards, as far as it lacks.

    All of it follows from the attributes, also the arrays' shapes: writers go beyond them.
    """
    chunk_seconds, files = attrs["chunk_seconds"], dict[str, Any]()
    shards = shard_videos_of(attrs["features"])
    if not shards:
        return
    group = zarr.create_group(zarr.storage.MemoryStore(files), zarr_format=3)
    for name in shards:
        entry = attrs["features"][name]
        shape, dims = tuple(entry["shape"]), tuple(entry["dims"])
        spec = schema.FeatureSpec(name, shape, dims, entry["sparse"], entry["dtype"])
        schema.create_values(group, spec, (0, chunk_seconds), chunk_seconds)
    for name, content in files.items():
        file = path / schema.LOOSE / name
        if read_object(file) != content.to_bytes():
            file.write(content.to_bytes())


def sealed(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes with their checksum, as they are stored."""
    plain = {key: value for key, value in attrs.items() if key != _SEAL}
    return {**plain, _SEAL: f"{crc32c(canonical_json(plain).encode('ascii')):08x}"}


def read_attributes(path: StorePath) -> dict[str, Any]:
    """Attributes of the group of the store directory ``path``.

    Raises:
        StoreNotFound: there is no store.
        StoreError: it has another schema, or is damaged.
        StorageFailure: it cannot be read.
    """
    file = path / schema.GROUP / "zarr.json"
    with reading(f"store {str(path)!r}"):
        data = read_object(file)
    if data is None:
        if _holds_records(path):
            raise StoreError(
                f"{str(file)!r} is gone, and {str(path / 'ledger')!r} is there; expected the"
                f" attributes of a store; {_restoring(path)}"
            )
        raise StoreNotFound(
            f"no store at {str(path)!r}; expected a folder that holds {schema.GROUP};"
            " make one with: avqa extract --videos DIR --out STORE"
        )
    try:
        return _parsed(data)
    except ValueError as error:
        raise StoreError(
            f"{str(file)!r} is damaged: {error}; expected the attributes of a store;"
            f" {_restoring(path)}"
        ) from error
    except _OtherSchema as error:
        raise StoreError(
            f"store {str(path)!r} has schema={error.schema!r}; expected"
            f" {schema.SCHEMA!r} or {schema.SHARDED!r}; open it with the version of avqa that made"
            f" it{_or_restoring(path)}"
        ) from error


class _OtherSchema(Exception):
    """Attributes of another schema."""

    def __init__(self, schema_name: object) -> None:
        self.schema = schema_name


def _parsed(data: bytes) -> dict[str, Any]:
    """The attributes in the metadata of a store's group.

    Raises:
        ValueError: the bytes are damaged.
        _OtherSchema: they are of another version.
    """
    found = json.loads(data)
    attrs = found.get("attributes") if isinstance(found, dict) else None
    if not isinstance(attrs, dict):
        raise ValueError("no attributes")
    if found.get("node_type") != "group" or found.get("zarr_format") != 3:
        raise ValueError("no Zarr v3 group")
    if attrs.get("schema") not in {schema.SCHEMA, schema.SHARDED}:
        raise _OtherSchema(attrs.get("schema"))
    seal = attrs.pop(_SEAL, None)
    if seal is not None and sealed(attrs)[_SEAL] != seal:
        raise ValueError("its checksum does not fit")
    if not all(type(attrs.get(key)) is int and attrs[key] > 0 for key in _COUNTS):
        raise ValueError(f"no {' or no '.join(_COUNTS)}")
    for entries in (attrs.get("features"), attrs.get("texts", {})):
        if not isinstance(entries, dict):
            raise ValueError("no features")
        for name, entry in entries.items():
            _check_entry(name, entry)
    return attrs


def _check_entry(name: str, entry: Any) -> None:
    if not isinstance(entry, dict) or not entry.keys() >= _ENTRY:
        raise ValueError(f"{name} lacks one of {', '.join(sorted(_ENTRY))}")
    if recipe_hash(entry["recipe"]) != entry["recipe_hash"]:
        raise ValueError(f"the recipe of {name} does not have its hash")


def refuse_lost(path: StorePath) -> None:
    """Make sure that no store was at ``path`` whose metadata is gone: a new one would bury it.

    Raises:
        StoreError: there was.
    """
    if _holds_records(path) and not (path / schema.GROUP / "zarr.json").exists():
        read_attributes(path)


def _holds_records(path: StorePath) -> bool:
    return any(True for _ in (path / "ledger").glob("*/*.jsonl"))


def _copy_of(path: StorePath) -> bytes | None:
    """The copy of the group's metadata, if it is good."""
    with reading(f"store {str(path)!r}"):
        data = read_object(path / COPY)
    try:
        return data if data is not None and _parsed(data) else None
    except (ValueError, _OtherSchema):
        return None


def _restoring(path: StorePath) -> str:
    if _copy_of(path) is not None:
        return f"restore it from its copy {COPY!r} with: avqa verify --repair {path}"
    return "restore it from a backup"


def _or_restoring(path: StorePath) -> str:
    return f", or, if it was not another one, {_restoring(path)}" if _copy_of(path) else ""


def keep_copy(path: StorePath) -> None:
    """Write a copy of the group's metadata into the ledger's folder, unless it is there.

    All other metadata follows from it; it follows from nothing.
    """
    data = (path / schema.GROUP / "zarr.json").read_bytes()
    if read_object(path / COPY) != data:
        (path / COPY).write(data)


def restore_group(path: StorePath, discard: Callable[[StorePath], None]) -> bool:
    """Put the copy of the group's metadata in its place, if that is good; else False."""
    data = _copy_of(path)
    if data is None:
        return False
    discard(path / schema.GROUP / "zarr.json")
    (path / schema.GROUP / "zarr.json").write(data)
    return True


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
    metadata["attributes"] = sealed(attrs)
    file.write(json.dumps(metadata, indent=2).encode("ascii"))
    keep_copy(root.parent)


def allocate_reserve(path: StorePath) -> None:
    """Make sure that the reserve of the store directory is there; a bucket needs none."""
    folder = path.local
    if folder is None:
        return
    reserve = folder / RESERVE
    if reserve.exists() and reserve.stat().st_size >= RESERVE_BYTES:
        return  # a kill may have left less
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
