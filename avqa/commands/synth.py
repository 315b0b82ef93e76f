"""`avqa synth`: a synthetic benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avqa.commands.reporting import reports_errors, say


@reports_errors
def synth(
    out: Annotated[
        Path, typer.Argument(help="Folder to make, or to finish if its settings are these.")
    ],
    videos: Annotated[int, typer.Option(help="Clips, in all three splits together.")] = 200,
    seconds: Annotated[int, typer.Option(help="Length of every clip: 2 to 300.")] = 10,
    instruments: Annotated[
        str, typer.Option(help="How many of MUSIC-AVQA's 22, or names parted by commas.")
    ] = "8",
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 0,
    questions: Annotated[
        int, typer.Option(help="Questions a video, about; 60 is nearly all there is to ask.")
    ] = 10,
    both_orders: Annotated[
        bool, typer.Option("--both-orders", help="Ask each comparison the other way round, too.")
    ] = False,
) -> None:
    """Render small ensembles as MP4 files, with questions in MUSIC-AVQA's format and the truth.

    Example: avqa synth synthetic --videos 200
    """
    from avqa.datasets._synth.score import check_settings
    from avqa.pipelines.synth import synthesise

    settings = check_settings(videos, seconds, instruments, seed, questions, both_orders)
    typer.echo("\n".join(synthesise(out, settings, say).lines()))
