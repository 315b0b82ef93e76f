"""The command line: every command of `avqa.commands`, assembled. No work is done here."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from avqa import surroundings
from avqa.commands import (
    ask,
    evaluate,
    extract,
    interop,
    listings,
    questions,
    report,
    reproduce,
    stores,
    synth,
    train,
    weights,
)
from avqa.commands.reporting import show_anything
from avqa.commands.values import Command
from avqa.signals import command_begins, end_at_once

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Audio-visual question answering: from videos and questions to trained, evaluated heads.",
)


@app.callback()
def root(
    debug: Annotated[bool, typer.Option(help="Show a traceback with every error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=listings.show_version,
            is_eager=True,
            help="Show what a report of a bug should name.",
        ),
    ] = False,
) -> None:
    """Nothing but the options that every command shares."""
    if debug:
        os.environ["AVQA_DEBUG"] = "1"


for command in (
    extract.extract,
    questions.questions,
    train.train_head,
    train.pretrain_grounding,
    evaluate.evaluate,
    evaluate.table,
    evaluate.compare_runs,
    evaluate.score,
    evaluate.predict,
    reproduce.reproduce,
    report.report,
    ask.ask,
    ask.serve,
    extract.frames,
    stores.status,
    stores.verify,
    stores.finalize,
    stores.remove,
    stores.pack,
    interop.compare,
    synth.synth,
):
    app.command(cls=Command)(command)
app.command("encoders", cls=Command)(listings.list_encoders)
app.command("decoders", cls=Command)(listings.list_decoders)
app.command("heads", cls=Command)(listings.list_heads)
app.command("profiles", cls=Command)(listings.list_profiles)
app.command(cls=Command)(listings.info)
app.add_typer(interop.import_app, name="import")
app.add_typer(interop.export_app, name="export")
app.add_typer(weights.app, name="weights")


def main() -> None:
    """Entry point of the console script."""
    surroundings.leave_out()
    show_anything()
    command_begins()
    try:
        app()
    except SystemExit as ending:
        end_at_once(ending.code if isinstance(ending.code, int) else int(ending.code is not None))
        raise


if __name__ == "__main__":
    main()
