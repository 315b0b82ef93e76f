"""What of a paper was reproduced: our scores beside its figures, and what is not finished."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from avqa import heads
from avqa.heads import Ablation, HeadModule, Paper
from avqa.pipelines.reproduce.asked import ReproduceOptions
from avqa.pipelines.reproduce.evidence import Score, TestSet, Trained, trained
from avqa.pipelines.reproduce.training import Training, trainings
from avqa.training.member import MemberConfig
from avqa.training.run import DEFAULT, QUESTION_ONLY, RESULT, RUN, Run, member_path
from avqa.training.table.cells import Row
from avqa.training.table.published import ablation_row, published_rows


@dataclass(frozen=True)
class Beside:
    """A printed figure, or none, beside ours."""

    name: str
    printed: Row | None
    ours: Trained
    note: str = ""
    other_features: bool = False
    """Whether the figure is of other features than ours has read."""

    def within(self, column: str) -> str:
        """Whether the figure lies in the interval of ours, or why nobody can say."""
        score, printed = self.ours.scores[column], self.value(column)
        if printed is None or self.printed is None or score.interval is None:
            return ""
        if not self.printed.comparable:
            return "other questions"
        if self.other_features:
            return "other features"
        return "yes" if printed in score.interval else "no"

    def value(self, column: str) -> float | None:
        """The printed figure of a column."""
        cell = self.printed.cells.get(column) if self.printed is not None else None
        return None if cell is None else cell.mean

    def score(self, column: str) -> Score:
        """Ours."""
        return self.ours.scores[column]


class Judged:
    """One paper's head, with all that is finished of it."""

    def __init__(self, out: Path, head: str, asked: Mapping[str, Any], test: TestSet) -> None:
        """Read what is finished.

        Raises:
            RunDamaged, DifferenceFound: a run does not hold what made it.
        """
        self.out, self.head, self.asked, self.test = out, head, asked, test
        self.module: HeadModule = heads.load(head)
        self.paper: Paper = self.module.PAPER
        self.trainings: tuple[Training, ...] = tuple(trainings(head, _options(asked)))
        found = {training.name: _run(training.folder(out)) for training in self.trainings}
        self.runs: dict[str, Run] = {name: run for name, run in found.items() if run is not None}

    @property
    def begun(self) -> bool:
        """Whether the head itself, without any ablation, is finished with some seed."""
        return head_run(self.runs, self.head) is not None

    @cached_property
    def main(self) -> Trained:
        """The head with its paper's recipe."""
        return trained(self.runs[self.head], DEFAULT, self.test)

    @property
    def config(self) -> MemberConfig:
        """Of its first seed."""
        return self.main.members[0].config

    @cached_property
    def question_only(self) -> Trained | None:
        """The floor that knows nothing of a video."""
        run = self.runs[self.head]
        return trained(run, QUESTION_ONLY, self.test) if run.of_variant(QUESTION_ONLY) else None

    def unfinished(self) -> list[str]:
        """What was asked for and is not finished, as ``<run>/<variant>/seed-<n>``."""
        left = []
        for training in self.trainings:
            for variant in training.plan().variants:
                for seed in range(self.asked["seeds"]):
                    member = member_path(training.folder(self.out), variant.name, seed)
                    if not (member / RESULT).exists():
                        left.append(str(member.relative_to(training.folder(self.out).parent)))
        return left

    def left_out(self) -> dict[str, str]:
        """Ablation → why no run of it trains it."""
        plans = [training.plan() for training in self.trainings]
        if not self.asked["ablations"]:
            return {}
        there = {v.name for p in plans for v in p.variants} | {n for p in plans for n in p.same_as}
        return {n: why for n, why in plans[0].left_out.items() if n not in there}

    def figures(self) -> list[Beside]:
        """The paper's figures of its own method, first the one that is nearest to ours.

        That is of the features that ours has read, where the paper tells them apart; then of the
        questions scored here.
        """
        rows = sorted(
            published_rows(self.paper, self.test.scope), key=lambda row: not row.comparable
        )
        visual = self.config.settings.visual
        by_features = [a for a in self.module.ABLATIONS.values() if a.visual and not a.options]
        found = [
            Beside(row.name, row, self.main, other_features=_of_others(row, by_features, visual))
            for row in rows
        ]
        ours = [beside for beside in found if _is_of(beside.printed, by_features, visual)]
        return [*ours, *(beside for beside in found if beside not in ours)]

    def ablations(self) -> Iterator[Beside]:
        """Every row of the paper's tables that was trained."""
        for name, run in self.runs.items():
            variants = dict.fromkeys(member.config.variant for member in run.members)
            scores = {v: trained(run, v, self.test) for v in variants if v != QUESTION_ONLY}
            same_as = run.about.get("same_as", {})
            for row, ablation in self.module.ABLATIONS.items():
                of = row if row in scores else same_as.get(row, "")
                if of not in scores:
                    continue
                printed = ablation_row(row, ablation, self.paper, self.test.scope)
                yield Beside(
                    row,
                    next(iter(printed), None),
                    scores[of],
                    "; ".join(filter(None, (self._twin(name, row, of), ablation.note))),
                )

    def _twin(self, run: str, row: str, of: str) -> str:
        if run != self.head:
            return f"trained in {run}"
        return f"the same network as {of}" if of != row else ""


def head_run(runs: Mapping[str, Run], head: str) -> Run | None:
    """The main run, if it has a finished member of the head itself."""
    run = runs.get(head)
    return run if run is not None and run.of_variant(DEFAULT) else None


def _run(folder: Path) -> Run | None:
    if (folder / RUN).exists() and any(folder.glob(f"*/seed-*/{RESULT}")):
        return Run.load(folder)
    return None


def _options(asked: Mapping[str, Any]) -> ReproduceOptions:
    """What decides which runs there are; the folders play no role."""
    nowhere = Path()
    return ReproduceOptions(
        videos=nowhere,
        annotations=nowhere,
        out=nowhere,
        dataset=asked["dataset"],
        assignments=asked["settings"],
        ablations=asked["ablations"],
    )


def _of_others(row: Row, by_features: Sequence[Ablation], visual: str) -> bool:
    """Whether a figure is known to be of other features than ours."""
    return any(_is_printed(row, a) for a in by_features if a.visual != visual)


def _is_of(row: Row | None, by_features: Sequence[Ablation], visual: str) -> bool:
    return row is not None and any(_is_printed(row, a) for a in by_features if a.visual == visual)


def _is_printed(row: Row, ablation: Ablation) -> bool:
    """Whether a figure is the one of an ablation row: papers print it in both places."""
    cells = {column: cell.mean for column, cell in row.cells.items()}
    return cells == {column: ablation.values.get(column) for column in cells}
