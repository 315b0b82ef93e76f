"""`avqa encoders` and its like: what there is to choose from."""

from __future__ import annotations

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
def list_heads() -> None:
    """The heads there are: inputs, parameters, FLOPs, the paper's figures."""
    from avqa.pipelines.listings import head_lines

    typer.echo("\n".join(head_lines()))


def show_version(context: typer.Context, asked: bool) -> None:
    """The version, and those of what it stands on, if they are asked for: then nothing follows."""
    if asked:
        from avqa.pipelines.listings import version_line

        typer.echo(version_line())
        context.exit()
