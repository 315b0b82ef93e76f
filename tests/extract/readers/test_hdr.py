"""HDR files, and those of BT.2020 colours that are none, through every reader."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.media import clips

from avqa.errors import MediaError
from avqa.extract.media.frame import tone
from avqa.extract.media.types import Limits, Reader, Report

LIGHTS = (0, 1, 10, 50, 100, 203, 400, 1000)
GREYS = (0, 28, 73, 142, 189, 230, 250, 255)
PQ = tone.pq_signal(np.array(LIGHTS, float))
HLG = np.array([0, 0.1, 0.25, 0.5, 0.6, 0.75, 0.9, 1])
HLG_GREYS = (0, 29, 72, 143, 177, 230, 253, 255)
WIDE, HIGH = 32, 64
X265 = ("libx265", "-x265-params", "log-level=none:pools=1:crf=4")
CODECS = {
    "a.mp4": X265,
    "a.mkv": X265,
    "a.mov": ("libx264", "-crf", "4"),
    "a.ts": X265,
    "a.webm": ("libvpx-vp9", "-crf", "4", "-b:v", "0", "-cpu-used", "8"),
}


def patches(path: Path, colours: np.ndarray, transfer: str, *more: str, full: bool = False) -> Path:
    """A clip of one frame whose strips have the BT.2020 signals [n, 3] of 0 to 1, in 10 bits."""
    red, green, blue = np.repeat(np.asarray(colours, float), WIDE, axis=0).T
    luma = 0.2627 * red + 0.6780 * green + 0.0593 * blue
    blues, reds = (blue - luma) / 1.8814, (red - luma) / 1.4746
    if full:
        planes = (1023 * luma, 1023 * blues + 512, 1023 * reds + 512)
    else:
        planes = (876 * luma + 64, 896 * blues + 512, 896 * reds + 512)
    rows = [np.broadcast_to(np.rint(plane).astype("<u2"), (HIGH, plane.size)) for plane in planes]
    colour = f"setparams=color_trc={transfer}:colorspace=bt2020nc:color_primaries=bt2020"
    command = [
        clips.program(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "yuv444p10le",
        "-s", f"{len(luma)}x{HIGH}", "-r", "1", "-i", "-", "-vf",
        f"{colour}:range={'pc' if full else 'tv'}", "-c:v", *CODECS[path.name],
        "-pix_fmt", "yuv420p10le", *more, str(path),
    ]  # fmt: skip
    subprocess.run(command, input=b"".join(row.tobytes() for row in rows), check=True)
    return path


def shown(reader: Reader, path: Path) -> tuple[np.ndarray, Report]:
    """The first frame, and what was said."""
    report = Report()
    (frame,) = reader.frames(reader.probe(str(path), Limits()), [0], report)
    return frame.rgb, report


def strips(rgb: np.ndarray) -> np.ndarray:
    assert rgb.dtype == np.uint8
    return rgb[HIGH // 2, WIDE // 2 :: WIDE].astype(int)


def assert_refused(reader: Reader, path: Path, transfer: str) -> None:
    with pytest.raises(MediaError) as caught:
        reader.probe(str(path), Limits())
    assert caught.value.reason == "no_decoder"
    if path.suffix != ".ts":
        assert f"HDR (transfer={transfer}), which it shows as if it were" in str(caught.value)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("name", "transfer"),
    [
        ("a.mp4", "smpte2084"),
        ("a.mov", "smpte2084"),
        ("a.webm", "smpte2084"),
        ("a.mkv", "arib-std-b67"),
        ("a.ts", "arib-std-b67"),
    ],
)
def test_hdr_is_tone_mapped(
    reader: Reader, name: str, transfer: str, full: bool, tmp_path: Path
) -> None:
    signals, greys = {"smpte2084": (PQ, GREYS), "arib-std-b67": (HLG, HLG_GREYS)}[transfer]
    path = patches(
        tmp_path / name, np.minimum(signals, 1)[:, None] * [1, 1, 1], transfer, full=full
    )
    if reader.name == "decord":
        assert_refused(reader, path, transfer)
        return
    rgb, report = shown(reader, path)
    off = 2 if full else 1  # swscale makes full range 0.3 % brighter
    assert np.abs(strips(rgb) - np.array(greys)[:, None]).max() <= off
    assert report.warnings == [f"HDR (transfer={transfer}): frames are tone-mapped to BT.709"]


def test_colours_of_hdr(reader: Reader, tmp_path: Path) -> None:
    """Those of BT.709, at 80 cd/m² and less, are shown as they are."""
    matrix = [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
    light = 80 * np.array([(1, 0.2, 0.2), (0.2, 1, 0.2), (0.2, 0.2, 1), (0.5, 0.3, 0.1)])
    path = patches(tmp_path / "a.mp4", tone.pq_signal(light @ np.transpose(matrix)), "smpte2084")
    if reader.name == "decord":
        assert_refused(reader, path, "smpte2084")
        return
    expected = 255 * (light / 203) ** (1 / 2.4)
    assert np.abs(strips(shown(reader, path)[0]) - expected).max() <= 3


def test_hdr_is_turned_and_stretched(reader: Reader, tmp_path: Path) -> None:
    if reader.name == "decord":
        pytest.skip("it refuses HDR")
    flat = patches(tmp_path / "a.mov", PQ[:, None] * [1, 1, 1], "smpte2084", "-aspect", "8:1")
    turned = tmp_path / "turned.mov"
    command = [clips.program(), "-v", "error", "-display_rotation", "90", "-i", str(flat)]
    subprocess.run([*command, "-c", "copy", str(turned)], check=True)
    rgb = np.rot90(shown(reader, turned)[0], -1)
    assert rgb.shape == (HIGH, 2 * WIDE * len(LIGHTS), 3)
    found = rgb[HIGH // 2, WIDE :: 2 * WIDE].astype(int)
    assert np.abs(found - np.array(GREYS)[:, None]).max() <= 2


def test_bt2020_colours_that_are_not_hdr_have_their_own_matrix(
    reader: Reader, tmp_path: Path
) -> None:
    colours = np.array([*clips.PATCHES, (128, 128, 128)])
    path = patches(tmp_path / "a.mp4", colours / 255, "bt2020-10")
    if reader.name == "decord":
        pytest.skip("it takes all colours for BT.601")
    rgb, report = shown(reader, path)
    assert np.abs(strips(rgb) - colours).max() <= 2
    assert report.warnings == []
