"""`avqa ask` and `avqa serve`: questions about videos, answered by a trained head."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avqa.commands import options as option
from avqa.commands.reporting import InTurn, reports_errors, say
from avqa.telling.terminal import is_typed, typed_lines


@reports_errors
def ask(
    run: Annotated[Path, typer.Argument(help="Folder of `avqa train-head`, or a member of it.")],
    video: Annotated[Path, typer.Argument(help="One video file.")],
    question: Annotated[
        str | None,
        typer.Argument(
            help="In quotes, as the training questions are put; without, questions are read from"
            " the terminal or a pipe, one a line."
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Answers printed.")] = 5,
    explain: Annotated[
        Path | None,
        typer.Option(
            help="Folder for pictures and numbers of where the head looked; of several questions"
            " one folder each in it."
        ),
    ] = None,
    choice: Annotated[
        list[str] | None,
        typer.Option(help="An option of a multiple choice; give it once for each."),
    ] = None,
    answer: Annotated[
        str | None, typer.Option(help="The right answer, to be marked in the pictures.")
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Questions, one a line; or .csv, .tsv, .json, .jsonl with question, and if"
            " you like options, answer, video.",
        ),
    ] = None,
    device: option.Device = "auto",
    as_json: option.Json = False,
) -> None:
    """Answer questions about any video with a trained head, and show where it looked.

    Features come from the run's store if it has the video, else they are made as the run's were.
    --device auto is the kind of device that made the run's features, if it is here.

    Example: avqa ask runs/pstp clip.mp4 "How many instruments are sounding in the video?"
    """
    from avqa.pipelines.engine.early import begun

    with begun(None) as decoder:
        from avqa.pipelines.ask import asking
        from avqa.pipelines.ask import explain as explaining

        if explain is not None:
            explaining.prepare_folder(explain)
        request = asking.Request(
            run=run,
            video=video,
            question=question,
            choices=tuple(choice or ()),
            answer=answer,
            questions=questions,
            device=device,
        )
        lines = typed_lines("question> ", say, shown=not as_json)
        found = asking.answers(request, lines, say, typed=is_typed(), decoder=decoder)
        with InTurn(asking.as_object, as_json=as_json) as answers:
            for number, answered in enumerate(found, 1):
                told = asking.Told(answered, top, number)
                answers.tell(told)
                if explain is not None:
                    folder = explain if question is not None else explain / f"question-{number:04d}"
                    told.explained = explaining.explain(answered, folder)[0]
                    answers.more(
                        f"explained  {told.explained}", f"page       {folder / explaining.PAGE}"
                    )


@reports_errors
def serve(
    run: Annotated[Path, typer.Argument(help="Folder of `avqa train-head`, or a member of it.")],
    videos: Annotated[
        Path | None,
        typer.Option(help="A folder whose videos can be picked; without, they are dropped."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of 127.0.0.1; 0: any free.")] = 7860,
    device: option.Device = "auto",
) -> None:
    """Serve a page on 127.0.0.1 alone: pick a video, type a question, see what it rests on.

    Needs the extra demo (gradio). Ctrl-C ends it.

    Example: avqa serve runs/pstp --videos dir
    """
    from avqa.pipelines.serve.serving import ServeOptions
    from avqa.pipelines.serve.serving import serve as work

    work(ServeOptions(run, videos, port, device), say)
