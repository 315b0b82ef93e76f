"""`avqa ask`: a question about a video, answered by a trained head."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avqa.commands import options as option
from avqa.commands.reporting import reports_errors, say


@reports_errors
def ask(
    run: Annotated[Path, typer.Argument(help="Folder of `avqa train-head`, or a member of it.")],
    video: Annotated[Path, typer.Argument(help="One video file.")],
    question: Annotated[str, typer.Argument(help="In quotes, as the training questions are put.")],
    top: Annotated[int, typer.Option(min=1, help="Answers printed.")] = 5,
    explain: Annotated[
        Path | None,
        typer.Option(help="Folder for pictures and numbers of where the head looked."),
    ] = None,
    choice: Annotated[
        list[str] | None,
        typer.Option(help="An option of a multiple choice; give it once for each."),
    ] = None,
    device: option.Device = "auto",
) -> None:
    """Answer a question about any video with a trained head, and show where it looked.

    --device auto is the kind of device that made the run's features, if it is here.

    Example: avqa ask runs/pstp clip.mp4 "How many instruments are sounding in the video?"
    """
    from avqa.pipelines.ask import answer as asking
    from avqa.pipelines.ask import explain as explaining

    if explain is not None:
        explaining.prepare_folder(explain)
    options = asking.AskOptions(run, video, question, tuple(choice or ()), device)
    answer = asking.ask(options, say)
    typer.echo("\n".join(answer.lines(top)))
    if explain is not None:
        typer.echo(f"explained  {explaining.explain(answer, explain)[0]}")
