"""`avqa encoders` and its like: what there is to choose from, and what there is here."""

from __future__ import annotations

from typing import Annotated

import typer

from avqa.commands.reporting import reports_errors


@reports_errors
def list_encoders() -> None:
    """The features there are: encoder, tap, shape per second, size."""
    from avqa.pipelines.listings import encoder_lines

    typer.echo("\n".join(encoder_lines()))


@reports_errors
def list_decoders() -> None:
    """The readers there are, with their versions."""
    from avqa.pipelines.listings import decoder_lines

    typer.echo("\n".join(decoder_lines()))


@reports_errors
def list_heads(
    name: Annotated[str | None, typer.Argument(help="One of them, in full.")] = None,
) -> None:
    """The heads there are: inputs, parameters, FLOPs, the paper's figures.

    With a name its recipe, settings, options with their reasons, ablations and printed figures.

    Example: avqa heads pstp
    """
    from avqa.pipelines.described import head_page
    from avqa.pipelines.listings import head_lines

    typer.echo("\n".join(head_page(name) if name else head_lines()))


@reports_errors
def list_profiles() -> None:
    """The profiles of `avqa extract`, and which frame each --frame-at takes for a row."""
    from avqa.pipelines.described import profile_lines

    typer.echo("\n".join(profile_lines()))


@reports_errors
def info(
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """What a report of a bug should hold.

    Versions, cores, memory, GPUs, caches and weights; what is missing or broken is a line, too.

    Example: avqa info > info.txt
    """
    import json

    from avqa.pipelines.info import report, report_lines

    found = report()
    typer.echo(json.dumps(found, indent=2) if as_json else "\n".join(report_lines(found)))


def show_version(context: typer.Context, asked: bool) -> None:
    """The version, and those of what it stands on, if they are asked for: then nothing follows."""
    if asked:
        from avqa.pipelines.info import version_line

        typer.echo(version_line())
        context.exit()
