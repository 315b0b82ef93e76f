"""`avqa extract`: a folder of videos to a store of features."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import avqa
from avqa import machine as devices
from avqa.addresses import page
from avqa.errors import (
    Aborted,
    AvqaError,
    ConfigError,
    RecipeMismatch,
    StorageFailure,
)
from avqa.extract import encoders, weights
from avqa.extract.decoder.process import DecoderProcess
from avqa.extract.media.types import Limits
from avqa.extract.recipe import RULES_KEY, SHARED_SECTIONS, options_to_set
from avqa.extract.settings import Settings
from avqa.pipelines.cluster.connect import connect, is_in_process, is_remote
from avqa.pipelines.cluster.environment import build_recipes, library_versions
from avqa.pipelines.cluster.executor import WAIT_WORKERS
from avqa.pipelines.cluster.slurm_config import ClusterConfig
from avqa.pipelines.cluster.worker import WorkerConfig
from avqa.pipelines.engine.ahead import Ahead
from avqa.pipelines.engine.engine import MAX_LOST_SOUND, EngineConfig
from avqa.pipelines.extraction.array_job import (
    Partition,
    assigned,
    fix_videos,
    refuse_held,
    refuse_parts,
    shard_videos,
)
from avqa.pipelines.extraction.collection.roots import find, judge
from avqa.pipelines.extraction.collection.settle import remember, settle
from avqa.pipelines.extraction.collection.sources import Discovery, IdRule, Source, select
from avqa.pipelines.extraction.driver import Driver
from avqa.pipelines.extraction.probe import LengthProbe
from avqa.pipelines.extraction.progress import Durations, Progress, json_line, shares
from avqa.pipelines.extraction.report import RunReport
from avqa.pipelines.extraction.work import Held, Work, find_work
from avqa.store.collection import Root, read_collection
from avqa.store.commit import Store
from avqa.store.format.layout import refuse_foreign, refuse_packed
from avqa.store.format.runs import DONE, new_run_id, plain
from avqa.store.format.schema import FeatureSpec, bytes_needed
from avqa.store.lock import Lock
from avqa.store.places.files import StorePath, free_bytes
from avqa.store.running import running
from avqa.units import size


@dataclass(frozen=True)
class ExtractOptions:
    """What one `avqa extract` was asked to do."""

    videos: Path
    store: StorePath
    settings: Settings = field(default_factory=Settings)
    followed: str = ""
    """Which of the settings are the store's, as options; for the user."""
    scheduler: str = "local"
    slurm: ClusterConfig | None = None
    wait_workers: float = WAIT_WORKERS
    partition: Partition | None = None
    """Extract this task's share of the videos, into a part of ``store``."""
    shards: dict[str, int] = field(default_factory=dict)
    """Feature → videos of a shard, of a task that writes shards."""
    ids: Path | tuple[str, ...] | None = None
    """Take these alone, or those that a file lists one per line."""
    limit: int | None = None
    root: str | None = None
    """Begins the ids of these videos; None: as the store has it."""
    extensions: tuple[str, ...] | None = None
    """Files that are taken; None: as the store has it, else the usual ones."""
    id_rule: IdRule | None = None
    """None: as the store has it, else relpath."""
    follow_links: bool = False
    prune: bool = False
    """Remove the videos from the store that have no file any more."""
    retry_failed: bool = False
    accept_partial: bool = False
    max_lost_sound: float = MAX_LOST_SOUND
    """Share of a video's seconds whose sound may be lost before its audio features fail."""
    steal_lock: bool = False
    limits: Limits = field(default_factory=Limits)
    decoders: int | None = None
    log_json: bool = False

    def find(self) -> tuple[Root, Discovery]:
        """The videos, with ids as the store has them.

        Raises:
            ConfigError: there are none, or two share an id.
        """
        return find(
            self.videos,
            read_collection(self.store),
            name=self.root,
            id_rule=self.id_rule,
            extensions=self.extensions,
            follow_links=self.follow_links,
        )

    def notes(self, found: Discovery) -> list[str]:
        """What is to be said before anything is done."""
        followed = [f"as the store has it: {self.followed}"] if self.followed else []
        fixed = []
        if self.settings.frame_at == "music-avqa":
            fixed = ["frame_at=music-avqa: 60 rows of every video; shorter ones are looped"]
        return [*followed, *fixed, *found.notes()]

    @property
    def gpus(self) -> tuple[str, ...]:
        """Ids of this machine's GPUs that a local run is for."""
        return devices.visible_gpus() if self.settings.device == "cuda" else ()

    @property
    def in_process(self) -> bool:
        """Whether this process extracts, itself."""
        return is_in_process(self.scheduler, self.gpus)

    def engine(self, source: weights.WeightsSource) -> EngineConfig:
        """What every worker's engine is to do, with weights from ``source``."""
        return EngineConfig(
            self.settings,
            source,
            self.limits,
            accept_partial=self.accept_partial,
            max_lost_sound=self.max_lost_sound,
            decoders=self.decoders,
        )


def feature_specs(settings: Settings) -> tuple[FeatureSpec, ...]:
    """What the store has to know of each feature asked for."""
    specs = []
    for feature in settings.features:
        tap = encoders.tap_of(feature)
        dtype = tap.dtype or settings.dtype
        specs.append(FeatureSpec(feature, tap.shape, tap.dims, tap.sparse, dtype))
    return tuple(specs)


def extract_folder(
    options: ExtractOptions,
    say: Callable[[str], None] = lambda line: None,
    decoder: DecoderProcess | None = None,
) -> RunReport:
    """Extract every video of a folder into a store, resuming what is there.

    ``say`` gets progress lines; ``decoder`` is one that was begun before. Videos that fail are
    recorded in the report, not raised.

    Raises:
        ConfigError: the folder, a name or a value cannot be used.
        StoreLocked, RecipeMismatch: the store refuses.
        WeightsUnavailable, StorageFailure: the machine is at fault.
        Stopped: a signal came; what was finished is stored.
    """
    is_remote(options.scheduler)  # refuses an unknown one before anything is made
    root, found = options.find()
    sources = select(found.sources, options.ids, options.limit)
    source = weights.resolve(
        options.settings.weights, encoders.weights_of(options.settings.features)
    )
    with contextlib.closing(Ahead(options.settings, source, decoder)) as ahead:
        recipes = _begin(options, source, ahead)
        return _extract(options, _Asked(root, found, sources, source, recipes), ahead, say)


@dataclass(frozen=True)
class _Asked:
    """What the options stand for."""

    root: Root
    found: Discovery
    sources: list[Source]
    """Those to take."""
    weights: weights.WeightsSource
    recipes: dict[str, Any]
    started: float = field(default_factory=time.monotonic)


def _begin(options: ExtractOptions, source: weights.WeightsSource, ahead: Ahead) -> dict[str, Any]:
    """The recipes; in a process that extracts itself, what takes long goes on beside."""
    if not options.in_process:
        with ahead.decoder as decoder:
            return build_recipes(options.settings, source, decoder)
    if options.partition is None and not Store.exists(options.store):
        ahead.begin()  # there will be work
    return build_recipes(options.settings, source, ahead.decoder)


def _extract(
    options: ExtractOptions, asked: _Asked, ahead: Ahead, say: Callable[[str], None]
) -> RunReport:
    root, found, recipes, sources = asked.root, asked.found, asked.recipes, asked.sources
    run_id = new_run_id()
    note = functools.partial(_note, say, as_json=options.log_json)
    for line in options.notes(found):
        note(line)
    refuse_foreign(options.store, "--out")
    refuse_packed(options.store)
    earlier = None
    if options.partition is None:
        refuse_parts(options.store)
    else:
        earlier = _check_whole(options, recipes, root, found.sources)
        options, sources = _take_share(options, root, found.sources, sources, note)
    report = RunReport(run_id, options.store, len(sources))

    def ended(reason: str) -> dict[str, Any]:
        report.reason, report.wall_seconds = reason, time.monotonic() - asked.started
        if options.log_json:
            say(json_line("end", reason=reason, **report.counts()))
        if reason != DONE and report.extracted + report.failed:
            note(report.summary())
        return plain(report)

    with Lock.acquire(options.store, run_id, steal=options.steal_lock) as lock:
        if options.partition is None:
            refuse_parts(options.store)  # with the lock held, no task can begin any more
        info = {"argv": sys.argv, "environment": machine(), **plain(options)}
        create = functools.partial(_create, options, recipes, lock)
        with running(options.store, lock, info, ended, create=create) as store:
            check_recipes(store, recipes)
            if options.partition is None:
                settled = settle(store, root, found.sources, options.prune, run_id, note)
                report.renamed, report.pruned = settled
            remember(store, root, found.sources, options.settings.weights)
            _add(store, options, recipes, sources)
            work = _take_up(store, options, sources, earlier, report, note)
            if work.jobs:
                _check_space(options, work)
                _run(options, asked.weights, ahead, store, work, report, say, note, run_id)
    if options.partition is not None:
        note(f"task {options.partition} is finished; when all are, run `avqa finalize`")
    return report


def _take_up(
    store: Store,
    options: ExtractOptions,
    sources: Sequence[Source],
    earlier: Held | None,
    report: RunReport,
    note: Callable[[str], None],
) -> Work:
    """What is left to do, marked so in the store; tells of what is done again."""
    work = find_work(
        store,
        sources,
        options.settings.features,
        retry_failed=options.retry_failed,
        earlier=earlier,
    )
    store.set_pending(work.pending)
    report.finished_before = work.finished
    report.failed_before = len(work.failed_before)
    if work.failed_before:
        report.report_path = store.write_report(())
    if work.changed:
        note(f"changed since they were extracted: {len(work.changed)} videos, done again")
    if work.returned:
        note(f"removed before: {len(work.returned)} videos, taken in again")
    return work


def _check_whole(
    options: ExtractOptions, recipes: dict[str, Any], root: Root, sources: Sequence[Source]
) -> Held | None:
    """What the store that the parts are for holds already: no task writes to it."""
    if options.prune:
        raise ConfigError(
            "--prune with --partition; expected one of them: a task removes nothing; prune after"
            " `avqa finalize`"
        )
    refuse_held(options.store, steal=options.steal_lock)
    if not Store.exists(options.store):
        return None
    store = Store.open(options.store)
    check_recipes(store, recipes)
    judge(store, read_collection(options.store), root, sources)
    return Held(store)


def _take_share(
    options: ExtractOptions,
    root: Root,
    found: list[Source],
    chosen: list[Source],
    note: Callable[[str], None],
) -> tuple[ExtractOptions, list[Source]]:
    """A task is an ordinary extraction of its share into its part."""
    assert options.partition is not None
    videos = fix_videos(options.store, options.partition, chosen)
    refuse_held(options.store, steal=options.steal_lock)  # one that began at the same moment
    share, notes = assigned(
        videos, options.partition, Path(root.folder), found=found, chosen=chosen
    )
    for line in notes:
        note(line)
    specs, seconds = feature_specs(options.settings), options.settings.chunk_seconds
    shards = shard_videos(options.store, videos.block, specs, seconds)
    return replace(options, store=options.partition.folder(options.store), shards=shards), share


def _create(options: ExtractOptions, recipes: dict[str, Any], lock: Lock) -> Store:
    specs, chunk_seconds = feature_specs(options.settings), options.settings.chunk_seconds
    return Store.create(
        options.store, recipes, specs, chunk_seconds, lock=lock, shard_videos=options.shards
    )


def check_recipes(store: Store, recipes: Mapping[str, Mapping[str, Any]]) -> None:
    """Make sure that features of these recipes may stand in a store.

    Raises:
        RecipeMismatch: says which keys differ, and which options to set.
    """
    imported = [name for name, recipe in store.recipes().items() if "imported" in recipe]
    if imported:
        raise RecipeMismatch(
            f"store {str(store.path)!r} holds imported features={','.join(imported)}; expected"
            " extracted ones only, since imported rows may be other seconds; give another --out"
        )
    try:
        store.check_recipes(recipes, shared=SHARED_SECTIONS)
    except RecipeMismatch as error:
        options = options_to_set(error.keys, recipes)
        advice = f"set {', '.join(options)} as the store has it, or " if options else ""
        if RULES_KEY in error.keys:
            # What was read by rules of before is used as ever; rows of both are not mixed.
            advice = f"go on with the version that made the store ({page('docs/reading.md')}), or "
        raise RecipeMismatch(f"{error}; {advice}give another --out", error.keys) from error


def _add(
    store: Store, options: ExtractOptions, recipes: dict[str, Any], sources: list[Source]
) -> None:
    new = [s for s in feature_specs(options.settings) if s.name not in store.features()]
    if new:
        store.add_features(new, {s.name: recipes[s.name] for s in new}, options.shards)
    known = store.rows()
    store.add_rows([s.video_id for s in sources if s.video_id not in known])


def _check_space(options: ExtractOptions, work: Work) -> None:
    """Refuse at once what can never fit: one chunk of every feature of every video."""
    specs = {spec.name: spec for spec in feature_specs(options.settings)}
    needed = sum(
        count * bytes_needed([specs[f] for f in features], [1.0], options.settings.chunk_seconds)
        for features, count in work.jobs.counts().items()
    )
    free = free_bytes(options.store)
    # Sparse chunks shrink, most of all in short videos: half is surely too little.
    if free is not None and free < needed / 2:
        raise StorageFailure(
            f"store {str(options.store)!r}: {size(free)} free; expected about {size(needed)} for"
            f" {len(work.jobs)} videos of one chunk each; free space, or give another --out"
        )


def _run(
    options: ExtractOptions,
    source: weights.WeightsSource,
    ahead: Ahead,
    store: Store,
    work: Work,
    report: RunReport,
    say: Callable[[str], None],
    note: Callable[[str], None],
    run_id: str,
) -> None:
    settings = options.settings
    if options.in_process:
        ahead.begin()
    config = WorkerConfig(
        run_id=run_id,
        store=options.store.absolute(),
        specs=feature_specs(settings),
        engine=options.engine(source),
    )
    durations = Durations(work.jobs.rows)
    progress = Progress(len(work.jobs), durations, say, options.log_json)
    if options.log_json:
        jobs, there = len(work.jobs), report.finished_before
        say(json_line("start", run=run_id, videos=report.taken, there=there, todo=jobs))
    elif report.finished_before:
        note(f"already there: {report.finished_before} of {report.taken} videos")
    probe = LengthProbe(work.jobs, settings, options.limits)
    executor = connect(
        options.scheduler,
        config,
        options.gpus,
        slurm=options.slurm,
        wait_workers=options.wait_workers,
        note=note,
        ahead=ahead,
    )
    progress.under_way = executor.under_way
    driver = Driver(store, executor, work.jobs, progress, settings, run_id)
    aborted = True
    try:
        probe.start(durations.learn)
        with progress:
            driver.run()
        aborted = False
    except AvqaError as error:
        aborted = isinstance(error, Aborted)  # else the driver has drained
        raise
    finally:
        probe.stop()
        with contextlib.suppress(Exception):  # a cluster that dies badly changes no outcome
            executor.close(abort=aborted)
        report.extracted, report.failed = progress.ok, progress.failed
        report.without_audio = progress.without_audio
        report.with_warnings, report.warnings_path = progress.with_warnings, driver.warnings_path
        report.rows, report.video_seconds = progress.rows, progress.video_seconds
        report.n_bytes, report.stages = progress.n_bytes, progress.stages
        report.report_path = driver.report_path or report.report_path
        if progress.stages:
            spent = " ".join(f"{name} {part} %" for name, part in shares(progress.stages).items())
            note(f"processor time: {spent}")


def _note(say: Callable[[str], None], line: str, *, as_json: bool) -> None:
    say(json_line("note", text=line) if as_json else line)


def machine() -> dict[str, str]:
    """Versions and computer, for a run's file."""
    return {
        "avqa": avqa.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "pid": str(os.getpid()),
        **library_versions(),
    }
