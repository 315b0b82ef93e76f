"""What the results are made of: one head on one kind of features with one seed, trained and tested.

``paper`` is `avqa train-head` with the paper's recipe. ``exact`` takes more steps on features made
from the truth, ``scaled`` the same steps on the paper's features, scaled.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from avqa import datasets, heads
from avqa.datasets import Question
from avqa.datasets._parts.floors import Score, Table, floors
from avqa.datasets._parts.labels import instrument_labels
from avqa.datasets._parts.question import SPLITS
from avqa.demo.truth import Hits, hits
from avqa.heads import Evidence, Head, HeadOutput
from avqa.pipelines.train.train import TrainOptions, train_head
from avqa.store.places.files import write_json
from avqa.store.reader import FeatureStore
from avqa.training.data import building
from avqa.training.data.batch import Batch
from avqa.training.data.features import FeatureReader, VideoFeatures
from avqa.training.data.material import Material, gather
from avqa.training.data.names import feature_names
from avqa.training.data.questions import QuestionSet
from avqa.training.fitting.fit import fit, infer
from avqa.training.run import DEFAULT, Member, member_path
from avqa.training.scoring import Prediction, predictions, score, write_predictions
from avqa.training.settings import TrainSettings, resolve
from avqa.training.variants import Variant
from benchmarks.results_exact import ExactFeatures, Standardised
from benchmarks.results_probe import probe

Kind = Literal["paper", "exact", "scaled"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DATASET = "music-avqa"
COMMON = {
    "stride_seconds": "1",
    "visual": "clip_vit_b32",
    "max_seconds": "10",
    "batches": "grouped",  # as docs/results.md was measured; benchmarks/batches.py compares
}
LSTM = {"pack": "true", "forget_bias": "2"}
"""What lets an LSTM head heed the question: docs/heads/sasr.md."""
MEASURED = {
    "tjstg": {"ground_score": "cosine", "ground_on": "norm"},
}
"""Defaults of when docs/results.md was measured; they go when it is measured again."""
MENDED: dict[str, dict[str, str]] = {
    "avst": {"ground_temp": "0.1"},
    "sasr": {"ground_temp": "0.1"},
    "mcd": {"loss_qv": "false", "loss_qa": "false", "loss_av": "false", "num_blocks": "1"},
    "avaf": {"temp_loss": "fnac"},
}
"""What lets a head find planted evidence: docs/heads.md."""
READS_WORDS = ("question_only", "late_fusion", "avst", "mcd", "tjstg", "sasr")
"""Heads with an LSTM."""
RATES = {"question_only": "1e-3", "late_fusion": "1e-3"}
RATE = "3e-4"
"""For rows of unit scale; the store's are ten times as long."""
SLOW = {"avaf": {"precision": "bf16"}}
"""A layer over all patches of all seconds: 6 questions a second in fp32, 12 in bf16."""
FITTED_BATCH = "16"
READ = ("audio", "patch")
"""What the probes read."""


@dataclass(frozen=True)
class Unit:
    """One training."""

    head: str
    kind: Kind
    seed: int
    epochs: int

    @property
    def name(self) -> str:
        """As in file names and progress."""
        return f"{self.run}-seed-{self.seed}"

    @property
    def run(self) -> str:
        """What all seeds share."""
        return f"{self.head}-{self.kind}-{self.epochs}-epochs"

    @property
    def assignments(self) -> dict[str, str]:
        """Settings and options that differ from the paper's."""
        given = COMMON | {"epochs": str(self.epochs)} | SLOW.get(self.head, {})
        given |= MEASURED.get(self.head, {})
        if self.kind == "paper":
            return given
        given |= {"batch_size": FITTED_BATCH, "step_epochs": str(max(1, 2 * self.epochs // 3))}
        given |= LSTM if self.head in READS_WORDS else {}
        return given | MENDED.get(self.head, {}) | {"learning_rate": RATES.get(self.head, RATE)}


@dataclass(frozen=True)
class Done:
    """How a unit ended."""

    unit: Unit
    scores: Table
    best_epoch: int
    val_accuracy: float
    seconds: float
    parameters: int
    assignments: dict[str, str]
    hits: dict[str, Hits]

    @classmethod
    def read(cls, path: Path) -> Done:
        """From the file that `Bench.run` wrote."""
        value = json.loads(path.read_text(encoding="utf-8"))
        value["unit"] = Unit(**value["unit"])
        value["scores"] = {column: Score(*pair) for column, pair in value["scores"].items()}
        value["hits"] = {kind: Hits(**entry) for kind, entry in value["hits"].items()}
        return cls(**value)


class Bench:
    """The benchmark's folder: ``bench`` (questions, truth), ``features`` (store), ``runs``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.annotations = root / "bench" / "annotations"
        self.store = root / "features"

    @cached_property
    def truth(self) -> dict[str, Any]:
        """Who, where, when, how loud."""
        value: dict[str, Any] = json.loads(
            (self.root / "bench" / "truth.json").read_text(encoding="utf-8")
        )
        return value

    def questions(self) -> dict[str, list[Question]]:
        """Split → questions."""
        everything = datasets.read(DATASET, self.annotations, None)
        return {split: [q for q in everything if q.split == split] for split in SPLITS}

    @cached_property
    def rows(self) -> dict[str, Table]:
        """What needs no training: floors, and linear probes of what heads read."""
        questions = self.questions()
        priors = floors(questions["train"], questions["test"])
        stored = VideoFeatures(FeatureStore(self.store), feature_names(READ, "clip_vit_b32"))
        return {
            "template floor": priors["template"],
            "template and slots floor": priors["slots"],
            "linear probe, stored": probe(questions, stored),
            "linear probe, exact": probe(questions, ExactFeatures(self.truth, READ)),
        }

    def result_path(self, unit: Unit) -> Path:
        """Written last: a unit with it is done."""
        return self.root / "runs" / f"{unit.name}.json"

    def run(self, unit: Unit, say: Callable[[str], None]) -> Done:
        """Train, test and judge a unit, or go on with it."""
        if unit.kind == "paper":
            member = self._train_as_command(unit, say)
            head, test = member.load_head(), self._sets(unit, member.load_head())["test"]
            result = member.result
            ended = (result.best_epoch, result.val_accuracy, result.seconds)
        else:
            head, test, ended = self._train(unit, say)
        rows, looked = self._ask(head, test)
        write_predictions(self.result_path(unit).with_suffix(".predictions.json"), rows)
        columns = datasets.load(DATASET).COLUMNS
        done = Done(
            unit,
            score(test.questions, rows, columns),
            *ended,
            heads.count_parameters(head),
            unit.assignments,
            hits(looked, self.truth),
        )
        write_json(self.result_path(unit), dataclasses.asdict(done))
        return done

    def _train_as_command(self, unit: Unit, say: Callable[[str], None]) -> Member:
        """What `avqa train-head` does; seeds share a run."""
        out = self.root / "runs" / unit.run
        options = TrainOptions(
            head=unit.head,
            store=self.store,
            dataset=DATASET,
            annotations=self.annotations,
            out=out,
            assignments=unit.assignments,
            seeds=unit.seed + 1,
            resume=(out / "run.json").exists(),
        )
        train_head(options, say)
        return Member.load(member_path(out, DEFAULT, unit.seed))

    def _train(
        self, unit: Unit, say: Callable[[str], None]
    ) -> tuple[Head, QuestionSet, tuple[int, float, float]]:
        settings, head = self._built(unit)
        sets = self._sets(unit, head)
        fitted = fit(
            head,
            sets["train"],
            sets["val"],
            settings,
            seed=unit.seed,
            folder=self.root / "runs" / unit.name,
            resume=True,
            say=say,
            label=unit.name,
        )
        return head, sets["test"], (fitted.best_epoch, fitted.val_accuracy, fitted.seconds)

    def _built(self, unit: Unit) -> tuple[TrainSettings, Head]:
        settings, options = resolve(unit.head, unit.assignments)
        variant = Variant(DEFAULT, unit.head, options)
        derived = building.derived(variant, self._material(settings, [variant]), settings)
        return settings, building.build(variant, options | derived, unit.seed)

    def _material(self, settings: TrainSettings, variants: list[Variant]) -> Material:
        fields = building.video_fields(variants)
        store = FeatureStore(self.store)
        return gather(store, DATASET, self.annotations, settings, fields, lstm=False)

    def _sets(self, unit: Unit, head: Head) -> dict[str, QuestionSet]:
        questions = self.questions()
        features = self._features(unit, head, questions)
        labels = instrument_labels(questions["train"])
        return {
            split: QuestionSet(
                these,
                [q.video_id for q in these],
                features,
                FeatureStore(self.store),
                head,
                labels if split == "train" else None,
                training=split == "train",
            )
            for split, these in questions.items()
        }

    def _features(
        self, unit: Unit, head: Head, questions: dict[str, list[Question]]
    ) -> FeatureReader:
        fields = [field for field in heads.VIDEO_FEATURES if field in head.needs]
        if unit.kind == "exact":
            return ExactFeatures(self.truth, fields)
        videos = list(self.truth["videos"])
        stored = VideoFeatures(FeatureStore(self.store), feature_names(fields, "clip_vit_b32"))
        if unit.kind == "scaled" and fields:
            return Standardised(
                stored, videos, dict.fromkeys(q.video_id for q in questions["train"])
            )
        stored.preload(videos)
        return stored

    @staticmethod
    def _ask(
        head: Head, test: QuestionSet
    ) -> tuple[list[Prediction], list[tuple[Question, Evidence, int]]]:
        """Answers, and where the head looked for every question."""
        looked: list[tuple[Question, Evidence, int]] = []

        def outputs() -> Iterator[tuple[Batch, HeadOutput]]:
            for batch, output in infer(head, test, batch_size=64, device="cpu", explain=True):
                evidence = head.evidence(batch.inputs.apart(), output)
                asked = [test.questions[row] for row in batch.rows.tolist()]
                looked.extend((question, evidence, row) for row, question in enumerate(asked))
                yield batch, output

        return predictions(test, outputs()), looked
