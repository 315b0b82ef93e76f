"""The stores that heads read: one for all whose papers took the same frames and sound."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from avqa.errors import PartialFailure, StoreLocked
from avqa.extract.profiles import PROFILES, profile
from avqa.extract.settings import Settings
from avqa.extract.text import FEATURES, encoder_of
from avqa.pipelines.cluster.connect import device_of_workers
from avqa.pipelines.extraction.array_job import (
    END,
    PARTS,
    in_words,
    read_videos,
    unfinished,
)
from avqa.pipelines.extraction.finalize import finalize
from avqa.pipelines.extraction.run import ExtractOptions, extract_folder
from avqa.pipelines.questions.encode import QuestionOptions, encode_questions, text_settings
from avqa.pipelines.reproduce.asked import ReproduceOptions
from avqa.pipelines.reproduce.training import Training
from avqa.store.commit import Store
from avqa.store.format.records import Status
from avqa.store.places.files import (
    StorePath,
    read_json,
    storage_errors,
    store_path,
    write_json,
)
from avqa.store.reader import FeatureStore
from avqa.training import typed
from avqa.training.settings import WITHOUT_AUDIO

FOLDER = "features"
_SOUNDLESS = {Status.OK, Status.ABSENT}
COSTS = "costs.json"
OF_DATASET: dict[str, dict[str, Any]] = {
    # Clips of 10 s: neither looped to 60 rows nor stored in chunks of 60.
    "avqa": {"frame_at": "mid", "chunk_seconds": 10},
}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Extraction:
    """One store."""

    name: str
    settings: Settings
    trainings: tuple[Training, ...]
    """Those that read it."""

    def store(self, out: Path) -> StorePath:
        """Where it is."""
        return store_path(out / FOLDER / self.name)

    def texts(self) -> list[tuple[str, ...]]:
        """Features of the questions that any training reads, those of one encoder together."""
        found: dict[str, dict[str, None]] = {}
        for name in (name for training in self.trainings for name in training.texts()):
            of_encoder = found.setdefault(encoder_of(name), {})
            of_encoder |= dict.fromkeys((*FEATURES, name) if name in FEATURES else (name,))
        return [tuple(names) for names in found.values()]

    def options(self, asked: ReproduceOptions, ids: Sequence[str]) -> ExtractOptions:
        """As `extract_folder` takes them."""
        return ExtractOptions(
            videos=asked.videos,
            store=self.store(asked.out),
            settings=self.settings,
            scheduler="slurm" if asked.slurm else "local",
            slurm=asked.slurm,
            partition=asked.partition,
            ids=tuple(ids),
            steal_lock=asked.steal_lock,
        )


def extractions(asked: ReproduceOptions, trainings: Iterable[Training]) -> list[Extraction]:
    """Stores with exactly the features that the trainings read, each head's by its own profile."""
    device = device_of_workers(asked.device, "slurm" if asked.slurm else "local", asked.slurm)
    groups: dict[str, tuple[str, Settings, list[Training]]] = {}
    for training in trainings:
        own = training.head.replace("_", "-")
        name = own if own in PROFILES else "default"
        choices = {"weights": asked.weights, "device": device, **OF_DATASET.get(asked.dataset, {})}
        settings = profile(name, features=tuple(training.features()), **choices)
        key = json.dumps([settings.frame_at, settings.resample, dict(settings.options)])
        first, known, those = groups.get(key, (_name(settings, name), settings, []))
        features = tuple(dict.fromkeys((*known.features, *settings.features)))
        groups[key] = first, replace(known, features=features), [*those, training]
    return [Extraction(name, settings, tuple(t)) for name, settings, t in groups.values()]


def _name(settings: Settings, of_profile: str) -> str:
    """Of a store: the grid and, where its encoders are told more, whose profile says so."""
    grid = f"{settings.frame_at}-{settings.resample}".replace("_", "-")
    return f"{grid}-{of_profile}" if settings.options else grid


def extract(
    extraction: Extraction, asked: ReproduceOptions, ids: Sequence[str], say: Say
) -> str | None:
    """Make one store, with the questions' texts; what is still to wait for, if anything is.

    Raises:
        PartialFailure: videos failed, and nobody said to go on without them.
        AvqaError: as `extract_folder` and `encode_questions`.
    """
    path = extraction.store(asked.out)
    done = _accepted(asked)
    if asked.partition is None or not _is_complete(path, extraction.settings.features, ids, done):
        say(f"features: {path}")
        report = extract_folder(extraction.options(asked, ids), say)
        say(report.summary())
        if asked.partition is not None and (left := _merge(path, asked, say)):
            return left
    _refuse_failed(path, extraction.settings.features, ids, done)
    for features in extraction.texts():
        device = "auto" if asked.slurm else asked.device
        settings = text_settings(device=device, features=features)
        options = QuestionOptions(
            asked.dataset,
            asked.annotations,
            path,
            settings,
            extraction.settings.weights,
            steal_lock=asked.steal_lock,
        )
        try:
            say(encode_questions(options, say).lines()[-1])
        except StoreLocked as error:
            if asked.partition is None:
                raise
            return f"another task encodes the questions ({error}); expected that to be done"
    return None


def _accepted(asked: ReproduceOptions) -> set[Status]:
    """In which states the features of a video may be."""
    if asked.accept_missing:
        return {Status.OK, Status.ABSENT, Status.FAILED}
    # Heads may be told what to do without sound.
    silent = asked.assignments.get("missing") in WITHOUT_AUDIO
    return {Status.OK, Status.ABSENT} if silent else {Status.OK}


def _merge(path: StorePath, asked: ReproduceOptions, say: Say) -> str | None:
    """Make one store of the tasks' parts, if all are there; else what is waited for."""
    done = f"task {asked.partition} has extracted its share"
    videos = read_videos(path)
    joining = (path / PARTS / END).exists()
    lacks = unfinished(path, videos) if videos is not None and not joining else {}
    if lacks:
        return f"{done}, others have not: {in_words(lacks)}"
    try:
        report = finalize(path, say, steal_lock=asked.steal_lock)
    except StoreLocked as error:
        return f"{done}, another joins all of them ({error})"
    if report is not None:
        say(report.summary())
    return None


def _is_complete(
    path: StorePath, features: Sequence[str], ids: Sequence[str], done: set[Status]
) -> bool:
    """Whether nothing is left to extract, as far as the store alone can tell."""
    if not Store.exists(path) or read_videos(path) is not None or (path / PARTS / END).exists():
        return False
    return not _without(FeatureStore(path), features, ids, done)


def _without(
    store: FeatureStore, features: Sequence[str], ids: Sequence[str], states: set[Status]
) -> list[str]:
    """The videos that lack a feature in one of these states."""
    if not set(features) <= set(store.features):
        return list(ids)
    return [
        name
        for name in ids
        if name not in store or any(store.status(name, f) not in states for f in features)
    ]


def _refuse_failed(
    path: StorePath, features: Sequence[str], ids: Sequence[str], done: set[Status]
) -> None:
    store = FeatureStore(path)
    lacking = _without(store, features, ids, done)
    if not lacking:
        return
    silent = [n for n in lacking if all(store.status(n, f) in _SOUNDLESS for f in features)]
    raise PartialFailure(
        f"{len(lacking)} of {len(ids)} videos lack features, the first is {lacking[0]!r};"
        f" {len(silent)} of them have no sound; expected none; see why with: avqa status"
        f" {shlex.quote(str(path))} --videos; replace the files and give the same command again, or"
        " leave their questions out with --accept-missing, or have heads go without the sound with"
        " --set missing=masked"
    )


@dataclass(frozen=True)
class Cost:
    """What a store took."""

    features: list[str]
    videos: int
    seconds: float
    """Of the runs that extracted something."""
    runs: int
    runs_without_time: int
    """Those of them that were killed."""


def write_costs(out: Path, extractions: Iterable[Extraction]) -> None:
    """Publish what the stores' runs say of their time."""
    costs = {e.name: asdict(_cost(e.store(out))) for e in extractions if Store.exists(e.store(out))}
    with storage_errors(f"{str(out / COSTS)!r}"):
        write_json(out / COSTS, costs)


def read_costs(out: Path) -> dict[str, Cost]:
    """What `write_costs` wrote; nothing of a file that is gone or is none."""
    try:
        found = read_json(out / COSTS)
        typed.require(found, dict.fromkeys(found, typed.of_class(Cost)))
        return {name: Cost(**cost) for name, cost in found.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _cost(path: StorePath) -> Cost:
    store = Store.open(path, tolerant=True)
    # Runs of questions tell no time; those that found nothing to do took none worth telling.
    told = [run.get("summary", {}) for run in store.runs.all() if "videos" in run]
    worked = [one for one in told if one.get("extracted") or one.get("failed") or not one]
    ended = [one["wall_seconds"] for one in worked if "wall_seconds" in one]
    return Cost(
        list(store.features()),
        len(store.rows()),
        round(sum(ended), 1),
        len(worked),
        len(worked) - len(ended),
    )
