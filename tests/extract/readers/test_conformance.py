"""Every reader on every clip: the right picture, time, shape and sound for every second."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.media.cases import CASES, measure
from helpers.media.decoders_page import MEANING, PAGE, render

from avqa.errors import REASONS
from avqa.extract import readers
from avqa.extract.media.grid import build_grid
from avqa.extract.media.types import Limits, Report

CANNOT: dict[str, dict[str, set[str]]] = {
    "pyav": {},
    "ffmpeg": {},
    "decord": {
        # It seeks by time stamps that these containers do not index.
        "h264 open GOP with pyramid, ts": {"pictures"},
        "h264 interlaced, ts": {"pictures"},
        "mpeg1": {"pictures", "times"},
        "mpeg2, mpg": {"pictures", "times"},
        "mpeg2, ts": {"pictures"},
        "mpeg4 with B pictures, avi": {"pictures"},
        "wmv2": {"pictures"},
        "aac, ts": {"missing", "report"},
        "ac3, ts": {"missing", "report"},
        "late sound, ts": {"missing", "report"},
        "wrapped time stamps, ts": {"missing", "report"},
        # It resumes at pictures that are complete only a sweep later.
        "h264 intra refresh": {"pictures"},
        # It counts pictures before time 0, and does not find the others by that count.
        "negative offset, mp4": {"pictures"},
        # Its FFmpeg 4.1 has no AV1 decoder; GIF it opens and does not read.
        "av1 by aom, mp4": {"no_decoder"},
        "av1 by svt, mkv": {"no_decoder"},
        "gif": {"no_decoder"},
        # It takes all colours for BT.601.
        "BT.709 colours": {"levels"},
    },
}
"""What goes wrong, by reader and clip; each must go wrong as declared."""

MEDIA = Path(__file__).parents[4] / "shared" / "media"
REAL_ROWS = {"v_GGSY1Qvo990.mp4": 18, "v_ZNVhz7ctTq0.mp4": 14, "vid1.mp4": 2, "vid2.mp4": 5}


@pytest.mark.parametrize("clip", sorted(CASES))
@pytest.mark.parametrize("reader", sorted(CANNOT))
def test_reader_on_clip(reader: str, clip: str) -> None:
    assert measure(reader, CASES[clip]) == CANNOT[reader].get(clip, set())


def test_table_is_about_what_there_is() -> None:
    assert sorted(CANNOT) == readers.names()
    for reader, wrong in CANNOT.items():
        assert set(wrong) <= set(CASES), reader
        assert set().union(*wrong.values()) <= {*MEANING, *REASONS}


def test_page_says_what_the_table_says() -> None:
    frozen = {r: {clip: frozenset(w) for clip, w in wrong.items()} for r, wrong in CANNOT.items()}
    assert PAGE.read_text(encoding="utf-8") == render(frozen), "run decoders_page.py"


@pytest.mark.skipif(not MEDIA.is_dir(), reason="the real clips are not beside the repository")
@pytest.mark.parametrize("clip", sorted(REAL_ROWS))
@pytest.mark.parametrize("reader", sorted(CANNOT))
def test_rows_of_real_clips(reader: str, clip: str) -> None:
    loaded = readers.load(reader).READER
    probe = loaded.probe(str(MEDIA / clip), Limits())
    grid = build_grid(probe.times, "mid", probe.average_fps)
    report = Report()
    wanted = sorted(set(grid.index.tolist()))
    assert [p.index for p in loaded.pictures(probe, wanted, report)] == wanted
    assert len(grid) == REAL_ROWS[clip]
    assert (report.partial, report.corrupt) == (False, 0)
