"""`avqa reproduce`: what is missing, the plan, features, trainings, pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avqa.errors import ConfigError, StorageFailure, StoreLocked, WeightsUnavailable
from avqa.pipelines.extraction.array_job import Partition
from avqa.pipelines.reproduce import plan as planning
from avqa.pipelines.reproduce.asked import (
    ReproduceOptions,
    chosen,
    joined,
    widened,
    write_asked,
)
from avqa.pipelines.reproduce.collection import Collection, collect
from avqa.pipelines.reproduce.evidence import write_questions
from avqa.pipelines.reproduce.features import Extraction, extract, extractions, write_costs
from avqa.pipelines.reproduce.page import write_pages
from avqa.pipelines.reproduce.training import trainings
from avqa.pipelines.train.train import train_head
from avqa.store.places.files import free_bytes
from avqa.training.run import RESULT, read_about

Say = Callable[[str], None]


@dataclass(frozen=True)
class Reproduced:
    """What there is at the end of a command."""

    pages: tuple[Path, ...]
    left: tuple[str, ...]
    """What other tasks still have to do, a line each."""

    def lines(self) -> list[str]:
        """For people."""
        lines = list(self.left)
        if self.left:
            lines.append(
                "not done yet: when all tasks have ended, run them with this command again"
            )
        if self.pages:
            lines.append(f"pages: {self.pages[-1]} and {len(self.pages) - 1} of papers beside it")
        return lines


def reproduce(
    options: ReproduceOptions, say: Say = lambda line: None, *, plan_only: bool = False
) -> Reproduced:
    """Do all that is left to do; what is finished stays as it is.

    Args:
        options: what is asked for.
        say: gets progress, what is missing, and the plan.
        plan_only: tell what is missing, measure and predict, and do nothing.

    Raises:
        ConfigError, DatasetError: a name, the videos or the annotations cannot be used; videos are
            missing; the folder is of another command.
        WeightsUnavailable: weights are missing.
        StorageFailure: the features do not fit on the disk.
        PartialFailure: videos cannot be read.
        Stopped: a signal came; the same command goes on.
    """
    options.check()
    names = chosen(options)
    collection = collect(options)
    for line in collection.lines():
        say(line)
    asked = joined(options, names, collection.digest)
    options = widened(options, asked)
    every = [training for name in asked["heads"] for training in trainings(name, options)]
    stores = extractions(options, every)
    _refuse_missing(options, collection, stores, say)
    parts, before = planning.made(options, collection, stores, say)
    for line in planning.plan_lines(parts, free_bytes(options.out), before=before):
        say(line)
    if not before and (lack := planning.room(options, parts)):
        raise StorageFailure(lack)
    if plan_only:
        say("nothing was run; leave --plan out to start")
        return Reproduced((), ())
    write_asked(options.out, asked)
    write_questions(options.out, collection, options.dataset)
    left = [line for e in stores for line in [extract(e, options, collection.ids, say)] if line]
    write_costs(options.out, stores)
    if not left:
        left = _train(options, stores, say)
    pages = write_pages(options.out)
    return Reproduced(tuple(pages), tuple(left))


def _refuse_missing(
    options: ReproduceOptions, collection: Collection, stores: Sequence[Extraction], say: Say
) -> None:
    """Say all that is missing, then stop for the first of it that cannot be done without."""
    weights = planning.missing_weights(stores, options)
    for line in weights:
        say(f"missing: {line}")
    lack = collection.lack()
    if lack is not None:
        say(f"missing: {lack}")
    if weights:
        raise WeightsUnavailable(
            f"{len(weights)} files of weights are missing, the first: {weights[0]}"
        )
    if lack is not None and not options.accept_missing:
        raise ConfigError(
            f"{lack}; expected all; add them to {str(options.videos)!r}, or go on without them with"
            " --accept-missing, which the pages tell"
        )


def _train(options: ReproduceOptions, stores: Sequence[Extraction], say: Say) -> list[str]:
    """Train what is left; what is left to others then, a line for each run."""
    runs = [(extraction, training) for extraction in stores for training in extraction.trainings]
    for number, (extraction, training) in enumerate(runs):
        say(f"training: {training.folder(options.out)}")
        mine = replace(options, partition=_turned(options.partition, number))
        try:
            train_head(training.options(mine, extraction.store(options.out)), say)
        except StoreLocked as error:
            say(str(error))
    return [line for _, training in runs if (line := _gap(training.folder(options.out)))]


def _gap(run: Path) -> str | None:
    """What of a run is not finished."""
    members = read_about(run, "a run")["members"]
    left = [name for name in members if not (run / name / RESULT).exists()]
    if not left:
        return None
    return f"{run}: {len(left)} of {len(members)} trainings are not finished: {', '.join(left)}"


def _turned(partition: Partition | None, by: int) -> Partition | None:
    """Another first task for each run, so that not all begin with the same one."""
    if partition is None:
        return None
    return Partition((partition.index + by) % partition.count, partition.count)
