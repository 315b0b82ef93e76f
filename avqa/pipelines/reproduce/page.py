"""The page of a paper: printed figures beside ours, and everything needed to judge them.

A page is a function of the files of OUT alone, without videos, features, weights or annotations: it
can be made again from an archive, byte for byte.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, replace
from pathlib import Path
from typing import Any

from avqa import heads
from avqa.heads import HeadModule, Paper
from avqa.pipelines.reproduce.asked import read_asked
from avqa.pipelines.reproduce.evidence import (
    Score,
    TestSet,
    Trained,
    read_test_set,
    runs_of,
    trained,
)
from avqa.pipelines.reproduce.features import COSTS
from avqa.store.places.files import read_json, storage_errors, write_atomic
from avqa.training.run import DEFAULT, QUESTION_ONLY, Run, read_object
from avqa.training.settings import DERIVED, TrainSettings
from avqa.training.table.cells import Row
from avqa.training.table.published import Scope, ablation_row, published_rows
from avqa.training.table.rows import changed_options
from avqa.units import clock

_OF_THE_MACHINE = ("device", "workers")
_AFTER = ("95 % interval", "difference", "within")
GROUPS = ("A-Avg", "V-Avg", "AV-Avg", "All")
"""Columns of the tables of ablations."""
INDEX = "README.md"
_RULE = (
    "*Within*: whether the printed figure lies in the 95 % interval of ours. The interval is of"
    " the mean of the seeds; it counts in that videos are drawn, not single questions, and that"
    " seeds differ (one seed does not tell how much). *other questions*: the paper's figure is of"
    " another annotation or another set of questions, so that no interval can decide."
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
    """File name → text of every page that can be made of a folder.

    Raises:
        ConfigError, RunDamaged, DifferenceFound: as `write_pages`.
    """
    asked, test = read_asked(out), read_test_set(out)
    made, lines = {}, []
    for head in asked["heads"]:
        found = [*runs_of(out, head)]
        if not any(run.of_variant(DEFAULT) for run in found):
            continue
        page = _Page(out, head, asked, test, found)
        made[f"{head}.md"] = page.text()
        lines.append(page.summary())
    if made:
        made[INDEX] = _index(asked, test, lines)
    return made


def _index(asked: Mapping[str, Any], test: TestSet, lines: Sequence[str]) -> str:
    head = "| paper | printed | ours | 95 % interval | difference | within | finished |"
    return (
        "\n\n".join(
            [
                f"# {asked['dataset']}, reproduced",
                *_warnings(asked),
                f"Accuracy in percent on {len(test.asked)} test questions, annotation version"
                f" {test.version}.",
                "\n".join([head, "|---|---:|---:|---:|---:|---|---|", *lines]),
                _RULE,
            ]
        )
        + "\n"
    )


def _warnings(asked: Mapping[str, Any]) -> Iterator[str]:
    if asked["weights"].startswith("random:"):
        yield (
            f"**The features come from random weights ({asked['weights']}): these accuracies show"
            " that the program works, and nothing else.**"
        )


class _Page:
    def __init__(
        self, out: Path, head: str, asked: Mapping[str, Any], test: TestSet, runs: Sequence[Run]
    ) -> None:
        self._out, self._head, self._asked, self._test = out, head, asked, test
        self._runs = runs
        self._module: HeadModule = heads.load(head)
        self._paper: Paper = self._module.PAPER
        self._scope: Scope = test.scope
        main = next(run for run in runs if run.of_variant(DEFAULT))
        self._main_run = main
        self._main = trained(main, DEFAULT, test)
        self._config = self._main.members[0].config

    def summary(self) -> str:
        """A line of the page of all papers."""
        printed = next(iter(self._printed()), None)
        cells = _compared(printed, "All", self._main.scores["All"])
        gaps = sum(len(run.missing) for run in self._runs)
        state = f"all but {gaps}" if gaps else "all"
        name = f"[{_short(self._paper)}]({self._head}.md)"
        return _piped([name, *cells, state])

    def text(self) -> str:
        """The page in Markdown."""
        paper = self._paper
        parts = [
            f"# {_short(paper)}",
            f"{paper.title}. {paper.venue}. <{paper.url}>",
            *_warnings(self._asked),
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
        for run in self._runs:
            if run.missing:
                yield f"**Not finished, and not on this page: {', '.join(run.missing)}.**"

    def _printed(self) -> list[Row]:
        """The paper's figures of its own method, first the one that is nearest to ours.

        That is of the features that ours has read, where the paper tells them apart; then of the
        questions scored here.
        """
        rows = sorted(published_rows(self._paper, self._scope), key=lambda row: not row.comparable)
        visual = self._config.settings.visual
        for ablation in self._module.ABLATIONS.values():
            if not ablation.options and ablation.visual == visual:
                found = ablation_row(visual, ablation, self._paper, self._scope)
                rows = [*(replace(row, name=f"with {visual}") for row in found), *rows]
        return rows

    def _main_tables(self) -> Iterator[str]:
        printed = self._printed()
        first = printed[0] if printed else None
        if first is not None:
            yield f"{first.name} ({_told(first)})"
        yield _table(
            ("column", "printed", "ours", *_AFTER, "questions"),
            (
                (column, *_compared(first, column, score), str(score.total))
                for column, score in self._main.scores.items()
            ),
        )
        if others := printed[1:]:
            yield "The same method in other tables, All:"
            yield _table(
                ("figure", "printed", "ours", *_AFTER, "what it is"),
                (
                    (row.name, *_compared(row, "All", self._main.scores["All"]), _told(row))
                    for row in others
                ),
            )

    def _ablations(self) -> Iterator[str]:
        blocks = [block for run in self._runs for block in self._rows_of(run)]
        if not blocks:
            return
        yield "## Ablations"
        for column in (c for c in GROUPS if c in self._main.scores):
            yield f"{column}:"
            yield _table(
                ("row", "printed", "ours", *_AFTER, "note"),
                (
                    (name, *_compared(row, column, found.scores[column]), note)
                    for name, row, found, note in blocks
                ),
            )

    def _rows_of(self, run: Run) -> Iterator[tuple[str, Row | None, Trained, str]]:
        """Name, printed row, ours and a note of each ablation that a run trained."""
        scores = {v: trained(run, v, self._test) for v in _variants(run) if v != QUESTION_ONLY}
        for name, ablation in self._module.ABLATIONS.items():
            of = name if name in scores else run.about["same_as"].get(name, "")
            if of not in scores:
                continue
            printed = next(iter(ablation_row(name, ablation, self._paper, self._scope)), None)
            notes = [f"the same network as {of}" * (of != name), ablation.note]
            yield name, printed, scores[of], "; ".join(filter(None, notes))

    def _questions(self) -> Iterator[str]:
        test = self._test
        counts = ", ".join(f"{split} {count}" for split, count in test.counts.items())
        used = ", ".join(f"{split} {count}" for split, count in self._config.counts.items())
        yield f"{test.dataset}, annotation version {test.version}: {counts}; in use: {used}"
        if self._main.left_out:
            yield f"{self._main.left_out} test questions were not asked: their videos are missing"
        yield from self._main_run.about["notes"]
        floors = ", ".join(f"{name} {table['All']:.2f}" for name, table in test.floors.items())
        yield f"what answering without looking scores (All): {floors}"
        if self._main_run.of_variant(QUESTION_ONLY):
            alone = trained(self._main_run, QUESTION_ONLY, test).scores["All"]
            yield (
                "a head of the question alone, without sound and pictures:"
                f" {alone.mean:.2f} ({alone.interval})"
            )

    def _departures(self) -> Iterator[str]:
        if changed := list(self._changed_settings()):
            yield f"recipe: {', '.join(changed)}"
        if options := changed_options(self._head, self._config.options):
            yield f"options: {options}"
        printed = self._module.ABLATIONS.get("as_printed")
        if printed is not None:
            yield f"as printed would be (row `as_printed`): {_options(printed.options)}"
        yield from self._paper.departures
        if self._paper.recipe.note:
            yield f"the paper's recipe: {self._paper.recipe.note}"
        yield "the checkpoint is the best epoch on val; test is scored once, at the end"

    def _changed_settings(self) -> Iterator[str]:
        """Settings that are not the paper's, nor those that it leaves to everybody."""
        usual = {f.name: f.default for f in fields(TrainSettings) if f.default is not MISSING}
        paper = asdict(self._paper.recipe) | {"batches": "shuffled"}
        for name, value in asdict(self._config.settings).items():
            expected = paper.get(name, usual.get(name))
            if name not in _OF_THE_MACHINE and value != expected:
                whose = "paper" if name in paper else "else"
                yield f"`{name}={value}` ({whose}: {expected})"

    def _made(self) -> Iterator[str]:
        config = self._config
        yield f"avqa {config.avqa_version}; options: {_options(_chosen(config.options))}"
        members = self._main.members
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
        yield f"questions sha256 {self._asked['questions']}"

    def _recipes(self) -> dict[str, Any]:
        config = self._config
        entries = (*config.features.values(), *_texts(config.texts))
        return {entry["name"]: entry["recipe"] for entry in entries}

    def _costs(self) -> Iterator[str]:
        for name, cost in _costs_of(self._out).items():
            features = {entry["name"] for entry in self._config.features.values()}
            if features <= set(cost["features"]):
                more = cost["runs_without_time"]
                killed = f", and {more} that were killed, whose time is unknown" if more else ""
                yield (
                    f"features `{name}`: {cost['videos']} videos,"
                    f" {clock(cost['seconds'])} in {cost['runs']} run(s){killed}"
                )
        for run in self._runs:
            for variant in _variants(run):
                members = run.of_variant(variant)
                seconds = sum(member.result.seconds for member in members)
                yield (
                    f"{run.path.name} {variant}: {clock(seconds)} for {len(members)} seed(s),"
                    f" {members[0].result.parameters} trainable parameters"
                )
        yield from dict.fromkeys(_machine(m.path) for m in self._main.members)

    def _command(self) -> str:
        asked = self._asked
        words = ["avqa", "reproduce", self._head, "--dataset", asked["dataset"]]
        words += ["--videos", "VIDEOS", "--annotations", "ANNOTATIONS", "--out", "OUT"]
        words += ["--seeds", str(asked["seeds"]), "--weights", asked["weights"]]
        words += ["--ablations"] * asked["ablations"]
        words += ["--accept-missing"] * asked["accept_missing"]
        words += [w for k, v in asked["settings"].items() for w in ("--set", f"{k}={v}")]
        return shlex.join(words)


def _variants(run: Run) -> list[str]:
    return list(dict.fromkeys(member.config.variant for member in run.members))


def _compared(row: Row | None, column: str, score: Score) -> tuple[str, str, str, str, str]:
    """Printed, ours, interval, difference, within."""
    cell = row.cells.get(column) if row is not None else None
    ours, span = f"{score.mean:.2f}", str(score.interval) if score.interval else ""
    if row is None or cell is None:
        return "", ours, span, "", ""
    difference = f"{score.mean - cell.mean:+.2f}"
    if not row.comparable:
        within = "other questions"
    elif score.interval is None:
        within = ""
    else:
        within = "yes" if cell.mean in score.interval else "no"
    return f"{cell.mean:.2f}", ours, span, difference, within


def _told(row: Row) -> str:
    return "; ".join(filter(None, (_annotation(row), row.note)))


def _annotation(row: Row) -> str:
    known = {"u": "updated annotation", "o": "original annotation", "o/?": "mixed annotations"}
    text = known.get(row.annotation, "fits neither annotation")
    return text if row.consistent else f"{text}; averages do not follow from the cells"


def _texts(texts: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": name, **entry} for name, entry in texts.items()]


def _chosen(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in DERIVED}


def _options(options: Mapping[str, Any]) -> str:
    return " ".join(
        f"{k}={str(v).lower() if isinstance(v, bool) else v}" for k, v in options.items()
    )


def _costs_of(out: Path) -> dict[str, Any]:
    try:
        return read_json(out / COSTS)
    except (OSError, ValueError):
        return {}


def _machine(member: Path) -> str:
    it = read_object(member / "environment.json", "a finished member")
    packages = ", ".join(f"{name} {version}" for name, version in it["packages"].items())
    device = it["gpu"] or f"{it.get('threads', it['cores'])} threads"
    return f"trained on {device}, Python {it['python']}, {packages}"


def _short(paper: Paper) -> str:
    name = paper.figures[0].name if paper.figures else paper.title
    return f"{name} ({paper.venue})"


def _listed(lines: Iterator[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    marks = ["---", *["---:"] * 4, *["---"] * (len(head) - 5)]
    return "\n".join([_piped(head), _piped(marks), *map(_piped, rows)])


def _piped(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|").replace("\n", " ") for text in texts) + " |"
