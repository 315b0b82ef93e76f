"""What a store holds, counted: `avqa status`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from avqa.faults import NOT_THERE
from avqa.store.commit import Store
from avqa.store.format.chunks import loose_root, object_sizes
from avqa.store.format.ledger import warnings_in
from avqa.store.format.recipe_diff import flat, recipe_hash
from avqa.store.format.records import Status
from avqa.store.format.runs import INTERRUPTED, RUNNING
from avqa.store.format.schema import open_array
from avqa.store.format.texts import TextIndex
from avqa.store.lock import Holder, read_holder
from avqa.store.places.files import StorePath, store_path
from avqa.store.reader import has_random_weights
from avqa.telling import objects
from avqa.telling.found import Listing

LAST_RUNS = 5
MOST_FAILED = 20


@dataclass(frozen=True)
class FeatureSummary:
    """One feature of a store, of its videos or of its texts."""

    name: str
    counts: dict[str, int]
    """Status in lower case → number of videos or texts."""
    seconds: int
    """Rows that can be read: seconds of video, or texts."""
    n_bytes: int
    """Of the chunk objects on disk."""
    recipe: dict[str, Any]
    recipe_hash: str

    @property
    def random_weights(self) -> bool:
        """Whether its numbers mean nothing."""
        return has_random_weights(self.recipe)

    def row(self) -> list[str]:
        """What stands under `_HEAD`."""
        mark = "RANDOM WEIGHTS" if self.random_weights else ""
        counts = [str(self.counts[name]) for name in _SHOWN]
        size = f"{self.n_bytes / 1e6:.1f}"
        return [self.name, *counts, str(self.seconds), size, self.recipe_hash[:12], mark]

    def data(self) -> objects.Counted:
        """For programs."""
        return {
            "name": self.name,
            "counts": dict(self.counts),
            "rows": self.seconds,
            "bytes": self.n_bytes,
            "recipe_hash": self.recipe_hash,
            "random_weights": self.random_weights,
        }

    def recipe_data(self) -> objects.FeatureRecipe:
        """For programs: all that changed a number."""
        return {"name": self.name, "recipe_hash": self.recipe_hash, "recipe": self.recipe}


_SHOWN = ("ok", "pending", "failed", "absent", "deleted")
_HEAD = ["feature", *_SHOWN, "rows", "MB", "recipe", ""]


def in_columns(rows: Sequence[Sequence[str]], left: Collection[int]) -> list[str]:
    """Rows of texts as aligned lines; the columns ``left`` begin alike, the others end so."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            f"{text:<{width}}" if i in left else f"{text:>{width}}"
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _listed(values: set[tuple[str, str]]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(values))


@dataclass(frozen=True)
class FailedVideo:
    """Features of a video that failed in one way."""

    video_id: str
    features: tuple[str, ...]
    every: bool
    """They are all that the store has."""
    why: str

    def __str__(self) -> str:
        """One line."""
        which = "all features" if self.every else ", ".join(self.features)
        return f"{self.video_id!r} {which}: {self.why}"

    def data(self) -> objects.Failed:
        """For programs."""
        return {"video_id": self.video_id, "features": list(self.features), "why": self.why}


@dataclass(frozen=True)
class Summary:
    """A store, counted."""

    path: StorePath
    videos: int
    chunk_seconds: int
    features: tuple[FeatureSummary, ...]
    texts: tuple[FeatureSummary, ...]
    """The texts' features; none before `avqa questions`."""
    holder: Holder | None
    runs: tuple[dict[str, Any], ...]
    """The last ones, oldest first."""
    failed: tuple[FailedVideo, ...]
    """One per failed video, or more if its features failed in different ways."""
    failed_more: int
    """Failed videos beyond those."""
    failures_table: StorePath | None
    """Written by the last run that had failures."""
    warnings_table: StorePath | None
    """Written by the last run that had warnings."""
    packed: bool
    """A packed copy: no lock, no runs."""

    def lines(self) -> list[str]:
        """For people, one fact per line."""
        text = [f"store {str(self.path)!r}: {self.videos} videos, chunks of {self.chunk_seconds} s"]
        if self.packed:
            text[0] += "; a packed copy, read-only"
        rows = [_HEAD, *(feature.row() for feature in (*self.features, *self.texts))]
        text += in_columns(rows, left={0, len(_HEAD) - 2, len(_HEAD) - 1})
        if self.texts:
            text.append(f"texts of questions: {sum(self.texts[0].counts.values())}")
        text += [f"failed: {line}" for line in self.failed]
        if self.failed_more:
            text.append(f"failed: and {self.failed_more} more")
        if self.failures_table is not None:
            text.append(f"failures of the last run that had any: {str(self.failures_table)!r}")
        if self.warnings_table is not None:
            text.append(
                f"warnings of the last run that had any: {str(self.warnings_table)!r}; of all"
                " runs: --warnings"
            )
        if self.packed:
            return text
        if self.holder is None:
            text.append("lock: free")
        else:
            gone = " (dead; the next run takes over)" if self.holder.is_gone() else ""
            text.append(
                f"lock: run_id={self.holder.run_id} host={self.holder.host}"
                f" pid={self.holder.pid} heartbeat={self.holder.heartbeat}{gone}"
            )
        return [*text, *map(self.run_line, self.runs)]

    def run_line(self, run: dict[str, Any]) -> str:
        """How a run stands, in a line."""
        told = self._run_data(run)
        reason = told["reason"] or told["state"]
        more = f", {reason}" if reason != told["state"] else ""
        return f"run {told['run_id']}: {told['state']}{more}"

    def _run_data(self, run: dict[str, Any]) -> objects.StoreRun:
        """How a run stands: it is running as long as it lives."""
        state, holder = run["state"], self.holder
        if state == RUNNING and (
            holder is None or holder.run_id != run["run_id"] or holder.is_gone()
        ):
            state = INTERRUPTED
        reason = (run.get("summary") or {}).get("reason")
        return {"run_id": run["run_id"], "state": state, "reason": reason}

    def data(self) -> objects.Status:
        """For programs; of origins and parts nothing is known here."""
        return {
            "store": str(self.path),
            "videos": self.videos,
            "chunk_seconds": self.chunk_seconds,
            "packed": self.packed,
            "features": [feature.data() for feature in self.features],
            "texts": [feature.data() for feature in self.texts],
            "failed": [one.data() for one in self.failed],
            "failed_more": self.failed_more,
            "failures_table": _text(self.failures_table),
            "warnings_table": _text(self.warnings_table),
            "lock": None if self.packed or self.holder is None else _holder_data(self.holder),
            "runs": [] if self.packed else [self._run_data(run) for run in self.runs],
            "origins": [],
            "parts": None,
        }

    def recipes(self) -> Listing[objects.StatusRecipes]:
        """All that changed a number of any feature."""
        return Listing(
            {
                "store": str(self.path),
                "features": [feature.recipe_data() for feature in self.features],
                "texts": [feature.recipe_data() for feature in self.texts],
            },
            _recipe_lines,
        )


def _text(path: StorePath | None) -> str | None:
    return None if path is None else str(path)


def _holder_data(holder: Holder) -> objects.Holder:
    return {
        "run_id": holder.run_id,
        "host": holder.host,
        "pid": holder.pid,
        "heartbeat": holder.heartbeat,
        "dead": holder.is_gone(),
    }


def _recipe_lines(found: objects.StatusRecipes) -> list[str]:
    """What all features share, then each one's own."""
    recipes = [set(flat(one["recipe"]).items()) for one in found["features"]]
    common = set.intersection(*recipes) if recipes else set()
    lines = [f"recipe of all features: {_listed(common)}"]
    for of, shared in ((found["features"], common), (found["texts"], set())):
        lines += [
            f"{one['name']} {one['recipe_hash'][:12]}:"
            f" {_listed(set(flat(one['recipe']).items()) - shared)}"
            for one in of
        ]
    return lines


def summary(path: str | StorePath) -> Summary:
    """Count a store; takes no lock and changes nothing.

    Raises:
        StoreNotFound: there is no store.
        StoreError: it has another schema or is damaged.
    """
    store = Store.open(store_path(path))
    failed, failed_more = _failed(store)
    return Summary(
        path=store.path,
        videos=len(store.video_ids()),
        chunk_seconds=store.chunk_seconds,
        features=tuple(_feature(store, name) for name in store.features()),
        texts=tuple(_texts(store)),
        holder=read_holder(store.path),
        runs=tuple(store.runs.all()[-LAST_RUNS:]),
        failed=tuple(failed),
        failed_more=failed_more,
        failures_table=store.runs.newest("failures"),
        warnings_table=store.runs.newest("warnings"),
        packed=store.packed,
    )


def warned(path: str | StorePath) -> list[objects.Warned]:
    """What readers warned of, in the order of the videos.

    Raises:
        StoreNotFound, StoreError: as `summary`.
    """
    store = Store.open(store_path(path))
    rows, reports = store.rows(), store.ledger.reports()
    return [
        {"video_id": name, "warning": " ".join(text.split())}
        for name in store.video_ids()
        for text in warnings_in(reports.get(rows[name], ()))
    ]


def videos(path: str | StorePath) -> Listing[objects.StatusVideos]:
    """Every video with its rows and what there is of each feature.

    Raises:
        StoreNotFound, StoreError: as `summary`.
    """
    store = Store.open(store_path(path))
    rows, features = store.rows(), store.features()
    columns = {feature: (store.status(feature), store.length(feature)) for feature in features}
    seconds = store.arrays.columns["index/duration"].values
    found: list[objects.Video] = [
        {
            "video_id": name,
            "seconds": float(seconds[row]) if seconds[row] == seconds[row] else None,
            "rows": max((int(lengths[row]) for _, lengths in columns.values()), default=0),
            "features": {
                feature: Status(int(status[row])).name.lower()
                for feature, (status, _) in columns.items()
            },
        }
        for name, row in ((name, rows[name]) for name in store.video_ids())
    ]

    def lines(told: objects.StatusVideos) -> list[str]:
        table = [["video", "seconds", "rows", *features], *map(_video_row, told["videos"])]
        return in_columns(table, left={0, *range(3, len(table[0]))})

    return Listing({"store": str(store.path), "videos": found}, lines)


def _video_row(video: objects.Video) -> list[str]:
    seconds = "" if video["seconds"] is None else f"{video['seconds']:.1f}"
    return [
        repr(video["video_id"])[1:-1],
        seconds,
        str(video["rows"]),
        *video["features"].values(),
    ]


def _failed(store: Store) -> tuple[list[FailedVideo], int]:
    """The first failed videos, and how many others there are."""
    by_row: dict[int, list[str]] = {}
    for feature in store.features():
        for row in (store.status(feature) == Status.FAILED).nonzero()[0].tolist():
            by_row.setdefault(row, []).append(feature)
    names = {row: name for name, row in store.rows().items()}
    shown = {row: by_row[row] for row in sorted(by_row)[:MOST_FAILED]}
    told = store.ledger.failures({(row, name) for row, of in shown.items() for name in of})
    found = []
    for row, features in shown.items():
        ways: dict[str, list[str]] = {}
        for feature in features:
            record = told.get((row, feature))
            why = f"{record.reason}: {record.message}" if record else "not in the ledger"
            ways.setdefault(" ".join(why.split()), []).append(feature)
        for why, of in ways.items():
            every = tuple(of) == store.features()
            found.append(FailedVideo(names.get(row, ""), tuple(of), every, why))
    return found, len(by_row) - len(shown)


def _feature(store: Store, name: str) -> FeatureSummary:
    status = store.status(name)
    seconds = int(store.length(name)[status == Status.OK].sum())
    return _counted(store, name, store.recipes()[name], status, seconds)


def _texts(store: Store) -> Iterator[FeatureSummary]:
    recipes = store.text_recipes()
    if recipes:
        index = TextIndex(store.root, recipes)
        for name, status in index.status.items():
            yield _counted(store, name, recipes[name], status, int((status == Status.OK).sum()))


def _counted(
    store: Store, name: str, recipe: dict[str, Any], status: NDArray[Any], rows: int
) -> FeatureSummary:
    array: Any = open_array(store.root, name, "r")  # else its folder may be gone, untold
    n_bytes = sum(object_sizes(store.root, name).values())
    if array.shards and not store.packed:
        with suppress(*NOT_THERE):  # a run that was killed may not have made it
            n_bytes += sum(object_sizes(loose_root(store.root), name).values())
    return FeatureSummary(
        name=name,
        counts={each.name.lower(): int((status == each).sum()) for each in Status},
        seconds=rows,
        n_bytes=n_bytes,
        recipe=recipe,
        recipe_hash=recipe_hash(recipe),
    )
