"""What a store holds, counted: `avqa status`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avqa.store.admin import Store
from avqa.store.lock import Holder, read_holder
from avqa.store.reader import has_random_weights
from avqa.store.recipes import flat, recipe_hash
from avqa.store.records import Status

LAST_RUNS = 5


@dataclass(frozen=True)
class FeatureSummary:
    """One feature of a store."""

    name: str
    counts: dict[str, int]
    """Status in lower case → number of videos."""
    seconds: int
    """Rows that can be read."""
    n_bytes: int
    """Of the chunk objects on disk."""
    recipe: dict[str, Any]
    recipe_hash: str


def _listed(values: set[tuple[str, str]]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(values))


@dataclass(frozen=True)
class Summary:
    """A store, counted."""

    path: Path
    videos: int
    chunk_seconds: int
    features: tuple[FeatureSummary, ...]
    holder: Holder | None
    runs: tuple[dict[str, Any], ...]
    """The last ones, oldest first."""

    def lines(self) -> list[str]:
        """For people, one fact per line."""
        text = [f"store {str(self.path)!r}: {self.videos} videos, chunks of {self.chunk_seconds} s"]
        recipes = [set(flat(feature.recipe).items()) for feature in self.features]
        common = set.intersection(*recipes) if recipes else set()
        text.append(f"recipe of all features: {_listed(common)}")
        for feature in self.features:
            counts = " ".join(f"{name}={number}" for name, number in feature.counts.items())
            text.append(
                f"{feature.name}: {counts}; {feature.seconds} rows,"
                f" {feature.n_bytes / 1e6:.1f} MB; recipe {feature.recipe_hash[:12]}"
                f"{' RANDOM WEIGHTS' if has_random_weights(feature.recipe) else ''}"
            )
            text.append(f"  {_listed(set(flat(feature.recipe).items()) - common)}")
        if self.holder is None:
            text.append("lock: free")
        else:
            gone = " (dead; the next run takes over)" if self.holder.is_gone() else ""
            text.append(
                f"lock: run_id={self.holder.run_id} host={self.holder.host}"
                f" pid={self.holder.pid} heartbeat={self.holder.heartbeat}{gone}"
            )
        for run in self.runs:
            reason = run.get("summary", {}).get("reason", "")
            text.append(f"run {run['run_id']}: {run['state']}{f', {reason}' if reason else ''}")
        return text


def summary(path: str | Path) -> Summary:
    """Count a store; takes no lock and changes nothing.

    Raises:
        StoreNotFound: there is no store.
        StoreError: it has another schema or is damaged.
    """
    store = Store.open(Path(path))
    return Summary(
        path=store.path,
        videos=len(store.rows()),
        chunk_seconds=store.chunk_seconds,
        features=tuple(_feature(store, name) for name in store.features()),
        holder=read_holder(store.path),
        runs=tuple(store.runs.all()[-LAST_RUNS:]),
    )


def _feature(store: Store, name: str) -> FeatureSummary:
    status, recipe = store.status(name), store.recipes()[name]
    return FeatureSummary(
        name=name,
        counts={each.name.lower(): int((status == each).sum()) for each in Status},
        seconds=int(store.length(name)[status == Status.OK].sum()),
        n_bytes=sum(object_sizes(store.root, name).values()),
        recipe=recipe,
        recipe_hash=recipe_hash(recipe),
    )


def object_sizes(root: Path, feature: str) -> dict[str, int]:
    """File name → size of everything in a feature's folder but its metadata: one listing."""
    with os.scandir(root / feature) as entries:
        return {e.name: e.stat().st_size for e in entries if e.name != "zarr.json"}
