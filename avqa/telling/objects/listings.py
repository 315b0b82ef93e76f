"""What there is to choose from, and what a data set asks."""

from __future__ import annotations

from typing import Any, TypedDict


class Feature(TypedDict):
    """A tap of an encoder."""

    name: str
    """``<encoder>/<tap>``, as ``--features`` takes it."""
    shape: list[int]
    """Of the row of a second."""
    dims: list[str]
    """What the axes of ``shape`` are."""
    bytes_per_minute: int
    """As stored by default, before compression."""
    sparse: bool
    """It is packed before compression."""
    default: bool
    """`avqa extract` makes it unless told otherwise."""


class Option(TypedDict):
    """Something that can be chosen with ``--set``."""

    name: str
    value: Any
    """The default; of a head's page, what its recipe takes."""
    choices: list[Any]
    """All values that there are; empty where any will do."""
    what: str


class Family(TypedDict):
    """Encoders that are named by what they are made of."""

    how: str
    """Form of the name."""
    about: str


class Unusable(TypedDict):
    """A plug-in that cannot be used here."""

    name: str
    problem: str


class Encoders(TypedDict):
    """`avqa encoders`."""

    features: list[Feature]
    families: list[Family]
    unusable: list[Unusable]
    options: list[Option]


class Decoder(TypedDict):
    """One reader."""

    name: str
    default: bool
    version: str | None
    """Null where it cannot be used here."""
    problem: str | None
    """Why it cannot."""


class Decoders(TypedDict):
    """`avqa decoders`."""

    decoders: list[Decoder]


class Weight(TypedDict):
    """A published file of weights."""

    name: str
    cached: bool
    """It is here."""
    sha256: str | None
    """Of the published file, or its first digits where no more is known; null where none is."""
    licence: str
    address: str | None
    """Null where there is none to download from."""


class Weights(TypedDict):
    """`avqa weights list`."""

    weights: list[Weight]


class Figures(TypedDict):
    """A row of a paper's table."""

    name: str
    source: str
    values_percent: dict[str, float]
    """Column → accuracy as printed."""
    annotation: str
    """``u`` updated, ``o`` original, ``o/?`` mixed, ``?`` fits neither."""
    consistent: bool
    """The averages follow from the cells."""
    note: str


class Head(TypedDict):
    """A head, for one question about ``seconds`` of ``patches`` patches."""

    name: str
    problem: str | None
    """Why it cannot be used here; then what follows is null or empty."""
    parameters: int | None
    gflops: float | None
    """Two per multiply-add, LSTMs left out."""
    paper_parameters_millions: float | None
    paper_gflops: float | None
    needs: list[str]
    """What it reads."""
    stride_seconds: int | None
    """Every how many seconds, by its recipe."""
    figures: list[Figures]


class Heads(TypedDict):
    """`avqa heads`."""

    seconds: int
    patches: int
    heads: list[Head]


class OfDataset(TypedDict):
    """What a head takes otherwise with ``--dataset``."""

    dataset: str
    values: dict[str, Any]
    note: str


class Ablation(TypedDict):
    """A row of the paper's ablations."""

    name: str
    options: dict[str, Any]
    visual: str | None
    """The frames' encoder that makes the row."""
    values_percent: dict[str, float]
    """As printed."""
    consistent: bool
    note: str


class HeadPage(TypedDict):
    """`avqa heads NAME`."""

    name: str
    title: str
    venue: str
    url: str
    needs: list[str]
    parameters: int
    recipe: list[Option]
    """The paper's settings."""
    recipe_note: str
    datasets: list[OfDataset]
    settings: list[Option]
    """Settings that are not the paper's."""
    options: list[Option]
    """Of the head."""
    ablations: list[Ablation]
    figures: list[Figures]
    references: list[Figures]
    """Other methods in the paper's tables."""


class Asked(TypedDict):
    """Questions of a split."""

    split: str
    questions: int
    videos: int


class Outside(TypedDict):
    """What a vocabulary lacks."""

    distinct: int
    questions: int
    """How many questions have one of them."""
    most_frequent: list[str]


class TypeCount(TypedDict):
    """A column of the data set's result table."""

    type: str
    questions: dict[str, int]
    """By split."""
    floors_percent: dict[str, float | None]
    """By prior; null of no question."""


class Sample(TypedDict):
    """One question."""

    split: str
    question_id: str | None
    video_id: str
    modality: str
    kind: str
    text: str
    answer: str | None
    choices: list[str | None]
    """Options of a multiple choice."""


class Questions(TypedDict):
    """`avqa questions --show N`."""

    dataset: str
    version: str
    """Of the annotation."""
    choices: str
    """The data set's own that were made, as ``edition=bias``."""
    splits: list[Asked]
    distinct_texts: int
    repeated_ids: int
    missing_ids: int
    repeated_rows: int
    """Those that are alike another in everything."""
    dubbed_questions: int
    """Those heard with the sound of another video."""
    notes: list[str]
    missing_options: int | None
    """Of multiple choice; null of open answers, as the next one."""
    without_right_option: int | None
    guessing_percent: float | None
    """What guessing among the options that are there scores."""
    vocabulary_answers: int | None
    """Of a vocabulary that is built from the questions; null where it is fixed."""
    vocabulary_words: int | None
    unknown_words: Outside | None
    """Null of multiple choice, as the next two."""
    unknown_answers: Outside | None
    without_answer: int | None
    fitted_on: str | None
    """Split whose answers the floors know; null of no question."""
    scored_on: str | None
    types: list[TypeCount]
    samples: list[Sample]
