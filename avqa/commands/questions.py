"""`avqa questions`: what a data set asks, and its texts' features."""

from __future__ import annotations

from typing import Annotated

import typer

from avqa.commands import options as option
from avqa.commands.reporting import reports_errors, say
from avqa.commands.reporting import show as show_found


@reports_errors
def questions(
    dataset: option.Dataset,
    annotations: option.Annotations,
    edition: option.Edition = None,
    group: option.Group = None,
    subset: option.Subset = None,
    store: option.OptionalStore = None,
    show: Annotated[
        int | None,
        typer.Option(min=0, help="Print counts, floors and N samples; needs no --store."),
    ] = None,
    mark: Annotated[
        bool, typer.Option("--mark", help="Put a ? after every question before it is tokenised.")
    ] = False,
    prompts: Annotated[
        bool, typer.Option("--prompts", help="Encode the questions' prompts too, which TSPM reads.")
    ] = False,
    with_options: Annotated[
        bool,
        typer.Option(
            "--with-options",
            help="Encode each question with each of its options behind it, too, as cuespace reads.",
        ),
    ] = False,
    features: Annotated[
        str | None,
        typer.Option(help="ENCODER/TAP of texts, commas between; all of one encoder."),
    ] = None,
    weights: option.StoreWeights = None,
    precision: option.Precision = "fp32",
    dtype: option.Dtype = "float16",
    device: option.Device = "auto",
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove the texts that are there before.")
    ] = False,
    steal_lock: option.StealLock = False,
    as_json: option.Json = False,
) -> None:
    """Encode every distinct question and option text once; run again to resume or to add others.

    Example: avqa questions --dataset music-avqa --annotations data/json_update --store features
    """
    choices = option.chosen(edition, group, subset)
    if show is not None:
        from avqa.pipelines.questions.show import shown

        show_found(shown(dataset, annotations, show, **choices), as_json=as_json)
        return
    from avqa.extract.text import FEATURES
    from avqa.pipelines.questions.encode import (
        QuestionOptions,
        encode_questions,
        needed_store,
        text_settings,
    )

    options = QuestionOptions(
        dataset,
        annotations,
        needed_store(store, as_json=as_json),
        text_settings(
            mark=mark,
            precision=precision,
            dtype=dtype,
            device=device,
            features=FEATURES if features is None else features.split(","),
        ),
        weights,
        prompts,
        with_options,
        replace,
        steal_lock,
        choices,
    )
    report = encode_questions(options, say)
    typer.echo("\n".join(report.lines()))
    report.raise_if_failed()
