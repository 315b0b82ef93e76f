"""Run folders made by hand: members with tiny untrained heads and answers of our choosing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from helpers.questions.question_files import music_row, write
from helpers.store import stored

from avqa import heads
from avqa.datasets import Question
from avqa.store.commit import Store
from avqa.store.format.records import FeatureRecord, Status
from avqa.store.format.schema import FeatureSpec
from avqa.store.lock import Lock
from avqa.store.places.files import read_json, write_json
from avqa.store.reader import FeatureStore
from avqa.store.writer import ChunkWriter
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
    """A finished member whose answer to question number n is right if ``right(n)``.

    It holds no digests, as members of before, so that its files can be changed.
    """
    member = Member(member_path(root, of.variant, of.seed), of)
    member.path.mkdir(parents=True)
    member.save_config()
    member.save_head(wild_head(of))
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
    forget_digests(member)
    return member


def forget_digests(member: Member) -> None:
    """Make a member's ``result.json`` one of version 0.1."""
    result = read_json(member.path / "result.json")
    for name in ("config", "files", "sha256"):
        del result[name]
    write_json(member.path / "result.json", result)


def wild_head(of: MemberConfig) -> heads.Head:
    """Weights so large that every question and every second of its video moves the answer."""
    with torch.random.fork_rng():
        torch.manual_seed(of.seed)
        head = heads.build(of.head, **of.options)
    with torch.no_grad():
        for weights in head.parameters():
            weights.mul_(6)
    return head


def run_of(members: Sequence[Member], about: Mapping[str, Any] | None = None) -> Run:
    """Members as `Run.load` gives them."""
    return Run(members[0].path.parents[1], tuple(members), dict(about or {}))


SPECS = (
    FeatureSpec("vggish/audio", (4,), ("channel",), False),
    FeatureSpec("clip_vit_b32/patch", (3, 8), ("position", "channel"), False),
)
FIELDS = {"audio": "vggish/audio", "patch": "clip_vit_b32/patch"}


def write_store(
    path: Path,
    seconds: Mapping[str, int],
    made: str = "pretrained",
    missing: Sequence[str] = (),
    specs: tuple[FeatureSpec, ...] = SPECS,
    silent: Sequence[str] = (),
) -> FeatureStore:
    """Videos of so many seconds with the features of the tiny heads.

    ``missing`` ones failed; ``silent`` ones have no audio.
    """
    recipes = {
        spec.name: {"grid": {"chunk_seconds": 5}, "weights": {"w": {"source": made}}}
        for spec in specs
    }
    with Lock.acquire(path, "made") as lock:
        store = Store.create(path, recipes, specs, 5, lock=lock)
        store.start_run({})
        rows = store.add_rows(list(seconds))
        store.set_pending((row, spec.name) for row in rows.values() for spec in specs)
        writer = ChunkWriter(path, specs, 5)
        for video, length in seconds.items():
            row = rows[video]
            if video in missing:
                store.commit([stored.failure(video, row, specs)])
            elif video in silent:
                seen = stored.extract(writer, video, row, length, specs[1:])
                nothing = FeatureRecord(specs[0].name, Status.ABSENT, 0, ())
                store.commit([dataclasses.replace(seen, features=(nothing, *seen.features))])
            else:
                store.commit([stored.extract(writer, video, row, length, specs)])
        store.finish_run({"reason": "done"})
    return FeatureStore(path)


def of_store(store: FeatureStore, fields: Sequence[str] = ("audio", "patch")) -> dict[str, Any]:
    """What a member's config says of a store."""
    features = {
        field: {
            "name": FIELDS[field],
            "recipe_hash": store.recipe_hash(FIELDS[field]),
            "recipe": store.recipe(FIELDS[field]),
        }
        for field in fields
    }
    return {"store": str(store.path), "features": features}


SECONDS = {"00000001": 7, "00000002": 3, "part/00000003": 5}


def rows_of(split: str) -> list[dict[str, Any]]:
    """Twelve questions about the videos of `SECONDS` and one that no store has."""
    first = {"train": 0, "val": 40, "test": 80}[split]
    videos = ("00000001", "00000002", "00000003", "00000009")
    return [
        music_row(
            video_id=videos[n % 4],
            question_id=first + n,
            templ_values=f'["{("violin", "piano", "cello")[n // 4]}"]',
            anser=("yes", "no")[n % 2],
        )
        for n in range(12)
    ]


def write_run(root: Path) -> Path:
    """``store``, ``annotations`` and a ``run`` of AVST, two seeds, and question-only."""
    store = write_store(root / "store", SECONDS)
    for split in ("train", "val", "test"):
        write(root / "annotations" / f"avqa-{split}.json", rows_of(split))
    settings = {"batch_size": 4, "stride_seconds": 2, "device": "cpu", "visual": "clip_vit_b32"}
    common = {
        "settings": settings,
        "annotations": str(root / "annotations"),
        "annotation_version": "unknown",
        **of_store(store),
    }
    text_only = common | {"features": {}, "variant": "question_only"}
    write_member(root / "run", config(seed=0, **common))
    write_member(root / "run", config(seed=1, **common))
    write_member(root / "run", config("question_only", **text_only))
    about = {"variants": ["default", "question_only"], "seeds": 2, "notes": []}
    write_json(root / "run" / "run.json", about)
    return root


def write_three_videos(folder: Path) -> None:
    """``store`` and ``annotations`` in ``folder``: three videos and a question about each."""
    videos = {"00000001": 2, "00000002": 3, "00000003": 2}
    write_store(folder / "store", videos)
    for split, video in zip(("train", "val", "test"), videos, strict=True):
        write(folder / "annotations" / f"avqa-{split}.json", [music_row(video_id=video)])


def change_settings(member: Member, **changes: Any) -> None:
    """Change settings in a member's ``config.json``."""
    value = read_json(member.path / "config.json")
    value["settings"] |= changes
    write_json(member.path / "config.json", value)
