"""Frame grids against exact fractions, and against what the ffmpeg command writes."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from math import inf
from pathlib import Path

import numpy as np
import pytest
from helpers.media import clips
from hypothesis import given, settings
from hypothesis import strategies as st

from avqa.errors import UnknownName
from avqa.extract.media.grid import MODES, build_grid, widest_gap
from avqa.extract.media.types import TimeTable
from avqa.extract.settings import CHOICES

MS = Fraction(1, 1000)
SLACK = MS / 2
RATES = {
    "30": Fraction(30),
    "25": Fraction(25),
    "29.97": Fraction(30000, 1001),
    "23.976": Fraction(24000, 1001),
    "60": Fraction(60),
    "0.5": Fraction(1, 2),
}


def constant(fps: Fraction, frames: int, first: int = 0) -> TimeTable:
    pts = first + np.arange(frames, dtype=np.int64)
    return TimeTable(pts, first + frames, 1 / fps)


def in_ms(pts: list[int], end: int) -> TimeTable:
    return TimeTable(np.array(pts, np.int64), end, MS)


@st.composite
def tables(draw: st.DrawFn) -> TimeTable:
    """Any rate, variable rates, freezes, single frames, any start on the file's clock."""
    base = draw(
        st.sampled_from([MS, Fraction(1, 90_000), Fraction(1001, 30_000), Fraction(1, 12_800)])
    )
    longest = int(4 / base)
    steps = draw(st.lists(st.integers(1, longest), min_size=0, max_size=30))
    first = draw(st.integers(-longest, longest))
    pts = first + np.cumsum([0, *steps]).astype(np.int64)
    table = TimeTable(pts, int(pts[-1]) + draw(st.integers(1, longest)), base)
    return table.with_keys(
        np.array(sorted(draw(st.sets(st.sampled_from(pts.tolist()), min_size=1))))
    )


def exact(times: TimeTable) -> list[Fraction]:
    """Seconds of every frame, the first at 0, and the end."""
    ticks = [*times.pts.tolist(), times.end]
    return [(t - ticks[0]) * times.time_base for t in ticks]


def last_at_most(times: list[Fraction], limit: Fraction) -> int:
    """The last frame on or before ``limit``, else the first."""
    return max([i for i, t in enumerate(times) if t <= limit], default=0)


@given(tables())
def test_mid_is_the_picture_on_screen_half_a_second_in(times: TimeTable) -> None:
    *starts, end = exact(times)
    whole, rest = divmod(end, 1)
    rows = max(1, int(whole) + (rest >= Fraction(1, 2)))
    grid = build_grid(times, "mid", None)
    expected = [last_at_most(starts, k + Fraction(1, 2) + SLACK) for k in range(rows)]
    assert grid.index.tolist() == expected
    assert grid.pts.tolist() == pytest.approx([float(starts[i]) for i in expected], abs=1e-9)


@given(tables())
def test_start_is_the_picture_on_screen_at_the_second(times: TimeTable) -> None:
    *starts, end = exact(times)
    rows = max(1, sum(1 for k in range(200) if k + SLACK < end))
    grid = build_grid(times, "start", None)
    assert grid.index.tolist() == [last_at_most(starts, k + SLACK) for k in range(rows)]


@given(tables(), st.sampled_from(sorted(MODES)))
@settings(max_examples=200)
def test_every_mode_gives_rows_of_real_pictures(times: TimeTable, mode: str) -> None:
    grid = build_grid(times, mode, None)
    assert len(grid) == len(grid.index) == len(grid.pts) >= 1
    assert grid.index.dtype == np.int64
    assert grid.pts.dtype == np.float64
    assert 0 <= grid.index.min() <= grid.index.max() < len(times.pts)
    assert mode == "music-avqa" or (np.diff(grid.index) >= 0).all()


@given(tables(), st.integers(-100_000, 100_000), st.sampled_from(sorted(MODES)))
def test_grid_does_not_depend_on_the_clock_of_the_file(
    times: TimeTable, shift: int, mode: str
) -> None:
    moved = TimeTable(times.pts + shift, times.end + shift, times.time_base, times.keys + shift)
    before, after = build_grid(times, mode, None), build_grid(moved, mode, None)
    assert before.index.tolist() == after.index.tolist()
    assert before.pts.tolist() == after.pts.tolist()


@given(tables())
def test_key_is_the_nearest_key_frame_and_the_earlier_of_two(times: TimeTable) -> None:
    starts, keys = exact(times), set(times.keys.tolist())
    candidates = [i for i, tick in enumerate(times.pts.tolist()) if tick in keys]
    found = build_grid(times, "key", None)
    assert len(found) == len(build_grid(times, "mid", None))
    for k, index in enumerate(found.index.tolist()):
        middle = k + Fraction(1, 2)
        assert index == min(candidates, key=lambda i: (abs(starts[i] - middle), i))


def test_of_two_key_frames_as_near_the_earlier_stands_for_a_second() -> None:
    times = in_ms([0, 1000, 2000], 3000).with_keys(np.array([0, 1000, 2000]))
    assert build_grid(times, "key", None).index.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("keys", "gap"), [([0], 10), ([0, 4000], 6), ([3000, 9000], 6), ([], inf), (None, inf)]
)
def test_the_widest_gap_is_between_key_frames_or_at_either_end(keys, gap) -> None:
    times = in_ms([0, 1000, 3000, 4000, 9000], 10_000)
    if keys is not None:
        times = times.with_keys(np.array(keys, np.int64))
    assert widest_gap(times) == gap
    if gap == inf:
        with pytest.raises(ValueError, match="expected at least one key frame"):
            build_grid(times, "key", None)


PUBLISHED = [
    ("mid", "30", 60, [15, 45, 75, 105]),
    ("start", "30", 60, [0, 30, 60, 90]),
    ("music-avqa", "30", 60, [14, 44, 74, 104]),
    ("music-avqa", "25", 60, [11, 37, 61, 87]),
    ("ffmpeg-fps1", "30", 60, [14, 44, 74, 104]),
    ("ffmpeg-r1", "30", 62, [0, 1, 26, 56, 86]),
    ("mid", "25", 60, [12, 37, 62, 87]),
    ("mid", "29.97", 60, [15, 44, 74, 104]),  # 15 appears at 0.5005 s, just within the slack
    ("start", "29.97", 60, [0, 29, 59, 89]),  # 30 appears at 1.001 s, 1 ms late
    ("start", "23.976", 61, [0, 23, 47, 71]),
    ("mid", "60", 60, [30, 90, 150, 210]),
]


@pytest.mark.parametrize(("mode", "rate", "rows", "begin"), PUBLISHED)
def test_known_grids_of_a_minute(mode: str, rate: str, rows: int, begin: list[int]) -> None:
    fps = RATES[rate]
    grid = build_grid(constant(fps, round(60 * fps)), mode, fps)
    assert len(grid) == rows
    assert grid.index[: len(begin)].tolist() == begin


@pytest.mark.parametrize(
    ("times", "mid", "start"),
    [
        (in_ms([0], 40), [0], [0]),
        (in_ms([0], 9_600), [0] * 10, [0] * 10),
        (constant(Fraction(30), 9), [8], [0]),
        (constant(Fraction(25), 126), [12, 37, 62, 87, 112], [0, 25, 50, 75, 100, 125]),
        (constant(Fraction(1, 2), 3), [0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2]),
        (in_ms([0, 400, 4_600], 5_000), [1, 1, 1, 1, 1], [0, 1, 1, 1, 1]),
        (in_ms([0, 501, 1_502], 2_400), [0, 1], [0, 1, 2]),
        (in_ms([0, 1_001, 2_002], 3_001), [0, 1, 2], [0, 0, 1, 2]),
        (TimeTable(np.array([0, 5_005, 15_006]), 20_005, MS / 10), [1, 1], [0, 1]),
        (in_ms([0, 500], 1_500), [1, 1], [0, 1]),
    ],
    ids=[
        "one frame", "one long frame", "0.3 s", "5.04 s", "0.5 fps", "freeze",
        "1 ms late", "late starts", "0.5 ms late", "half rounds up",
    ],
)  # fmt: skip
def test_worked_examples(times: TimeTable, mid: list[int], start: list[int]) -> None:
    assert build_grid(times, "mid", None).index.tolist() == mid
    assert build_grid(times, "start", None).index.tolist() == start


def test_music_avqa_loops_the_last_begun_second() -> None:
    # 2.5 s at 10 frames: 25 frames, of which the last 5 (20 to 24) are the begun second.
    index = build_grid(constant(Fraction(10), 25), "music-avqa", Fraction(10)).index.tolist()
    assert len(index) == 60
    assert index[:6] == [4, 14, 24, 24, 24, 24]
    assert set(index[6:]) == {24}
    # At 7.5 s and 3 frames a second: 22 frames, the last one alone.
    assert set(build_grid(constant(Fraction(3), 22), "music-avqa", Fraction(3)).index[8:]) == {21}


def test_modes_are_those_of_the_option() -> None:
    assert sorted(MODES) == sorted(CHOICES["frame_at"])


def test_unknown_mode_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="no frame grid 'midd'; did you mean 'mid'"):
        build_grid(in_ms([0], 1), "midd", None)


def test_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one frame"):
        build_grid(in_ms([], 0), "mid", None)


VARIABLE = [0, 33, 90, 400, 433, 500, 1_900, 1_933, 4_800, 4_833, 4_900, 5_300, 5_900, 6_010]
COMMANDS = {"ffmpeg-fps1": ["-vf", "fps=1"], "ffmpeg-r1": ["-r", "1"]}
CLIPS: dict[str, tuple[dict[str, object], TimeTable]] = {
    "30": ({"fps": 30, "seconds": 7}, constant(Fraction(30), 210)),
    "25": ({"fps": 25, "seconds": 5.04}, constant(Fraction(25), 126)),
    "29.97": ({"fps": RATES["29.97"], "seconds": 8}, constant(RATES["29.97"], 240)),
    "23.976": ({"fps": RATES["23.976"], "seconds": 6.6}, constant(RATES["23.976"], 158)),
    "60": ({"fps": 60, "seconds": 4.5}, constant(Fraction(60), 270)),
    "0.5": ({"fps": 0.5, "seconds": 12}, constant(Fraction(1, 2), 6)),
    "variable": ({"times_ms": VARIABLE}, in_ms(VARIABLE, 0)),
    "0.7 s": ({"fps": 30, "seconds": 0.7}, constant(Fraction(30), 21)),
}


@pytest.mark.parametrize("mode", sorted(COMMANDS))
@pytest.mark.parametrize("clip", sorted(CLIPS))
def test_ffmpeg_grids_against_the_command(clip: str, mode: str, tmp_path: Path) -> None:
    options, times = CLIPS[clip]
    path = clips.cached_clip("grid.mp4", codec="mpeg4", extra=["-bf", "0"], **options)
    if clip == "variable":
        times = TimeTable(times.pts, _end_ms(path), MS)
    assert build_grid(times, mode, None).index.tolist() == _written(path, COMMANDS[mode], tmp_path)


def _written(path: Path, options: list[str], folder: Path) -> list[int]:
    """Numbers on the frames that the command writes."""
    command = [clips.program(), "-v", "error", "-nostdin", "-i", str(path)]
    subprocess.run([*command, *options, str(folder / "%04d.ppm")], check=True)
    frames = sorted(folder.glob("*.ppm"))
    return [clips.read_number(_ppm(frame.read_bytes())) for frame in frames]


def _ppm(data: bytes) -> np.ndarray:
    _, size, _, pixels = data.split(b"\n", 3)
    width, height = map(int, size.split())
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def _end_ms(path: Path) -> int:
    """End of the last frame, which the muxer chooses when rates vary."""
    command = [clips.program(), "-nostdin", "-i", str(path), "-vf", "showinfo"]
    done = subprocess.run(
        [*command, "-f", "null", "-"], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    last = [line for line in done.stderr.splitlines() if " duration_time:" in line][-1]
    begin = float(last.split(" pts_time:")[1].split()[0])
    return round(1000 * (begin + float(last.split(" duration_time:")[1].split()[0])))
