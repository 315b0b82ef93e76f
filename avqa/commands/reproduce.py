"""`avqa reproduce`: a paper's table, from the videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avqa.commands import options as option
from avqa.commands.reporting import reports_errors, say


@reports_errors
def reproduce(
    heads: Annotated[
        list[str] | None, typer.Argument(help="Of `avqa heads`; all with a paper by default.")
    ] = None,
    videos: Annotated[
        Path | None, typer.Option(help="Folder of the data set's videos, or a list of them.")
    ] = None,
    annotations: option.OptionalAnnotations = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for features, runs and pages: new, or to go on in.")
    ] = None,
    dataset: option.Dataset = "music-avqa",
    seeds: Annotated[int, typer.Option(min=1, help="Train each row so often, seeds 0, 1, ….")] = 3,
    ablations: Annotated[
        bool, typer.Option("--ablations", help="Also all rows of the papers' ablation tables.")
    ] = False,
    weights: option.Weights = None,
    device: option.Device = "auto",
    assign: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting or option of every head, which the pages name; repeatable.",
        ),
    ] = None,
    accept_missing: Annotated[
        bool,
        typer.Option(
            "--accept-missing", help="Go on without videos that are absent or cannot be read."
        ),
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what is missing, measure, predict; run nothing.")
    ] = False,
    scheduler: Annotated[str, typer.Option(help="local, or slurm.")] = "local",
    jobs: Annotated[int | None, typer.Option(min=1, help="SLURM: jobs at a time.")] = None,
    cluster_config: option.ClusterConfig = None,
    partition: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Array jobs: do this task's share; give the array again until all is done.",
        ),
    ] = None,
    steal_lock: option.StealLock = False,
    pack: Annotated[
        Path | None,
        typer.Option(help="Zip file to make of --out, to be checked without the videos."),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(help="Such a zip file: compute its tables anew from the predictions."),
    ] = None,
) -> None:
    """Reproduce papers: features, trainings, and a page each with printed figures beside ours.

    Example: avqa reproduce pstp --videos clips --annotations data/json_update --out reproduced
    """
    from avqa.pipelines.cluster.slurm_config import choose_cluster
    from avqa.pipelines.extraction.array_job import partition_of
    from avqa.pipelines.reproduce.archive import check_archive, pack_archive
    from avqa.pipelines.reproduce.asked import ReproduceOptions, needed, refuse_beside
    from avqa.pipelines.reproduce.work import reproduce as work
    from avqa.pipelines.train.options import check_scheduler
    from avqa.units import parse_assignments

    others = {"HEAD": heads, "--videos": videos, "--plan": plan, "--partition": partition}
    if check is not None:
        refuse_beside("--check", others | {"--out": out, "--pack": pack})
        typer.echo("\n".join(check_archive(check, annotations)))
        return
    if pack is not None and (videos is None or plan):
        refuse_beside("--pack", others | {"--annotations": annotations})
        say(f"archive: {pack_archive(needed('out', out), pack)}")
        return
    check_scheduler(scheduler)
    options = ReproduceOptions(
        videos=needed("videos", videos),
        annotations=needed("annotations", annotations),
        out=needed("out", out),
        heads=tuple(heads or ()),
        dataset=dataset,
        seeds=seeds,
        ablations=ablations,
        weights=weights or "pretrained",
        device=device,
        assignments=parse_assignments(assign or []),
        accept_missing=accept_missing,
        slurm=choose_cluster(scheduler, cluster_config, jobs),
        partition=partition_of(partition) if partition is not None else None,
        steal_lock=steal_lock,
    )
    done = work(options, say, plan_only=plan)
    typer.echo("\n".join(done.lines()))
    if pack is not None and done.left:
        say(f"no archive yet: {pack}")
    elif pack is not None:
        say(f"archive: {pack_archive(options.out, pack)}")
