"""`avqa extract` and `avqa frames`: from videos to rows, and what the rows are made from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avqa.commands import options as option
from avqa.commands.reporting import reports_errors, say


@reports_errors
def extract(
    videos: Annotated[
        Path,
        typer.Option(
            help="Folder of videos, searched recursively; or a list (text, CSV, TSV, JSON, JSONL)"
            " with path, and id if it is not the file's name."
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            help="Store to create, resume or extend: a folder, or s3://bucket/prefix.",
            metavar="STORE",
        ),
    ],
    features: Annotated[
        str | None,
        typer.Option(help="Comma-separated <encoder>/<tap>; see `avqa encoders`."),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            help="A whole recipe: default, music-avqa, avst, tjstg, sasr, pstp, mcd, avaf,"
            " qa-tiger, tspm, mccd, cuespace;"
            " single options replace its choices.",
            show_default="the store's, else default",
        ),
    ] = None,
    frame_at: option.FrameAt = None,
    decoder: option.Decoder = None,
    assign: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="ENCODER.OPTION=VALUE",
            help="An encoder's own option; see `avqa encoders`; repeatable.",
        ),
    ] = None,
    clip_crop: Annotated[str | None, typer.Option(hidden=True)] = None,
    resample: Annotated[
        str | None, typer.Option(help="Audio: soxr_hq, nearest44k.", show_default="soxr_hq")
    ] = None,
    mix: Annotated[
        str | None,
        typer.Option(help="Channels of the audio to one: mean, itu, first.", show_default="mean"),
    ] = None,
    audio_hop: Annotated[float | None, typer.Option(hidden=True)] = None,
    precision: option.OptionalPrecision = None,
    dtype: option.OptionalDtype = None,
    weights: option.Weights = None,
    device: option.Device = "auto",
    chunk_seconds: Annotated[
        int | None, typer.Option(help="Seconds per chunk of the store.", show_default="60")
    ] = None,
    scheduler: Annotated[
        str,
        typer.Option(
            help="local, sync, slurm, or the address tcp://host:port of a Dask scheduler."
        ),
    ] = "local",
    wait_workers: Annotated[
        float,
        typer.Option(
            min=0,
            max=1e9,
            help="Seconds to wait for a Dask scheduler at an address, and for a worker of it.",
        ),
    ] = 60.0,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="SLURM: jobs at a time, one GPU and worker each.")
    ] = None,
    cluster_config: option.ClusterConfig = None,
    partition: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Array jobs: extract every N-th video, from the I-th on (0 to N-1), into a part"
            " of the store; then `avqa finalize`.",
        ),
    ] = None,
    decoders: Annotated[
        int | None, typer.Option(min=1, help="Decoder processes per worker.", show_default="auto")
    ] = None,
    ids: option.Ids = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first N videos.")] = None,
    ext: Annotated[
        str | None, typer.Option(help="Comma-separated extensions to take instead.")
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Begin the ids of these videos with NAME/, for a second folder in one store.",
        ),
    ] = None,
    id_: Annotated[
        str | None,
        typer.Option(
            "--id",
            help="Video id: relpath (below the folder) or stem.",
            show_default="the store's, else relpath",
        ),
    ] = None,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Follow links out of the folder.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="Remove videos from the store that have no file any more."),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try videos again that failed before.")
    ] = False,
    accept_partial: Annotated[
        bool, typer.Option("--accept-partial", help="Keep the good rows of damaged videos.")
    ] = False,
    max_lost_sound: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of a video's seconds whose sound may be lost to damage; beyond it the"
            " audio features of the video fail.",
        ),
    ] = 0.1,
    steal_lock: option.StealLock = False,
    max_length: option.MaxLength = 7200.0,
    max_gap: option.MaxGap = 10.0,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Refuse frames of more pixels than this.")
    ] = 64_000_000,
    video_timeout: option.VideoTimeout = 300.0,
    decoder_memory: Annotated[
        float,
        typer.Option(min=0.1, max=1e6, help="Gigabytes a decoder process may allocate."),
    ] = 3.0,
    plan: Annotated[
        bool, typer.Option("--plan", help="Measure a few videos, predict, run nothing.")
    ] = False,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Progress as JSON lines on stderr.")
    ] = False,
) -> None:
    """Decode every video once and store its features; run again to resume or to add videos.

    Example: avqa extract --videos clips --out features
    """
    from avqa.pipelines.engine.early import begun

    with begun(decoder) as early:
        from avqa.extract.media.types import Limits
        from avqa.pipelines.cluster.connect import device_of_workers
        from avqa.pipelines.cluster.slurm_config import choose_cluster
        from avqa.pipelines.extraction.array_job import partition_of
        from avqa.pipelines.extraction.as_stored import settings_for
        from avqa.pipelines.extraction.collection.sources import check_extensions, check_id_rule
        from avqa.pipelines.extraction.run import ExtractOptions, extract_folder
        from avqa.store.places.files import store_path

        slurm = choose_cluster(scheduler, cluster_config, jobs)
        store = store_path(out)
        settings, followed = settings_for(
            store,
            profile,
            device_of_workers(device, scheduler, slurm),
            auto=device == "auto",
            features=_split(features),
            frame_at=frame_at,
            decoder=decoder,
            resample=resample,
            mix=mix,
            options=_encoder_options(assign or [], clip_crop=clip_crop, audio_hop=audio_hop),
            precision=precision,
            dtype=dtype,
            weights=weights,
            chunk_seconds=chunk_seconds,
        )
        options = ExtractOptions(
            videos=videos,
            store=store,
            settings=settings,
            followed=followed,
            scheduler=scheduler,
            slurm=slurm,
            wait_workers=wait_workers,
            partition=partition_of(partition) if partition is not None else None,
            ids=ids,
            limit=limit,
            extensions=check_extensions(ext),
            root=root,
            id_rule=check_id_rule(id_) if id_ is not None else None,
            prune=prune,
            follow_links=follow_links,
            retry_failed=retry_failed,
            accept_partial=accept_partial,
            max_lost_sound=max_lost_sound,
            steal_lock=steal_lock,
            limits=Limits(
                max_pixels=max_pixels,
                max_length_seconds=max_length,
                max_gap_seconds=max_gap,
                timeout_seconds=video_timeout,
                memory_bytes=int(decoder_memory * 1e9),
            ),
            decoders=decoders,
            log_json=log_json,
        )
        if plan:
            from avqa.pipelines.extraction.plan import plan_folder

            typer.echo("\n".join(plan_folder(options, say).lines()))
            return
        report = extract_folder(options, say, early)
        typer.echo(report.summary())
        report.raise_if_failed()


def _encoder_options(assigned: list[str], **deprecated: object) -> dict[str, object]:
    """What ``--set`` says over what the options of before say, which go with the next release."""
    from avqa.extract import encoders
    from avqa.units import parse_assignments

    options: dict[str, object] = {}
    for name, value in deprecated.items():
        if value is not None:
            key = encoders.renamed()[name]
            options[key] = value
            flag = "--" + name.replace("_", "-")
            say(f"warning: {flag} goes with the next release; use --set {key}={value}")
    return options | parse_assignments(assigned)


def _split(text: str | None) -> tuple[str, ...] | None:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else None


@reports_errors
def frames(
    video: Annotated[Path, typer.Argument(help="One video file.")],
    out: Annotated[Path, typer.Option(help="Folder for the frames, the audio and frames.json.")],
    frame_at: option.FrameAt = None,
    decoder: option.Decoder = None,
    max_length: option.MaxLength = 7200.0,
    max_gap: option.MaxGap = 10.0,
    video_timeout: option.VideoTimeout = 300.0,
) -> None:
    """Write exactly what a video's rows are made from: a frame per row, the audio, the times.

    Example: avqa frames clip.mp4 --out frames
    """
    from avqa.extract.media.types import Limits
    from avqa.extract.profiles import profile as choose
    from avqa.extract.settings import check_settings
    from avqa.pipelines.extraction.frames import write_frames

    settings = check_settings(choose("default", frame_at=frame_at, decoder=decoder))
    limits = Limits(
        max_length_seconds=max_length, max_gap_seconds=max_gap, timeout_seconds=video_timeout
    )
    typer.echo(write_frames(video, out, settings, limits).summary())
