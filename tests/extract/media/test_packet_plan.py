"""Planned decoding gives the planes of a full decode, and does not decode in full to do so."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from helpers.media import clips
from helpers.media.cases import PYRAMID, x264, x265

from avqa.extract.media import bitstream, packet_plan
from avqa.extract.media.frame.cropping import Crop
from avqa.extract.media.packet_plan import (
    DECODE,
    DECODE_IF_REFERENCE,
    DROP,
    MISSING,
    PacketTable,
    Traits,
)
from avqa.extract.media.types import Limits, Report
from avqa.extract.readers import pyav

PHASES = range(0, 30, 3)
VPX = ["-auto-alt-ref", "1", "-lag-in-frames", "16", "-g", "40"]
CLIPS: dict[str, tuple[str, dict[str, Any]]] = {
    "h264 closed": ("a.mp4", {"extra": x264("open-gop=0:bframes=3")}),
    "h264 open mp4": ("a.mp4", {"extra": PYRAMID}),
    "h264 open mkv": ("a.mkv", {"extra": PYRAMID}),
    "h264 open ts": ("a.ts", {"extra": PYRAMID}),
    "h264 dense keys": ("a.mp4", {"extra": [*PYRAMID[:-1], PYRAMID[-1] + ":keyint=5:ref=6"]}),
    "h264 interlaced mp4": ("a.mp4", {"extra": x264("interlaced=1")}),
    "h264 interlaced ts": ("a.ts", {"extra": x264("interlaced=1")}),
    "hevc default": ("a.mp4", {"codec": "libx265", "extra": x265("open-gop=1")}),
    "hevc closed": ("a.mkv", {"codec": "libx265", "extra": x265("open-gop=0")}),
    "hevc layers": ("a.mkv", {"codec": "libx265", "extra": x265("temporal-layers=3")}),
    "vp8": ("a.webm", {"codec": "libvpx", "extra": VPX}),
    "vp9": ("a.webm", {"codec": "libvpx-vp9", "extra": [*VPX, "-cpu-used", "5"]}),
    "av1 aom": ("a.mp4", {"codec": "libaom-av1", "extra": ["-g", "40", "-cpu-used", "8"]}),
    "av1 svt": ("a.mkv", {"codec": "libsvtav1", "extra": ["-g", "40", "-preset", "10"]}),
    "mjpeg": ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "edit list": ("a.mp4", {"extra": PYRAMID, "remux_input": ["-ss", "1.03"]}),
}
IN_FULL = {
    "h264 intra refresh": (
        "a.mp4", {"extra": x264("intra-refresh=1")}, "without an intra frame",
    ),
    "mpeg4 with B frames": (
        "a.avi", {"codec": "mpeg4", "extra": ["-bf", "2"]}, "MPEG-4 part 2 in AVI",
    ),
    "mpeg2": ("a.mpg", {"codec": "mpeg2video"}, "codec mpeg2video is always decoded in full"),
}  # fmt: skip


class Planes:
    """Stands in for the conversion to RGB: the digest of the decoded planes."""

    def __init__(self, _aspect: Fraction, _crop: Crop) -> None:
        pass

    def __call__(self, frame: Any) -> np.ndarray:
        digest = hashlib.sha256()
        for plane, height in zip(frame.planes, _heights(frame), strict=True):
            rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
            digest.update(rows[:height, : plane.width].tobytes())
        return np.frombuffer(digest.digest(), np.uint8)


def _heights(frame: Any) -> list[int]:
    return [plane.height for plane in frame.planes]


@pytest.fixture(autouse=True)
def _planes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyav, "Upright", Planes)


def read(path: str, wanted: list[int] | None, *, full: bool) -> tuple[dict[int, bytes], Report]:
    probe = pyav.READER.probe(path, Limits())
    report = Report()
    wanted = list(range(len(probe.times.pts))) if wanted is None else wanted
    wanted = [i for i in wanted if i < len(probe.times.pts)]
    found = pyav.READER.frames(probe, wanted, report, full=full)
    return {p.index: p.rgb.tobytes() for p in found}, report


@pytest.mark.parametrize("name", sorted(CLIPS))
def test_planned_equals_full(name: str) -> None:
    file, options = CLIPS[name]
    path = str(clips.cached_clip(file, seconds=8.0, **options))
    everything, report = read(path, None, full=True)
    assert not report.planned
    assert report.why_not_planned == "a full decode was asked for"
    assert len(set(everything.values())) == len(everything) >= 200
    for phase in PHASES:
        wanted = [i for i in range(phase, 240, 30) if i in everything]
        found, report = read(path, wanted, full=False)
        assert found == {i: everything[i] for i in wanted}, (phase, report)
        assert report.planned, report
        assert report.why_not_planned == ""
        assert report.corrupt == 0


@pytest.mark.parametrize("name", sorted(set(CLIPS) - {"h264 dense keys"}))
def test_planning_skips_packets(name: str) -> None:
    file, options = CLIPS[name]
    _, report = read(str(clips.cached_clip(file, seconds=8.0, **options)), [15, 135], full=False)
    assert report.planned
    assert report.skipped > 0.4 * report.packets


@pytest.mark.parametrize("name", sorted(IN_FULL))
def test_decoded_in_full_with_the_reason(name: str) -> None:
    file, options, why = IN_FULL[name]
    path = str(clips.cached_clip(file, seconds=4.0, **options))
    everything, _ = read(path, None, full=True)
    for phase in (3, 15, 27):
        wanted = list(range(phase, 120, 30))
        found, report = read(path, wanted, full=False)
        assert found == {i: everything[i] for i in wanted}
        assert (report.planned, report.skipped) == (False, 0)
        assert why in report.why_not_planned


def test_undelivered_picture_restarts_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that drops too much must not cost a frame, nor give one twice."""
    path = str(clips.cached_clip("a.mp4", seconds=8.0, extra=PYRAMID))
    everything, _ = read(path, None, full=True)
    make_plan = packet_plan.make_plan

    def greedy(*arguments: Any) -> packet_plan.Plan:
        plan = make_plan(*arguments)
        plan.action[100:] = DROP
        return plan

    monkeypatch.setattr(packet_plan, "make_plan", greedy)
    probe = pyav.READER.probe(path, Limits())
    report = Report()
    wanted = list(range(15, 240, 30))
    found = [(p.index, p.rgb.tobytes()) for p in pyav.READER.frames(probe, wanted, report)]
    assert found == [(i, everything[i]) for i in wanted]
    assert not report.planned
    assert report.why_not_planned == "a wanted frame did not come out of the decoder"


def table(pts: list[int], keys: list[int]) -> PacketTable:
    key = np.zeros(len(pts), np.bool_)
    key[keys] = True
    ones = np.ones(len(pts), np.bool_)
    return PacketTable(np.array(pts, np.int64), np.ones(len(pts), np.int64), key, ones)


def actions(packets: PacketTable, wanted: list[int], codec: str = "h264") -> tuple[str, list[int]]:
    plan = packet_plan.make_plan(packets, np.array(wanted), codec, Traits())
    letters = {DROP: ".", DECODE: "D", DECODE_IF_REFERENCE: "r"}
    return "".join(letters[int(a)] for a in plan.action), np.flatnonzero(plan.fresh).tolist()


CLOSED = table([0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11], [0, 4, 8])
# Key frames 4 and 8 have leading frames (3, and 7) after them in decode order.
OPEN = table([0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 11], [0, 3, 7])


@pytest.mark.parametrize(
    ("packets", "wanted", "expected"),
    [
        (CLOSED, [1], ("DrD.........", [])),
        (CLOSED, [9], ("........DrD.", [8])),
        (CLOSED, [3, 4], ("DrrDD.......", [])),
        (CLOSED, [0, 11], ("D.......DrrD", [8])),
        (OPEN, [2], ("DD..........", [])),
        (OPEN, [5], ("...DrrD.....", [3])),
        (OPEN, [3], ("DrrDD.......", [])),
        (OPEN, [7], ("DrrDrrrDD...", [])),
        (OPEN, [], ("............", [])),
    ],
)
def test_plans_by_hand(
    packets: PacketTable, wanted: list[int], expected: tuple[str, list[int]]
) -> None:
    assert actions(packets, wanted) == expected


def test_only_h264_and_hevc_skip_non_reference_pictures() -> None:
    assert actions(CLOSED, [3], "vp9")[0] == "DDDD........"
    assert actions(CLOSED, [3], "hevc")[0] == "DrrD........"
    layered = packet_plan.make_plan(CLOSED, np.array([3]), "hevc", Traits(layered=True))
    assert (layered.action[:4] == DECODE).all()


@pytest.mark.parametrize(
    ("packets", "codec", "container", "why"),
    [
        (CLOSED, "h264", "mov", ""),
        (table([0, MISSING, 1], [0]), "h264", "mov", "missing time stamps"),
        (table([0, 1, 1], [0]), "h264", "mov", "repeated time stamps"),
        (table([0, 1, 2], [1]), "h264", "mpegts", "does not begin with a key frame"),
        (table([2, 1, 3], [0]), "hevc", "mpegts", "depend on ones before it"),
        (CLOSED, "mpeg4", "avi", "MPEG-4 part 2 in AVI"),
        (CLOSED, "mpeg4", "mov", ""),
    ],
)
def test_when_packets_do_not_tell_the_times(
    packets: PacketTable, codec: str, container: str, why: str
) -> None:
    found = packet_plan.why_no_table(packets, codec, container, Traits())
    assert found == "" if why == "" else why in found


def test_frames_that_are_reordered_have_times_that_fall_back() -> None:
    rising, falling = table([0, 1, 2, 3], [0]), table([0, 3, 1, 2], [0])
    reorders = Traits(reorders=True)
    assert packet_plan.why_no_table(falling, "h264", "avi", reorders) == ""
    assert packet_plan.why_no_table(rising, "h264", "avi", Traits()) == ""
    assert "those of decoding" in packet_plan.why_no_table(rising, "h264", "avi", reorders)
    assert packet_plan.why_no_table(table([0], [0]), "h264", "avi", reorders) == ""


def test_last_picture_without_a_length() -> None:
    pts = np.array([0, 40, 80])
    assert packet_plan.closed_table(pts, 0, Fraction(1, 1000), Fraction(25)).end == 120
    assert packet_plan.closed_table(pts, 0, Fraction(1, 1000), None).end == 120
    assert packet_plan.closed_table(pts[:1], 0, Fraction(1, 1000), None).end == 1
    assert packet_plan.closed_table(pts, 15, Fraction(1, 1000), Fraction(25)).end == 95


@pytest.mark.parametrize(
    ("data", "clean"),
    [
        (b"\0\0\1\x67\x42\0\0\1\x65\x88", True),  # parameter set, IDR slice
        (b"\0\0\1\x41\x88", True),  # 1 0001000: slice type 7, I
        (b"\0\0\1\x41\x9a", False),  # 1 00110: slice type 5, P
        (b"\0\0\1\x41\xe0", False),  # 1 1: slice type 0, P
        (b"\0\0\1\x09\x10", False),  # no slice at all
        (b"", False),
    ],
)
def test_h264_key_packet_begins_with_an_intra_slice(data: bytes, clean: bool) -> None:
    assert bitstream.h264_starts_clean(memoryview(data), 0) is clean


def test_units_behind_lengths() -> None:
    packet = memoryview(b"\0\0\0\2\x67\x42\0\0\0\3\x65\x88\x80")
    assert list(bitstream.nal_units(packet, 4)) == [b"\x67\x42", b"\x65\x88\x80"]
    assert bitstream.nal_length_size(b"\x01\x64\x00\x1f\xff", "h264") == 4
    assert bitstream.nal_length_size(b"\0\0\0\1\x67", "h264") == 0
    assert bitstream.nal_length_size(None, "hevc") == 0


def test_damaged_lengths_end_the_search() -> None:
    assert not bitstream.h264_starts_clean(memoryview(b"\xff\xff\xff\xff\x41"), 4)


def test_hidden_vp8_picture() -> None:
    assert bitstream.vp8_is_hidden(memoryview(b"\x01\0"))
    assert not bitstream.vp8_is_hidden(memoryview(b"\x11\0"))
    assert not bitstream.vp8_is_hidden(memoryview(b""))


UNIT = b"\x65" + bytes(range(1, 200))


@pytest.mark.parametrize(
    ("codec", "content", "expected"),
    [
        ("h264", UNIT, False),
        ("h264", UNIT[:90] + b"\0\0\3\0\0\1" + UNIT[90:], False),
        ("h264", UNIT[:90] + bytes(3) + UNIT[90:], True),
        ("hevc", UNIT + bytes(20), False),  # padded
        ("hevc", UNIT + bytes(200), True),
        ("vp9", UNIT + bytes(100) + UNIT, False),
        ("vp9", UNIT + bytes(128) + UNIT, True),
        ("mjpeg", UNIT + bytes(500), False),  # cameras pad
        ("mjpeg", bytes(500), True),
        ("qtrle", UNIT + bytes(500), True),
    ],
)
def test_zeros_that_no_coder_writes(codec, content, expected):
    length_size = 4 if codec in ("h264", "hevc") else 0
    head = len(content).to_bytes(4, "big") if length_size else b""
    assert bitstream.holds_zeros(memoryview(head + content), codec, length_size) is expected


def test_a_packet_whose_units_are_zeros():
    packet = len(UNIT).to_bytes(4, "big") + UNIT + bytes(60)
    assert bitstream.holds_zeros(memoryview(packet), "h264", 4)
    assert not bitstream.holds_zeros(memoryview(packet), "h264", 0)
