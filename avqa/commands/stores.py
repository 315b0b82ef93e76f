"""`avqa status`, `verify`, `finalize`, `remove`, `pack`: what a store holds, and upkeep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avqa.commands import options as option
from avqa.commands.reporting import reports_errors, say, show


@reports_errors
def status(
    store: option.StoreArgument,
    videos: Annotated[
        bool, typer.Option("--videos", help="Instead a table of all videos.")
    ] = False,
    recipes: Annotated[
        bool, typer.Option("--recipes", help="Instead all that changed a feature's numbers.")
    ] = False,
    warnings: Annotated[
        bool,
        typer.Option("--warnings", help="Instead what readers warned of, a line per warning."),
    ] = False,
    as_json: option.Json = False,
) -> None:
    """What a store holds: counts per feature, bytes, recipes, the last runs.

    Example: avqa status features
    """
    from avqa.pipelines.extraction.stores import status as look
    from avqa.store.places.files import store_path

    asked = {"videos": videos, "recipes": recipes, "warnings": warnings}
    views = [view for view, wanted in asked.items() if wanted]
    show(look(store_path(store), views), as_json=as_json)


@reports_errors
def verify(
    store: option.StoreArgument,
    level: Annotated[str, typer.Option(help="size, crc, or sample (extracts again).")] = "crc",
    videos: Annotated[
        Path | None, typer.Option(help="The videos folder; needed by --level sample.")
    ] = None,
    n: Annotated[int, typer.Option(min=1, help="Videos compared by --level sample.")] = 20,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Rebuild what can be, mark the rest to be extracted again; nothing good goes.",
        ),
    ] = False,
    partition: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Check the I-th of N equal parts of the rows alone (0 to N-1), beside others.",
        ),
    ] = None,
    as_json: option.Json = False,
) -> None:
    """Read everything a store says it has and report what is not as it should be.

    Example: avqa verify features --repair
    """
    from avqa.pipelines.extraction.array_job import partition_of
    from avqa.pipelines.extraction.verify import verify_store
    from avqa.store.places.files import store_path

    report = verify_store(
        store_path(store),
        level=level,
        videos=videos,
        num_videos=n,
        repair=repair,
        partition=partition_of(partition) if partition is not None else None,
        say=say,
    )
    show(report, as_json=as_json)
    report.raise_if_bad()


@reports_errors
def finalize(
    store: option.StoreArgument,
    steal_lock: option.StealLock = False,
) -> None:
    """Make one store of the parts of `avqa extract --partition`, once all tasks are finished.

    Example: avqa finalize features
    """
    from avqa.pipelines.extraction.finalize import finalize as finalize_store
    from avqa.store.places.files import store_path

    report = finalize_store(store_path(store), say, steal_lock=steal_lock)
    if report is None:
        typer.echo(
            f"store {store!r} has no parts; expected some of `avqa extract --partition`;"
            " nothing to finalize"
        )
        return
    typer.echo(report.summary())
    report.raise_if_failed()


@reports_errors
def remove(
    store: option.StoreArgument,
    ids: option.RequiredIds,
    steal_lock: option.StealLock = False,
) -> None:
    """Remove videos from a store and give their space back; `avqa extract` takes them in again.

    Example: avqa remove features --ids withdrawn.txt
    """
    from avqa.pipelines.extraction.remove import remove_videos
    from avqa.store.places.files import store_path

    typer.echo(remove_videos(store_path(store), ids, steal_lock=steal_lock).summary())


@reports_errors
def pack(
    store: option.StoreArgument,
    out: Annotated[str, typer.Argument(help="Folder or s3:// prefix to make.", metavar="OUT")],
) -> None:
    """Copy a store into a few large files, verified and read-only: for sharing and archives.

    Example: avqa pack features features-packed
    """
    from avqa.pipelines.extraction.stores import pack_whole
    from avqa.store.places.files import store_path

    for line in pack_whole(store_path(store), out, say).lines():
        typer.echo(line)
