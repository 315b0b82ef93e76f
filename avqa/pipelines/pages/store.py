"""The page of a store: what it holds, video by video, and how the videos lie to each other."""

from __future__ import annotations

import base64
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avqa.errors import AvqaError
from avqa.pipelines.pages.media.posters import Videos, evenly
from avqa.pipelines.pages.page import finite, render
from avqa.pipelines.pages.search import Hits, search
from avqa.pipelines.pages.space import Space, described, space, strips
from avqa.store.checks.summary import Summary, summary
from avqa.store.commit import Store
from avqa.store.format.ledger import warnings_in
from avqa.store.format.recipe_diff import flat, has_random_weights
from avqa.store.format.records import Status
from avqa.store.places.files import StorePath
from avqa.store.reader import FeatureStore, RandomWeightsWarning, open_store
from avqa.telling import Say
from avqa.units import clock, size

MOST_VIDEOS = 20_000
"""Listed."""
MOST_READ = 4_000
"""Videos of the map and the strips, evenly spread over a larger store."""
MOST_MAPS = 3
MOST_CHANNELS = 8192
"""Numbers of a row that is read for a map: the maps of whole pictures are left alone."""
MOST_POSTERS = 3_000


@dataclass(frozen=True)
class _Map:
    """One feature's view of the store."""

    feature: str
    videos: tuple[int, ...]
    """Their numbers on the page."""
    strips: tuple[bytes, ...]
    space: Space | None
    damaged: Mapping[int, str]
    """Number → why a video could not be read."""


def store_page(
    path: StorePath, videos: Path | None, say: Say, sentences: Sequence[str] = ()
) -> bytes:
    """The page.

    Args:
        path: of the store.
        videos: folder of the videos, for frames.
        say: what is missing.
        sentences: whose nearest seconds the page shows.

    Raises:
        StoreNotFound, StoreError: there is no store, or it is damaged.
        ConfigError: ``videos`` is no folder.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RandomWeightsWarning)  # the page says it
        reader = open_store(path)
    told = summary(path)
    ids = reader.video_ids[:MOST_VIDEOS]
    shown = _videos(Store.open(path), reader, ids)
    maps = [_map(reader, feature, ids) for feature in _mapped(reader)]
    found, lacking = _found(reader, ids, sentences)
    media = _media(videos, shown, found, say)
    missing = [*lacking, *_missing(reader, ids, maps, videos, media.frames)]
    for line in missing:
        say(f"not on the page: {line}")
    return render(
        "store",
        title=f"store {path.name}",
        data={
            "videos": shown,
            "states": [state.name.lower() for state in Status],
            "features": list(reader.features),
            "maps": [_map_json(one) for one in maps],
            "posters": _numbered(ids, media.frames),
            "spectra": _numbered(ids, media.spectra),
        },
        path=str(path),
        told=told,
        hours=clock(sum(video for video in shown["seconds"])),
        marks=_marks(told),
        found=found,
        stills=media.stills,
        missing=missing,
        features=[_feature(reader, told, name) for name in reader.features],
        texts=told.texts,
        recipes=[(f.name, f.recipe_hash, sorted(flat(f.recipe).items())) for f in told.features],
        maps=maps,
        ids=ids,
        runs=[] if told.packed else [told.run_line(run) for run in told.runs],
    )


def _marks(told: Summary) -> list[str]:
    made = [f.name for f in (*told.features, *told.texts) if has_random_weights(f.recipe)]
    if not made:
        return []
    return [f"RANDOM WEIGHTS made {', '.join(made)}: for tests only, these features mean nothing"]


def _feature(reader: FeatureStore, told: Summary, name: str) -> dict[str, Any]:
    found = next(feature for feature in told.features if feature.name == name)
    try:
        layout = reader.row_layout(name)
        rows = f"[{', '.join(['T', *map(str, layout.shape)])}] {layout.dtype}"
    except AvqaError:  # the page must be there above all where something is wrong
        rows = "damaged"
    return {
        "name": name,
        "rows": rows,
        "counts": found.counts,
        "seconds": clock(found.seconds),
        "size": size(found.n_bytes),
        "digest": found.recipe_hash,
    }


def _videos(store: Store, reader: FeatureStore, ids: Sequence[str]) -> dict[str, list[Any]]:
    """Columns of the list of videos."""
    rows, features = store.rows(), reader.features
    status = {feature: store.status(feature) for feature in features}
    failed = {
        (rows[name], feature)
        for name in ids
        for feature in features
        if status[feature][rows[name]] == Status.FAILED
    }
    why = store.ledger.failures(failed) if failed else {}
    reports = store.ledger.reports()
    durations = store.arrays.columns["index/duration"].values
    notes = []
    for name in ids:
        row = rows[name]
        told = [(f, why[row, f]) for f in features if (row, f) in why]
        reasons = dict.fromkeys(f"{r.reason}: {r.message}" for _, r in told)
        notes.append([*reasons, *warnings_in(reports.get(row, ()))])
    return {
        "id": list(ids),
        "seconds": [reader.length(name) for name in ids],
        "duration": [finite(float(durations[rows[name]]), 2) for name in ids],
        "status": [[int(status[f][rows[name]]) for f in features] for name in ids],
        "notes": notes,
    }


def _mapped(reader: FeatureStore) -> list[str]:
    """The features whose rows are small enough to read all of them, the smallest first."""
    sizes = {}
    for feature in reader.features:
        try:
            sizes[feature] = math.prod(reader.row_layout(feature).shape)
        except AvqaError:
            continue
    small = [f for f in sizes if sizes[f] <= MOST_CHANNELS]
    return sorted(small or sizes, key=lambda f: (sizes[f], f))[: MOST_MAPS if small else 1]


def _map(reader: FeatureStore, feature: str, ids: Sequence[str]) -> _Map:
    there = [n for n, name in enumerate(ids) if reader.status(name, feature) == Status.OK]
    if len(there) > MOST_READ:
        chosen = np.linspace(0, len(there) - 1, MOST_READ).round().astype(int)
        there = [there[place] for place in np.unique(chosen)]
    found, damaged = {}, {}
    for number in there:
        try:
            found[number] = described(reader.read(ids[number], feature))
        except AvqaError as error:
            damaged[number] = str(error)
    means = [one.mean for one in found.values()]
    return _Map(
        feature,
        tuple(found),
        tuple(strips([one.pieces for one in found.values()])) if found else (),
        space(np.stack(means)) if means else None,
        damaged,
    )


def _map_json(one: _Map) -> dict[str, Any]:
    known = one.space
    return {
        "feature": one.feature,
        "videos": list(one.videos),
        "strips": [base64.b64encode(strip).decode("ascii") for strip in one.strips],
        "places": None if known is None else np.round(known.places, 4).tolist(),
        "apart": None if known is None else np.round(known.apart, 3).tolist(),
        "shares": None if known is None else [round(share, 3) for share in known.shares],
        "pairs": []
        if known is None
        else [[one.videos[a], one.videos[b], round(d, 4)] for a, b, d in known.pairs],
        "farthest": [] if known is None else [one.videos[n] for n in known.farthest],
    }


def _found(
    reader: FeatureStore, ids: Sequence[str], sentences: Sequence[str]
) -> tuple[list[Hits], list[str]]:
    """What was searched for, and why it cannot be."""
    if not sentences:
        return [], []
    try:
        return search(reader, ids, sentences), []
    except AvqaError as error:
        return [], [f"the search: {error}"]


@dataclass(frozen=True)
class _Media:
    """Pictures of the videos' files."""

    frames: Mapping[str, str]
    """Video id → frames."""
    spectra: Mapping[str, str]
    """Video id → spectrum of its sound."""
    stills: Mapping[tuple[int, float], str]
    """Number of a video and a second → the frame there."""


def _media(
    videos: Path | None, shown: Mapping[str, Any], found: Sequence[Hits], say: Say
) -> _Media:
    if videos is None:
        return _Media({}, {}, {})
    files = Videos(videos)
    pairs = list(zip(shown["id"], shown["duration"], strict=True))[:MOST_POSTERS]
    say(f"frames of {len(pairs)} videos from {str(videos)!r}")
    frames = files.frames({name: (name, evenly(duration)) for name, duration in pairs})
    hits = {(hit.number, hit.second) for one in found for hit in one.hits}
    stills = files.frames({hit: (shown["id"][hit[0]], [hit[1]]) for hit in sorted(hits)})
    return _Media(frames, files.spectra(frames), stills)


def _numbered(ids: Sequence[str], pictures: Mapping[str, str]) -> dict[str, str]:
    return {str(number): pictures[name] for number, name in enumerate(ids) if name in pictures}


def _missing(
    reader: FeatureStore,
    ids: Sequence[str],
    maps: Sequence[_Map],
    videos: Path | None,
    frames: Mapping[str, str],
) -> list[str]:
    """What is not on the page, one line each."""
    lines = []
    if len(ids) < len(reader):
        lines.append(f"{len(reader) - len(ids)} of {len(reader)} videos: the first ones are listed")
    for one in maps:
        if one.damaged:
            first = next(iter(one.damaged.values()))
            count = len(one.damaged)
            lines.append(f"{one.feature} of {count} videos that cannot be read, the first: {first}")
        there = reader.counts(one.feature)[Status.OK]
        if len(one.videos) + len(one.damaged) < min(there, len(ids)):
            lines.append(f"map of {one.feature}: {len(one.videos)} of {there} videos are on it")
        elif one.space is None and one.videos:
            lines.append(
                f"map of {one.feature}: {len(one.videos)} videos; expected 3 or more that differ"
            )
    if videos is not None and len(frames) < min(len(ids), MOST_POSTERS):
        lacking = min(len(ids), MOST_POSTERS) - len(frames)
        lines.append(f"frames of {lacking} videos: not in {str(videos)!r}, or not to be read")
    return lines
