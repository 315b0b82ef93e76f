"""`avqa encoders` and its like: what there is to choose from, and what there is here."""

from __future__ import annotations

from typing import Annotated

import typer

from avqa.commands import options as option
from avqa.commands.reporting import reports_errors, show


@reports_errors
def list_encoders(as_json: option.Json = False) -> None:
    """The features there are: encoder, tap, shape per second, size."""
    from avqa.pipelines.listings import encoders

    show(encoders(), as_json=as_json)


@reports_errors
def list_decoders(as_json: option.Json = False) -> None:
    """The readers there are, with their versions."""
    from avqa.pipelines.listings import decoders

    show(decoders(), as_json=as_json)


@reports_errors
def list_heads(
    name: Annotated[str | None, typer.Argument(help="One of them, in full.")] = None,
    as_json: option.Json = False,
) -> None:
    """The heads there are: inputs, parameters, FLOPs, the paper's figures.

    With a name its recipe, settings, options with their reasons, ablations and printed figures.

    Example: avqa heads pstp
    """
    from avqa.pipelines.described import head_page
    from avqa.pipelines.listings import all_heads

    show(head_page(name) if name else all_heads(), as_json=as_json)


@reports_errors
def list_profiles() -> None:
    """The profiles of `avqa extract`, and which frame each --frame-at takes for a row."""
    from avqa.pipelines.described import profile_lines

    typer.echo("\n".join(profile_lines()))


@reports_errors
def info(as_json: option.Json = False) -> None:
    """What a report of a bug should hold.

    Versions, cores, memory, GPUs, caches and weights; what is missing or broken is a line, too.

    Example: avqa info > info.txt
    """
    from avqa.pipelines.info import report, report_lines
    from avqa.telling.found import Listing

    found = Listing(report(), report_lines)
    show(found, as_json=as_json)


def show_version(context: typer.Context, asked: bool) -> None:
    """The version, and those of what it stands on, if they are asked for: then nothing follows."""
    if asked:
        from avqa.pipelines.info import version_line

        typer.echo(version_line())
        context.exit()
