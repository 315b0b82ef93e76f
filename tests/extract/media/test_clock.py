"""One clock for files that have several: every part begins where the one before ended."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avqa.extract.media.clock import (
    Clock,
    Follower,
    Shifts,
    Track,
    one_clock,
    shifted,
    with_seams,
)

MS = Fraction(1, 1000)
FRAME, SOUND = 40, 20
"""Milliseconds of a frame and of a packet of audio."""


def track(*parts, step, places):
    """Packets of ``(start, length)`` in ms each, one every ``step`` ms, at these places."""
    pts = np.concatenate([np.arange(start, start + length, step) for start, length in parts])
    return Track(pts, pts, np.full(len(pts), step), np.array(places, np.int64), MS)


def file_of(parts):
    """Video and audio of parts ``(start, length of video, length of audio)``, one after another.

    Audio of no length is none.
    """
    video, audio, places = [], [], ([], [])
    place = 0
    for start, seen, heard in parts:
        packets = [(t, 0) for t in range(0, seen, FRAME)] + [(t, 1) for t in range(0, heard, SOUND)]
        for _, which in sorted(packets):
            places[which].append(place)
            place += 100
        video.append((start, seen))
        audio.append((start, heard))
    return (
        track(*video, step=FRAME, places=places[0]),
        track(*audio, step=SOUND, places=places[1]),
    )


def clock(parts, *, jumps=True):
    video, audio = file_of(parts)
    return video, audio, one_clock(video, audio, jumps=jumps, ordered=True, slack=0)


@given(
    lengths=st.lists(st.integers(5, 60), min_size=2, max_size=6),
    steps=st.lists(st.sampled_from([-60_000, -3_000, -400, 10_200, 603_000]), min_size=6),
)
def test_parts_follow_each_other(lengths, steps):
    parts, end = [], 1_000_000
    for frames, step in zip(lengths, steps, strict=False):
        start = end + step
        parts.append((start, frames * FRAME, frames * FRAME))
        end = start + frames * FRAME
    video, audio, found = clock(parts)
    for each, shifts, step in ((video, found.video, FRAME), (audio, found.audio, SOUND)):
        starts = shifted(each, shifts).starts()
        assert (np.diff(starts) == step).all()
    ends = np.cumsum([length * FRAME for length in lengths[: len(parts)]])[:-1]
    assert found.joints == pytest.approx(ends / 1000)


def test_a_file_with_one_clock_is_left_alone():
    *_, found = clock([(0, 4_000, 4_000)])
    assert found == Clock()
    assert found.note() == ""


def test_a_gap_is_no_jump():
    *_, found = clock([(0, 2_000, 2_000), (11_900, 2_000, 2_000)])
    assert found == Clock()
    *_, found = clock([(0, 2_000, 2_000), (12_100, 2_000, 2_000)], jumps=False)
    assert found == Clock()


def test_a_jump_in_one_track_alone_is_a_gap():
    video = track((0, 2_000), (30_000, 2_000), step=FRAME, places=range(100))
    audio = track((0, 32_000), step=SOUND, places=range(1_600))
    assert one_clock(video, audio, jumps=True, ordered=True, slack=0) == Clock()
    assert one_clock(audio, video, jumps=True, ordered=True, slack=0) == Clock()
    assert one_clock(video, None, jumps=True, ordered=True, slack=0).joints == (2.0,)


def test_no_sound_of_a_part_is_lost():
    """Half a second of it behind the last frame stays; a pad of the encoder may be overlapped."""
    *_, found = clock([(0, 2_000, 2_500), (0, 2_000, 2_000)])
    assert found.joints == (2.4,)
    *_, found = clock([(0, 2_000, 2_080), (0, 2_000, 2_000)])
    assert found.joints == (2.0,)


@pytest.mark.parametrize("silent", [0, 1, 2])
def test_a_part_without_audio(silent):
    parts = [(0, 2_000, 0 if k == silent else 2_000) for k in range(3)]
    _, audio, found = clock(parts)
    assert found.joints == (2.0, 4.0)
    starts = shifted(audio, found.audio).starts()
    heard = [k for k in range(3) if k != silent]
    assert starts.tolist() == [t for k in heard for t in range(k * 2_000, (k + 1) * 2_000, SOUND)]


def test_audio_with_a_clock_of_its_own():
    video = track((0, 6_000), step=FRAME, places=range(0, 1_500, 10))
    audio = track((0, 3_000), (0, 3_000), step=SOUND, places=range(5, 1_505, 5))
    found = one_clock(video, audio, jumps=True, ordered=True, slack=0)
    assert (found.video, found.joints) == (Shifts(), ())
    assert shifted(audio, found.audio).starts().tolist() == list(range(0, 6_000, SOUND))


def test_audio_that_overlaps_itself_a_little_is_no_restart():
    video = track((0, 6_000), step=FRAME, places=range(0, 1_500, 10))
    audio = track((0, 3_000), (2_500, 3_500), step=SOUND, places=range(5, 1_630, 5))
    assert one_clock(video, audio, jumps=True, ordered=True, slack=0) == Clock()


def test_presentation_out_of_order_is_no_restart():
    """As Matroska's, which has no other times: B frames lie behind the frame they precede."""
    order = np.arange(0, 200).reshape(-1, 10)[:, [0, 9, 4, 2, 1, 3, 6, 5, 7, 8]].ravel() * FRAME
    twice = np.concatenate([order, order])
    missing = np.full(len(twice), np.iinfo(np.int64).min)
    for pts, joints in ((order, ()), (twice, (8.0,))):
        video = Track(pts, missing[: len(pts)], np.full(len(pts), FRAME), np.arange(len(pts)), MS)
        assert one_clock(video, None, jumps=False, ordered=False, slack=0).joints == joints


@given(
    lengths=st.lists(st.integers(5, 40), min_size=2, max_size=5),
    steps=st.lists(st.sampled_from([-60_000, -3_000, -400, 10_200, 603_000]), min_size=5),
)
def test_decoded_frames_find_their_part(lengths, steps):
    parts, end = [], 0
    for frames, step in zip(lengths, steps, strict=False):
        parts.append((end + step, frames * FRAME, frames * FRAME))
        end += step + frames * FRAME
    video, _, found = clock(parts)
    follow = Follower(video, found.video)
    assert [follow(int(t)) for t in video.pts] == found.video.all(len(video)).tolist()


def test_note():
    joints = tuple(float(k) for k in range(1, 8))
    assert Clock(joints=joints).note() == (
        "the file's clock restarts or jumps (7 times): its parts follow each other, new ones begin"
        " at 1.000 s, 2.000 s, 3.000 s, 4.000 s, 5.000 s and 2 more"
    )


@pytest.mark.parametrize("wrong", [-50_000, -2_000, 3_000, 900_000])
@pytest.mark.parametrize("count", [1, 3])
def test_stamps_that_damage_has_changed_are_no_restart(wrong, count):
    video, audio = file_of([(5_000, 4_000, 4_000)])
    pts = video.pts.copy()
    pts[40 : 40 + count] += wrong
    found = one_clock(replace(video, pts=pts, dts=pts), audio, jumps=True, ordered=True, slack=0)
    assert found.joints == ()
    assert (pts + found.video.all(len(pts)) == video.pts).all()


@pytest.mark.parametrize(
    ("pause", "is_seam"),
    [(0, True), (FRAME, False), (900, False), (1_000, True), (5_000, True)],
)
def test_seams_are_key_frames_at_once_or_after_a_pause(pause, is_seam):
    video, audio = file_of([(0, 2_000, 2_000), (2_000 + pause, 2_000, 2_000)])
    keys = np.zeros(100, np.bool_)
    keys[[0, 50]] = True
    found = with_seams(Clock(), video, audio, keys, slack=0)
    assert found.video.seams == ((50,) if is_seam else ())
    assert found.audio.seams == ((100,) if is_seam and pause else ())
    torn = [number for number in range(100) if found.video.tears(number)]
    assert torn == ([47, 48, 49] if is_seam else [])
    assert (found.video.starts, found.joints) == ((), ())
