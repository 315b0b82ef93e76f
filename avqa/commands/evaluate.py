"""`avqa evaluate` and `avqa predict`: what a trained run answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avqa.commands.reporting import reports_errors, say

RunFolder = Annotated[
    Path, typer.Argument(help="Folder of `avqa train-head`, or one <variant>/seed-<n> of it.")
]
Split = Annotated[str, typer.Option(help="train, val or test.")]
StoreOption = Annotated[
    str | None,  # noqa: UP007  typer reads the annotation at run time on every Python
    typer.Option(help="Store of the features.", metavar="STORE", show_default="the run's"),
]
AnnotationsPath = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the question files, or one file of the split.", show_default="the run's"
    ),
]
FORMATS = ("text", "csv", "markdown")


@reports_errors
def evaluate(
    run: RunFolder,
    split: Split = "test",
    store: StoreOption = None,
    annotations: AnnotationsPath = None,
    format: Annotated[str, typer.Option(help="text, csv or markdown.")] = "text",
) -> None:
    """Print the result table of a run, computed anew from its saved weights; nothing is written.

    Example: avqa evaluate runs/pstp --split test
    """
    from avqa.errors import UnknownName
    from avqa.pipelines.train.evaluate import EvaluateOptions
    from avqa.pipelines.train.evaluate import evaluate as work
    from avqa.store.places.files import store_path

    if format not in FORMATS:
        raise UnknownName("format", format, FORMATS)
    place = store_path(store) if store else None
    options = EvaluateOptions(run=run, split=split, store=place, annotations=annotations)
    table = work(options, say)
    typer.echo(getattr(table, format)(), nl=False)


@reports_errors
def predict(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="File to write: a JSON object, question id to answer.")],
    split: Split = "test",
    store: StoreOption = None,
    annotations: AnnotationsPath = None,
) -> None:
    """Write a run's answers to a file; the questions need no right answers.

    Of several seeds the first answers; give a member's folder for another.

    Example: avqa predict runs/pstp --split test --out answers.json
    """
    from avqa.pipelines.train.evaluate import EvaluateOptions
    from avqa.pipelines.train.evaluate import predict as work
    from avqa.store.places.files import store_path

    place = store_path(store) if store else None
    options = EvaluateOptions(run=run, split=split, store=place, annotations=annotations)
    typer.echo("\n".join(work(options, out, say).lines()))
