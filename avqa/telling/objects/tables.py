"""What heads score."""

from __future__ import annotations

from typing import TypedDict


class Cell(TypedDict):
    """An accuracy."""

    percent: float | None
    """Mean over the seeds; null of no question."""
    sd: float | None
    """Sample standard deviation over the seeds."""
    correct: list[int]
    """Right answers per seed; empty of published figures."""
    total: int | None
    """Questions; null of published figures."""
    low: float | None
    """Ends of the 95 % interval."""
    high: float | None


class Row(TypedDict):
    """A line of a result table."""

    name: str
    kind: str
    """published, floor, question-only, ours, condition, ablation, paper's ablation, answers."""
    annotation: str
    """Of a published row, as in `avqa heads`."""
    consistent: bool
    comparable: bool
    """It is of the questions that the table scores."""
    seeds: list[int]
    parameters: float | None
    gflops: float | None
    cells: dict[str, Cell]
    """By column."""
    note: str


class Column(TypedDict):
    """One column of two sides beside each other."""

    name: str
    questions: int
    a_percent: float
    b_percent: float
    difference: float
    """A - B in percentage points."""
    low: float | None
    """Ends of its 95 % interval; null, as p and least, where all questions are about one video."""
    high: float | None
    p: float | None
    least: float | None
    """The difference that so many questions would show in 8 of 10 cases."""
    mcnemar: float | None
    """p of McNemar's test; null of several seeds."""


class Comparison(TypedDict):
    """Two sides on the questions that both answered. Alone: `avqa compare-runs A B`."""

    a: str
    b: str
    videos: int
    only_a: int
    """Questions that only A answered."""
    only_b: int
    changed: int
    """Questions left out since their right answer differs."""
    columns: list[Column]


class Confidence(TypedDict):
    """Whether a head knows what it knows."""

    name: str
    seeds: int
    accuracy_percent: float
    confidence_percent: float
    """Mean probability of the answers that were given."""
    ece: float
    """Expected calibration error, 15 bins of equal width, 0 to 1; mean over the seeds."""
    ece_sd: float | None
    """Null of one seed, as all ``_sd``."""
    brier: float
    """Brier's score over all answers, 0 to 2."""
    brier_sd: float | None
    aurc: float
    """Area under the risk-coverage curve, 0 to 1."""
    aurc_sd: float | None


class Consistency(TypedDict):
    """Whether a head answers the wordings of a question alike (MUSIC-AVQA-R)."""

    name: str
    seeds: int
    questions: int
    wordings: int
    consistent_percent: float
    """Questions all of whose wordings are answered right."""
    low: float | None
    """Ends of its 95 % interval."""
    high: float | None
    agreeing_percent: float
    """Wordings that get their question's most frequent answer."""


class Table(TypedDict):
    """`avqa evaluate RUN`, `avqa table RUNS` and `avqa score FILES`."""

    dataset: str
    version: str
    """Of the annotation."""
    split: str
    choices: str
    """The data set's own that were made, as ``edition=bias``."""
    columns: list[str]
    rows: list[Row]
    warnings: list[str]
    notes: list[str]
    comparisons: list[Comparison]
    """Of `avqa score` the first file beside each other one, of `avqa evaluate` a head as it is
    beside itself ``--without``, with ``--swap`` or with ``--missing-rate``."""
    confidence: list[Confidence]
    """Of `avqa evaluate`."""
    consistency: list[Consistency]
    """Of `avqa evaluate`, where questions have several wordings."""
    files: list[str]
    """Which answer is given in place of which (``confusions.csv``), and all probabilities
    (``predictions.npz``), where they were written."""
