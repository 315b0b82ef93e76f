"""`avqa report`: a run or a store as a page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avqa.commands.reporting import reports_errors, say


@reports_errors
def report(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="A run of `avqa train-head`, a member of it, or a store (also s3://).",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The page.",
            show_default="report.html in the run, NAME-report.html here for a store",
        ),
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option(help="The videos' folder, to show frames and the sound's spectra."),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SENTENCE",
            help="Of a store: list the seconds that CLIP finds nearest to it; may be repeated.",
        ),
    ] = None,
) -> None:
    """Write a run or a store as one HTML page: to look at, to browse, to send to somebody.

    Example: avqa report runs/pstp
    """
    from avqa.pipelines.pages.report import report as work

    typer.echo(f"page: {str(work(path, out, videos, say, search or ()))!r}")
