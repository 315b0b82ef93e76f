"""Where a run's head looked in the videos of some questions, if its store is at hand."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avqa.datasets import Question
from avqa.errors import AvqaError
from avqa.pipelines.pages.page import finite
from avqa.pipelines.train.evaluate import check_recipes
from avqa.store.places.files import store_path
from avqa.store.reader import FeatureStore, RandomWeightsWarning, open_store
from avqa.training.data.dubbing import as_heard, in_store, name_of
from avqa.training.data.features import VideoFeatures
from avqa.training.data.questions import QuestionSet
from avqa.training.fitting.fit import infer
from avqa.training.run import Member
from avqa.training.scoring import Prediction
from avqa.training.settings import WITHOUT_AUDIO

MOST_EACH = 16
"""Questions of either kind: the surest wrong answers, the surest right ones."""


@dataclass(frozen=True)
class Attention:
    """Of some questions."""

    member: str
    stride: int
    """Seconds from one row to the next."""
    weights: Mapping[str, list[float | None]]
    """Key of a question → weight of each row, sums to 1."""

    def to_json(self) -> dict[str, Any]:
        """For the page's script."""
        return {"member": self.member, "stride": self.stride, "weights": dict(self.weights)}


def chosen(rows: Mapping[str, Prediction]) -> list[str]:
    """Keys of the questions whose attention is shown: the surest wrong, then the surest right."""
    surest = sorted(rows.values(), key=lambda row: -row.probability)
    wrong = [row.key for row in surest if row.correct is False]
    right = [row.key for row in surest if row.correct]
    return wrong[:MOST_EACH] + right[:MOST_EACH]


def attention(
    member: Member, name: str, rows: Mapping[str, Prediction], known: Mapping[str, Question]
) -> Attention | str:
    """A head's weights over the seconds of some questions' videos, or why there are none."""
    asked = [known[key] for key in chosen(rows) if key in known]
    try:
        store = _store(member)
        weights = _weights(member, store, asked)
    except AvqaError as error:
        return f"no attention over time: {error}"
    if not weights:
        return f"no attention over time: {member.config.head} does not tell which seconds it used"
    return Attention(name, member.config.settings.stride_seconds, weights)


def _store(member: Member) -> FeatureStore:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RandomWeightsWarning)  # the page says it
        store = open_store(store_path(member.config.store))
    check_recipes(member.config, store)
    return store


def _weights(
    member: Member, store: FeatureStore, asked: Sequence[Question]
) -> dict[str, list[float | None]]:
    """Key → weights, of the questions whose videos the store holds."""
    settings, names = member.config.settings, member.config.features
    heard = as_heard(asked, settings.dub, names)
    reader = VideoFeatures(
        store,
        {field: str(entry["name"]) for field, entry in names.items()},
        stride_seconds=settings.stride_seconds,
        max_seconds=settings.max_seconds,
        missing=settings.missing,
    )
    ids = in_store(heard, store.video_ids)
    placed = [(q, name) for q in heard if (name := name_of(q, ids)) is not None]
    missing = settings.missing if settings.missing in WITHOUT_AUDIO else "skip"
    usable = reader.require([video for _, video in placed], missing)
    kept = [(question, video) for question, video in placed if video in usable]
    if not kept or not names:
        return {}
    head = member.load_head()
    questions = QuestionSet(
        [question for question, _ in kept],
        [video for _, video in kept],
        reader,
        store if member.config.texts else None,
        head,
        vocabulary=member.config.words,
        text=settings.text,
        training=False,
    )
    found: dict[str, list[float | None]] = {}
    for batch, output in infer(head, questions, batch_size=1, device="cpu", explain=True):
        seconds = head.evidence(batch.inputs.apart(), output).seconds
        if seconds is not None:
            key = kept[int(batch.rows[0])][0].key
            found[key] = [finite(weight) for weight in seconds[0].double().tolist()]
    return found
