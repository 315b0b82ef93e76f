"""Run folders made by hand: members with tiny untrained heads and answers of our choosing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from avqa import heads
from avqa.datasets import Question
from avqa.training.run import Member, MemberConfig, MemberResult, Run, member_path
from avqa.training.scoring import Prediction, write_predictions
from avqa.training.settings import resolve

TINY = {"width": 8, "audio_width": 4, "visual_width": 8, "text_width": 8}


def config(head: str = "avst", **changes: Any) -> MemberConfig:
    """Of a tiny head over features that no store has."""
    settings, options = resolve(head)
    values: dict[str, Any] = {
        "head": head,
        "variant": "default",
        "seed": 0,
        "options": {**options, **TINY, **changes.pop("options", {})},
        "settings": dataclasses.replace(settings, **changes.pop("settings", {})),
        "dataset": "music-avqa",
        "annotations": "/nowhere/annotations",
        "annotation_version": "updated",
        "counts": {"train": 3, "val": 2, "test": 4},
        "store": "/nowhere/store",
        "features": {
            "audio": {"name": "vggish/audio", "recipe_hash": "ab" * 32, "recipe": {}},
            "patch": {"name": "resnet18/map", "recipe_hash": "cd" * 32, "recipe": {}},
        },
        "texts": {},
        "weights": "pretrained",
        "avqa_version": "0.1.0",
    }
    return MemberConfig(**{**values, **changes})


def answered(question: Question, correct: bool | None) -> Prediction:
    """A row of ``predictions.json``."""
    same = {
        name: getattr(question, name)
        for name in ("key", "question_id", "video_id", "split", "text", "answer")
    }
    return Prediction(**same, prediction="yes", probability=0.5, correct=correct)


def write_member(
    root: Path,
    of: MemberConfig,
    questions: Sequence[Question] = (),
    right: Callable[[int], bool | None] = lambda place: place % 2 == 0,
) -> Member:
    """A finished member whose answer to question number n is right if ``right(n)``."""
    member = Member(member_path(root, of.variant, of.seed), of)
    member.path.mkdir(parents=True)
    member.save_config()
    member.save_head(heads.build(of.head, **of.options))
    rows = [answered(question, right(place)) for place, question in enumerate(questions)]
    write_predictions(member.path / "predictions.json", rows)
    member.save_result(
        MemberResult(
            best_epoch=7,
            val_accuracy=50.0,
            epochs=of.settings.epochs,
            seconds=1.0,
            waiting=0.0,
            scores={},
            parameters=1,
        )
    )
    return member


def run_of(members: Sequence[Member], about: Mapping[str, Any] | None = None) -> Run:
    """Members as `Run.load` gives them."""
    return Run(members[0].path.parents[1], tuple(members), dict(about or {}))
