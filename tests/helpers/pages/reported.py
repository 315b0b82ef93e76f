"""A run and a store to make pages of."""

import dataclasses
import json
from pathlib import Path

from helpers.questions.question_files import music_row, write
from helpers.runs import run_folders

from avqa import datasets
from avqa.store.places.files import write_json
from avqa.training.fitting.history import write_metrics
from avqa.training.scoring import Prediction, write_predictions

VIDEOS = {"00000001": 7, "00000002": 3, "00000003": 5}
ANSWERS = ("yes", "no")


def rows_of(split: str, odd: str = "") -> list[dict]:
    """Twelve existential questions and six about places, about three videos; ``odd``: in a text."""
    first = {"train": 0, "val": 100, "test": 200}[split]
    videos = list(VIDEOS)
    here = [
        music_row(
            video_id=videos[n % 3],
            question_id=first + n,
            templ_values=f'["{("violin", "piano", "cello")[n // 4]}"]',
            anser=ANSWERS[n % 2],
        )
        for n in range(12)
    ]
    where = [
        music_row(
            video_id=videos[n % 3],
            question_id=first + 20 + n,
            type='["Audio-Visual", "Location"]',
            question_content="Where is the <LL> instrument?",
            templ_values=json.dumps([f"first sounding{odd}"]),
            anser=("left", "middle", "right")[n % 3],
        )
        for n in range(6)
    ]
    return [*here, *where]


def predicted(question, number: int, seed: int) -> Prediction:
    """Right for the even questions; seed 1 gets one more wrong. Surer with each question."""
    right = number % 2 == 0 and not (seed and number == 0)
    other = "no" if question.answer == "yes" else "yes"
    return Prediction(
        **{k: getattr(question, k) for k in ("key", "question_id", "video_id", "split", "text")},
        answer=question.answer,
        prediction=question.answer if right else other,
        probability=round(0.3 + 0.03 * number, 6),
        correct=right,
    )


def history(epochs: int = 5):
    """Of a head that learns."""
    return [
        {
            "epoch": n,
            "train_loss": 1 / n,
            "val_loss": 1.2 / n,
            "train_accuracy": 0.3 + 0.1 * n,
            "val_accuracy": 0.3 + 0.08 * n,
            "learning_rate": 1e-4,
            "seconds": 1.0,
            "waiting": 0.1,
        }
        for n in range(1, epochs + 1)
    ]


def reported_run(root: Path, odd: str = "", made: str = "pretrained") -> Path:
    """``store``, ``annotations`` and a ``run`` of AVST with two seeds; the run's folder."""
    store = run_folders.write_store(root / "store", VIDEOS, made=made)
    for split in ("train", "val", "test"):
        write(root / "annotations" / f"avqa-{split}.json", rows_of(split, odd))
    questions = datasets.read("music-avqa", root / "annotations", ["test"])
    common = {
        "settings": {
            "batch_size": 4,
            "stride_seconds": 2,
            "device": "cpu",
            "visual": "clip_vit_b32",
        },
        "annotations": str(root / "annotations"),
        "annotation_version": "unknown",
        "weights": made,
        **run_folders.of_store(store),
    }
    members = []
    for seed in (0, 1):
        member = run_folders.write_member(root / "run", run_folders.config(seed=seed, **common))
        rows = [predicted(question, n, seed) for n, question in enumerate(questions)]
        write_predictions(member.path / "predictions.json", rows)
        write_metrics(member.path / "metrics.csv", history())
        members.append(str(member.path.relative_to(root / "run")))
    about = {"variants": ["default"], "seeds": 2, "notes": [], "members": members, "head": "avst"}
    write_json(root / "run" / "run.json", about)
    return root / "run"


def with_prediction(member: Path, **changes) -> None:
    """Change the first row of a member's ``predictions.json``."""
    from avqa.training.scoring import read_predictions

    rows = read_predictions(member / "predictions.json")
    rows[0] = dataclasses.replace(rows[0], **changes)
    write_predictions(member / "predictions.json", rows)
