"""Files with a hole of zeros: every row that comes is right, and those behind it come."""

from pathlib import Path

import pytest
from helpers.media import clips
from helpers.media.damage import without_packets

from avqa.extract.media.grid import build_grid
from avqa.extract.media.types import Limits, Report
from avqa.extract.readers.pyav import READER

SECONDS, FPS = 8, 25
MIDDLES = [12 + FPS * k for k in range(SECONDS)]

CLIPS = {
    "h264.mp4": ("libx264", "-bf", "2"),
    "h264.mkv": ("libx264", "-bf", "2"),
    "h264.ts": ("libx264", "-bf", "2"),
    "h264.flv": ("libx264", "-bf", "0"),
    "mpeg2.ts": ("mpeg2video",),
    "vp9.webm": ("libvpx-vp9",),
    "vp8.webm": ("libvpx",),
}


def clip(name: str) -> Path:
    codec, *extra = CLIPS[name]
    extra += ["-g", str(FPS)]
    return clips.cached_clip(name, codec=codec, fps=FPS, seconds=SECONDS, extra=extra)


def rows(path: Path) -> tuple[list[int | None], Report]:
    """The number of each row's frame, None where it was lost."""
    probe, report = READER.probe(str(path), Limits()), Report()
    index = build_grid(probe.times, "mid", probe.average_fps).index.tolist()
    frames = READER.frames(probe, sorted(set(index)), report)
    found = {frame.index: clips.read_number(frame.rgb) for frame in frames}
    return [found.get(i) for i in index], report


@pytest.mark.parametrize("name", CLIPS)
def test_a_hole_in_the_file(name, tmp_path):
    data = clip(name).read_bytes()
    start, end = (round(share * len(data)) for share in (0.5, 0.56))
    bad = tmp_path / name
    bad.write_bytes(data[:start] + bytes(end - start) + data[end:])
    found, report = rows(bad)
    lost = [row for row, number in enumerate(found) if number is None]
    assert lost in ([4], [4, 5])
    assert [number or MIDDLES[row] for row, number in enumerate(found)] == MIDDLES
    assert not report.planned
    assert report.corrupt
    assert rows(clip(name))[0] == MIDDLES


@pytest.mark.parametrize("name", ["h264.mp4", "vp9.webm", "vp8.webm"])
def test_packets_of_zeros(name, tmp_path):
    bad = without_packets(clip(name), tmp_path / name, (3.2, 3.8), of="video")
    assert rows(bad)[0] == [*MIDDLES[:3], None, *MIDDLES[4:]]


def test_a_pause_is_no_hole(tmp_path):
    """Nothing is shown from 1.5 to 4.5 s, as the file says: the frame before stays."""
    times = [*range(0, 1_500, 40), *range(4_500, 6_000, 40)]
    path = clips.cached_clip("pause.mkv", times_ms=times, fps=FPS)
    assert rows(path)[0] == [12, 37, 37, 37, 38, 63]
