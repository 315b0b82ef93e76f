"""What a store holds, and whether it is as it should be."""

from __future__ import annotations

from typing import Any, TypedDict


class Counted(TypedDict):
    """A feature of the videos or of the texts."""

    name: str
    counts: dict[str, int]
    """Status → videos or texts."""
    rows: int
    """That can be read: seconds, or texts."""
    bytes: int
    recipe_hash: str
    random_weights: bool
    """Its numbers mean nothing."""


class Failed(TypedDict):
    """Features of a video that failed in one way."""

    video_id: str
    features: list[str]
    why: str


class Holder(TypedDict):
    """The run that holds the store."""

    run_id: str
    host: str
    pid: int
    heartbeat: str
    dead: bool


class StoreRun(TypedDict):
    """One of the last runs."""

    run_id: str
    state: str
    reason: str | None


class Origin(TypedDict):
    """A folder or list that videos came from."""

    path: str
    name: str
    ids: str
    here: bool
    """It is on this machine."""
    gone: list[str]
    """Ids of videos that have no file any more; empty where another root may have them."""


class Task(TypedDict):
    """A task of an array job that is not finished."""

    partition: str
    lacks: str


class Parts(TypedDict):
    """An array job whose parts are not one store yet."""

    tasks: int
    videos: int
    unfinished: list[Task]


class Status(TypedDict):
    """`avqa status STORE`. Of parts alone there is no store yet: ``videos`` is null."""

    store: str
    videos: int | None
    chunk_seconds: int | None
    packed: bool
    features: list[Counted]
    texts: list[Counted]
    failed: list[Failed]
    """Of the first failed videos."""
    failed_more: int
    """Failed videos beyond those."""
    failures_table: str | None
    warnings_table: str | None
    lock: Holder | None
    runs: list[StoreRun]
    """Oldest first."""
    origins: list[Origin]
    parts: Parts | None


class Video(TypedDict):
    """A video of a store."""

    video_id: str
    seconds: float | None
    rows: int
    features: dict[str, str]
    """Feature → status."""


class StatusVideos(TypedDict):
    """`avqa status STORE --videos`."""

    store: str
    videos: list[Video]


class FeatureRecipe(TypedDict):
    """What made a feature."""

    name: str
    recipe_hash: str
    recipe: dict[str, Any]


class StatusRecipes(TypedDict):
    """`avqa status STORE --recipes`."""

    store: str
    features: list[FeatureRecipe]
    texts: list[FeatureRecipe]


class Warned(TypedDict):
    """What a reader warned of."""

    video_id: str
    warning: str


class StatusWarnings(TypedDict):
    """`avqa status STORE --warnings`, of parts too."""

    store: str
    warnings: list[Warned]


class Problem(TypedDict):
    """Something that is not as it should be."""

    kind: str
    array: str
    video_id: str | None
    row: int | None
    detail: str
    remedy: str
    """What ``--repair`` does about it; ``none``: nothing."""


class RowsChecked(TypedDict):
    """Of ``--partition I/N``."""

    index: int
    count: int
    first: int
    rows: int


class Verified(TypedDict):
    """`avqa verify STORE`."""

    store: str
    level: str
    part: RowsChecked | None
    videos: int
    texts: int
    objects: int
    bytes: int
    uncommitted: int
    """Objects of an unfinished run: no problem."""
    problems: list[Problem]
    unread: list[Problem]
    """What the machine did not give: nobody knows whether it is good."""
    repaired: bool
    removed: str | None
    """Where lies what the repair took away."""
    random_weights: bool
    packed: bool


class Side(TypedDict):
    """What can be seen of one side of a comparison alone."""

    rows: int
    dtypes: list[str]
    notes: list[str]


class Cosines(TypedDict):
    """Of the rows that meet."""

    rows: int
    min: float
    median: float
    max: float
    lowest: str
    """Where the smallest is."""


class Stream(TypedDict):
    """A feature that both sides have."""

    name: str
    videos: int
    """In both; questions, of files that are named by question."""
    ours_only: int
    theirs_only: int
    ours: Side
    theirs: Side
    shift: int
    """Row k of ours meets row k + shift of theirs."""
    cosine: Cosines | None
    """Null where no rows could be compared."""
    scale: float
    """Median of \\|theirs\\| / \\|ours\\|."""
    convention: str | None
    """Likely one of theirs."""
    recipe: str | None
    """The nearest to it."""
    reasons: list[str]
    """Why the sides differ; empty if they are equal."""
    notes: list[str]


class Compared(TypedDict):
    """`avqa compare OURS THEIRS`."""

    ours: str
    theirs: str
    tolerance: float
    equal: bool
    streams: list[Stream]
    unmatched: list[str]
    """What only one side has."""
