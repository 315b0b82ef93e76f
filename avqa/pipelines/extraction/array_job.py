"""Array jobs: one extraction in n tasks that know nothing of each other.

    S/parts/videos.jsonl     the videos, fixed by whichever task comes first: a line with n,
                             then one line per video; position p belongs to task p % n, or of
                             very many videos (a line with ``block``) to task p // block % n
    S/parts/<i>-of-<n>/      what task i made: a whole store, with its own lock and ledger
    S/parts/finished.json    everything is in S, and `avqa finalize` is removing the parts

A task never writes to S itself. `avqa.pipelines.extraction.finalize` makes S of the parts.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from avqa.errors import ConfigError, StoreError, StoreLocked
from avqa.pipelines.extraction.collection.sources import Source, printable
from avqa.store.commit import Store
from avqa.store.format.records import FINISHED
from avqa.store.format.runs import DONE
from avqa.store.format.schema import FeatureSpec, bytes_needed
from avqa.store.format.shards import MOST_VIDEOS, videos_per_shard
from avqa.store.lock import LOCK, STEAL_AFTER_SECONDS, Holder, heartbeat_age, read_holder
from avqa.store.places.files import StorePath, storage_errors, store_path
from avqa.telling import objects

PARTS = "parts"
VIDEOS = "videos.jsonl"
END = "finished.json"
MOST_SHOWN = 10
LEAST_VIDEOS = 100_000
"""Videos from which on tasks write shards: of five features these are half a million files."""
LEAST_BLOCK = 64
"""Videos of the smallest shard."""
BLOCKS_PER_TASK = 8
"""At least, so that no task has much more to do than another."""
T = TypeVar("T")


@dataclass(frozen=True)
class Partition:
    """One task of an array job."""

    index: int
    count: int

    def __str__(self) -> str:
        """As the user gives it."""
        return f"{self.index}/{self.count}"

    def folder(self, store: StorePath) -> StorePath:
        """Where this task's part of a store is made."""
        return store / PARTS / f"{self.index}-of-{self.count}"

    def share(self, videos: Sequence[T]) -> Sequence[T]:
        """This task's videos, of all."""
        return videos[self.index :: self.count]


def partition_of(text: str) -> Partition:
    """Read ``i/n``.

    Raises:
        ConfigError: it is something else, or i is not below n.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
    if match is None or int(match[1]) >= int(match[2]):
        raise ConfigError(
            f"partition={text!r}; expected I/N with 0 <= I < N; in a SLURM script with"
            " --array=0-15 give --partition $SLURM_ARRAY_TASK_ID/16"
        )
    return Partition(int(match[1]), int(match[2]))


@dataclass(frozen=True)
class Videos:
    """The list that all tasks share."""

    count: int
    """Number of tasks."""
    relpaths: dict[str, str]
    """Video id → path below the videos folder, in the order of the list."""
    block: int = 0
    """Videos in a row that belong to one task, which writes shards of them; 0: no shards."""

    @property
    def ids(self) -> tuple[str, ...]:
        """In the order of the list."""
        return tuple(self.relpaths)

    def share(self, task: Partition) -> list[tuple[str, str]]:
        """(video id, path) of a task's videos, in the order of its rows."""
        return [(name, self.relpaths[name]) for name in self.names_of(task)]

    def names_of(self, task: Partition) -> list[str]:
        """Ids of a task's videos, in the order of its rows."""
        names = self._names
        if not self.block:
            return [*task.share(names)]
        starts = task.share(range(0, len(names), self.block))
        return [name for start in starts for name in names[start : start + self.block]]

    @cached_property
    def _names(self) -> list[str]:
        return [*self.relpaths]

    def tasks(self) -> Iterator[Partition]:
        """All of them."""
        return (Partition(index, self.count) for index in range(self.count))


def read_videos(store: StorePath) -> Videos | None:
    """The list of a store that is being extracted in parts; None if it is not.

    Raises:
        StoreError: it is damaged.
    """
    path = store / PARTS / VIDEOS
    try:
        # One line at a time: there may be millions.
        lines = map(json.loads, io.BytesIO(path.read_bytes()))
        head: dict[str, Any] = next(lines, {})
        # Versions that know no blocks find no ``parts`` and refuse, instead of sharing otherwise.
        count = head["tasks"] if "block" in head else head["parts"]
        relpaths = {line["video_id"]: line["relpath"] for line in lines}
        return Videos(count, relpaths, head.get("block", 0))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"list of videos {str(path)!r} is damaged: {error}; expected JSON lines; remove"
            f" {str(path.parent)!r} and extract its videos again"
        ) from error


def fixed_videos(store: StorePath, partition: Partition, sources: Sequence[Source]) -> Videos:
    """The list of a store's tasks; if no task came yet, the one that ``sources`` would make.

    Raises:
        StoreError: S is being extracted in another number of parts, or finalized.
    """
    _refuse_finished(store)
    videos = read_videos(store)
    if videos is None:
        block = _block(store, len(sources), partition.count)
        return Videos(partition.count, {s.video_id: s.relpath for s in sources}, block)
    if videos.count != partition.count:
        raise StoreError(
            f"store {str(store)!r} is being extracted in {videos.count} parts; expected"
            f" {partition.count} as in --partition {partition}; give I/{videos.count}, or remove"
            f" {str(store / PARTS)!r} to drop what they have extracted"
        )
    return videos


def _block(store: StorePath, num_videos: int, count: int) -> int:
    """Videos in a row that belong to one task; 0 if the tasks are to write no shards."""
    fair = num_videos // (count * BLOCKS_PER_TASK)
    if num_videos < LEAST_VIDEOS or fair < LEAST_BLOCK:
        return 0
    if not Store.exists(store):
        return min(MOST_VIDEOS, 1 << (fair.bit_length() - 1))
    there = Store.open(store, tolerant=True)
    if there.shard_videos.keys() != set(there.features()):
        return 0
    block = max(there.shard_videos.values())
    return block if block <= fair else 0


def shard_videos(
    store: StorePath, block: int, specs: Sequence[FeatureSpec], chunk_seconds: int
) -> dict[str, int]:
    """Feature → videos of a shard in the parts of ``store``; as there, if it is there."""
    if not block:
        return {}
    sizes = {s.name: bytes_needed([replace(s, sparse=False)], [1.0], chunk_seconds) for s in specs}
    made = {name: min(block, videos_per_shard(chunk_seconds, size)) for name, size in sizes.items()}
    known = Store.open(store, tolerant=True).shard_videos if Store.exists(store) else {}
    return made | {name: videos for name, videos in known.items() if name in made}


def fix_videos(store: StorePath, partition: Partition, sources: Sequence[Source]) -> Videos:
    """The list of videos that all tasks share: the first one's, whoever that is.

    Args:
        store: the store directory S.
        partition: this task.
        sources: what this task would take if it is the first one.

    Raises:
        StoreError: S is being extracted in another number of parts, or finalized.
        StorageFailure: the folder cannot be written.
    """
    if not (store / PARTS / VIDEOS).exists():
        content = "".join(_lines(fixed_videos(store, partition, sources))).encode("ascii")
        with storage_errors(f"{str(store / PARTS)!r}"):
            store_path(store / PARTS / VIDEOS).create(content)
    return fixed_videos(store, partition, sources)


def _lines(videos: Videos) -> Iterator[str]:
    head = {"tasks": videos.count, "block": videos.block}
    yield json.dumps(head if videos.block else {"parts": videos.count}) + "\n"
    for name, path in videos.relpaths.items():
        yield json.dumps({"video_id": name, "relpath": path}) + "\n"


def assigned(
    videos: Videos,
    partition: Partition,
    folder: Path,
    *,
    found: Sequence[Source],
    chosen: Sequence[Source],
) -> tuple[list[Source], list[str]]:
    """What this task extracts, and what is to be said about it.

    Args:
        videos: the list of all tasks.
        partition: this task.
        folder: the videos folder.
        found: all videos in it now.
        chosen: those of them that ``--ids`` and ``--limit`` leave.

    Raises:
        ConfigError: the folder or the choice is evidently not that of the first task.
    """
    here = {source.video_id: source for source in found}
    gone = [name for name in videos.ids if name not in here]
    if 2 * len(gone) > len(videos.ids):
        raise ConfigError(
            f"videos folder {printable(str(folder))!r} has {len(videos.ids) - len(gone)} of the"
            f" {len(videos.ids)} videos that the first task found; expected the same folder;"
            " check --videos, --ext and --id"
        )
    taken = {source.video_id for source in chosen}
    left = [name for name in videos.ids if name in here and name not in taken]
    if left:
        raise ConfigError(
            f"--ids or --limit leave out {len(left)} of the {len(videos.ids)} videos that the"
            f" first task took, one is {left[0]!r}; expected its choice; give the same, or"
            " neither: the videos are fixed until `avqa finalize`"
        )
    notes = []
    if late := [source.video_id for source in chosen if source.video_id not in videos.relpaths]:
        notes.append(
            f"came after the first task began: {len(late)} videos, one is {late[0]!r};"
            " `avqa extract` takes them after `avqa finalize`"
        )
    if gone:
        notes.append(f"gone since the first task began: {len(gone)} videos, one is {gone[0]!r}")
    root = os.path.abspath(folder)
    share = [
        here.get(name, Source(name, relpath, root)) for name, relpath in videos.share(partition)
    ]
    return share, notes


def refuse_parts(store: StorePath) -> None:
    """Make sure that a store is not being extracted in parts.

    Raises:
        StoreError: it is.
    """
    _refuse_finished(store)
    videos = read_videos(store)
    if videos is not None:
        raise StoreError(
            f"store {str(store)!r} is being extracted in {videos.count} parts; expected none;"
            f" when all are finished run: avqa finalize {shlex.quote(str(store))}; or remove"
            f" {str(store / PARTS)!r} to drop what they have extracted"
        )


def _refuse_finished(store: StorePath) -> None:
    if (store / PARTS / END).exists():
        raise StoreError(
            f"store {str(store)!r}: an `avqa finalize` that was killed left parts behind; expected"
            f" none; run it again: avqa finalize {shlex.quote(str(store))}"
        )


def refuse_held(store: StorePath, *, steal: bool) -> None:
    """Make sure that no run holds the whole store, whose lock a task does not take.

    Raises:
        StoreLocked: one does.
    """
    holder = read_holder(store)
    if holder is not None and _is_busy(store, holder, steal=steal):
        raise StoreLocked(
            f"store {str(store)!r} is in use by run_id={holder.run_id} host={holder.host}"
            f" pid={holder.pid} heartbeat={holder.heartbeat}; expected no run on the whole store"
            " while its parts are made; wait for it to end, or, if it is known to be dead, use"
            " --steal-lock"
        )


def _is_busy(held: StorePath, holder: Holder, *, steal: bool) -> bool:
    """Whether a holder may be alive; ``steal`` counts one as dead after ten silent minutes."""
    return not (
        holder.is_gone() or (steal and heartbeat_age(store_path(held) / LOCK) > STEAL_AFTER_SECONDS)
    )


def unfinished(
    store: StorePath, videos: Videos, *, steal: bool = False, run_id: str = ""
) -> dict[Partition, str]:
    """The tasks that have not done their share, and what each of them lacks.

    Args:
        store: the store directory S, which may hold finished videos itself.
        videos: the list of all tasks.
        steal: see `_is_busy`.
        run_id: a run whose own locks do not count.
    """
    whole = Store.open(store, tolerant=True) if Store.exists(store) else None
    found = {task: _lacks(store, whole, videos, task) for task in videos.tasks()}
    for task in videos.tasks():
        holder = read_holder(task.folder(store))
        if (
            holder is not None
            and holder.run_id != run_id
            and _is_busy(task.folder(store), holder, steal=steal)
        ):
            found[task] = f"in use by run_id={holder.run_id} host={holder.host} pid={holder.pid}"
    return {task: lack for task, lack in found.items() if lack}


def _lacks(store: StorePath, whole: Store | None, videos: Videos, task: Partition) -> str:
    folder = task.folder(store)
    if not Store.exists(folder):
        return "not begun"
    part = Store.open(folder, tolerant=True)
    names = videos.names_of(task)
    mine = _rows_of(part, names)
    theirs = None if whole is None else _rows_of(whole, names)
    left = mine < 0
    for feature in part.features():
        done = _are_finished(part, feature, mine)
        if whole is not None and theirs is not None and feature in whole.features():
            done |= _are_finished(whole, feature, theirs)
        left |= ~done
    if left.any():
        return f"{left.sum()} of {len(names)} videos left"
    runs = [run for run in part.runs.all() if run.get("partition")]
    if runs and runs[-1]["state"] == DONE:
        return ""
    return "its last run did not come to its end"


def _rows_of(store: Store, names: Sequence[str]) -> NDArray[np.int64]:
    """Row of each video; -1 where there is none."""
    rows = store.rows()
    return np.fromiter((rows.get(name, -1) for name in names), np.int64, len(names))


def _are_finished(store: Store, feature: str, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a feature of the video of each row is ok, failed or absent."""
    found = rows >= 0
    found[found] = np.isin(store.status(feature)[rows[found]], FINISHED)
    return found


def in_words(lacks: Mapping[Partition, str]) -> str:
    """Some of the tasks with what they lack."""
    shown = [f"{task} ({lack})" for task, lack in list(lacks.items())[:MOST_SHOWN]]
    more = f" and {len(lacks) - MOST_SHOWN} more" if len(lacks) > MOST_SHOWN else ""
    return ", ".join(shown) + more


@dataclass(frozen=True)
class Progress:
    """How far the tasks of a store are."""

    store: StorePath
    videos: Videos
    lacks: Mapping[Partition, str]
    """Of the tasks that are not finished."""

    def lines(self) -> list[str]:
        """For people."""
        count = self.videos.count
        line = (
            f"parts of {str(self.store)!r}: {count - len(self.lacks)} of {count} tasks are"
            f" finished; {len(self.videos.relpaths)} videos in all"
        )
        if self.lacks:
            return [line, f"not finished: {in_words(self.lacks)}"]
        return [f"{line}; next: avqa finalize {shlex.quote(str(self.store))}"]

    def data(self) -> objects.Parts:
        """For programs."""
        return {
            "tasks": self.videos.count,
            "videos": len(self.videos.relpaths),
            "unfinished": [
                {"partition": str(task), "lacks": lack} for task, lack in self.lacks.items()
            ],
        }


def progress(store: StorePath) -> Progress | None:
    """How far the tasks are, for `avqa status`; None if a store has no parts."""
    videos = read_videos(store)
    return None if videos is None else Progress(store, videos, unfinished(store, videos))
