"""`avqa status` and `avqa verify`: what a store holds, and whether it is as it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avqa.commands.reporting import reports_errors, say

Store = Annotated[
    str, typer.Argument(help="The store: a folder, or s3://bucket/prefix.", metavar="STORE")
]


@reports_errors
def status(store: Store) -> None:
    """What a store holds: counts per feature, bytes, recipes, the last runs.

    Example: avqa status features
    """
    from avqa.store.status import summary

    typer.echo("\n".join(summary(store).lines()))


@reports_errors
def verify(
    store: Store,
    level: Annotated[str, typer.Option(help="size, crc, or sample (extracts again).")] = "crc",
    videos: Annotated[
        Path | None, typer.Option(help="The videos folder; needed by --level sample.")
    ] = None,
    n: Annotated[int, typer.Option(min=1, help="Videos compared by --level sample.")] = 20,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mark bad rows to be extracted again.")
    ] = False,
) -> None:
    """Read everything a store says it has and report what is not as it should be.

    Example: avqa verify features --repair
    """
    from avqa.errors import DifferenceFound
    from avqa.pipelines.verify import verify_store
    from avqa.store.files import store_path

    report = verify_store(
        store_path(store), level=level, videos=videos, num_videos=n, repair=repair
    )
    for line in report.lines():
        typer.echo(line)
    left = [problem for problem in report.problems if not repair or problem.kind == "foreign"]
    if left:
        advice = "mark them for extraction with --repair, then run `avqa extract` again"
        if report.packed:
            advice = "fetch this packed copy again, or `avqa pack` the working store again"
        raise DifferenceFound(f"store {store!r}: problems={len(left)}; expected none; {advice}")


@reports_errors
def pack(
    store: Store,
    out: Annotated[Path, typer.Argument(help="Folder to make.", metavar="OUT")],
) -> None:
    """Copy a store into a few large files, verified and read-only: for sharing and archives.

    Example: avqa pack features features-packed
    """
    from avqa.store.pack import pack as pack_store

    for line in pack_store(store, out, say=say).lines():
        typer.echo(line)
