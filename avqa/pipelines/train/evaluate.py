"""A run's heads on the questions of a split: their result table, or their answers as a file."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from avqa import datasets
from avqa.datasets import Question
from avqa.datasets._parts.question import SPLITS
from avqa.errors import ConfigError, DatasetError, FeatureMissing, UnknownName
from avqa.machine import num_cores
from avqa.pipelines.train.evaluation import (
    Answered,
    Asked,
    Evaluation,
    check_out,
    evaluation,
    readers_of,
)
from avqa.store.format.recipe_diff import diff_recorded, making_command, require_same
from avqa.store.format.texts import questions_command
from avqa.store.places.files import StorePath, storage_errors, store_path, write_atomic
from avqa.store.reader import FeatureStore, RandomWeightsWarning, open_store
from avqa.training.data.building import require_shapes
from avqa.training.data.conditions import (
    Condition,
    MissingAudio,
    Swapped,
    Without,
    streams_of,
)
from avqa.training.data.dubbing import (
    as_heard,
    dub_note,
    in_store,
    name_of,
    picture_of,
    require_sounds,
)
from avqa.training.data.features import FeatureReader, VideoFeatures
from avqa.training.data.questions import QuestionSet
from avqa.training.data.splits import read_splits
from avqa.training.fitting.fit import infer
from avqa.training.probabilities import Probabilities
from avqa.training.run import DEFAULT, Member, MemberConfig, Run
from avqa.training.scoring import Prediction, answered
from avqa.training.settings import Dub
from avqa.training.table.table import result_table

Say = Callable[[str], None]
FORMATS = ("text", "csv", "markdown")
"""Methods of `ResultTable`."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What to answer with which run."""

    run: Path
    """A run's folder, or that of one of its members."""
    split: str = "test"
    store: StorePath | None = None
    """By default the one that the run was trained on."""
    annotations: Path | None = None
    """By default those that the run was trained on."""
    choices: Mapping[str, str] = field(default_factory=dict)
    """The data set's own, as far as they are given; by default the run's."""
    without: Sequence[str] = ()
    """Streams that are not there, by comma; each of these is a condition under which the same
    questions are answered once more."""
    swap: Sequence[str] = ()
    """Streams that are another video's, likewise."""
    missing_rate: float | None = None
    """Share of the videos whose audio is missing, 0 to 1; None: as it is."""
    seed: int = 0
    """Which of them, and whose streams a video gets."""
    out: Path | None = None
    """Folder for all probabilities and for which answer is given in place of which."""

    def conditions(self) -> tuple[Condition, ...]:
        """What to evaluate beside the videos as they are.

        Raises:
            UnknownName: there is no such stream.
            ConfigError: one is named twice.
        """
        found: list[Condition] = [Without(streams_of("--without", text)) for text in self.without]
        found += [Swapped(streams_of("--swap", text), self.seed) for text in self.swap]
        if self.missing_rate is not None:
            found.append(MissingAudio(self.missing_rate, self.seed))
        return tuple({condition.name: condition for condition in found}.values())


def check_format(name: str, *, as_json: bool = False) -> str:
    """``name`` if a `ResultTable` can be written in that form.

    Raises:
        UnknownName: otherwise.
        ConfigError: JSON was asked for, and another form, too.
    """
    if name not in FORMATS:
        raise UnknownName("format", name, FORMATS)
    if as_json and name != "text":
        raise ConfigError(f"--format {name} with --json; expected one of them; leave the other out")
    return name


def evaluate(options: EvaluateOptions, say: Say) -> Evaluation:
    """Answer a split's questions with every member's saved weights.

    Nothing is written but what `EvaluateOptions.out` asks for. On the test split, with the store
    and the questions of training, the answers are those of ``predictions.json``.

    Raises:
        UnknownName: there is no such split.
        ConfigError: ``run`` is no run, its weights cannot be used, no question has an answer, no
            head reads what a condition changes, or ``out`` cannot be taken.
        RunDamaged: a file of it is damaged, gone or another's.
        DatasetError: the questions cannot be read, or the split has none.
        RecipeMismatch: the store's features were made by another recipe than the run's.
        FeatureMissing, StoreError: the store lacks a feature or cannot be read.
        StorageFailure: ``out`` cannot be written.
    """
    conditions = options.conditions()
    run = _load(options, say)
    if options.out is not None:
        check_out(options.out)
    readers = {condition: readers_of(condition, run) for condition in conditions}
    asked = questions_of(run.members[0].config, options)
    known = [q for q in asked.questions if q.answer is not None or q.choice is not None]
    if not known:
        raise DatasetError(
            f"none of {len(asked.questions)} questions of split={options.split!r} has a right"
            " answer; expected at least one to score; give others with --annotations, or use"
            " `avqa predict`"
        )
    answering = _Answering(run.members, known, options.store, say)
    found = _all_answers(answering, run, options.split, readers, say)
    table = result_table(
        run,
        asked.fit,
        asked.questions,
        seconds=answering.seconds,
        answers=found.plain,
        changed=found.changed,
        version=asked.version,
        choices=asked.choices,
    )
    table = replace(table, notes=tuple(_notes(table.notes, asked.notes, options.split)))
    return evaluation(run, asked, table, found, conditions, options.out)


def _notes(of_run: Sequence[str], of_asked: Sequence[str], split: str) -> Iterator[str]:
    """Those of the run, but of the file that was asked and not of the one it was tested on."""
    yield from (n for n in of_run if n in of_asked or not n.startswith(f"{split} file: "))
    yield from (n for n in of_asked if n not in of_run)


def _all_answers(
    answering: _Answering,
    run: Run,
    split: str,
    readers: Mapping[Condition, Sequence[Member]],
    say: Say,
) -> Answered:
    """What every member answers, as the videos are and under the conditions that concern it."""
    found = Answered({}, {}, {c.name: {} for c in readers}, tuple(answering.notes(readers)))
    for member in run.members:
        said = f"{member.name}: answering {len(answering.questions)} questions of {split}"
        say(said)
        rows, found.probabilities[member.path] = answering.answers(member)
        found.plain[member.path] = rows
        for condition, members in readers.items():
            if member in members:
                say(f"{said}, {condition.name}")
                found.changed[condition.name][member.path] = answering.answers(member, condition)[0]
    return found


@dataclass(frozen=True)
class PredictReport:
    """What `predict` wrote."""

    path: Path
    member: Member
    asked: int
    answered: int
    by_key: int
    """Answers under a question's key, since its id is missing or occurs twice."""

    def lines(self) -> list[str]:
        """For people."""
        name = f"{self.member.config.head}, {self.member.config.variant}"
        lines = [
            f"{self.answered} answers of {name}, seed {self.member.config.seed}: {str(self.path)!r}"
        ]
        if self.answered < self.asked:
            lines.append(
                f"{self.asked - self.answered} of {self.asked} questions have no answer: their"
                " videos are not in the store, or lack a feature"
            )
        if self.by_key:
            lines.append(
                f"{self.by_key} questions have an id that is missing or occurs twice: their keys,"
                " as in predictions.json, stand for it"
            )
        return lines


@dataclass(frozen=True)
class Answers:
    """What one member answered."""

    member: Member
    answers: dict[str, str]
    """Question id → answer; under a question's key where its id is missing or occurs twice."""
    asked: int
    answered: int
    by_key: int


def answers(options: EvaluateOptions, say: Say) -> Answers:
    """Answer a split's questions with one member; they need no right answer.

    The member is the run's default variant with its first seed, or the one whose folder is given.

    Raises:
        As `evaluate`.
    """
    run = _load(options, say)
    member = next(iter([*run.of_variant(DEFAULT), *run.members]))
    asked = questions_of(member.config, options)
    rows, _ = _Answering([member], asked.questions, options.store, say).answers(member)
    ids = Counter(row.question_id for row in rows)
    # A key is 64 hexadecimal digits, which no question id is.
    names = [
        row.key if row.question_id is None or ids[row.question_id] > 1 else row.question_id
        for row in rows
    ]
    found = {name: row.prediction for name, row in zip(names, rows, strict=True)}
    by_key = sum(name == row.key for name, row in zip(names, rows, strict=True))
    return Answers(member, found, len(asked.questions), len(rows), by_key)


def answers_of(member: Member, options: EvaluateOptions, say: Say) -> list[Prediction]:
    """What a member answers now to the questions of a split, in their order.

    Raises:
        As `evaluate`.
    """
    asked = questions_of(member.config, options)
    return _Answering([member], asked.questions, options.store, say).answers(member)[0]


def predict(options: EvaluateOptions, out: Path, say: Say) -> PredictReport:
    """Write `answers` as a JSON object; replaces ``out``.

    Raises:
        As `evaluate`, and StorageFailure: ``out`` cannot be written.
        ConfigError: ``out`` is a folder or lies in none.
    """
    if out.is_dir() or not out.absolute().parent.is_dir():
        what = "is a folder" if out.is_dir() else "lies in a folder that does not exist"
        raise ConfigError(f"out={str(out)!r} {what}; expected a file to write; change --out")
    found = answers(options, say)
    with storage_errors(repr(str(out))):
        text = json.dumps(found.answers, indent=1, ensure_ascii=False) + "\n"
        write_atomic(out, text.encode())
    return PredictReport(out, found.member, found.asked, found.answered, found.by_key)


def _load(options: EvaluateOptions, say: Say) -> Run:
    run = Run.load(options.run)
    if gaps := run.gaps():
        say(gaps)
    return run


def questions_of(config: MemberConfig, options: EvaluateOptions) -> Asked:
    """The questions of a split, divided as in training.

    Floors are of the training questions of the run's own choices, whatever is asked.
    """
    path = Path(config.annotations) if options.annotations is None else options.annotations
    choices = datasets.chosen(config.dataset, {**config.choices, **options.choices})
    how = config.settings
    found = asked_of(config.dataset, path, options.split, how.split, choices, how.dub)
    same = choices == datasets.chosen(config.dataset, config.choices)
    return found if found.fit and same else replace(found, fit=_training_questions(config))


def asked_of(
    dataset: str,
    path: Path,
    split: str,
    division: Literal["official", "video"] = "official",
    choices: Mapping[str, str] | None = None,
    dub: Dub = "honour",
) -> Asked:
    """The questions of a split of a folder or file, and the training questions beside them.

    Args:
        dataset: a name of `avqa.datasets.names`.
        path: the folder or file.
        split: of the questions.
        division: how they are divided, as `read_splits` has it.
        choices: the data set's own, as far as they are given.
        dub: of `read_splits`, too.

    Raises:
        UnknownName: there is no such data set, split or value of a choice.
        DatasetError: a file cannot be used, or the split has no question.
    """
    if split not in SPLITS:
        raise UnknownName("split", split, SPLITS)
    chosen = datasets.chosen(dataset, choices or {})
    if datasets.is_one_split(dataset, path):
        module = datasets.load(dataset)
        # AVQA's test is the val of its files.
        name = split if split in module.FILES else "val"
        questions = datasets.read(dataset, path, [name], **chosen)
        notes = tuple(datasets.notes(dataset, path, **chosen))
        return Asked(questions, (), module.version(questions), chosen, notes)
    parts = read_splits(dataset, path, division, chosen, dub)
    if not parts.of(split):
        raise DatasetError(
            f"annotations={str(path)!r} have no question in split={split!r}; expected at least one;"
            " ask for another --split, or check --annotations"
        )
    return Asked(parts.of(split), parts.train, parts.version, chosen, parts.notes)


def _training_questions(config: MemberConfig) -> Sequence[Question]:
    """Those of the run's own files; none if these are gone."""
    if not Path(config.annotations).exists():
        return ()
    how = config.settings
    read = read_splits(config.dataset, config.annotations, how.split, config.choices, how.dub)
    return read.train


class _Answering:
    """Puts the same questions to the members of a run; features are read once."""

    def __init__(
        self, members: Sequence[Member], asked: Sequence[Question], path: StorePath | None, say: Say
    ) -> None:
        self._features: dict[frozenset[tuple[str, str]], VideoFeatures] = {}
        self._store = _open([member.config for member in members], path)
        # Members of one run read a field from one feature, if they read it at all.
        names = {f: name for member in members for f, name in _names(member.config).items()}
        settings = members[0].config.settings
        self._missing = settings.missing
        for line in dub_note({asked[0].split: asked}, settings.dub) if "audio" in names else ():
            say(line)
        heard = as_heard(asked, settings.dub, names)
        ids = in_store(heard, self._store.video_ids)
        require_sounds(heard, ids, self._missing)
        found = [(q, name) for q in heard if (name := name_of(q, ids)) is not None]
        reader = VideoFeatures(self._store, names)
        usable = reader.require([name for _, name in found], self._missing)
        kept = [(question, name) for question, name in found if name in usable]
        if len(kept) < len(asked):
            say(
                f"{len(asked) - len(kept)} of {len(asked)} questions are left out: their videos are"
                " not in the store, or lack a feature"
            )
        self.questions = [question for question, _ in kept]
        self._video_ids = [video for _, video in kept]
        videos = {*map(picture_of, self._video_ids)}
        self.seconds = max(map(self._store.length, videos), default=None)

    def answers(
        self, member: Member, condition: Condition | None = None
    ) -> tuple[list[Prediction], Probabilities]:
        """One member's answers, in the order of the questions."""
        settings = member.config.settings
        head = member.load_head()
        features: FeatureReader = self._reader(member.config)
        if condition is not None:
            features = condition.of(features, self._video_ids, self._missing)
        questions = QuestionSet(
            self.questions,
            self._video_ids,
            features,
            self._store if member.config.texts else None,
            head,
            vocabulary=member.config.words,
            text=settings.text,
            training=False,
        )
        # The batches of training's own test, so that the answers are the same.
        outputs = infer(
            head,
            questions,
            batch_size=settings.batch_size,
            device="cpu" if settings.device == "cpu" else "auto",
            workers=min(settings.workers, num_cores()),  # it was trained on another machine
        )
        return answered(questions, outputs)

    def notes(self, conditions: Iterable[Condition]) -> Iterator[str]:
        """What conditions do to these videos."""
        for condition in conditions:
            yield f"{condition.name}: {condition.note(self._video_ids, self._missing)}"

    def _reader(self, config: MemberConfig) -> VideoFeatures:
        names = _names(config)
        key = frozenset(names.items())
        if key not in self._features:
            self._features[key] = VideoFeatures(
                self._store,
                names,
                stride_seconds=config.settings.stride_seconds,
                max_seconds=config.settings.max_seconds,
                missing=config.settings.missing,
            )
            self._features[key].preload(self._video_ids)
        return self._features[key]


def _names(config: MemberConfig) -> dict[str, str]:
    """Field of `HeadInput` → feature."""
    return {name: str(entry["name"]) for name, entry in config.features.items()}


def _open(configs: Sequence[MemberConfig], path: StorePath | None) -> FeatureStore:
    """The store, whose features must be those that the members were trained on."""
    with warnings.catch_warnings():
        # The table says it.
        warnings.simplefilter("ignore", RandomWeightsWarning)
        store = open_store(store_path(configs[0].store) if path is None else path)
    for config in configs:
        check_recipes(config, store)
        require_shapes(config.features, config.options, store)
    return store


def check_recipes(config: MemberConfig, store: FeatureStore) -> None:
    """Refuse a store whose features were made otherwise than those a head was trained on.

    Raises:
        FeatureMissing: the store lacks one of them.
        RecipeMismatch: names the features and the keys whose values differ.
    """
    trained = {str(entry["name"]): entry for entry in config.features.values()} | config.texts
    there = {*store.features, *store.text_features}
    missing = [name for name in trained if name not in there]
    if missing:
        texts = [name for name in missing if name in config.texts]
        commands = dict.fromkeys(
            questions_command(store.path, texts)
            if name in config.texts
            else making_command(trained[name]["recipe"])
            for name in missing
        )
        raise FeatureMissing(
            f"store {str(store.path)!r} has no {', '.join(missing)}; expected what the run was"
            f" trained on: {', '.join(trained)}; add with `{'` and `'.join(commands)}`, or"
            " give another --store"
        )
    require_same(
        f"store {str(store.path)!r}",
        diff_recorded(trained, {name: store.made_by(name) for name in trained}),
        "give the store of the run with --store, or train on this one",
        sides=("run", "store"),
    )
