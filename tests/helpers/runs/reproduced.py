"""The folder of `avqa reproduce` as it is after training, made by hand: answers of our choosing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from helpers.questions.question_files import music_row, write
from helpers.runs.run_folders import answered, config, wild_head

from avqa.datasets import Question
from avqa.pipelines.reproduce.asked import FORMAT
from avqa.pipelines.reproduce.evidence import described
from avqa.store.places.files import write_json
from avqa.training import digests
from avqa.training.data.splits import SplitQuestions, read_splits
from avqa.training.run import Member, MemberResult, member_path, save_about
from avqa.training.scoring import Prediction, score, write_predictions

FLOORS = ("default", "question_only")
Right = Callable[[int], bool]
KINDS = ('["Audio", "Counting"]', '["Visual", "Location"]', '["Audio-Visual", "Temporal"]')


def write_annotations(folder: Path, videos: int = 6) -> Path:
    """Each video is asked the same four questions in one split: the test's are of ``videos``."""
    for split, first, number in (("train", 0, 3), ("val", 50, 2), ("test", 100, videos)):
        rows = [
            music_row(
                video_id=f"{first + video:08d}",
                question_id=10 * (first + video) + n,
                type=KINDS[n % 3],
                anser=("yes", "no")[n % 2],
            )
            for video in range(number)
            for n in range(4)
        ]
        write(folder / f"avqa-{split}.json", rows)
    return folder


def write_out(
    out: Path,
    annotations: Path,
    answers: Mapping[tuple[str, str, int], Right],
    *,
    version: str = "updated",
    missing: Mapping[str, list[str]] | None = None,
    same_as: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
) -> SplitQuestions:
    """OUT of (head, variant, seed) → whether it answers test question number n right.

    ``version`` is what the questions are said to be, so that printed figures compare with them.
    """
    questions = read_splits("music-avqa", annotations)
    value = described(questions, "music-avqa") | {"version": version}
    out.mkdir(parents=True)
    write_json(out / "questions.json", digests.sealed(value))
    asked = {
        "format": FORMAT,
        "dataset": "music-avqa",
        "questions": value["digest"],
        "weights": "pretrained",
        "settings": dict(settings or {}),
        "accept_missing": False,
        "ablations": any(variant not in FLOORS for _, variant, _ in answers),
        "heads": list(dict.fromkeys(head for head, _, _ in answers)),
        "seeds": 1 + max(seed for _, _, seed in answers),
    }
    write_json(out / "reproduce.json", digests.sealed(asked))
    for head in asked["heads"]:
        mine = {key[1:]: right for key, right in answers.items() if key[0] == head}
        members = [str(member_path(Path(), variant, seed)) for variant, seed in mine]
        save_about(
            out / "runs" / head,
            {
                "format": 1,
                "head": head,
                "dataset": "music-avqa",
                **dict.fromkeys(("questions", "annotations", "store"), ""),
                **dict.fromkeys(("settings", "options"), {}),
                "notes": [],
                "variants": list(dict.fromkeys(variant for variant, _ in mine)),
                "same_as": dict(same_as or {}),
                "seeds": asked["seeds"],
                "members": [*members, *(missing or {}).get(head, [])],
            },
        )
        for (variant, seed), right in mine.items():
            write_member(out / "runs" / head, head, variant, seed, questions.test, right)
    return questions


def write_member(
    run: Path, head: str, variant: str, seed: int, test: tuple[Question, ...], right: Right
) -> Member:
    """A finished member with its digests."""
    of = config("question_only" if variant == "question_only" else head, variant=variant, seed=seed)
    member = Member(member_path(run, variant, seed), of)
    member.path.mkdir(parents=True)
    member.save_config()
    member.save_head(wild_head(of))
    rows = [
        _with_answer(answered(question, right(place)), right(place))
        for place, question in enumerate(test)
    ]
    write_predictions(member.path / "predictions.json", rows)
    member.write(
        "environment.json",
        {"python": "3.11", "gpu": None, "cores": 2, "packages": {"avqa": "0.1.0"}},
    )
    member.save_result(
        MemberResult(
            best_epoch=7,
            val_accuracy=0.5,
            epochs=of.settings.epochs,
            seconds=90.0,
            waiting=0.0,
            scores=score(test, rows),
            parameters=123,
        )
    )
    return member


def _with_answer(row: Prediction, right: bool) -> Prediction:
    """The words of a right or wrong answer."""
    wrong = {"yes": "no", "no": "yes"}[row.answer]
    return replace(row, prediction=row.answer if right else wrong)
