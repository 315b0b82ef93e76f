"""Training a head from a store to the result table: variants × seeds, each tested once.

A run can be interrupted at any moment and be resumed with the same command and ``--resume``:
finished members stay as they are, the one under way goes on after its last finished epoch.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import avqa
from avqa import datasets, heads
from avqa.datasets._parts.labels import InstrumentLabels, instrument_labels
from avqa.errors import ConfigError, EnvironmentFailure, StoreLocked
from avqa.faults import in_folder, traceback_kept_in
from avqa.heads import VIDEO_FEATURES, Head
from avqa.pipelines.train import mending
from avqa.pipelines.train.environment import environment
from avqa.pipelines.train.folder import (
    alone,
    begin,
    defaults_then,
    require_recipes,
    require_still,
    require_vocabulary,
)
from avqa.pipelines.train.members import Held, hold_member, share_line, take_member
from avqa.pipelines.train.on_slurm import Tasks
from avqa.pipelines.train.options import TrainOptions, read_config
from avqa.pipelines.train.pictures import draw_again, known_marks, marks_of
from avqa.store.places.files import storage_errors, write_atomic
from avqa.store.reader import FeatureStore
from avqa.telling import Watched
from avqa.training.data import building
from avqa.training.data.dubbing import picture_of
from avqa.training.data.exchange import exchange_note, with_exchanged
from avqa.training.data.features import VideoFeatures
from avqa.training.data.material import Material, gather
from avqa.training.data.questions import QuestionSet
from avqa.training.data.vocabulary import token_notes
from avqa.training.fitting.debias import debias_note, learners_of
from avqa.training.fitting.fit import (
    FitResult,
    check_devices,
    fit,
    infer,
    too_many_workers,
    use_cores,
)
from avqa.training.grounding import Grounding
from avqa.training.probabilities import write_probabilities
from avqa.training.run import (
    CONFIG,
    DEFAULT,
    FORMAT,
    PREDICTIONS,
    PROBABILITIES,
    QUESTION_ONLY,
    RESULT,
    Member,
    MemberConfig,
    MemberResult,
    Run,
    member_path,
    read_about,
)
from avqa.training.scoring import answered, score, write_predictions
from avqa.training.settings import LATER, TrainSettings, dataset_note
from avqa.training.table.confusions import CONFUSIONS, write_confusions
from avqa.training.table.table import ResultTable, result_table, saved_answers
from avqa.training.variants import Plan, Variant, plan

Say = Callable[[str], None]


def train_head(options: TrainOptions, say: Say = lambda line: None) -> ResultTable | None:
    """Train every variant with every seed, test each once, and make the table.

    Writes the folder ``options.out``, see `avqa.training.run`. ``say`` gets progress and warnings.
    Other processes may do the same in this folder: each member is trained by one of them, and the
    table is of what is finished now; None if that is nothing.

    Raises:
        ConfigError: a setting, head, ablation or data set that is not there; the folder holds
            another run; a loss that is not finite.
        DatasetError: the questions cannot be read, or a split has none left.
        FeatureMissing, RecipeMismatch, StoreError: the store lacks something, or is another.
        StorageFailure: the folder cannot be written.
        StoreLocked: other processes train what was left to do here.
        Stopped: a signal came; finished epochs are kept.
    """
    options.check()
    goes_on = options.resume or options.partition is not None
    planned = plan(
        options.head,
        options.assignments,
        read_config(options.config),
        options.ablation,
        dataset=options.dataset,
        then=defaults_then(options.out, options.head) if goes_on else None,
    )
    if options.slurm is None:
        check_devices(planned.settings, options.devices)
    fields = building.video_fields(planned.variants)
    grounding = Grounding.load(options.init_grounding) if options.init_grounding else None
    store = FeatureStore(options.store)
    material = gather(
        store,
        options.dataset,
        options.annotations,
        planned.settings,
        fields,
        tokens=any(v.options["question"] != "clip" for v in planned.variants),
        choices=options.choices,
    )
    settings = material.decided(planned.settings, fields)
    about = _about(options, planned, settings, material, grounding)
    training = _Training(options, settings, material, grounding, say)
    training.check(planned.variants)
    members = [(variant, seed) for variant in planned.variants for seed in range(options.seeds)]
    about = begin(
        options.out,
        about,
        resume=options.resume,
        overwrite=options.overwrite,
        partition=options.partition,
        left_open=["batches"] if planned.settings.batches == "auto" else [],
    )
    training.follow(about)
    _say_what_was_found(planned, material, about, say)
    if options.partition is not None:
        say(share_line(options.partition, [f"{v.name}/seed-{seed}" for v, seed in members]))
        members = list(options.partition.share(members))
    with traceback_kept_in(*in_folder(options.out)):
        return _trained(options, training, material, members, about, say)


def _trained(
    options: TrainOptions,
    training: _Training,
    material: Material,
    members: Sequence[tuple[Variant, int]],
    about: Mapping[str, Any],
    say: Say,
) -> ResultTable | None:
    """Train what nobody else does, or have it trained, and make the table of what is finished."""
    held: tuple[str, ...] = ()
    tasks = None
    if options.slurm is None:
        held = training.train(members, about)
    else:
        if len(about["members"]) > len(members):
            raise ConfigError(
                f"--scheduler slurm {str(options.out)!r}: the run has {len(about['members'])}"
                f" members, this command {len(members)}; expected all of them: the tasks divide"
                " one list; give the same --ablation and --seeds"
            )
        paths = [member_path(options.out, variant.name, seed) for variant, seed in members]
        tasks = Tasks.of(options.slurm, options.words(), paths)
        tasks.run(say)
    with alone(options.out):
        table = write_table(options.out, material)
        gaps = Run.load(options.out).gaps() if table else None
    for line in filter(None, (*held, gaps)):
        say(line)
    if held and (table is None or options.partition):
        raise StoreLocked(held[0])
    if tasks is not None and (lack := tasks.lack()):
        raise EnvironmentFailure(lack)
    return table


def write_table(out: Path, material: Material) -> ResultTable | None:
    """Make the table of a run's finished members and publish its files; None without any.

    Beside its three forms stands which answer is given in place of which.
    """
    members = read_about(out, "a run")["members"]
    if not any((out / name / RESULT).exists() for name in members):
        return None
    test = material.questions.test
    videos = {*map(picture_of, material.videos(test))}
    seconds = max(map(material.store.length, videos))
    run = Run.load(out)
    draw_again(run, known_marks(material.questions))
    answers = {member.path: saved_answers(member) for member in run.members}
    table = result_table(run, material.questions.train, test, seconds=seconds, answers=answers)
    texts = {"txt": table.text(), "csv": table.csv(), "md": table.markdown()}
    for ending, text in texts.items():
        path = out / f"table.{ending}"
        with storage_errors(f"{str(path)!r}"):
            write_atomic(path, text.encode())
    write_confusions(out / CONFUSIONS, test, [(m, answers[m.path]) for m in run.members])
    return table


def _about(
    options: TrainOptions,
    planned: Plan,
    settings: TrainSettings,
    material: Material,
    grounding: Grounding | None,
) -> dict[str, Any]:
    """``run.json`` of a new run."""
    default = planned.variants[0]
    read = {field for variant in planned.variants for field in building.needs(variant)}
    notes = [*material.notes, *token_notes(material.questions, read)]
    notes += exchange_note(material.questions.train, settings.exchange) + debias_note(settings)
    if line := dataset_note(options.head, options.dataset, settings, default.options):
        notes.append(line)
    if grounding is not None:
        notes.append(f"grounding starts from {grounding.path.name}, sha256={grounding.digest[:8]}")
    return {
        "format": FORMAT,
        "head": options.head,
        "dataset": options.dataset,
        "choices": material.choices,
        "questions": material.digest,
        "settings": dataclasses.asdict(settings),
        "options": default.options,
        "annotations": str(options.annotations.absolute()),
        "store": str(options.store.absolute()),
        "command": sys.argv,
        "avqa_version": avqa.__version__,
        "variants": [variant.name for variant in planned.variants],
        "same_as": planned.same_as,
        "seeds": options.seeds,
        "members": [
            str(member_path(Path(), variant.name, seed))
            for variant in planned.variants
            for seed in range(options.seeds)
        ],
        "grounding": grounding.digest if grounding else "",
        "notes": notes,
    }


def _say_what_was_found(
    planned: Plan, material: Material, about: Mapping[str, Any], say: Say
) -> None:
    lines = [material.line, *about["notes"]]
    if planned.settings.batches == "auto" and _order_of(about) == "grouped":
        lines.append(
            "batches: questions about one video stay close, so that it is read once"
            " (batches=grouped); the papers shuffle, as --set batches=shuffled does"
        )
    for line in (*lines, *planned.lines()):
        say(line)


def _order_of(about: Mapping[str, Any]) -> Literal["shuffled", "grouped", "together"]:
    """Of the batches of a run."""
    order: Literal["shuffled", "grouped", "together"] = (LATER | about["settings"])["batches"]
    return order


class _Training:
    """Trains members one after the other; features are read once for those that need the same."""

    def __init__(
        self,
        options: TrainOptions,
        settings: TrainSettings,
        material: Material,
        grounding: Grounding | None,
        say: Say,
    ) -> None:
        self._options = options
        self._grounding = grounding
        self._settings = settings
        self._material = material
        self._say = say
        self._labels = self._instruments()
        self._marks = known_marks(material.questions)
        self._features: VideoFeatures | None = None
        self._warned = False

    def _instruments(self) -> InstrumentLabels | None:
        """For heads that learn them; only MUSIC-AVQA's answers tell of instruments."""
        questions = self._material.questions.train
        tells = not (self._material.multiple_choice or self._material.vocabulary.built)
        return instrument_labels(questions) if tells else None

    def follow(self, about: Mapping[str, Any]) -> None:
        """Take the order of batches that the run has."""
        self._settings = dataclasses.replace(self._settings, batches=_order_of(about))

    def check(self, variants: Sequence[Variant]) -> None:
        """Find what would stop the run later: a text that is missing, options that do not fit.

        Raises:
            ConfigError, FeatureMissing, RecipeMismatch: as `member`.
        """
        for variant in variants:
            building.derived(variant, self._material, self._settings)
        head = self._head(variants[0], 0)[0]
        building.check_answers(head, self._settings, self._material.store)
        learners_of(head, variants[0], self._settings, 0)

    def _head(self, variant: Variant, seed: int) -> tuple[Head, str]:
        """As training starts, and the digest of its grounding."""
        derived = building.derived(variant, self._material, self._settings)
        head = building.build(variant, variant.options | derived, seed)
        return head, self._start(variant, head)

    def train(
        self, members: Sequence[tuple[Variant, int]], about: Mapping[str, Any]
    ) -> tuple[str, ...]:
        """Train those that nobody else trains; why the others are not finished, a line each."""
        left, out = list(members), self._options.out
        while True:
            held: dict[tuple[str, int], str] = {}
            for variant, seed in left:
                path = member_path(out, variant.name, seed)
                try:
                    lock = take_member(path, steal=self._options.steal_lock)
                except StoreLocked as error:
                    held[variant.name, seed] = str(error)
                    continue
                with hold_member(path, lock) as ours:
                    require_still(out, about)
                    self._member(variant, seed, ours)
            # Those who held the others may have died meanwhile.
            again = [(v, s) for v, s in left if (v.name, s) in held]
            if not again or len(again) == len(left):
                finished = (member_path(out, v.name, s) / RESULT for v, s in again)
                return tuple(
                    why
                    for why, path in zip(held.values(), finished, strict=True)
                    if not path.exists()
                )
            left = again

    def _member(self, variant: Variant, seed: int, ours: Held) -> None:
        """Train and test one member, unless it is finished."""
        head, grounding = self._head(variant, seed)
        config = self._config(variant, seed, head, grounding)
        member = Member(member_path(self._options.out, variant.name, seed), config)
        label = f"{self._options.head} {variant.name} seed {seed}"
        if lost := mending.mend_config(member):
            self._say(f"{label}: {lost}")
        if (member.path / CONFIG).exists():
            before = Member.load(member.path)
            require_vocabulary(before, config)
            require_recipes(before, config)
        if member.finished:
            lost = mending.what_is_lost(member)
            if lost is None:
                member.drop_unnamed_checkpoints()
                self._say(f"{label}: finished before")
                return
            self._say(f"{label}: {lost}")
        self._warn(config)
        if self._grounding and not grounding and variant.name != QUESTION_ONLY:
            self._say(f"{label}: has no such grounding, starts without it")
        with storage_errors(f"{str(member.path)!r}"):
            member.path.mkdir(parents=True, exist_ok=True)
        train, val, test = (self._questions(head, split) for split in ("train", "val", "test"))
        say = Watched(self._say, ours.check)  # a line is an epoch's, after which comes the next
        if (fitted := mending.kept_fit(member, head)) is None:
            member.save_config()
            use_cores()
            member.write("environment.json", environment(self._options.devices))
            fitted = fit(
                head,
                train,
                val,
                self._settings,
                seed=seed,
                folder=member.path,
                resume=True,  # also what another process left; a new run has none
                say=say,
                label=label,
                devices=self._options.devices,
                marks=marks_of(config, self._marks),
                bias=learners_of(head, variant, self._settings, seed),
            )
            ours.check()
            member.save_head(head)
        result = self._test(member, head, test, fitted, label)
        ours.check()
        member.save_result(result, keep_checkpoints=self._options.keep_checkpoints)

    def _start(self, variant: Variant, head: Head) -> str:
        """Start the grounding from what was given; its digest, empty where it plays no role.

        An ablation without this grounding starts as it is; the full head must have it.

        Raises:
            ConfigError: the full head has no such grounding.
            RecipeMismatch: it was trained on other features.
        """
        if self._grounding is None or variant.name == QUESTION_ONLY:
            return ""
        features = building.described(head, self._material.store, self._settings)[0]
        try:
            self._grounding.require_recipes(features)
            self._grounding.start(head)
        except ConfigError:
            if variant.name == DEFAULT:
                raise
            return ""
        return self._grounding.digest

    def _config(self, variant: Variant, seed: int, head: Head, grounding: str) -> MemberConfig:
        store, material = self._material.store, self._material
        features, texts, weights = building.described(head, store, self._settings)
        return MemberConfig(
            head=variant.head,
            variant=variant.name,
            seed=seed,
            options=dataclasses.asdict(head.options),
            settings=self._settings,
            dataset=self._options.dataset,
            annotations=str(self._options.annotations.absolute()),
            annotation_version=material.questions.version,
            counts=material.counts,
            store=str(store.path),
            features=features,
            texts=texts,
            weights=weights,
            avqa_version=avqa.__version__,
            grounding=grounding,
            choices=material.choices,
            vocabulary=material.vocabulary.to_json(),
        )

    def _warn(self, config: MemberConfig) -> None:
        if self._warned:
            return
        self._warned = True
        if too_many := too_many_workers(self._settings, self._options.devices):
            self._say(too_many)
        if config.weights.startswith("random:"):
            self._say(
                f"RANDOM WEIGHTS: the features come from {config.weights}: accuracies show that the"
                " program works and nothing else; extract with --weights pretrained for results"
            )

    def _questions(self, head: Head, split: str) -> QuestionSet:
        questions = self._material.questions.of(split)
        if split == "train":
            questions = tuple(with_exchanged(questions, self._settings.exchange))
        return QuestionSet(
            questions,
            self._material.videos(questions),
            self._features_for(head),
            self._material.store,
            head,
            self._labels if split == "train" else None,
            vocabulary=self._material.vocabulary,
            text=self._settings.text,
            training=split == "train",
        )

    def _features_for(self, head: Head) -> VideoFeatures:
        fields = [field for field in VIDEO_FEATURES if field in head.needs]
        features = self._material.features(self._settings, fields)
        if self._features is None or self._features.names != features.names:
            self._features = None  # the arrays of the former go first
            self._features = features
            features.preload(self._material.every_video())
        return self._features

    def _test(
        self, member: Member, head: Head, test: QuestionSet, fitted: FitResult, label: str
    ) -> MemberResult:
        settings = self._settings
        outputs = infer(
            head,
            test,
            batch_size=settings.batch_size,
            device=settings.device,
            workers=settings.workers,
        )
        rows, probabilities = answered(test, outputs)
        write_probabilities(member.path / PROBABILITIES, probabilities)
        write_predictions(member.path / PREDICTIONS, rows)
        columns = datasets.columns(self._options.dataset, test.questions)
        scores = score(test.questions, rows, columns)
        self._say(
            f"{label}: test {scores['All'].percent:.2f} % ({scores['All'].correct} of"
            f" {scores['All'].total}), weights of epoch {fitted.best_epoch}"
        )
        return MemberResult(
            **dataclasses.asdict(fitted),
            scores=scores,
            parameters=heads.count_parameters(head),
        )
