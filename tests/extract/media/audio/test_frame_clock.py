"""Audio on the frame's clock, against whole-file references made in the plainest way."""

import subprocess
import sys
import tracemalloc
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import librosa
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from avqa.errors import MediaError
from avqa.extract.media.audio import frame_clock
from avqa.extract.media.audio.frame_clock import (
    Extent,
    FrameClockAudio,
    WindowCutter,
    to_pcm16,
    write_wav,
)
from avqa.extract.media.types import SAMPLE_RATE, AudioSamples, Report
from avqa.extract.settings import Resample


def noise(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.uniform(-0.5, 0.5, round(seconds * rate)).astype(np.float32)


def runs(
    samples: np.ndarray, rate: int, start: Fraction = Fraction(0), size: int = 1024
) -> Iterator[AudioSamples]:
    """Cut into packets, each with its exact time."""
    for k in range(0, samples.size, size):
        yield AudioSamples(start + Fraction(k, rate), rate, samples[k : k + size])


def place(
    audio: Iterator[AudioSamples],
    seconds: int,
    *,
    zero: Fraction = Fraction(0),
    resample: Resample = "soxr_hq",
) -> tuple[np.ndarray, Extent, Report]:
    report = Report()
    placed = FrameClockAudio(
        audio, start_seconds=zero, num_seconds=seconds, resample=resample, report=report
    )
    blocks = list(placed.blocks())
    assert all(block.size <= 60 * SAMPLE_RATE for block in blocks)
    waveform = np.concatenate(blocks)
    assert waveform.dtype == np.float32
    assert waveform.size == seconds * SAMPLE_RATE
    return waveform, placed.extent, report


def whole(samples: np.ndarray, rate: int, offset: int, seconds: int) -> np.ndarray:
    """Put samples at ``offset`` of a silent track with room around it, resample it in one go."""
    room = 3
    track = np.zeros((seconds + 2 * room) * rate, np.float32)
    begin = room * rate + offset
    end = min(track.size, begin + samples.size)
    track[begin:end] = samples[: end - begin]
    once = librosa.resample(track, orig_sr=rate, target_sr=SAMPLE_RATE, res_type="soxr_hq")
    return once[room * SAMPLE_RATE : (room + seconds) * SAMPLE_RATE]


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_blocks_equal_the_whole_file(rate: int) -> None:
    samples = noise(130.4, rate)
    waveform, extent, report = place(runs(samples, rate), 131)
    np.testing.assert_allclose(waveform, whole(samples, rate, 0, 131), atol=1e-5, rtol=0)
    assert extent.start == 0.0
    assert extent.end == pytest.approx(130.4, abs=1 / rate)
    assert report.warnings == []


@pytest.mark.parametrize("seconds", [60, 61, 120])
def test_edges_of_blocks(seconds: int) -> None:
    samples = noise(seconds, 44_100)
    waveform, *_ = place(runs(samples, 44_100), seconds)
    expected = whole(samples, 44_100, 0, seconds)
    np.testing.assert_allclose(waveform, expected, atol=1e-5, rtol=0)


def test_result_does_not_depend_on_the_runs_lengths() -> None:
    samples = noise(70, 44_100)
    results = [
        place(runs(samples, 44_100, size=size), 70)[0] for size in (441, 1024, 99_991, samples.size)
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("offset", [-40_000, -1_000, 441, 2 * 44_100, 65 * 44_100])
def test_late_and_early_sound_is_placed_by_its_time(offset: int) -> None:
    """The file's clock starts anywhere; only the distance to the first frame counts."""
    zero = Fraction(7, 5)
    samples = noise(10, 44_100)
    start = zero + Fraction(offset, 44_100)
    waveform, extent, _ = place(runs(samples, 44_100, start), 70, zero=zero)
    np.testing.assert_allclose(waveform, whole(samples, 44_100, offset, 70), atol=1e-5, rtol=0)
    assert extent.start == pytest.approx(offset / 44_100)
    assert extent.end == pytest.approx(offset / 44_100 + 10)


def test_silence_outside_the_stream_is_exact() -> None:
    waveform, *_ = place(runs(noise(10, 44_100), 44_100, Fraction(20)), 200)
    assert not waveform[: 19 * SAMPLE_RATE].any()
    assert np.abs(waveform[20 * SAMPLE_RATE : 30 * SAMPLE_RATE]).mean() > 0.1
    assert not waveform[122 * SAMPLE_RATE :].any()


def test_sound_beyond_the_picture_is_cut_but_told() -> None:
    samples = noise(100, 16_000)
    waveform, extent, _ = place(runs(samples, 16_000), 3)
    np.testing.assert_array_equal(waveform, samples[: 3 * SAMPLE_RATE])
    assert extent.end == 100.0


def test_sound_wholly_after_the_picture() -> None:
    waveform, extent, _ = place(runs(noise(1, 16_000), 16_000, Fraction(500)), 3)
    assert not waveform.any()
    assert (extent.start, extent.end) == (500.0, 501.0)


def test_gap_is_silence() -> None:
    samples = noise(2, 16_000)

    def torn() -> Iterator[AudioSamples]:
        yield AudioSamples(Fraction(0), 16_000, samples[:16_000])
        yield AudioSamples(Fraction(90), 16_000, samples[16_000:])

    waveform, extent, report = place(torn(), 92)
    expected = np.zeros(92 * 16_000, np.float32)
    expected[:16_000], expected[90 * 16_000 : 91 * 16_000] = samples[:16_000], samples[16_000:]
    np.testing.assert_array_equal(waveform, expected)
    assert extent.end == 91.0
    assert report.warnings == []


def test_overlap_keeps_what_came_first() -> None:
    ones, twos = np.full(16_000, 0.1, np.float32), np.full(16_000, 0.2, np.float32)

    def overlapping() -> Iterator[AudioSamples]:
        yield AudioSamples(Fraction(0), 16_000, ones)
        yield AudioSamples(Fraction(1, 4), 16_000, twos)
        yield AudioSamples(Fraction(1, 4), 16_000, ones[:100])

    waveform, extent, report = place(overlapping(), 2)
    np.testing.assert_array_equal(waveform[:16_000], ones)
    np.testing.assert_array_equal(waveform[16_000:20_000], twos[:4_000])
    assert not waveform[20_000:].any()
    assert extent.end == 1.25
    # 0.75 s of the second run and the 100 samples of the third.
    assert report.warnings == ["audio overlaps itself: dropped 0.756 s by time stamp"]


def test_rounded_time_stamps_tear_no_holes() -> None:
    """Matroska's stamps are whole milliseconds; 1024 samples are not."""
    samples = noise(10, 44_100)
    exact = list(runs(samples, 44_100))
    rounded = [
        AudioSamples(Fraction(round(s.start_seconds * 1000), 1000), s.sample_rate, s.samples)
        for s in exact
    ]
    assert any(a.start_seconds != b.start_seconds for a, b in zip(exact, rounded, strict=True))
    np.testing.assert_array_equal(place(iter(rounded), 10)[0], place(iter(exact), 10)[0])


def test_drift_is_caught_up() -> None:
    """Stamps 0.1 % slow: after 60 s the audio must not lie 60 ms from where they say."""
    click = np.zeros(1600, np.float32)
    click[0] = 0.5
    late = Fraction(1001, 10_000)
    sounds = (AudioSamples(k * late, 16_000, click) for k in range(600))
    waveform, *_ = place(sounds, 61)
    found = np.flatnonzero(waveform) / 16_000
    expected = np.arange(600) * float(late)
    assert len(found) == 600
    assert np.abs(found - expected).max() <= 0.0101


def test_rate_that_changes_on_the_way() -> None:
    """Both parts of a tone keep their pitch and their place."""

    def tone(start: int, stop: int, rate: int) -> np.ndarray:
        t = np.arange(start * rate, stop * rate) / rate
        return (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)

    def changing() -> Iterator[AudioSamples]:
        yield AudioSamples(Fraction(0), 24_000, tone(0, 5, 24_000))
        yield AudioSamples(Fraction(5), 48_000, tone(5, 10, 48_000))

    waveform, *_ = place(changing(), 10)
    expected = tone(0, 10, SAMPLE_RATE)
    apart = np.abs(waveform - expected)
    apart[5 * SAMPLE_RATE - 400 : 5 * SAMPLE_RATE + 400] = 0  # the seam itself
    assert apart[400:-400].max() < 1e-3


def test_no_number_is_silence_with_a_warning() -> None:
    samples = noise(2, 16_000)
    samples[[5, 20_000]] = np.nan, np.inf
    waveform, _, report = place(runs(samples, 16_000), 2)
    assert np.isfinite(waveform).all()
    np.testing.assert_array_equal(np.flatnonzero(waveform == 0), [5, 20_000])
    assert report.warnings == ["audio holds 2 samples that are no number"]


@pytest.mark.parametrize(
    "sounds", [[], [AudioSamples(Fraction(0), 16_000, np.zeros(0, np.float32))]]
)
def test_stream_without_a_sample(sounds: list[AudioSamples]) -> None:
    with pytest.raises(MediaError, match=r"no audio could be decoded .* frames are not") as got:
        place(iter(sounds), 2)
    assert (got.value.reason, got.value.stage) == ("corrupt", "sound")


@pytest.mark.parametrize("rate", [0, 1, 2_000_000_000])
def test_impossible_rate(rate: int) -> None:
    with pytest.raises(MediaError, match=rf"sample_rate={rate}; expected 1000 to 1000000") as got:
        place(iter([AudioSamples(Fraction(0), rate, np.ones(10, np.float32))]), 2)
    assert (got.value.reason, got.value.stage) == ("corrupt", "sound")


def test_memory_does_not_grow_with_length() -> None:
    def peak(seconds: int) -> int:
        one = noise(1, 16_000)
        placed = FrameClockAudio(
            (AudioSamples(Fraction(k), 16_000, one) for k in range(seconds)),
            start_seconds=Fraction(0),
            num_seconds=seconds,
            resample="soxr_hq",
            report=Report(),
        )
        tracemalloc.start()
        for _ in placed.blocks():
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(3_600) < 1.05 * peak(180)


# The published MUSIC-AVQA path.


def test_nearest44k_takes_the_nearest_sample_in_16_bits() -> None:
    samples = noise(65, 44_100)
    waveform, *_ = place(runs(samples, 44_100), 65, resample="nearest44k")
    # Python's round is to even, as numpy's in the published script.
    index = [round(Fraction(n * 441, 160)) for n in range(65 * SAMPLE_RATE)]
    expected = np.clip(np.round(samples[index].astype(np.float64) * 32768), -32768, 32767) / 32768
    np.testing.assert_array_equal(waveform, expected.astype(np.float32))


@given(
    rate=st.sampled_from([8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000]),
    target=st.sampled_from([SAMPLE_RATE, 44_100]),
    size=st.integers(0, 30_000),
)
@example(rate=1_159, target=SAMPLE_RATE, size=62 * 1_159)  # whose length librosa rounds up
@example(rate=48_000, target=SAMPLE_RATE, size=0)
def test_resampling_is_librosas_to_the_bit(rate: int, target: int, size: int) -> None:
    samples = noise(size / rate, rate)
    assume(rate != target)
    known = librosa.resample(samples, orig_sr=rate, target_sr=target, res_type="soxr_hq")
    found = frame_clock._soxr_hq(samples, rate, target)
    assert found.dtype == known.dtype
    np.testing.assert_array_equal(found, known)


def test_resampling_loads_soxr_alone() -> None:
    """Librosa takes seconds to import, which every first video with audio waited for."""
    code = (
        "import sys; from avqa.extract.media.audio import frame_clock as f; f.load_resampler();"
        "print(sorted({'librosa', 'numba', 'scipy', 'soxr'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.stdout == "['soxr']\n", done.stderr


def test_nearest44k_goes_by_way_of_44100() -> None:
    samples = noise(3, 48_000)
    waveform, *_ = place(runs(samples, 48_000), 3, resample="nearest44k")
    track = np.concatenate([np.zeros(48_000, np.float32), samples, np.zeros(48_000, np.float32)])
    between = librosa.resample(track, orig_sr=48_000, target_sr=44_100, res_type="soxr_hq")
    index = [44_100 + round(Fraction(n * 441, 160)) for n in range(3 * SAMPLE_RATE)]
    np.testing.assert_allclose(waveform, between[index], atol=0.51 / 32768 + 1e-6)


def test_nearest44k_aliases_and_soxr_does_not() -> None:
    """The point of naming it: a 15 kHz tone comes back as 1 kHz."""
    t = np.arange(3 * 44_100) / 44_100
    tone = (0.5 * np.sin(2 * np.pi * 15_000 * t)).astype(np.float32)
    near, *_ = place(runs(tone, 44_100), 3, resample="nearest44k")
    clean, *_ = place(runs(tone, 44_100), 3)
    middle = slice(SAMPLE_RATE, 2 * SAMPLE_RATE)
    assert np.abs(np.fft.rfft(near[middle]))[1000] > 1000
    assert np.abs(clean[middle]).max() < 1e-3


# Windows of rows.


@pytest.mark.parametrize("hop", [1.0, 0.96])
@pytest.mark.parametrize(("num_rows", "window"), [(1, 15_600), (131, 15_600), (131, 40_000)])
def test_windows_are_slices_of_the_padded_waveform(hop: float, num_rows: int, window: int) -> None:
    waveform = noise(num_rows, SAMPLE_RATE)
    padded = np.concatenate([waveform, np.zeros(60_000, np.float32)])
    cutter = WindowCutter(num_rows, hop, window)
    pieces = []
    for begin in range(0, waveform.size, 60 * SAMPLE_RATE):
        pieces += list(cutter.push(waveform[begin : begin + 60 * SAMPLE_RATE]))
    pieces += list(cutter.finish())
    assert [first for first, _ in pieces] == np.cumsum([0, *(len(w) for _, w in pieces)]).tolist()[
        :-1
    ]
    assert max(len(windows) for _, windows in pieces) <= 60
    rows = np.concatenate([windows for _, windows in pieces])
    starts = [round(k * hop * SAMPLE_RATE) for k in range(num_rows)]
    np.testing.assert_array_equal(rows, [padded[s : s + window] for s in starts])


def test_windows_of_096_hop_lie_on_the_mel_grid() -> None:
    """0.96 s are 96 hops of 10 ms: row k starts at sample 15360 k."""
    ramp = np.arange(4 * SAMPLE_RATE, dtype=np.float32)
    cutter = WindowCutter(4, 0.96, 10)
    ((first, windows),) = cutter.push(ramp)
    assert first == 0
    np.testing.assert_array_equal(windows[:, 0], 15_360 * np.arange(4))


# Files.


def test_wav_file(tmp_path: Path) -> None:
    blocks = [np.array([0.0, 0.5, -1.0], np.float32), np.array([1.0, 2.0, -3.0, 1e-5], np.float32)]
    write_wav(str(tmp_path / "a.wav"), blocks)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        pcm = np.frombuffer(file.readframes(100), "<i2")
    np.testing.assert_array_equal(pcm, [0, 16384, -32768, 32767, 32767, -32768, 0])


def test_pcm16_rounds() -> None:
    values = np.array([0.6, 1.4, -0.6], np.float32) / 32768
    np.testing.assert_array_equal(to_pcm16(values), [1, 1, -1])
