"""`avqa weights`: where the frozen networks' weights come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avqa.commands import options as option
from avqa.commands.reporting import reports_errors, show
from avqa.commands.values import Command

app = typer.Typer(no_args_is_help=True, help="The frozen networks' weights.")


@app.command("list", cls=Command)
@reports_errors
def weights_list(as_json: option.Json = False) -> None:
    """Known weights: where they come from, their licence, whether they are here."""
    from avqa.pipelines.listings import known_weights

    show(known_weights(), as_json=as_json)


@app.command("fetch", cls=Command)
@reports_errors
def weights_fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Default: those needed.")] = None,
) -> None:
    """Download weights, check their digest and convert them once to safetensors."""
    from avqa.extract.weights import default_weights, fetch

    for name in names or default_weights():
        typer.echo(f"{name}: {fetch(name)}")


@app.command("import", cls=Command)
@reports_errors
def weights_import(
    name: Annotated[str, typer.Argument(help="One of `avqa weights list`.")],
    file: Annotated[Path, typer.Argument(help="The published file, downloaded by hand.")],
) -> None:
    """Take weights from a local file, check their digest and convert them once."""
    from avqa.extract.weights import import_file

    typer.echo(f"{name}: {import_file(name, file)}")


@app.command("verify", cls=Command)
@reports_errors
def weights_verify(
    names: Annotated[list[str] | None, typer.Argument(help="Default: all here.")] = None,
) -> None:
    """Check the cached weights: digest, tensors, known answers."""
    from avqa.extract.weights import verify as verify_weights

    for line in verify_weights(names or None):
        typer.echo(line)
