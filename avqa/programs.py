"""The one program that is run: ffmpeg."""

from __future__ import annotations

import shutil

from avqa.errors import LibraryMissing


def ffmpeg() -> str:
    """Path of ffmpeg: imageio-ffmpeg's, or the one that ``IMAGEIO_FFMPEG_EXE`` names.

    Raises:
        LibraryMissing: there is none that may be run.
    """
    import imageio_ffmpeg

    try:
        found: str = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:  # no binary for this platform, none on the path
        found = ""
    if shutil.which(found) is None:
        raise LibraryMissing(
            f"ffmpeg program {found!r} is not there or may not be run; expected one that may;"
            " unset IMAGEIO_FFMPEG_EXE, or let it name another"
        )
    return found
