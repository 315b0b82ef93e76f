"""The runs that reproduce a paper: its head with its recipe, and with ablations all their rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from avqa import heads
from avqa.pipelines.reproduce.asked import ReproduceOptions
from avqa.pipelines.train.options import TrainOptions
from avqa.store.places.files import StorePath
from avqa.training.data import building
from avqa.training.data.names import names_of
from avqa.training.run import RUN
from avqa.training.variants import ALL, Plan, plan

RUNS = "runs"


@dataclass(frozen=True)
class Training:
    """One run of `avqa train-head`."""

    head: str
    name: str
    """Of the run's folder."""
    assignments: dict[str, str]
    ablation: str | None
    dataset: str

    def plan(self) -> Plan:
        """Settings and variants.

        Raises:
            ConfigError: a setting cannot be.
        """
        return plan(self.head, self.assignments, ablation=self.ablation, dataset=self.dataset)

    def features(self) -> list[str]:
        """Features of the videos that any of its variants reads."""
        planned = self.plan()
        fields = building.video_fields(planned.variants)
        return list(names_of(planned.settings, fields).values())

    def texts(self) -> list[str]:
        """Features of the questions that any of its variants reads."""
        planned = self.plan()
        read = (building.texts(variant, planned.settings) for variant in planned.variants)
        return list(dict.fromkeys(name for names in read for name in names.values()))

    def folder(self, out: Path) -> Path:
        """Of the run."""
        return out / RUNS / self.name

    def options(self, asked: ReproduceOptions, store: StorePath) -> TrainOptions:
        """As `avqa.pipelines.train.train.train_head` takes them, to begin or to go on."""
        folder = self.folder(asked.out)
        return TrainOptions(
            head=self.head,
            store=store,
            dataset=self.dataset,
            annotations=asked.annotations,
            out=folder,
            assignments=self.assignments | {"device": asked.device},
            ablation=self.ablation,
            seeds=asked.seeds,
            resume=(folder / RUN).exists(),
            partition=asked.partition,
            steal_lock=asked.steal_lock,
            slurm=asked.slurm,
        )


def trainings(head: str, asked: ReproduceOptions) -> Iterator[Training]:
    """The main run, then those of ablation rows with other features than the head's own."""
    # What is missing was accepted, or has stopped the command before.
    given = {"missing": "skip"} | dict(asked.assignments)
    rows = ALL if asked.ablations else None
    yield Training(head, head, given, rows, asked.dataset)
    module = heads.load(head)
    visual = given.get("visual", module.PAPER.recipe.visual)
    for name, row in module.ABLATIONS.items() if asked.ablations else ():
        if row.visual not in (None, visual):
            of_row = given | {"visual": str(row.visual)}
            yield Training(head, f"{head}-{row.visual}", of_row, name, asked.dataset)
