"""Every kind of damage to every kind of file of a store, and what has to hold after each.

`trial` harms one file of a copy of a small store and judges what `avqa verify`, `--repair`, `pack`
and the next extraction make of it.
"""

from __future__ import annotations

import functools
import hashlib
import random
import shutil
from pathlib import Path

from helpers.store import written
from helpers.store.stored import (
    CHUNK_SECONDS,
    SPECS,
    extract,
    failure,
    new_store,
    record,
)

from avqa.errors import FeatureMissing, StoreError
from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.format.frame_times import FrameTimes
from avqa.store.format.records import FeatureRecord, Status
from avqa.store.lock import Lock
from avqa.store.packing.pack import pack
from avqa.store.reader import FeatureStore
from avqa.store.writer import ChunkWriter

LENGTHS = {"a": 12, "b": 3, "bad": 0, "silent": 7, "gone": 4, "c": 5}
"""Seconds; 0 cannot be read, `silent` has no audio, `gone` is removed in the end."""
TEXTS = written.named(20)
HOWS = ("flip", "empty", "half", "lose", "swap")


def build(path: Path) -> Path:
    """A store of three runs, with texts."""
    with Lock.acquire(path, "first") as lock:
        store = new_store(path, lock)
        store.add_rows(list(LENGTHS))
        for names in (("a", "b", "bad"), ("silent", "gone"), ("c",)):
            store.commit([attempt(store, name) for name in names])
        store.finish_run({"reason": "done"})
    with Lock.acquire(path, "second") as lock:
        store = Store.open(path, lock)
        store.recover()
        store.start_run({})
        store.set_pending([(store.rows()["b"], spec.name) for spec in SPECS])
        store.commit([attempt(store, "b")])
        store.delete(["gone"])
        store.finish_run({"reason": "done"})
    written.add_texts(path, TEXTS)
    return path


def attempt(store: Store, name: str):
    """What an extraction of this video gives: its objects and its record."""
    row = store.rows()[name]
    if not LENGTHS[name]:
        return failure(name, row)
    writer = ChunkWriter(store.path, SPECS, CHUNK_SECONDS)
    made = extract(writer, name, row, LENGTHS[name])
    if name != "silent":
        return made
    writer.trim("vggish/audio", row, 0)
    features = tuple(
        FeatureRecord(f.feature, Status.ABSENT, 0) if f.feature == "vggish/audio" else f
        for f in made.features
    )
    return record(name, row, features, LENGTHS[name], 0, row_flags=0)


def resume(path: Path) -> int:
    """Extract what is pending and encode what is missing, as the next runs do; how many."""
    with Lock.acquire(path, "resumed") as lock:
        store = Store.open(path, lock)
        store.recover()
        store.start_run({})
        store.add_rows(list(LENGTHS))
        pending = [
            name
            for name in LENGTHS
            if name != "gone"
            and any(store.status(s.name)[store.rows()[name]] == Status.PENDING for s in SPECS)
        ]
        rows = [store.rows()[name] for name in pending]
        store.set_pending([(row, spec.name) for row in rows for spec in SPECS])
        for name in pending:
            store.commit([attempt(store, name)])
        store.finish_run({"reason": "done"})
    return len(pending) + written.add_texts(path, TEXTS, "more")


def content(path: Path) -> dict[str, object]:
    """Everything that a store says, however it is written down."""
    reader, store = FeatureStore(path), Store.open(path)
    found: dict[str, object] = {"ids": reader.video_ids, "texts": reader.texts}
    for name, column in store.arrays.columns.items():
        found[name] = column.values.tolist()
    found["pts"] = FrameTimes(store.root).read(slice(0, store.num_rows)).tolist()
    for feature in reader.features:
        for name in reader.video_ids:
            status = reader.status(name, feature)
            is_ok = status == Status.OK
            found[f"{feature} {name}"] = reader.read(name, feature).tolist() if is_ok else status
    for spec in written.TEXT_SPECS:
        found[spec.name] = reader.read_texts(reader.texts, spec.name).tolist()
    found["eot"] = [reader.eot(text) for text in reader.texts]
    return found


def told(path: Path) -> object:
    """What a ledger says that the columns say, too."""
    newest = Store.open(path).ledger.newest()
    return sorted((name, row, of.feature, of.status, of.length) for name, row, of in newest)


def same(left: object, right: object) -> bool:
    """Equal, with NaN equal to itself."""
    return repr(left) == repr(right)


def files(store: Path) -> list[Path]:
    """The files that can be harmed."""
    found = (p for p in store.rglob("*") if p.is_file() and p.name != ".reserve")
    return sorted(p for p in found if "removed" not in p.parts)


def kind_of(store: Path, file: Path) -> str:
    """What a file is to a store."""
    parts = file.relative_to(store).parts
    if parts[0] != "features.zarr":
        return f"{parts[0]} {file.suffix}"
    name = "/".join(parts[1:-1])
    if file.name == "zarr.json":
        return "metadata of the group" if not name else "metadata"
    return name if parts[1] in {"index", "status", "length", "text"} else "chunk"


def harm(store: Path, file: Path, how: str, rng: random.Random) -> str:
    """Harm one file; what was done."""
    data = file.read_bytes()
    if how == "lose":
        file.unlink()
    elif how in {"empty", "half"}:
        file.write_bytes(data[: 0 if how == "empty" else len(data) // 2])
    elif how == "swap":
        like = [f for f in files(store) if _alike(store, f, file) and f.read_bytes() != data]
        if not like:
            return ""
        other = rng.choice(like)
        file.write_bytes(other.read_bytes())
        other.write_bytes(data)
        return f"swap with {other.relative_to(store)}"
    else:
        if not data:
            return ""
        bit = rng.randrange(len(data) * 8)
        raw = bytearray(data)
        raw[bit // 8] ^= 1 << bit % 8
        file.write_bytes(raw)
        return f"flip bit {bit % 8} of byte {bit // 8}"
    return how


def _alike(store: Path, one: Path, other: Path) -> bool:
    if one == other or one.suffix != other.suffix:
        return False
    columns = {"index", "status", "length", "text"}
    parts = [file.relative_to(store).parts for file in (one, other)]
    is_column = [part[0] == "features.zarr" and part[1] in columns for part in parts]
    return parts[0][0] == parts[1][0] and is_column[0] == is_column[1]


def digests(store: Path) -> dict[str, str]:
    """Digest of every chunk object, wherever it lies, → its name."""
    return {
        hashlib.sha256(file.read_bytes()).hexdigest(): str(file.relative_to(store))
        for file in store.rglob("c.*")
        if file.is_file()
    }


def trial(store: Path, path: Path, file: str, how: str, seed: int, *, packed: bool = True) -> str:
    """Harm a copy of ``store`` at ``path``; what was done, or nothing.

    Raises:
        AssertionError: something was lost, or a loss called whole.
        Exception: an internal error.
    """
    rng = random.Random(seed)
    whole = _whole(store)
    shutil.copytree(store, path, ignore=shutil.ignore_patterns(".reserve"))
    try:
        done = harm(path, path / file, how, rng)
        if not done:
            return ""
        is_video = file.startswith("features.zarr") and kind_of(path, path / file) == "chunk"
        objects = {d: n for d, n in digests(path).items() if not n.startswith("removed/")}
        _judge_report(store, path, whole)
        if packed:
            _judge_pack(path, whole)
        verify(path, repair=True)
        kept = digests(path)
        lost = [
            name
            for digest, name in objects.items()
            if digest not in kept and kind_of(path, path / name) == "chunk" and name != file
        ]
        assert lost == [], f"good objects are gone: {lost}"
        left = [str(p) for p in verify(path).problems]
        assert left == [], f"a repair left {left}"
        again = resume(path)
        assert same(content(path), whole), "the store says something else than before"
        assert verify(path).problems == []
        # One object does not cost more than what was in it, twice if two were exchanged.
        of_video = is_video and not _of_texts(f"{file} {done}")
        assert again <= (2 if of_video else len(TEXTS) + 2), f"extracted again: {again}"
        return done
    finally:
        shutil.rmtree(path, ignore_errors=True)


@functools.cache
def _whole(store: Path) -> dict[str, object]:
    return content(store)


def _of_texts(file: str) -> bool:
    return any(f"/{spec.name}/" in file for spec in written.TEXT_SPECS)


def _judge_report(store: Path, path: Path, whole: object) -> None:
    try:
        report = verify(path)
    except StoreError:
        return
    if not report.problems:
        assert same(content(path), whole), "a loss is called whole"
        assert same(told(path), told(store)), "a loss in the ledger is called whole"


def _judge_pack(path: Path, whole: dict[str, object]) -> None:
    out = path.with_name(f"{path.name}-packed")
    try:
        pack(path, out)
        found = content(out)
    except FeatureMissing:
        raise AssertionError("a copy was published that cannot be read") from None
    except StoreError:
        return
    finally:
        shutil.rmtree(out, ignore_errors=True)
    for key, values in found.items():
        if " " in key or key in {"ids", "texts", "eot", *(s.name for s in written.TEXT_SPECS)}:
            assert same(values, whole[key]), f"a loss is packed: {key}"
    assert found.keys() == whole.keys()
