"""`avqa evaluate` and `avqa predict`: what a trained run answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avqa.commands import options as option
from avqa.commands.reporting import reports_errors, say, show, show_table


@reports_errors
def evaluate(
    run: option.Run,
    split: option.Split = "test",
    store: option.RunStore = None,
    annotations: option.RunAnnotations = None,
    edition: option.RunEdition = None,
    group: option.RunGroup = None,
    subset: option.RunSubset = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STREAMS",
            help="Also without audio, frames, patches, or several by comma; repeatable.",
        ),
    ] = None,
    swap: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STREAMS",
            help="Also with the audio, frames, patches of another video, likewise; repeatable.",
        ),
    ] = None,
    missing_rate: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Also without the audio of this share of the videos."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of --swap and --missing-rate: which videos these are.")
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for all probabilities, and for which answer is given in place of which.",
        ),
    ] = None,
    format: option.Format = "text",
    cells: option.Cells = False,
    as_json: option.Json = False,
) -> None:
    """Print the result table of a run, computed anew from its saved weights.

    Below it stands how sure the heads are, and rightly; nothing is written without --out.

    Example: avqa evaluate runs/pstp --without audio --without frames,patches
    """
    from avqa.pipelines.train.evaluate import EvaluateOptions, check_format
    from avqa.pipelines.train.evaluate import evaluate as work
    from avqa.store.places.files import store_path

    form = check_format(format, as_json=as_json)
    place = store_path(store) if store else None
    options = EvaluateOptions(
        run=run,
        split=split,
        store=place,
        annotations=annotations,
        choices=option.chosen(edition, group, subset),
        without=without or (),
        swap=swap or (),
        missing_rate=missing_rate,
        seed=seed,
        out=out,
    )
    found = work(options, say)
    show_table(found.table, form, cells=cells, more=found, as_json=as_json)


@reports_errors
def table(
    runs: Annotated[list[Path], typer.Argument(help="Folders of `avqa train-head`.")],
    published: Annotated[
        bool,
        typer.Option("--published", help="Also the figures of all papers, of other methods, too."),
    ] = False,
    format: option.Format = "text",
    cells: option.Cells = False,
    as_json: option.Json = False,
) -> None:
    """Print one result table of several runs, from the tables that their training wrote.

    Example: avqa table runs/pstp runs/mcd --published
    """
    from avqa.pipelines.train.evaluate import check_format
    from avqa.pipelines.train.tables import joined_table

    form = check_format(format, as_json=as_json)
    table = joined_table(runs, published=published)
    show_table(table, form, cells=cells, as_json=as_json)


@reports_errors
def compare_runs(
    first: Annotated[Path, typer.Argument(metavar="A", help="A run, or a member's folder.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another, likewise.")],
    annotations: option.RunAnnotations = None,
    store: option.RunStore = None,
    as_json: option.Json = False,
) -> None:
    """Say by how much two runs differ on the same test questions, and what may be chance.

    Of a run its heads without ablation are compared, all seeds together. A run of avqa import run
    is asked its test questions first, which needs its store.

    Example: avqa compare-runs runs/pstp runs/mcd
    """
    from avqa.pipelines.train.paired import compare_runs
    from avqa.store.places.files import store_path

    place = None if store is None else store_path(store)
    show(compare_runs(first, second, annotations, place, say), as_json=as_json)


@reports_errors
def score(
    predictions: Annotated[
        list[Path],
        typer.Argument(help="Files of answers: JSON, JSON Lines, CSV, TSV, TSPM's results."),
    ],
    dataset: option.Dataset,
    annotations: option.Annotations,
    split: option.Split = "test",
    edition: option.Edition = None,
    group: option.Group = None,
    subset: option.Subset = None,
    format: option.Format = "text",
    cells: option.Cells = False,
    as_json: option.Json = False,
) -> None:
    """Score answers of any model: table, floors, intervals; of several files what they differ by.

    Example: avqa score answers.json --dataset music-avqa --annotations data/json_update
    """
    from avqa.pipelines.score.score import score_answers
    from avqa.pipelines.train.evaluate import check_format

    form = check_format(format, as_json=as_json)
    choices = option.chosen(edition, group, subset)
    found = score_answers(predictions, dataset, annotations, split, choices)
    show_table(found.table, form, cells=cells, more=found, as_json=as_json)


@reports_errors
def predict(
    run: option.Run,
    out: Annotated[Path, typer.Option(help="File to write: a JSON object, question id to answer.")],
    split: option.Split = "test",
    store: option.RunStore = None,
    annotations: option.RunAnnotations = None,
    edition: option.RunEdition = None,
    group: option.RunGroup = None,
    subset: option.RunSubset = None,
) -> None:
    """Write a run's answers to a file; the questions need no right answers.

    Of several seeds the first answers; give a member's folder for another.

    Example: avqa predict runs/pstp --split test --out answers.json
    """
    from avqa.pipelines.train.evaluate import EvaluateOptions
    from avqa.pipelines.train.evaluate import predict as work
    from avqa.store.places.files import store_path

    place = store_path(store) if store else None
    options = EvaluateOptions(
        run=run,
        split=split,
        store=place,
        annotations=annotations,
        choices=option.chosen(edition, group, subset),
    )
    typer.echo("\n".join(work(options, out, say).lines()))
