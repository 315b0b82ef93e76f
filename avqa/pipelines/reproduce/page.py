"""The page of a paper: printed figures beside ours, and everything needed to judge them.

A page is a function of the files of OUT alone, without videos, features, weights or annotations: it
can be made again from an archive, byte for byte.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from avqa.errors import DifferenceFound
from avqa.heads import Paper
from avqa.pipelines.reproduce.asked import read_asked
from avqa.pipelines.reproduce.evidence import TestSet, read_test_set
from avqa.pipelines.reproduce.features import read_costs
from avqa.pipelines.reproduce.judged import Beside, Judged
from avqa.store.places.files import storage_errors, write_atomic
from avqa.training.run import read_environment
from avqa.training.settings import DERIVED, TrainSettings
from avqa.training.table.cells import Row
from avqa.training.table.published import RELEASES
from avqa.training.table.rows import changed_options
from avqa.units import clock

GROUPS = ("A-Avg", "V-Avg", "AV-Avg", "All")
"""Columns of the tables of ablations."""
INDEX = "papers.md"
_OF_THE_MACHINE = ("device", "workers")
_COMPARED = ("printed", "ours", "95 % interval", "difference", "within")
_RULE = (
    "*Within*: whether the printed figure lies in the 95 % interval of ours. The interval is of"
    " the mean of the seeds; it counts in that videos are drawn, not single questions, and that"
    " seeds differ (one seed does not tell how much). *other questions*: the paper's figure is of"
    " another annotation or another set of questions, *other features*: of those of another"
    " network, so that no interval can decide."
)


def write_pages(out: Path) -> list[Path]:
    """Write the page of every head that has something finished, and the one of all.

    Raises:
        ConfigError, RunDamaged, DifferenceFound: the folder does not hold what made it.
        StorageFailure: it cannot be written.
    """
    made = pages(out)
    for name, text in made.items():
        with storage_errors(f"{str(out / name)!r}"):
            write_atomic(out / name, text.encode())
    return [out / name for name in made]


def pages(out: Path) -> dict[str, str]:
    """File name → text of every page that can be made of a folder; none before anything is done.

    Raises:
        ConfigError, RunDamaged, DifferenceFound: as `write_pages`.
    """
    asked, test = read_asked(out), read_test_set(out)
    _require_same_questions(out, asked, test)
    made, lines, marks = {}, [], dict[str, None]()
    for head in asked["heads"]:
        judged = Judged(out, head, asked, test)
        if judged.begun:
            page = _Page(judged)
            made[f"{head}.md"] = page.text()
            marks |= dict.fromkeys(page.warnings())
            lines.append(page.summary())
        else:
            lines.append(_piped([_short(judged.paper), *[""] * 6, "not begun"]))
    if made:
        made[INDEX] = _index(asked, test, lines, marks)
    return made


def _require_same_questions(out: Path, asked: Mapping[str, Any], test: TestSet) -> None:
    if (asked["questions"], asked["dataset"]) != (test.digest, test.dataset):
        raise DifferenceFound(
            f"folder {str(out)!r}: questions.json is of dataset={test.dataset}"
            f" sha256={test.digest[:12]}; expected {asked['dataset']} {asked['questions'][:12]}, as"
            " reproduce.json has it; one of them is of another reproduction, or was edited"
        )


def _index(
    asked: Mapping[str, Any], test: TestSet, lines: Sequence[str], marks: Iterable[str]
) -> str:
    head = ["paper", "figure", *_COMPARED, "finished"]
    parts = [
        f"# {asked['dataset']}, reproduced",
        *marks,
        f"Accuracy in percent on {len(test.asked)} test questions, annotation version"
        f" {test.version}.",
        "\n".join([_piped(head), "|---|---|---:|---:|---:|---:|---|---|", *lines]),
        _RULE,
    ]
    return "\n\n".join(parts) + "\n"


class _Page:
    def __init__(self, judged: Judged) -> None:
        self._of = judged
        self._config = judged.config
        self._figures = judged.figures() or [Beside("", None, judged.main)]

    def warnings(self) -> Iterator[str]:
        """What makes the numbers mean something else."""
        if self._config.weights.startswith("random:"):
            yield (
                f"**The features come from random weights ({self._config.weights}): these"
                " accuracies show that the program works, and nothing else.**"
            )

    def summary(self) -> str:
        """A line of the page of all papers."""
        first = self._figures[0]
        left = len(self._of.unfinished())
        state = f"all but {left}" if left else "all"
        name = f"[{_short(self._of.paper)}]({self._of.head}.md)"
        return _piped([name, first.name, *_compared(first, "All"), state])

    def text(self) -> str:
        """The page in Markdown."""
        paper = self._of.paper
        parts = [
            f"# {_short(paper)}",
            f"{paper.title}. {paper.venue}. <{paper.url}>",
            *self.warnings(),
            *self._gaps(),
            "## The paper's method",
            *self._main_tables(),
            _RULE,
            *self._ablations(),
            "## Against which questions",
            _listed(self._questions()),
            "## In what ours departs from the paper",
            _listed(self._departures()),
            "## What made these numbers",
            _listed(self._made()),
            "```json\n" + json.dumps(self._recipes(), indent=1, sort_keys=True) + "\n```",
            "## Cost",
            _listed(self._costs()),
            "## Again",
            f"```\n{self._command()}\n```",
        ]
        return "\n\n".join(parts) + "\n"

    def _gaps(self) -> Iterator[str]:
        if left := self._of.unfinished():
            yield f"**Not finished, and not on this page: {', '.join(left)}.**"

    def _main_tables(self) -> Iterator[str]:
        first, *others = self._figures
        if first.printed is not None:
            yield f"{first.name} ({self._told(first.printed)})"
        yield _table(
            ("column", *_COMPARED, "questions"),
            ([c, *_compared(first, c), str(s.total)] for c, s in self._of.main.scores.items()),
        )
        if others:
            yield "The same method in other tables, All:"
            yield _table(
                ("figure", *_COMPARED, "what it is"),
                ([b.name, *_compared(b, "All"), self._told(b.printed)] for b in others),
            )

    def _ablations(self) -> Iterator[str]:
        rows, left_out = list(self._of.ablations()), self._of.left_out()
        if rows or left_out:
            yield "## Ablations"
        for column in (c for c in GROUPS if rows and c in self._of.main.scores):
            yield f"{column}:"
            yield _table(
                ("row", *_COMPARED, "note"),
                ([b.name, *_compared(b, column), self._note(b)] for b in rows),
            )
        if left_out:
            yield _listed(f"row `{name}` was not trained: {why}" for name, why in left_out.items())

    def _note(self, beside: Beside) -> str:
        lacking = beside.ours.left_out - self._of.main.left_out
        return "; ".join(
            filter(None, (beside.note, f"{lacking} questions less than above" * (lacking > 0)))
        )

    def _questions(self) -> Iterator[str]:
        test, main = self._of.test, self._of.main
        counts = ", ".join(f"{split} {count}" for split, count in test.counts.items())
        used = ", ".join(f"{split} {count}" for split, count in self._config.counts.items())
        yield f"{test.dataset}, annotation version {test.version}: {counts}; in use: {used}"
        if test.dataset not in RELEASES:
            yield "printed figures are of MUSIC-AVQA, not of this data set"
        if main.left_out:
            yield f"{main.left_out} test questions were not asked: their videos are missing"
        yield from self._of.runs[self._of.head].about["notes"]
        floors = ", ".join(f"{name} {table['All']:.2f}" for name, table in test.floors.items())
        yield f"what answering without looking scores (All): {floors}"
        if (alone := self._of.question_only) is not None:
            score = alone.scores["All"]
            asked = f", of {score.total} questions" * (alone.left_out != main.left_out)
            yield (
                "a head of the question alone, without sound and pictures:"
                f" {score.mean:.2f} ({score.interval or 'too few videos for an interval'}{asked})"
            )

    def _departures(self) -> Iterator[str]:
        paper = self._of.paper
        if changed := list(self._changed_settings()):
            yield f"recipe: {', '.join(changed)}"
        if options := changed_options(self._of.head, self._config.options):
            yield f"options: {options}"
        printed = self._of.module.ABLATIONS.get("as_printed")
        if printed is not None:
            yield f"as printed would be (row `as_printed`): {_options(printed.options)}"
        yield from paper.departures
        if paper.recipe.note:
            yield f"the paper's recipe: {paper.recipe.note}"
        yield "the checkpoint is the best epoch on val; test is scored once, at the end"

    def _changed_settings(self) -> Iterator[str]:
        """Settings that are not the paper's, nor those that it leaves to everybody."""
        usual = {f.name: f.default for f in fields(TrainSettings) if f.default is not MISSING}
        usual["missing"] = "skip"  # of a reproduction; what is left out is told with the questions
        paper = asdict(self._of.paper.recipe) | {"batches": "shuffled"}
        for name, value in asdict(self._config.settings).items():
            expected = paper.get(name, usual.get(name))
            if name not in _OF_THE_MACHINE and value != expected:
                whose = "paper" if name in paper else "else"
                yield f"`{name}={value}` ({whose}: {expected})"

    def _made(self) -> Iterator[str]:
        config, members = self._config, self._of.main.members
        yield f"avqa {config.avqa_version}; options: {_options(_chosen(config.options))}"
        seeds = ", ".join(str(m.config.seed) for m in members)
        best = ", ".join(str(m.result.best_epoch) for m in members)
        yield f"seeds {seeds}; best epochs {best} of {config.settings.epochs}"
        for entry in (*config.features.values(), *_texts(config.texts)):
            yield f"`{entry['name']}`, recipe {entry['recipe_hash']}"
        for member in members:
            files = member.result.files
            yield f"seed {member.config.seed}: " + ", ".join(
                f"{name} sha256 {digest}" for name, digest in sorted(files.items())
            )
        yield f"questions sha256 {self._of.test.digest}"

    def _recipes(self) -> dict[str, Any]:
        config = self._config
        entries = (*config.features.values(), *_texts(config.texts))
        return {entry["name"]: entry["recipe"] for entry in entries}

    def _costs(self) -> Iterator[str]:
        read = {entry["name"] for entry in self._config.features.values()}
        for name, cost in read_costs(self._of.out).items():
            if read <= set(cost.features):
                more = cost.runs_without_time
                killed = f", and {more} that were killed, whose time is unknown" if more else ""
                runs = f"{clock(cost.seconds)} in {cost.runs - more} run(s){killed}"
                yield f"features `{name}`: {cost.videos} videos, {runs}"
        for name, run in self._of.runs.items():
            for variant in dict.fromkeys(member.config.variant for member in run.members):
                members = run.of_variant(variant)
                seconds = sum(member.result.seconds for member in members)
                yield (
                    f"{name} {variant}: {clock(seconds)} for {len(members)} seed(s),"
                    f" {members[0].result.parameters} trainable parameters"
                )
        yield from dict.fromkeys(_machine(m.path) for m in self._of.main.members)

    def _command(self) -> str:
        asked = self._of.asked
        words = ["avqa", "reproduce", self._of.head, "--dataset", asked["dataset"]]
        words += ["--videos", "VIDEOS", "--annotations", "ANNOTATIONS", "--out", "OUT"]
        words += ["--seeds", str(asked["seeds"]), "--weights", asked["weights"]]
        words += ["--ablations"] * asked["ablations"]
        words += ["--accept-missing"] * asked["accept_missing"]
        words += [w for k, v in asked["settings"].items() for w in ("--set", f"{k}={v}")]
        return shlex.join(words)

    def _told(self, row: Row | None) -> str:
        if row is None:
            return ""
        known = {"u": "updated annotation", "o": "original annotation", "o/?": "mixed annotations"}
        text = known.get(row.annotation, "fits neither annotation")
        if self._of.test.dataset == "avqa":
            text = "the released annotation"
        if not row.consistent:
            text += "; averages do not follow from the cells"
        return "; ".join(filter(None, (text, row.note)))


def _compared(beside: Beside, column: str) -> list[str]:
    """Printed, ours, interval, difference, within."""
    score, printed = beside.ours.scores[column], beside.value(column)
    ours, span = f"{score.mean:.2f}", str(score.interval or "")
    if printed is None:
        return ["", ours, span, "", ""]
    difference = f"{score.mean - printed:+.2f}"
    return [f"{printed:.2f}", ours, span, difference, beside.within(column)]


def _texts(texts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": name, **entry} for name, entry in texts.items()]


def _chosen(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in DERIVED}


def _options(options: Mapping[str, Any]) -> str:
    return " ".join(
        f"{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in options.items()
    )


def _machine(member: Path) -> str:
    it = read_environment(member)
    packages = ", ".join(f"{name} {version}" for name, version in it["packages"].items())
    device = it["gpu"] or f"{it.get('threads', it['cores'])} threads"
    return f"trained on {device}, Python {it['python']}, {packages}"


def _short(paper: Paper) -> str:
    name = paper.figures[0].name if paper.figures else paper.title
    return f"{name.partition(' [')[0]} ({paper.venue})"


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    marks = ["---", *["---:"] * 4, *["---"] * (len(head) - 5)]
    return "\n".join([_piped(head), _piped(marks), *map(_piped, rows)])


def _piped(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|").replace("\n", " ") for text in texts) + " |"
