"""The driver's side of a store: the only writer of index, status, length, ledger, metadata.

A commit is, in this order: ledger segment, longer second axis, index, lengths, statuses,
chunk objects that no longer count, checkpoint. Each step replaces files atomically and can be
repeated, so `Store.recover` heals a crash at any point by applying the segments after the
checkpoint again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from avqa.errors import StorageFailure, StoreError, UnknownName, UnknownVideo
from avqa.faults import reading
from avqa.store.format import chunks, layout, schema
from avqa.store.format.arrays import Arrays
from avqa.store.format.columns import Column
from avqa.store.format.folding.sources import Sources
from avqa.store.format.ledger import Ledger, failed_alone, newest_only
from avqa.store.format.recipe_diff import diff_features, require_same
from avqa.store.format.records import Status, VideoRecord, removed, tombstone
from avqa.store.format.runs import DAMAGED, DONE, INTERRUPTED, RUNNING, Runs, RunState, now
from avqa.store.format.texts import text_recipes
from avqa.store.lock import Lock
from avqa.store.places.files import (
    StorePath,
    is_disk_full,
    storage_errors,
    store_path,
    with_retries,
)
from avqa.store.recovery import SUSPECT_SECONDS, Recovery, damaged_rows, remove_partials
from avqa.store.sealing import Sealer

T = TypeVar("T")
Part: TypeAlias = chunks.RowPart | None
_SURROGATE = re.compile("[\ud800-\udfff]")


class Store:
    """A store opened for the driver. Methods that write need the lock."""

    def __init__(
        self, path: StorePath, lock: Lock | None, *, tolerant: bool = False, part: Part = None
    ) -> None:
        """Use `create` or `open`."""
        self.path = path = store_path(path)
        self.root = path / schema.GROUP
        self.part = part
        self._lock = lock
        self._attrs = layout.read_attributes(path)
        self.chunk_seconds: int = self._attrs["chunk_seconds"]
        self.capacity: int = self._attrs["capacity"]
        """Rows per object of a column."""
        self.ledger = Ledger(path / "ledger", part)
        self.runs = Runs(path / "runs")
        heal = tolerant or lock is not None
        self.arrays = Arrays(self.root, self.features(), self.chunk_seconds, heal=heal, part=part)
        self._sealer = Sealer(self.root, self.arrays, self.chunk_seconds)
        self._fingerprints: Sources | None = None
        self._failures: dict[tuple[int, str], VideoRecord] | None = None
        self._full: StorageFailure | None = None

    @staticmethod
    def exists(path: StorePath) -> bool:
        """Whether ``path`` is a store directory."""
        return (path / schema.GROUP / "zarr.json").exists()

    @classmethod
    def create(
        cls,
        path: StorePath,
        recipes: Mapping[str, Mapping[str, Any]],
        specs: Sequence[schema.FeatureSpec],
        chunk_seconds: int,
        *,
        lock: Lock,
        shard_videos: Mapping[str, int] = MappingProxyType({}),
    ) -> Store:
        """Create a store without rows.

        Args:
            path: the store directory S; `Lock.acquire` made it.
            recipes: feature → recipe.
            specs: one per recipe.
            chunk_seconds: seconds per chunk object.
            lock: of this run.
            shard_videos: feature → videos of a shard, for those that lie in shards.

        Raises:
            StoreError: if there is a store already.
            StorageFailure: the disk is full or read-only.
        """
        if cls.exists(path):
            raise StoreError(f"store {str(path)!r} exists; expected none; open it instead")
        lock.check()
        path = store_path(path)
        layout.refuse_lost(path)
        with storage_errors(f"store {str(path)!r}"):
            remove_partials(path)
            root = path / schema.GROUP
            layout.build_group(root, recipes, specs, chunk_seconds, shard_videos)
            layout.allocate_reserve(path)
            store = cls(path, lock)
            store._keep_what_follows()
        return store

    @classmethod
    def open(
        cls, path: StorePath, lock: Lock | None = None, *, tolerant: bool = False, part: Part = None
    ) -> Store:
        """Open a store; without a lock for reading only. Call `recover` before a run.

        A damaged column starts empty if there is a lock, to be healed by `recover`, or if
        ``tolerant``; `damaged` names it. Of a ``part`` the store holds these rows and what the
        ledger tells of them, and nothing else.

        Raises:
            StoreNotFound: there is none.
            StoreError: it has another schema, or a damaged column and no lock to heal it.
        """
        return cls(path, lock, tolerant=tolerant, part=part)

    def features(self) -> tuple[str, ...]:
        """Names of the features, sorted."""
        return tuple(sorted(self._attrs["features"]))

    def recipes(self) -> dict[str, dict[str, Any]]:
        """Feature → recipe."""
        return {name: self._attrs["features"][name]["recipe"] for name in self.features()}

    def text_recipes(self) -> dict[str, dict[str, Any]]:
        """Feature of the texts → recipe; empty before `avqa questions`."""
        return text_recipes(self._attrs)

    def check_recipes(
        self, recipes: Mapping[str, Mapping[str, Any]], shared: Iterable[str] = ()
    ) -> None:
        """Make sure that the store's features were, and new ones can be, made this way.

        Args:
            recipes: feature → recipe asked for.
            shared: keys that all features of a store must agree on; for a feature that the store
                lacks, only these are compared.

        Raises:
            RecipeMismatch: names every differing key with both values, and its features.
        """
        differing = diff_features(self.recipes(), recipes, tuple(shared))
        require_same(f"store {str(self.path)!r}", differing)

    def add_features(
        self,
        specs: Sequence[schema.FeatureSpec],
        recipes: Mapping[str, Mapping[str, Any]],
        shard_videos: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Add features, all pending, in shards as `create` does; other arrays are not touched.

        Raises:
            StoreError: if one is there already.
            StorageFailure: the disk is full or read-only.
        """
        self._fenced()
        clash = sorted(spec.name for spec in specs if spec.name in self.features())
        if clash:
            raise StoreError(
                f"store {str(self.path)!r} has features={','.join(clash)} already; expected new"
                " ones; leave these out, their videos are extracted as they are"
            )
        with storage_errors(f"store {str(self.path)!r}"):
            size = {"rows": self.num_rows, "seconds": self.arrays.seconds}
            self._attrs = layout.add_features(
                self.root, self._attrs, specs, recipes, shard_videos, **size
            )
            self._keep_what_follows()
        for spec in specs:
            self.arrays.add_feature(spec.name)

    @property
    def shard_videos(self) -> dict[str, int]:
        """Feature → videos of a shard, for those in shards."""
        return layout.shard_videos_of(self._attrs["features"])

    @property
    def packed(self) -> bool:
        """Whether it is a packed copy: features lie in shards, nothing ever changes."""
        return layout.is_packed(self._attrs)

    @property
    def num_rows(self) -> int:
        """Rows in use, deleted ones included."""
        return self.arrays.num_rows

    def rows(self) -> Mapping[str, int]:
        """Video id → row; goes on with the store."""
        return MappingProxyType(self.arrays.rows)

    def names(self) -> dict[int, str]:
        """Row → video id, of a part its rows alone."""
        part, rows = self.part, self.arrays.rows
        return {row: name for name, row in rows.items() if part is None or part.has(row)}

    def video_ids(self) -> tuple[str, ...]:
        """Ids of all videos that were not removed, in row order."""
        gone = removed([self.status(feature) for feature in self.features()])
        return tuple(name for row, name in self.names().items() if not gone[row])

    def add_rows(self, ids: Sequence[str]) -> dict[str, int]:
        """Append videos, all pending, and return the row of every id.

        Ids that are there already keep their row.

        Raises:
            ValueError: if an id is empty or no valid Unicode.
            StorageFailure: the disk is full or read-only.
        """
        self._fenced()
        new = [name for name in dict.fromkeys(ids) if name not in self.arrays.rows]
        for name in new:
            if not name or _SURROGATE.search(name):
                raise ValueError(f"a video id must be valid text and not empty; got {name!r}")
        if new:
            self.arrays.add_rows(new)
            self._kept(self.arrays.show_rows)
        return {name: self.arrays.rows[name] for name in ids}

    def status(self, feature: str) -> NDArray[np.uint8]:
        """Status of every row, see `Status`: ``[rows]``, a copy.

        Raises:
            UnknownName: the store has no such feature.
        """
        # A run that was killed as it added rows may have made this array longer.
        return self._feature_column(schema.status_name, feature).values[: self.num_rows].copy()

    def lost_status(self, feature: str) -> NDArray[np.bool_]:
        """Rows whose status is in no object, so that they read as pending: ``[rows]``.

        They are pending if the ledger has never heard of them, else the object was lost.
        """
        column = self._feature_column(schema.status_name, feature)
        chunks = [int(name.split(".")[1]) for name in column.lost]
        lost: NDArray[np.bool_] = np.isin(np.arange(self.num_rows) // self.capacity, chunks)
        return lost & np.bool_(not column.damaged)

    def length(self, feature: str) -> NDArray[np.uint32]:
        """Valid seconds of every row: ``[rows]``, a copy.

        Raises:
            UnknownName: the store has no such feature.
        """
        return self._feature_column(schema.length_name, feature).values[: self.num_rows].copy()

    def _feature_column(self, name_of: Callable[[str], str], feature: str) -> Column:
        if feature not in self._attrs["features"]:
            raise UnknownName("feature", feature, self.features())
        return self.arrays.columns[name_of(feature)]

    def fingerprints(self) -> Sources:
        """Row → fingerprint of the file that its newest record was made from; goes on with it."""
        if self._fingerprints is None:
            self._fingerprints = self.ledger.fingerprints()
        return self._fingerprints

    def set_pending(self, pairs: Iterable[tuple[int, str]]) -> None:
        """Mark (row, feature) pairs as to be extracted; on disk when this returns.

        To be called before anything is dispatched: a chunk object of a row whose status is ok
        must never be replaced.

        Raises:
            StorageFailure: the disk is full or read-only.
        """
        self._fenced()
        for row, feature in pairs:
            self._feature_column(schema.status_name, feature)[row] = Status.PENDING
        self._kept(lambda: self.arrays.flush("status/"))

    def commit(self, records: Sequence[VideoRecord]) -> None:
        """Make the outcome of these videos part of the store: one checkpoint.

        Raises:
            StoreLocked: another run took the lock; nothing was written.
            StorageFailure: the disk is full or read-only. If the reserve could be freed, the
                records are committed nevertheless; committing them again is harmless.
            ValueError: a record does not fit the store.
        """
        lock = self._fenced()
        if not records:
            self.heartbeat()
            self._raise_if_full()
            return
        for record in records:
            self._validate(record)
        records = [self.arrays.with_kept_extent(record) for record in records]
        number = self._kept(lambda: self.ledger.append(lock.run_id, records))
        if self._fingerprints is not None:
            self._fingerprints.add((r.row, r.relpath, r.fingerprint) for r in records)
            self._fingerprints.number = number
        self._kept(lambda: self.arrays.apply(records))
        self._kept(lambda: self.runs.update(lock.run_id, checkpoint=number))
        rows = {record.row for record in records}
        self._kept(lambda: self._sealer.seal_complete(self.shard_videos, rows))
        self._kept(lock.heartbeat)
        self.ledger.fold(number)
        self._raise_if_full()

    def _validate(self, record: VideoRecord) -> None:
        if self.arrays.rows.get(record.video_id) != record.row:
            raise ValueError(f"row={record.row} is not that of video {record.video_id!r}")
        for feature in record.features:
            self._feature_column(schema.status_name, feature.feature)
            expected = schema.num_chunks(feature.length, self.chunk_seconds)
            is_ok = feature.status == Status.OK
            if (feature.length > 0) != is_ok or (is_ok and len(feature.chunks) != expected):
                raise ValueError(
                    f"video {record.video_id!r} {feature.feature}: {feature.status.name} with"
                    f" length={feature.length} and {len(feature.chunks)} chunks; expected"
                    f" {expected} chunks, and a length if and only if it is ok"
                )

    def delete(self, ids: Sequence[str]) -> None:
        """Remove videos: a ledger record and status 3 first, then their chunk objects.

        Their rows stay, and are used again only if the same videos are extracted again.

        Raises:
            UnknownName: if a video is not in the store.
            StorageFailure: the disk is full or read-only.
        """
        for name in ids:
            if name not in self.arrays.rows:
                raise UnknownVideo(str(self.path), name, self.arrays.rows)
        run, rows, features = self._writable().run_id, self.arrays.rows, self.features()
        self.commit([tombstone(name, rows[name], features, run, now()) for name in ids])

    def heartbeat(self) -> None:
        """Give a sign of life between checkpoints.

        Raises:
            StoreLocked: another run took the lock.
            StorageFailure: the disk is read-only, or full and the reserve is spent.
        """
        self._kept(self._writable().heartbeat)

    def start_run(self, info: Mapping[str, Any]) -> None:
        """Write the run's file: what was asked, with which versions."""
        lock = self._writable()
        self._kept(lambda: self.runs.update(lock.run_id, **info))

    def finish_run(self, summary: Mapping[str, Any], state: RunState = DONE) -> None:
        """Close the run's file: how it ended. Also for runs that failed in an orderly way."""
        lock = self._writable()
        if state == DONE:
            self._kept(lambda: self._sealer.seal_all(self.shard_videos))
        if self._fingerprints is not None:
            self.ledger.keep(self._fingerprints)
        values = {"state": state, "finished": now(), "summary": dict(summary)}
        self._kept(lambda: self.runs.update(lock.run_id, **values))

    def write_report(self, failures: Sequence[VideoRecord]) -> StorePath:
        """Write what is failed in the store as ``S/runs/<run>-failures.csv``; its path.

        ``failures`` are those of this run; what failed in earlier ones, and still is, follows.
        """
        lock = self._writable()
        if self._failures is None:  # the ledger is read once: tables are written again and again
            self._failures = self.ledger.failed()
        new, rows = failed_alone(failures), self.arrays.rows
        still = {feature: self.status(feature) == Status.FAILED for feature in self.features()}
        earlier = [
            record
            for (row, feature), record in self._failures.items()
            if (row, feature) not in new
            and rows.get(record.video_id) == row
            and feature in still
            and still[feature][row]
        ]
        self._failures |= new
        return self._kept(lambda: self.runs.write_failures(lock.run_id, [*failures, *earlier]))

    def write_warnings(self, warned: Sequence[VideoRecord]) -> StorePath:
        """Write what a run's readers warned of as ``S/runs/<run>-warnings.csv``; its path."""
        lock = self._writable()
        return self._kept(lambda: self.runs.write_warnings(lock.run_id, warned))

    def recover(
        self, *, rebuild: bool = False, discard: Callable[[StorePath], None] = chunks.delete
    ) -> Recovery:
        """Heal what a crash left; to be called first by every run on an existing store.

        Ledger segments newer than the checkpoint are applied again. After an unclean end also
        leftovers of interrupted writes go, and rows of the last 15 minutes are checked, after a
        power loss by reading them, and made pending if damaged. ``rebuild`` does all of it from
        the whole ledger, which has to be sound; ``discard`` takes away objects that no longer
        count.

        Raises:
            StoreLocked: another run took the lock.
            StoreError: a column is damaged and so is the ledger.
            StorageFailure: the disk is full or read-only.
        """
        lock = self._fenced()
        rebuild = rebuild or bool(self.damaged) or self._lost_statuses()
        if rebuild:
            self.ledger.require_sound()
        self.arrays.discard = discard
        with reading(f"store {str(self.path)!r}"), storage_errors(f"store {str(self.path)!r}"):
            return self._recover(lock, rebuild)

    def _lost_statuses(self) -> bool:
        """Whether statuses that the ledger tells of read as pending, since their object is gone."""
        lost = {feature: self.lost_status(feature) for feature in self.features()}
        if not any(rows.any() for rows in lost.values()):
            return False
        told = self.fingerprints().known(self.num_rows)
        # Rows that a killed run has just added have no object either: few get beyond this.
        is_told = any((rows & told).any() for rows in lost.values())
        return is_told and self.ledger.tells_of(self.arrays.rows, lost)

    def _recover(self, lock: Lock, rebuild: bool) -> Recovery:
        found, runs = Recovery(), self.runs.all()
        self.ledger.begin_after(self.runs.checkpoint())
        interrupted = [
            run["run_id"]
            for run in runs
            if run["state"] == RUNNING and run["run_id"] != lock.run_id
        ]
        segments = self.ledger.segments(0 if rebuild else self.runs.checkpoint())
        if segments:
            self.arrays.replay([*newest_only(segments)])
            found.replayed = len(segments)
        if lock.took_over or interrupted or segments or rebuild:
            self.arrays.show_rows()
            found.partials = remove_partials(self.path)
            # A damaged run file may have held the checkpoint: any segment may be new now.
            everything = rebuild or bool(segments and any(r["state"] == DAMAGED for r in runs))
            found.bad = damaged_rows(
                self.root,
                self.ledger,
                self.rows(),
                {feature: self.status(feature) for feature in self.features()},
                newer_than=None if everything else SUSPECT_SECONDS,
                read=everything or not lock.no_power_loss,
            )
            if found.bad:
                self.set_pending(found.bad)
        self.runs.update(lock.run_id, checkpoint=self.ledger.last)
        self.ledger.fold(self.ledger.last)
        for run_id in interrupted:
            self.runs.update(run_id, state=INTERRUPTED)
        layout.allocate_reserve(self.path)
        self._keep_what_follows()
        return found

    def _keep_what_follows(self) -> None:
        """Files that follow from the attributes: their copy, and the group of what is loose."""
        layout.keep_copy(self.path)
        layout.keep_loose(self.path, self._attrs)

    @property
    def damaged(self) -> list[str]:
        """Names of columns that could not be read and wait for `recover`."""
        return [name for name, column in self.arrays.columns.items() if column.damaged]

    def _writable(self) -> Lock:
        if self._lock is None:
            raise StoreError(f"store {str(self.path)!r} was opened without its lock; expected one")
        return self._lock

    def _fenced(self) -> Lock:
        lock = self._writable()
        self._guarded(lock.check)
        return lock

    def _kept(self, action: Callable[[], T]) -> T:
        """Run a step that may be repeated; on a full disk free the reserve and repeat it."""
        try:
            return self._guarded(action)
        except StorageFailure as error:
            if not is_disk_full(error) or not layout.free_reserve(self.path):
                raise
            self._full = error
            return self._guarded(action)

    def _guarded(self, action: Callable[[], T]) -> T:
        with storage_errors(f"store {str(self.path)!r}"):
            return with_retries(action)

    def _raise_if_full(self) -> None:
        error, self._full = self._full, None
        if error is not None:
            raise error
