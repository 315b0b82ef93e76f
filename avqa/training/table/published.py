"""Rows that are copied from papers: a paper's own figures, and those of all papers, each once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from avqa import datasets
from avqa.heads import COLUMNS, Ablation, Figures, Paper
from avqa.training.table.cells import Cell, Row

RELEASES = {"music-avqa": {"updated": "u", "original": "o"}, "avqa": {"released": "?"}}
"""Data set → version of its annotation → letter of the papers' figures on it."""


@dataclass(frozen=True)
class Scope:
    """Which questions a table scores."""

    dataset: str
    version: str
    """Of the annotation; where its splits differ, each is named: ``train unknown, test updated``"""
    split: str
    official: bool
    """Whether the split is the data set's own, not one by video."""

    def is_of(self, annotation: str) -> bool:
        """Whether figures of this annotation are of these questions."""
        if not self.official or self.split != "test":
            return False
        letters = RELEASES.get(self.dataset, {})
        names = (name.removeprefix(f"{self.split} ") for name in self.version.split(", "))
        return any(letters.get(name) == annotation for name in names)


def published_rows(paper: Paper, scope: Scope) -> Iterator[Row]:
    """The paper's figures of its own method, the main one with its cost.

    MUSIC-AVQA's figures stand for its variants too, but are marked as not comparable.
    """
    yield from _rows(_with_cost(paper), scope)


def all_published_rows(papers: Sequence[Paper], scope: Scope) -> Iterator[Row]:
    """Every paper's figures of its own method, then what their tables print of others, each once.

    The oldest paper comes first. Rows of one name stay apart where their figures differ: the name
    says then who prints it.
    """
    papers = sorted(papers, key=_year)
    own = [row for paper in papers for row in _with_cost(paper)]
    once = merged([*own, *(row for paper in papers for row in paper.references)])
    times = Counter(row.name for row in once)
    for row in once:
        printer = row.source.partition(",")[0]
        name = row.name if times[row.name] == 1 else f"{row.name}, in {printer}"
        yield from _rows([replace(row, name=name)], scope)


def _year(paper: Paper) -> int:
    """Of the venue; a far one where it names none."""
    years = re.findall(r"\b\d{4}\b", paper.venue)
    return int(years[-1]) if years else 9999


def merged(figures: Iterable[Figures]) -> list[Figures]:
    """Rows of one name that agree in every column that both have as one, with all their sources."""
    found: list[Figures] = []
    for row in figures:
        place = next((n for n, other in enumerate(found) if _agree(row, other)), None)
        if place is None:
            found.append(row)
        else:
            found[place] = _join(found[place], row)
    return found


def _agree(one: Figures, other: Figures) -> bool:
    shared = one.values.keys() & other.values.keys()
    return (
        one.name == other.name
        and bool(shared)
        and all(one.values[column] == other.values[column] for column in shared)
    )


def _join(first: Figures, second: Figures) -> Figures:
    """The one with more columns, with the sources, notes and cost of both."""
    fuller = second if len(second.values) > len(first.values) else first
    millions = (first.parameters_millions, second.parameters_millions)
    return replace(
        fuller,
        source=_all_of(first.source, second.source),
        note=_all_of(first.note, second.note),
        parameters_millions=next((cost for cost in millions if cost is not None), None),
        gflops=second.gflops if first.gflops is None else first.gflops,
    )


def _all_of(*texts: str) -> str:
    """Every part of the texts once."""
    return "; ".join(dict.fromkeys(part for text in texts for part in text.split("; ") if part))


def ablation_row(name: str, ablation: Ablation, paper: Paper, scope: Scope) -> Iterator[Row]:
    """What the paper prints for an ablation, if anything of this data set."""
    annotation = ablation.annotation or (paper.figures[0].annotation if paper.figures else "?")
    printed = Figures(
        f"paper: {name}",
        "",
        ablation.values,
        annotation,
        ablation.consistent,
        ablation.note,
        ablation.parameters_millions,
        ablation.gflops,
    )
    for row in _rows([printed], scope):
        yield replace(row, kind="paper's ablation")


def _with_cost(paper: Paper) -> tuple[Figures, ...]:
    """The paper's figures; the first row has its cost."""
    if not paper.figures:
        return ()
    main, *others = paper.figures
    millions, gflops = paper.parameters_millions, paper.gflops
    return replace(main, parameters_millions=millions, gflops=gflops), *others


def _rows(figures: Iterable[Figures], scope: Scope) -> Iterator[Row]:
    for printed in figures:
        values = _values(printed.values, scope.dataset)
        if values:
            millions = printed.parameters_millions
            yield Row(
                name=printed.name,
                kind="published",
                cells=values,
                annotation=_short(printed.annotation),
                # AVQA has one column: nothing follows from another.
                consistent=printed.consistent or scope.dataset == "avqa",
                comparable=scope.is_of(printed.annotation),
                parameters=None if millions is None else millions * 1e6,
                gflops=printed.gflops,
                note=_note(printed),
            )


def _values(values: Mapping[str, float], dataset: str) -> dict[str, Cell]:
    """Figures under this data set's columns; those of AVQA have one, and are of AVQA alone.

    Own questions have none: no paper answers them.
    """
    if dataset == "avqa":
        return {"All": Cell(values["AVQA"])} if "AVQA" in values else {}
    if datasets.fixed_vocabulary(dataset) is None:
        return {}
    return {column: Cell(value) for column, value in values.items() if column in COLUMNS}


def _short(annotation: str) -> str:
    """``u`` of ``u, real videos only``: the rest is in the note."""
    return annotation.partition(",")[0]


def _note(figures: Figures) -> str:
    rest = figures.annotation.partition(", ")[2]
    return "; ".join(part for part in (figures.source, rest, figures.note) if part)
