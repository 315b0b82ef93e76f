"""What a run keeps of a member: `MemberConfig`, as it began, and `MemberResult`, how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypedDict

from avqa import heads
from avqa.datasets import Vocabulary
from avqa.datasets._parts.floors import Score, Table
from avqa.training import digests, typed
from avqa.training.settings import TrainSettings

FORMAT = 1
"""Of ``run.json`` and ``config.json``; those without a number have this one, too."""


@dataclass(frozen=True, kw_only=True)
class MemberConfig:
    """Everything that decided a member's numbers; ``config.json``."""

    head: str
    """The head that was trained; ``question_only`` for the floor's row."""
    variant: str
    """``default``, an ablation's name, or ``question_only``."""
    seed: int
    options: dict[str, Any]
    """Every option of the head."""
    settings: TrainSettings
    dataset: str
    annotations: str
    """Absolute path."""
    annotation_version: str
    counts: dict[str, int]
    """Split → questions in use."""
    store: str
    """Absolute path."""
    features: dict[str, dict[str, Any]]
    """Field of `HeadInput` → ``name``, ``recipe_hash`` and ``recipe`` of the store's feature; for
    patches, ``patches``, the number of them."""
    texts: dict[str, dict[str, Any]]
    """Text feature of the store → ``recipe_hash`` and ``recipe``; empty for an LSTM."""
    weights: str
    """Source of the weights that made the features, empty where there are none; starts with
    ``random:`` where they mean nothing."""
    avqa_version: str
    grounding: str = ""
    """SHA-256 of the file that the grounding started from; empty: from seeded weights."""
    imported: str = ""
    """SHA-256 of the published checkpoint that the weights are from; empty: trained by avqa."""
    choices: dict[str, str] = field(default_factory=dict)
    """The data set's own, see `avqa.datasets.chosen`; empty in runs of before: its defaults."""
    vocabulary: dict[str, Any] = field(default_factory=dict)
    """`Vocabulary.to_json`: answers and words of the training questions; empty: MUSIC-AVQA's."""

    @property
    def words(self) -> Vocabulary:
        """``vocabulary`` as an object."""
        return Vocabulary.from_json(self.vocabulary)

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> MemberConfig:
        """Raises TypeError, KeyError or ValueError if fields are missing or strange."""
        value = {key: held for key, held in value.items() if key != "format"}
        typed.require(value, _CONFIG_TYPES)
        config = cls(**{**value, "settings": TrainSettings.from_json(value["settings"])})
        Vocabulary.from_json(config.vocabulary)
        if config.head not in heads.names():
            return config
        options = heads.load(config.head).Options
        typed.require(config.options, typed.of_class(options), "options")
        return replace(config, options=heads.options_before(options) | config.options)


@dataclass(frozen=True, kw_only=True)
class MemberResult:
    """How a member's training ended, and its score on test; ``result.json``."""

    best_epoch: int
    val_accuracy: float
    """Of the best epoch, in [0, 1]."""
    epochs: int
    seconds: float
    waiting: float
    """Share of the training time spent on waiting for data."""
    scores: Table
    """Column of the data set's table → right answers among test questions."""
    parameters: int
    """Trainable ones."""
    config: str = ""
    """Digest of what ``config.json`` holds; empty in runs of before, as `files`."""
    files: dict[str, str] = field(default_factory=dict)
    """Path within the member's folder → SHA-256: weights, predictions and their probabilities,
    checkpoints if they are kept."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> MemberResult:
        """Raises TypeError, KeyError, ValueError or AttributeError if fields are strange."""
        value = digests.unsealed(value)
        typed.require(value, typed.of_class(cls, scores=dict[str, list[int]]))
        return cls(**{**value, "scores": {k: Score(*v) for k, v in value["scores"].items()}})


class _Texts(TypedDict):
    recipe_hash: str
    recipe: dict[str, Any]


class _Named(_Texts):
    name: str


class _Feature(_Named, total=False):
    patches: int


_CONFIG_TYPES = typed.of_class(
    MemberConfig,
    settings=typed.of_class(TrainSettings),
    features=dict[str, _Feature],
    texts=dict[str, _Texts],
)
