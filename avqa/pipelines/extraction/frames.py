"""``avqa frames``: what a video's rows are made from, as files to look at and listen to."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avqa.errors import ConfigError, StorageFailure
from avqa.extract.decoder.process import DecoderProcess, Footer, Header
from avqa.extract.decoder.work import AUDIO_FILE, FRAME_FILE
from avqa.extract.media.types import Limits
from avqa.extract.settings import Settings

INDEX_FILE = "frames.json"
SCRATCH = ".frames-"
"""Start of the name of the folder that files are written to first; a kill leaves it behind."""
JOURNAL = ".frames.json"
"""While an earlier output is replaced: names of the files of both."""


@dataclass(frozen=True)
class FramesReport:
    """What was written where."""

    folder: Path
    num_rows: int
    """T: rows the video has."""
    num_frames: int
    """Frames written; fewer than T if some do not decode."""
    duration: float
    """Seconds from the first frame's appearance to the last one's end."""
    audio: str
    """``audio.wav``, or why there is none."""
    warnings: tuple[str, ...]

    def summary(self) -> str:
        """What was written, in one line, and a line for each warning."""
        audio = f"and {AUDIO_FILE}" if self.audio == AUDIO_FILE else f"but no audio ({self.audio})"
        line = f"wrote {self.num_frames} frames {audio} of {self.duration:.2f} s to "
        return "\n".join([line + str(self.folder), *(f"warning: {w}" for w in self.warnings)])


def write_frames(
    video: Path, out: Path, settings: Settings, limits: Limits, max_rows: int | None = None
) -> FramesReport:
    """Write one full-size PNG per row, the audio, and ``frames.json`` with the times.

    The files appear in ``out`` once all is written; an earlier output there is replaced.

    Args:
        video: one video file.
        out: folder, created if need be; empty or holding an earlier output only.
        settings: ``frame_at``, ``decoder``, ``resample`` and ``mix`` matter.
        limits: what the video may cost.
        max_rows: only the first so many rows, and the audio that belongs to them.

    Raises:
        ConfigError: if there is no such video, or ``out`` holds something else.
        MediaError: if the frames cannot be read.
        StorageFailure: if ``out`` cannot be written.
    """
    if not video.is_file():
        raise ConfigError(f"no such file: video={str(video)!r}; expected one video file")
    _check_folder(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=out) as scratch:
            report = _write(video, out, Path(scratch), settings, limits, max_rows)
            _replace_earlier(out, Path(scratch))
    except OSError as error:
        raise StorageFailure(
            f"cannot write frames: out={str(out)!r}: {error.strerror or error}; expected a "
            "writable folder with room; choose another --out"
        ) from error
    return report


def _check_folder(out: Path) -> None:
    """Refuse to mix our files with others'."""
    if out.is_dir():
        ours = {*_listed(out / JOURNAL), *_earlier(out)}
        strange = sorted(
            entry.name
            for entry in out.iterdir()
            if entry.name not in ours and not _is_scratch(entry)
        )
        if not strange:
            return
        what = f"holds {strange[0]!r}" + (f" and {len(strange) - 1} more" if strange[1:] else "")
    elif out.exists():
        what = "is a file"
    else:
        return
    raise ConfigError(
        f"out={str(out)!r} {what}; expected an empty folder or an earlier output of "
        "`avqa frames`; choose another --out"
    )


def remove_scratch(out: Path, own: Path) -> None:
    """Remove what killed runs left of the folders that files are written to first."""
    for entry in out.iterdir():
        if _is_scratch(entry) and entry.name != own.name:
            shutil.rmtree(entry)


def _is_scratch(entry: Path) -> bool:
    return entry.name.startswith(SCRATCH) and entry.is_dir() and not entry.is_symlink()


def _earlier(out: Path) -> set[str]:
    """Names of an earlier output's files, as its index has them: others' are never ours."""
    try:
        index = json.loads((out / INDEX_FILE).read_text(encoding="utf-8"))
        names = {str(row["file"]) for row in index["rows"]} | {str(index["sound"])}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {INDEX_FILE, *filter(_may_be_ours, names)}


def _listed(journal: Path) -> set[str]:
    """Names of the files that a run was about to change when it was killed."""
    try:
        names = json.loads(journal.read_text(encoding="utf-8"))
        return {journal.name, *(str(name) for name in names if _may_be_ours(str(name)))}
    except (OSError, ValueError, TypeError):
        return set()


def _may_be_ours(name: str) -> bool:
    """Whether `write_frames` writes files of this name."""
    if name in (AUDIO_FILE, INDEX_FILE):
        return True
    stem, _, end = name.rpartition(".")
    return end == "png" and stem.isascii() and stem.isdecimal() and len(stem) >= 5


def _replace_earlier(out: Path, scratch: Path) -> None:
    """Let the new output, which is whole, stand in ``out``; then remove what only others had.

    Until then a list says which files are ours, so that a kill leaves none that nobody knows.
    """
    new = {file.name for file in scratch.iterdir()}
    old = {*_listed(out / JOURNAL), *_earlier(out)} - {JOURNAL}
    (scratch / JOURNAL).write_text(json.dumps(sorted(new | old)), encoding="ascii")
    os.replace(scratch / JOURNAL, out / JOURNAL)
    (out / INDEX_FILE).unlink(missing_ok=True)  # what it says is true no more
    for name in sorted(new, key=lambda name: name == INDEX_FILE):
        os.replace(scratch / name, out / name)
    for name in old - new:
        (out / name).unlink(missing_ok=True)
    remove_scratch(out, scratch)
    (out / JOURNAL).unlink()


def _write(
    video: Path,
    out: Path,
    scratch: Path,
    settings: Settings,
    limits: Limits,
    max_rows: int | None,
) -> FramesReport:
    header: Header | None = None
    footer: Footer | None = None
    with DecoderProcess(settings.decoder) as decoder:
        version = decoder.version()
        for item in decoder.write_frames(
            os.path.abspath(video), os.path.abspath(scratch), settings, limits, max_rows
        ):
            if isinstance(item, Header):
                header = item
            else:
                footer = item
    assert header is not None
    assert footer is not None
    num_frames = len(list(scratch.glob("*.png")))
    audio = _audio(header, footer, scratch / AUDIO_FILE)
    report = FramesReport(
        out, header.num_rows, num_frames, header.duration, audio, tuple(footer.report.warnings)
    )
    decoder_name = {"name": settings.decoder, "version": version}
    index = _index(video, header, footer, report, settings.frame_at, decoder_name)
    (scratch / INDEX_FILE).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return report


def _audio(header: Header, footer: Footer, file: Path) -> str:
    """``audio.wav``, or why there is none; half a file is removed."""
    if not header.has_audio:
        return "no audio stream"
    if footer.audio_error is None:
        return AUDIO_FILE
    file.unlink(missing_ok=True)
    return f"{footer.audio_error.reason}: {footer.audio_error}"


def _index(
    video: Path,
    header: Header,
    footer: Footer,
    report: FramesReport,
    mode: str,
    decoder: dict[str, str],
) -> dict[str, Any]:
    """Content of ``frames.json``."""
    rows = [
        {"row": k, "file": FRAME_FILE.format(k), "index": int(index), "pts_seconds": float(pts)}
        for k, (index, pts) in enumerate(zip(header.index, header.pts, strict=True))
    ]
    return {
        "video": os.fsencode(video.name).decode("utf-8", "replace"),
        "T": header.num_rows,
        "duration": header.duration,
        "width": header.width,
        "height": header.height,
        "codec": header.codec,
        "decoder": decoder,
        "mode": mode,
        "sound": report.audio,
        "audio_start_seconds": footer.audio_start,
        "audio_end_seconds": footer.audio_end,
        "partial": footer.report.partial,
        "restarts": footer.report.restarts,
        "warnings": list(report.warnings),
        "rows": [
            {**row, "mode": mode} for k, row in enumerate(rows) if k not in footer.report.lost_rows
        ],
    }
