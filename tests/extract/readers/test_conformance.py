"""Every reader on every clip: the right frame, time, shape and audio for every second."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.media.cases import CASES, measure
from helpers.media.decoders_page import MEANING, PAGE, recorded, render

from avqa.errors import REASONS, MediaError
from avqa.extract import readers
from avqa.extract.media.grid import build_grid
from avqa.extract.media.types import Limits, Reader, Report

RECORDED = recorded()
"""What goes wrong, by reader and clip; each must go wrong as the page says."""

MEDIA = Path(__file__).parents[4] / "shared" / "media"
DECORD_REFUSES = {"vid1.mp4", "vid2.mp4"}
"""It showed other frames in their first rows."""
REAL_ROWS = {"v_GGSY1Qvo990.mp4": 18, "v_ZNVhz7ctTq0.mp4": 14, "vid1.mp4": 2, "vid2.mp4": 5}


@pytest.mark.parametrize("clip", sorted(CASES))
def test_reader_on_clip(reader: Reader, clip: str) -> None:
    expected = RECORDED.get(reader.name, {}).get(clip, frozenset())
    assert measure(reader, CASES[clip]) == expected, "run decoders_page.py and look at what changed"


def test_page_is_about_what_there_is() -> None:
    assert set(RECORDED) <= set(readers.names())
    for name, wrong in RECORDED.items():
        assert list(wrong) == list(CASES), name
        assert set().union(*wrong.values()) <= {*MEANING, *REASONS}


def test_page_says_in_words_what_its_table_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(RECORDED), "run decoders_page.py"


@pytest.mark.skipif(not MEDIA.is_dir(), reason="the real clips are not beside the repository")
@pytest.mark.parametrize("clip", sorted(REAL_ROWS))
def test_rows_of_real_clips(reader: Reader, clip: str) -> None:
    if reader.name == "decord" and clip in DECORD_REFUSES:
        with pytest.raises(MediaError, match="frames before time 0, which it counts"):
            reader.probe(str(MEDIA / clip), Limits())
        return
    probe = reader.probe(str(MEDIA / clip), Limits())
    grid = build_grid(probe.times, "mid", probe.average_fps)
    report = Report()
    wanted = sorted(set(grid.index.tolist()))
    assert [p.index for p in reader.frames(probe, wanted, report)] == wanted
    assert len(grid) == REAL_ROWS[clip]
    assert (report.partial, report.corrupt) == (False, 0)
