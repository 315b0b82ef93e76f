"""The command line: parse, call, print. No work is done here, and nothing heavy imported."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from avqa.errors import AvqaError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From a folder of videos to features for audio-visual question answering.",
)
weights_app = typer.Typer(no_args_is_help=True, help="The frozen networks' weights.")
app.add_typer(weights_app, name="weights")

F = TypeVar("F", bound=Callable[..., Any])


@app.callback()
def root(
    debug: Annotated[bool, typer.Option(help="Show a traceback with every error.")] = False,
) -> None:
    """Nothing but the options that every command shares."""
    if debug:
        os.environ["AVQA_DEBUG"] = "1"


def reports_errors(command: F) -> F:
    """Turn an `AvqaError` into one line on stderr and its exit code; others are defects, 1."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:
            # The reader of our output (head, less) has gone: nobody is left to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except AvqaError as error:
            _show(error, str(error))
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            _show(error, "stopped by Ctrl-C")
            raise typer.Exit(130) from error
        except Exception as error:
            _show(
                error,
                f"internal error: {type(error).__name__}: {error}; expected no such thing;"
                " run again as `avqa --debug ...` and report the traceback",
            )
            raise typer.Exit(1) from error

    return wrapped  # type: ignore[return-value]


def _show(error: BaseException, line: str) -> None:
    if os.environ.get("AVQA_DEBUG"):
        traceback.print_exception(error)
    typer.echo("avqa: " + line.replace("\n", " "), err=True)


def _say(line: str) -> None:
    typer.echo(line, err=True)


Store = Annotated[Path, typer.Argument(help="The store's folder.", metavar="STORE")]
FrameAt = Annotated[
    str | None,  # noqa: UP007  typer reads the annotation at run time on every Python
    typer.Option(
        help="Which picture stands for second k: mid, start, music-avqa, ffmpeg-fps1, ffmpeg-r1.",
        show_default="mid",
    ),
]
DecoderName = Annotated[
    str | None, typer.Option(help="Reader: see `avqa decoders`.", show_default="pyav")
]
MaxLength = Annotated[
    float, typer.Option(min=1, help="Refuse videos longer than this many seconds.")
]
Timeout = Annotated[
    float,
    typer.Option(min=1, help="Seconds a decoder may take for one video, beyond its length."),
]


@app.command()
@reports_errors
def extract(
    videos: Annotated[Path, typer.Option(help="Folder of videos, searched recursively.")],
    out: Annotated[Path, typer.Option(help="Store to create, resume or extend.")],
    features: Annotated[
        str | None,
        typer.Option(help="Comma-separated <encoder>/<tap>; see `avqa encoders`."),
    ] = None,
    profile: Annotated[
        str,
        typer.Option(
            help="A whole recipe: default, music-avqa, avst, tjstg, sasr, pstp, mcd, avaf;"
            " single options replace its choices."
        ),
    ] = "default",
    frame_at: FrameAt = None,
    decoder: DecoderName = None,
    clip_crop: Annotated[
        str | None, typer.Option(help="CLIP's square: center, squash, pad.", show_default="center")
    ] = None,
    resample: Annotated[
        str | None, typer.Option(help="Sound: soxr_hq, nearest44k.", show_default="soxr_hq")
    ] = None,
    audio_hop: Annotated[
        float | None,
        typer.Option(help="Seconds between VGGish rows: 1.0 or 0.96.", show_default="1.0"),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Networks: fp32, bf16, fp16.", show_default="fp32")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Stored as float16 or float32.", show_default="float16")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="pretrained, a folder, or random:SEED.", show_default="pretrained"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    chunk_seconds: Annotated[
        int | None, typer.Option(help="Seconds per chunk of the store.", show_default="60")
    ] = None,
    scheduler: Annotated[
        str, typer.Option(help="local, sync, or the address tcp://host:port of a Dask scheduler.")
    ] = "local",
    decoders: Annotated[
        int | None, typer.Option(min=1, help="Decoder processes per worker.", show_default="auto")
    ] = None,
    ids: Annotated[Path | None, typer.Option(help="File of video ids, one per line.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first N videos.")] = None,
    ext: Annotated[
        str | None, typer.Option(help="Comma-separated extensions to take instead.")
    ] = None,
    id_: Annotated[
        str, typer.Option("--id", help="Video id: relpath (below the folder) or stem.")
    ] = "relpath",
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Follow links out of the folder.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try videos again that failed before.")
    ] = False,
    accept_partial: Annotated[
        bool, typer.Option("--accept-partial", help="Keep the good rows of damaged videos.")
    ] = False,
    steal_lock: Annotated[
        bool, typer.Option("--steal-lock", help="Take over a lock not renewed for 10 minutes.")
    ] = False,
    max_length: MaxLength = 7200.0,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Refuse pictures of more pixels than this.")
    ] = 64_000_000,
    video_timeout: Timeout = 300.0,
    decoder_memory: Annotated[
        float, typer.Option(min=0.1, help="Gigabytes a decoder process may allocate.")
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
    from avqa.extract.media import Limits
    from avqa.extract.profiles import profile as choose
    from avqa.extract.settings import check_settings
    from avqa.pipelines.cluster import is_remote
    from avqa.pipelines.devices import choose_device
    from avqa.pipelines.features import ExtractOptions, extract_folder
    from avqa.pipelines.sources import EXTENSIONS, check_id_rule

    settings = check_settings(
        choose(
            profile,
            features=_split(features),
            frame_at=frame_at,
            decoder=decoder,
            clip_crop=clip_crop,
            resample=resample,
            audio_hop=audio_hop,
            precision=precision,
            dtype=dtype,
            weights=weights,
            device=choose_device(device, remote=is_remote(scheduler)),
            chunk_seconds=chunk_seconds,
        )
    )
    options = ExtractOptions(
        videos=videos,
        store=out,
        settings=settings,
        scheduler=scheduler,
        ids=ids,
        limit=limit,
        extensions=_split(ext) or EXTENSIONS,
        id_rule=check_id_rule(id_),
        follow_links=follow_links,
        retry_failed=retry_failed,
        accept_partial=accept_partial,
        steal_lock=steal_lock,
        limits=Limits(
            max_pixels=max_pixels,
            max_length_seconds=max_length,
            timeout_seconds=video_timeout,
            memory_bytes=int(decoder_memory * 1e9),
        ),
        decoders=decoders,
        log_json=log_json,
    )
    if plan:
        from avqa.pipelines.plan import plan_folder

        typer.echo("\n".join(plan_folder(options, _say).lines()))
        return
    report = extract_folder(options, _say)
    typer.echo(report.summary())
    report.raise_if_failed()


def _split(text: str | None) -> tuple[str, ...] | None:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else None


@app.command()
@reports_errors
def frames(
    video: Annotated[Path, typer.Argument(help="One video file.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures, the sound and frames.json.")],
    frame_at: FrameAt = None,
    decoder: DecoderName = None,
    max_length: MaxLength = 7200.0,
    video_timeout: Timeout = 300.0,
) -> None:
    """Write exactly what a video's rows are made from: a picture per row, the sound, the times.

    Example: avqa frames clip.mp4 --out frames
    """
    from avqa.extract.media import Limits
    from avqa.extract.profiles import profile as choose
    from avqa.extract.settings import check_settings
    from avqa.pipelines.frames import write_frames

    settings = check_settings(choose("default", frame_at=frame_at, decoder=decoder))
    limits = Limits(max_length_seconds=max_length, timeout_seconds=video_timeout)
    typer.echo(write_frames(video, out, settings, limits).summary())


@app.command()
@reports_errors
def status(store: Store) -> None:
    """What a store holds: counts per feature, bytes, recipes, the last runs.

    Example: avqa status features
    """
    from avqa.store.status import summary

    typer.echo("\n".join(summary(store).lines()))


@app.command()
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

    report = verify_store(store, level=level, videos=videos, num_videos=n, repair=repair)
    for line in report.lines():
        typer.echo(line)
    left = [problem for problem in report.problems if not repair or problem.kind == "foreign"]
    if left:
        raise DifferenceFound(
            f"store {str(store)!r}: problems={len(left)}; expected none;"
            " mark them for extraction with --repair, then run `avqa extract` again"
        )


@app.command("encoders")
@reports_errors
def list_encoders() -> None:
    """The features there are: encoder, tap, shape per second, size."""
    from avqa.pipelines.listings import encoder_lines

    typer.echo("\n".join(encoder_lines()))


@app.command("decoders")
@reports_errors
def list_decoders() -> None:
    """The readers there are, with their versions."""
    from avqa.pipelines.listings import decoder_lines

    typer.echo("\n".join(decoder_lines()))


@weights_app.command("list")
@reports_errors
def weights_list() -> None:
    """Known weights: where they come from, their licence, whether they are here."""
    from avqa.extract.weights import list_weights

    typer.echo("\n".join(list_weights()))


@weights_app.command("fetch")
@reports_errors
def weights_fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Default: those needed.")] = None,
) -> None:
    """Download weights, check their digest and convert them once to safetensors."""
    from avqa.extract.weights import DEFAULT_WEIGHTS, fetch

    for name in names or DEFAULT_WEIGHTS:
        typer.echo(f"{name}: {fetch(name)}")


@weights_app.command("import")
@reports_errors
def weights_import(
    name: Annotated[str, typer.Argument(help="One of `avqa weights list`.")],
    file: Annotated[Path, typer.Argument(help="The published file, downloaded by hand.")],
) -> None:
    """Take weights from a local file, check their digest and convert them once."""
    from avqa.extract.weights import import_file

    typer.echo(f"{name}: {import_file(name, file)}")


@weights_app.command("verify")
@reports_errors
def weights_verify(
    names: Annotated[list[str] | None, typer.Argument(help="Default: all here.")] = None,
) -> None:
    """Check the cached weights: digest, tensors, known answers."""
    from avqa.extract.weights import verify as verify_weights

    for line in verify_weights(names or None):
        typer.echo(line)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
