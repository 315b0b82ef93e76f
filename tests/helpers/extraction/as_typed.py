"""Commands in this process, and the extraction of small scripted videos as a user types it."""

from pathlib import Path

from helpers.extraction.light import POOL
from helpers.media import fake_reader
from typer.testing import CliRunner

from avqa.cli import app


def avqa(*arguments):
    """Run a command: (exit code, stdout, stderr)."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


def extract(folder, store, *more):
    """Extract the pool of scripted videos; as `avqa`."""
    return avqa(
        *("extract", "--videos", folder, "--out", store, "--decoder", fake_reader.DECODER),
        *("--features", POOL, "--weights", "random:0", "--scheduler", "sync", *more),
    )


def two_videos(folder: Path) -> Path:
    """The folder with videos a and b of two seconds in it."""
    for name in ("a", "b"):
        fake_reader.write_video(folder / f"{name}.mp4", seconds=2, seed=ord(name))
    return folder
