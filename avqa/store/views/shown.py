"""What is shown of a store: a few lines, or a small table in a notebook."""

from __future__ import annotations

from avqa.errors import AvqaError
from avqa.store.format.records import Status
from avqa.store.views.readable import Readable
from avqa.telling import html
from avqa.units import clock

RANDOM = "RANDOM WEIGHTS"
MOST_IDS = 5
"""Ids named of a store's videos."""


def text(store: Readable) -> str:
    """A line of the store, then one of each feature and one of its texts."""
    features = [_feature(store, name) for name in store.features]
    widths = [max((len(row[column]) for row in features), default=0) for column in (0, 1, 2)]
    lines = [f"<FeatureStore {_title(store)}"]
    for *parts, made in features:
        padded = (f"{part:<{width}}" for part, width in zip(parts, widths, strict=True))
        lines.append(f"  {'  '.join(padded)}  {made}".rstrip())
    if store.text_features:
        lines.append(f"  {_texts(store)}")
    return "\n".join(lines) + ">"


def as_html(store: Readable) -> str:
    """The same as a table."""
    features = [_feature(store, name) for name in store.features]
    videos = ", ".join(store.video_ids[:MOST_IDS])
    more = f" and {len(store) - MOST_IDS} more" if len(store) > MOST_IDS else ""
    random = [name for name in store.features if store.random_weights(name)]
    return html.block(
        f"FeatureStore {_title(store)}",
        html.table(("feature", "rows", "videos", "recipe"), features),
        marks=[f"{RANDOM} made {', '.join(random)}: for tests only"] if random else [],
        notes=[f"videos: {videos}{more}", *([_texts(store)] if store.text_features else [])],
    )


def _title(store: Readable) -> str:
    number, seconds = len(store), sum(store.length(video) for video in store)
    packed = ", packed" if store.packed else ""
    return f"{str(store.path)!r}: {number} video{'s' * (number != 1)}, {clock(seconds)}{packed}"


def _feature(store: Readable, name: str) -> tuple[str, str, str, str]:
    """Name, shape and dtype of its rows, videos by status, recipe."""
    counts = {s: n for s, n in store.counts(name).items() if n and s != Status.DELETED}
    states = ", ".join(f"{number} {state.name.lower()}" for state, number in counts.items())
    mark = f", {RANDOM}" if store.random_weights(name) else ""
    return name, _rows(store, name), states, f"recipe {store.recipe_hash(name)[:12]}{mark}"


def _rows(store: Readable, name: str) -> str:
    try:
        layout = store.row_layout(name)
    except AvqaError:  # showing a store must work above all where something is wrong
        return "damaged"
    return f"[{', '.join(['T', *map(str, layout.shape)])}] {layout.dtype}"


def _texts(store: Readable) -> str:
    try:
        number = str(len(store.texts))
    except AvqaError:
        number = "damaged"
    return f"texts: {number}; {', '.join(store.text_features)}"
