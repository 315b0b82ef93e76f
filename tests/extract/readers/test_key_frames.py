"""Rows of key frames: those that ffmpeg finds, by every reader, and nothing else is decoded."""

import re
import subprocess
import sys

import imageio_ffmpeg
import numpy as np
import pytest
from helpers.extraction.light import POOL, finished
from helpers.media import clips

from avqa.errors import MediaError
from avqa.extract import readers
from avqa.extract.media.file_checks import check_keys
from avqa.extract.media.types import Limits, Report
from avqa.store.places.files import store_path
from avqa.store.reader import FeatureStore

GOPS = {
    "closed.mp4": {"extra": ("-g", "45", "-bf", "2"), "sound_codec": "aac"},
    "open.mkv": {"extra": ("-g", "40", "-x264-params", "open-gop=1:bframes=3:b-pyramid=2")},
    "hevc.mp4": {"codec": "libx265", "extra": ("-g", "50", "-x265-params", "log-level=none")},
    "vp9.webm": {"codec": "libvpx-vp9", "extra": ("-g", "33", "-cpu-used", "8")},
}


def keys_by_ffmpeg(path):
    """Numbers of the key frames, as the program shows them when it skips all others."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-skip_frame", "nokey", "-i", str(path)]
    command += ["-fps_mode", "passthrough", "-vf", "showinfo", "-f", "null", "-"]
    said = subprocess.run(
        command, check=True, capture_output=True, text=True, encoding="utf-8"
    ).stderr
    times = [float(t) for t in re.findall(r"pts_time:(\S+) .*iskey:1", said)]
    return sorted(round(30 * t) for t in times)


@pytest.mark.parametrize("name", GOPS)
@pytest.mark.parametrize("reader", ["pyav", "ffmpeg", "decord"])
def test_every_reader_tells_the_key_frames(name, reader):
    path = clips.cached_clip(name, seconds=6.0, **GOPS[name])
    probe = readers.load(reader).READER.probe(str(path), Limits())
    found = np.searchsorted(probe.times.pts, probe.times.keys).tolist()
    assert found == keys_by_ffmpeg(path)
    assert 2 < len(found) < 10


def test_nothing_but_key_frames_is_decoded():
    path = clips.cached_clip("closed.mp4", seconds=6.0, **GOPS["closed.mp4"])
    reader, report = readers.load("pyav").READER, Report()
    probe = reader.probe(str(path), Limits())
    wanted = np.searchsorted(probe.times.pts, probe.times.keys).tolist()
    numbers = [clips.read_number(f.rgb) for f in reader.frames(probe, wanted, report)]
    assert numbers == wanted == [0, 45, 90, 135]
    assert (report.planned, report.packets - report.skipped) == (True, 4)


def test_key_frames_too_far_apart_are_refused():
    path = clips.cached_clip("closed.mp4", seconds=6.0, **GOPS["closed.mp4"])
    times = readers.load("pyav").READER.probe(str(path), Limits()).times
    check_keys("clip.mp4", times, Limits(max_gap_seconds=1.5))
    with pytest.raises(MediaError) as refused:
        check_keys("clip.mp4", times, Limits(max_gap_seconds=1.4))
    assert refused.value.reason == "sparse_keys"
    assert str(refused.value) == (
        "path='clip.mp4' has 1.5 s without a key frame; expected at most max_gap=1.4 s with"
        " --frame-at key; use --max-gap to allow more, or --frame-at mid"
    )


def test_as_typed(tmp_path):
    """Rows with the key frames' own times; verified; refused by one line a video."""
    folder, store, refused = tmp_path / "videos", tmp_path / "store", tmp_path / "refused"
    folder.mkdir()
    rare = ("-g", "110", "-sc_threshold", "0")
    clips.numbered_clip(folder / "clip.mp4", seconds=12.0, fps=10, extra=rare)
    avqa = [sys.executable, "-m", "avqa"]
    extract = [*avqa, "extract", "--videos", str(folder), "--features", POOL, "--frame-at", "key"]
    extract += ["--weights", "random:0"]
    status, _, said = finished([*extract, "--out", str(store), "--max-gap", "11"])
    assert status == 0, said
    times = FeatureStore(store_path(store)).pts("clip").tolist()
    assert times == [0.0] * 6 + [11.0] * 6  # 5.5 s is as near to both
    # What was allowed once is read again without asking how far apart key frames are.
    status, told, said = finished(
        [*avqa, "verify", str(store), "--level", "sample", "--videos", str(folder)]
    )
    assert status == 0, told + said
    status, told, said = finished([*extract, "--out", str(refused)])
    assert status == 3, told + said
    assert "11.0 s without a key frame; expected at most max_gap=10 s" in told + said
