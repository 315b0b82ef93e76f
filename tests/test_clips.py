"""The test clips themselves: what is drawn and sounded can be read back."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import pytest
from helpers.media import clips
from PIL import Image


@pytest.mark.parametrize("number", [0, 1, 2, 1023, 1024, 2047])
@pytest.mark.parametrize("size", [(160, 96), (80, 96), (96, 160), (320, 200)])
def test_number_reads_back_at_any_size(number: int, size: tuple[int, int]) -> None:
    drawn = clips.frame(number)
    scaled = np.asarray(Image.fromarray(drawn).resize(size))
    assert clips.read_number(scaled) == number


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned_picture_is_refused(turns: int) -> None:
    for number in (0, 5, 700, 2047):
        with pytest.raises(ValueError, match="turned|blended"):
            clips.read_number(np.rot90(clips.frame(number), turns))


def test_blend_is_refused() -> None:
    blend = (clips.frame(5).astype(int) + clips.frame(6)) // 2
    with pytest.raises(ValueError, match="blended"):
        clips.read_number(blend.astype(np.uint8))


@pytest.mark.parametrize("second", [-2, 0, 3, 60])
def test_second_reads_back(second: int) -> None:
    samples = clips.audio(second, second + 1)
    assert clips.read_second(samples, clips.SOUND_RATE) == second


def test_silence_stands_for_no_second() -> None:
    assert clips.read_second(np.zeros(1000, np.float32), 16_000) is None


def test_onset_follows_silence() -> None:
    # The tone of second 0 stops at 0.8 s; that of second 1 starts at 1 s.
    assert clips.onset(clips.audio(0.5, 2), clips.SOUND_RATE) == pytest.approx(0.5, abs=0.003)


def test_clips_can_be_made() -> None:
    """Where this fails, everything that needs a clip is skipped: mend the cause named here."""
    why = clips.why_none()
    if why:
        pytest.fail(f"{why}; expected a clip of 0.1 s; check imageio-ffmpeg and the disk", False)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A session in which ffmpeg makes nothing."""
    clips.why_none.cache_clear()
    monkeypatch.setattr(clips, "_CACHE", {})
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: "/bin/false")
    yield monkeypatch
    clips.why_none.cache_clear()


def test_without_any_clip_who_needs_one_is_skipped(broken: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        with pytest.raises(pytest.skip.Exception, match="see test_clips_can_be_made"):
            clips.cached_clip("a.mp4", seconds=0.5)
    assert "/bin/false -v error" in clips.why_none()


def test_a_clip_that_failed_is_made_when_it_can_be(broken: pytest.MonkeyPatch) -> None:
    """Its own error, the first time; nothing of it is in the way of the second."""
    with broken.context() as working:
        working.setattr(clips, "why_none", functools.cache(str))
        for _ in range(2):
            with pytest.raises(RuntimeError, match="^/bin/false -v error"):
                clips.cached_clip("a.mp4", seconds=0.5)
    broken.undo()
    clips.why_none.cache_clear()
    assert clips.cached_clip("a.mp4", seconds=0.5).stat().st_size > 1000


def test_clip_is_written_once() -> None:
    first = clips.cached_clip("a.mp4", seconds=0.5, sound_codec="aac")
    assert first.stat().st_size > 1000
    assert clips.cached_clip("a.mp4", seconds=0.5, sound_codec="aac") == first
    assert clips.cached_clip("a.mp4", seconds=0.6, sound_codec="aac") != first
