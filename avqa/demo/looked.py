"""Where a trained head looks for its answers to the held-out questions of the demo's benchmark."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from avqa.datasets import Question
from avqa.demo.truth import Hits, hits
from avqa.heads import Evidence
from avqa.store.places.files import store_path
from avqa.store.reader import FeatureStore
from avqa.training.data.features import VideoFeatures
from avqa.training.data.questions import QuestionSet
from avqa.training.fitting.fit import infer
from avqa.training.run import Member, Run

TOLD = {
    "seconds": "a second in which the instrument that is asked about sounds",
    "patches": "a patch of the picture that shows it",
}
"""Kind of evidence → where its largest weight should be."""


def looked(
    member: Member, questions: Sequence[Question]
) -> Iterator[tuple[Question, Evidence, int]]:
    """Each question, the evidence of its batch, and its row in it."""
    head = member.load_head()
    config, store = member.config, FeatureStore(store_path(member.config.store))
    asked = QuestionSet(
        questions,
        [question.video_id for question in questions],
        VideoFeatures(
            store,
            {field: str(entry["name"]) for field, entry in config.features.items()},
            stride_seconds=config.settings.stride_seconds,
            max_seconds=config.settings.max_seconds,
        ),
        store if config.texts else None,
        head,
        vocabulary=config.words,
        text=config.settings.text,
    )
    size = config.settings.batch_size
    for batch, output in infer(head, asked, batch_size=size, device="cpu", explain=True):
        evidence = head.evidence(batch.inputs.apart(), output)
        for row, place in enumerate(batch.rows.tolist()):
            yield questions[place], evidence, row


def lines(run: Path, questions: Sequence[Question], truth: Path, asked: Question) -> list[str]:
    """What is told of it: over all questions, and of the one that was explained."""
    known = json.loads(truth.read_text(encoding="utf-8"))
    rows = list(looked(Run.load(run).members[0], questions))
    everywhere = hits(rows, known)
    here = hits([row for row in rows if row[0].key == asked.key], known)
    found = [f"where {run.name} looks, by the truth of the held-out clips:"]
    for kind, what in TOLD.items():
        if kind in everywhere:
            found.append(f"  {_told(everywhere[kind])} most weight is on {what}{_of(here, kind)}")
    return found if len(found) > 1 else []


def _told(hit: Hits) -> str:
    return (
        f"in {100 * hit.top:.0f} % of {hit.questions} questions (equal weights:"
        f" {100 * hit.chance:.0f} %)"
    )


def _of(here: dict[str, Hits], kind: str) -> str:
    if kind not in here:
        return ""
    return "; in this one it is" if here[kind].top >= 0.5 else "; in this one it is not"
