"""A published checkpoint as a run, whose figure `avqa evaluate` measures again."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import avqa
from avqa import datasets, heads
from avqa.errors import ConfigError
from avqa.heads import Head, Released
from avqa.pipelines.runs_in.files import read_checkpoint
from avqa.pipelines.runs_in.names import Converted, convert, released
from avqa.pipelines.train.environment import environment
from avqa.pipelines.train.folder import begin
from avqa.pipelines.train.members import hold_member, take_member
from avqa.store.places.files import StorePath, storage_errors
from avqa.store.reader import FeatureStore
from avqa.training import digests
from avqa.training.data import building
from avqa.training.data.material import Material, gather
from avqa.training.run import (
    DEFAULT,
    FORMAT,
    RESULT,
    Member,
    MemberConfig,
    MemberResult,
    member_path,
)
from avqa.training.settings import TrainSettings, resolve
from avqa.training.variants import Variant

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class RunImport:
    """Which checkpoint to take as a run over which features and questions."""

    file: Path
    head: str
    store: StorePath
    dataset: str
    annotations: Path
    out: Path
    choices: Mapping[str, str] = field(default_factory=dict)
    """The data set's own, as far as they are given."""
    assignments: Mapping[str, str] = field(default_factory=dict)
    """``--set``: of the settings and options with which it was trained."""


def import_run(asked: RunImport, say: Say = lambda line: None) -> list[str]:
    """Write a finished run of one member with a published checkpoint's weights.

    Returns:
        What was taken and what was not, a line each.

    Raises:
        UnknownName: there is no such head, data set or choice, or nothing is known of the head's
            published checkpoint.
        ConfigError: the checkpoint cannot be read, or has other names or shapes; the folder holds
            something; settings that cannot be.
        DatasetError, FeatureMissing, StoreError: as `avqa.pipelines.train.train.train_head`.
        StorageFailure: the folder cannot be written.
    """
    known = released(asked.head)
    _require_answers(asked, known)
    _require_new(asked.out)
    state = read_checkpoint(asked.file)
    store = FeatureStore(asked.store)
    typed = {name: str(value).lower() for name, value in known.options.items()}
    settings, options = resolve(asked.head, typed | dict(asked.assignments), dataset=asked.dataset)
    variant = Variant(DEFAULT, asked.head, options)
    fields = building.video_fields([variant])
    material = gather(
        *(store, asked.dataset, asked.annotations, settings, fields),
        tokens=options["question"] != "clip",
        choices=asked.choices,
    )
    settings = material.decided(settings, fields)
    derived = building.derived(variant, material, settings)
    head = building.build(variant, options | derived, seed=0)
    taken = convert(asked.file, state, head, asked.dataset, material.vocabulary.answers)
    head.load_state_dict(taken.state)
    digest = digests.of_file(asked.file)
    config = _config(asked, settings, material, head, digest)
    lines = [*_lines(asked, known, taken, digest), material.line]
    _write(asked.out, _about(asked, material, config, lines[0], known), config, head)
    for note in material.notes:
        say(note)
    return [*lines, f"run: {asked.out}"]


def _require_answers(asked: RunImport, known: Released) -> None:
    datasets.load(asked.dataset)  # says which there are
    if asked.dataset not in known.answers:
        raise ConfigError(
            f"the order of the answers in {asked.head}'s published checkpoint is not known of"
            f" dataset={asked.dataset!r}; expected one of {', '.join(known.answers)}; choose"
            " another --dataset"
        )


def _require_new(out: Path) -> None:
    if any(out.glob(f"*/seed-*/{RESULT}")):
        raise ConfigError(
            f"out={str(out)!r} holds a run; expected a new or empty folder; choose another --out"
        )


def _lines(asked: RunImport, known: Released, taken: Converted, digest: str) -> list[str]:
    lines = [_origin(asked.file, digest)]
    numbers = sum(tensor.numel() for tensor in taken.state.values())
    lines.append(f"taken: {len(taken.state)} tensors of {asked.head}, {numbers} numbers")
    for module, count in taken.left_out.items():
        lines.append(f"left out: {count} tensors of {module}, which is no part of the head")
    lines.append(f"answers: in the order of the training file of {asked.dataset}, put into ours")
    chosen = {name: asked.assignments.get(name, value) for name, value in known.options.items()}
    if chosen:
        values = ", ".join(f"{name}={str(value).lower()}" for name, value in chosen.items())
        lines.append(f"options otherwise than by default: {values}")
    return [*lines, *filter(None, [known.note])]


def _origin(file: Path, digest: str) -> str:
    return f"imported from {file.name}, SHA-256 {digest}: trained elsewhere, no history"


def _config(
    asked: RunImport, settings: TrainSettings, material: Material, head: Head, digest: str
) -> MemberConfig:
    features, texts, weights = building.described(head, material.store, settings)
    return MemberConfig(
        head=asked.head,
        variant=DEFAULT,
        seed=0,
        options=dataclasses.asdict(head.options),
        settings=settings,
        dataset=asked.dataset,
        annotations=str(asked.annotations.absolute()),
        annotation_version=material.questions.version,
        counts=material.counts,
        store=str(material.store.path),
        features=features,
        texts=texts,
        weights=weights,
        avqa_version=avqa.__version__,
        choices=material.choices,
        vocabulary=material.vocabulary.to_json(),
        imported=digest,
    )


def _about(
    asked: RunImport, material: Material, config: MemberConfig, origin: str, known: Released
) -> dict[str, Any]:
    """``run.json``."""
    return {
        "format": FORMAT,
        "head": asked.head,
        "dataset": asked.dataset,
        "choices": material.choices,
        "questions": material.digest,
        "settings": dataclasses.asdict(config.settings),
        "options": config.options,
        "annotations": config.annotations,
        "store": str(asked.store.absolute()),
        "command": sys.argv,
        "avqa_version": avqa.__version__,
        "variants": [DEFAULT],
        "same_as": {},
        "seeds": 1,
        "members": [str(member_path(Path(), DEFAULT, 0))],
        "grounding": "",
        "imported": config.imported,
        "notes": [origin, *filter(None, [known.note]), *material.notes],
    }


def _write(out: Path, about: Mapping[str, Any], config: MemberConfig, head: Head) -> None:
    """The result last: a run that was stopped before is begun anew."""
    begin(out, about)
    member = Member(member_path(out, DEFAULT, 0), config)
    with hold_member(member.path, take_member(member.path)) as ours:
        with storage_errors(f"{str(member.path)!r}"):
            member.path.mkdir(parents=True, exist_ok=True)
        member.save_config()
        member.write("environment.json", environment())
        member.save_head(head)
        ours.check()
        member.save_result(
            MemberResult(
                best_epoch=0,
                val_accuracy=0.0,
                epochs=0,
                seconds=0.0,
                waiting=0.0,
                scores={},
                parameters=heads.count_parameters(head),
            )
        )
