"""`avqa train-head`: from a store to a result table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avqa import surroundings
from avqa.commands import options as option
from avqa.commands.reporting import reports_errors, say, show_table


@reports_errors
def train_head(
    name: Annotated[str, typer.Argument(help="One of `avqa heads`.")],
    store: option.Store,
    dataset: option.Dataset,
    annotations: option.Annotations,
    out: Annotated[Path, typer.Option(help="Folder of the run: new or empty.")],
    edition: option.Edition = None,
    group: option.Group = None,
    subset: option.Subset = None,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting or head option; repeatable."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings and options.")] = None,
    ablation: Annotated[
        str | None, typer.Option(help="Train a row of the paper's ablations too, or all.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Train each row so often, seeds 0, 1, ….")] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out; also adds seeds, rows.")
    ] = False,
    device: option.OptionalDevice = None,
    devices: Annotated[
        int, typer.Option(min=1, help="GPUs that divide every batch; processes on the CPU.")
    ] = 1,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in --out by this one.")
    ] = False,
    partition: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Array jobs: train every N-th head, from the I-th on (0 to N-1), of this run.",
        ),
    ] = None,
    steal_lock: option.StealLock = False,
    scheduler: Annotated[
        str, typer.Option(help="local: train here; slurm: in the tasks of a SLURM array.")
    ] = "local",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="SLURM: tasks that share the heads among them.")
    ] = None,
    cluster_config: option.ClusterConfig = None,
    keep_checkpoints: Annotated[
        bool, typer.Option("--keep-checkpoints", help="Keep those of heads that are finished.")
    ] = False,
    init_grounding: Annotated[
        Path | None,
        typer.Option(help="Start avst, tjstg, sasr from `avqa pretrain-grounding` or a run."),
    ] = None,
    debias: Annotated[
        str | None,
        typer.Option(help="mccd: train bias learners of question, audio, frames beside the head."),
    ] = None,
    cells: option.Cells = False,
) -> None:
    """Train a paper's head with its recipe, test it once, and print the field's result table.

    Example: avqa train-head pstp --store features --dataset music-avqa --annotations json --out run
    """
    surroundings.let_threads_spin_while_alone()
    from avqa.pipelines.cluster.slurm_config import choose_cluster
    from avqa.pipelines.extraction.array_job import partition_of
    from avqa.pipelines.train.options import TrainOptions, check_scheduler
    from avqa.pipelines.train.train import train_head
    from avqa.store.places.files import store_path
    from avqa.units import parse_assignments

    check_scheduler(scheduler)
    assignments = parse_assignments(assign or [])
    if device is not None:
        assignments["device"] = device
    if debias is not None:
        assignments["debias"] = debias
    table = train_head(
        TrainOptions(
            head=name,
            store=store_path(store),
            dataset=dataset,
            annotations=annotations,
            out=out,
            choices=option.chosen(edition, group, subset),
            assignments=assignments,
            config=config,
            ablation=ablation,
            seeds=seeds,
            resume=resume,
            devices=devices,
            overwrite=overwrite,
            partition=partition_of(partition) if partition is not None else None,
            steal_lock=steal_lock,
            slurm=choose_cluster(scheduler, cluster_config, jobs),
            keep_checkpoints=keep_checkpoints,
            init_grounding=init_grounding,
        ),
        say,
    )
    if table is not None:
        show_table(table, cells=cells)
    say(f"run: {out}")


@reports_errors
def pretrain_grounding(
    store: option.Store,
    dataset: option.Dataset,
    annotations: option.Annotations,
    out: Annotated[Path, typer.Option(help="File to write, such as grounding.safetensors.")],
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting or option of avst."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of first weights, order and negatives.")] = 0,
    edition: option.Edition = None,
    group: option.Group = None,
    subset: option.Subset = None,
) -> None:
    """Teach AVST's grounding which frames go with some audio, before `avqa train-head`.

    Example: avqa pretrain-grounding --store features --dataset music-avqa --annotations json
    --out grounding.safetensors
    """
    surroundings.let_threads_spin_while_alone()
    from avqa.pipelines.train.grounding import GroundingOptions, pretrain_grounding
    from avqa.store.places.files import store_path
    from avqa.units import parse_assignments

    options = GroundingOptions(
        store=store_path(store),
        dataset=dataset,
        annotations=annotations,
        out=out,
        assignments=parse_assignments(assign or []),
        seed=seed,
        choices=option.chosen(edition, group, subset),
    )
    loss = pretrain_grounding(options, say)
    typer.echo(f"{out}: match loss {loss:.4f}; use it with --init-grounding {out}")
