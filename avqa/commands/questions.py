"""`avqa questions`: what a data set asks, and its texts' features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avqa.commands.reporting import reports_errors, say


@reports_errors
def questions(
    dataset: Annotated[str, typer.Option(help="music-avqa, music-avqa-r, music-avqa-v2 or avqa.")],
    annotations: Annotated[Path, typer.Option(help="Folder of the question files, or one file.")],
    store: Annotated[
        str | None,
        typer.Option(help="Store of the videos' features; not needed by --show.", metavar="STORE"),
    ] = None,
    show: Annotated[
        int | None,
        typer.Option(min=0, help="Print counts, floors and N samples; encode nothing."),
    ] = None,
    mark: Annotated[
        bool, typer.Option("--mark", help="Put a ? after every question before it is tokenised.")
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            help="pretrained, a folder, or random:SEED.",
            show_default="those of the store's CLIP pictures, else pretrained",
        ),
    ] = None,
    precision: Annotated[str, typer.Option(help="Network: fp32, bf16, fp16.")] = "fp32",
    dtype: Annotated[str, typer.Option(help="Stored as float16 or float32.")] = "float16",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove the texts that are there before.")
    ] = False,
    steal_lock: Annotated[
        bool, typer.Option("--steal-lock", help="Take over a lock not renewed for 10 minutes.")
    ] = False,
) -> None:
    """Encode every distinct question and option text once; run again to resume or to add others.

    Example: avqa questions --dataset music-avqa --annotations data/json_update --store features
    """
    if show is not None:
        from avqa.pipelines.questions.show import show_lines

        typer.echo("\n".join(show_lines(dataset, annotations, show)))
        return
    from avqa.errors import ConfigError
    from avqa.pipelines.questions.encode import QuestionOptions, encode_questions, text_settings
    from avqa.store.places.files import store_path

    if store is None:
        raise ConfigError(
            "no --store; expected the store of the videos' features; give it with --store, or print"
            " what the questions are with --show 5"
        )
    options = QuestionOptions(
        dataset,
        annotations,
        store_path(store),
        text_settings(mark=mark, precision=precision, dtype=dtype, device=device),
        weights,
        replace,
        steal_lock,
    )
    report = encode_questions(options, say)
    typer.echo("\n".join(report.lines()))
    report.raise_if_failed()
