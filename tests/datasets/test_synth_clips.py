"""Rendered clips of the synthetic benchmark: what the score says is what is heard and seen."""

import av
import numpy as np
import pytest

from avqa.datasets._synth import drawing, score, sound
from avqa.datasets._synth.instruments import INSTRUMENTS, registers
from avqa.datasets._synth.render import render
from avqa.errors import EnvironmentFailure

SETTINGS = score.check_settings(9, 4, "8", 0)
BOX = (0.35, 0.5, 0.65, 0.83)


def player(instrument="violin", sounds=((1, 3),), level_db=0, strokes=2, box=BOX):
    place = "middle" if box else None
    return score.Player(instrument, place, box, sounds, level_db, strokes)


def scene(*players, voiceover=(), seconds=4, background="indoor"):
    return score.Scene(1, seconds, background, players, voiceover, 1)


def wave(*players, **more):
    return sound.waveform(scene(*players, **more), SETTINGS.instruments, 0)


def second(samples, number):
    return samples[number * sound.RATE : (number + 1) * sound.RATE].astype(np.float64)


def share_in(samples, band):
    """Share of the energy that lies in a band."""
    energy = np.abs(np.fft.rfft(samples)) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / sound.RATE)
    return energy[(hertz >= band[0]) & (hertz <= band[1])].sum() / energy.sum()


@pytest.mark.parametrize("name", SETTINGS.instruments)
def test_an_instrument_sounds_in_its_band_and_seconds_alone(name):
    samples = wave(player(name))
    low, high = registers(SETTINGS.instruments)[name]
    for number, sounding in enumerate((False, True, True, False)):
        assert second(samples, number).any() == sounding
    assert share_in(samples, (low - 30, high + 30)) > 0.98


@pytest.mark.parametrize("name", ["violin", "drum"])
def test_level_is_the_root_mean_square_while_it_sounds(name):
    for level in score.LEVELS:
        samples = wave(player(name, level_db=level))[sound.RATE : 3 * sound.RATE]
        found = 20 * np.log10(np.sqrt(np.mean(samples.astype(np.float64) ** 2)) / sound.LOUDEST_RMS)
        assert found == pytest.approx(level, abs=0.01)


def test_strokes_are_heard_as_often_as_the_score_says():
    for strokes in score.STROKES:
        samples = np.abs(wave(player("drum", ((0, 4),), strokes=strokes)).astype(np.float64))
        loudness = np.fft.rfft(samples - samples.mean())
        rates = np.fft.rfftfreq(len(samples), 1 / sound.RATE)
        low = (rates > 0.6) & (rates < 12)
        strongest = rates[low][np.abs(loudness[low]).argmax()]
        assert strongest / strokes == pytest.approx(round(strongest / strokes), abs=0.01)
        assert strongest >= strokes - 0.01


def test_five_at_once_do_not_clip():
    names = SETTINGS.instruments[:5]
    samples = wave(*(player(name, ((0, 4),)) for name in names), voiceover=((0, 4),))
    assert 0.2 < np.abs(samples).max() < 1


def test_the_voice_lies_above_all_instruments():
    samples = wave(voiceover=((1, 2),))
    assert not second(samples, 0).any()
    assert share_in(second(samples, 1), registers(SETTINGS.instruments)["voice"]) > 0.98


def pictures(*players, **more):
    size = drawing.SIZE
    return [
        np.frombuffer(data, np.uint8).reshape(size, size, 3).astype(int)
        for data in drawing.pictures(scene(*players, **more), 0)
    ]


def coloured(picture, name):
    """Where the picture has the colour of an instrument."""
    return np.abs(picture - np.array(INSTRUMENTS[name].colour)).max(axis=2) < 12


def test_a_player_moves_while_it_sounds_and_rests_otherwise():
    masks = [coloured(p, "violin") for p in pictures(player())]
    fps = drawing.FPS
    assert len(masks) == 4 * fps
    rest, playing = masks[0], masks[fps : 3 * fps]
    assert all((mask == rest).mean() > 0.999 for mask in masks[:fps] + masks[3 * fps :])
    assert all((mask != rest).sum() > 0.1 * rest.sum() for mask in playing)
    assert len({mask.tobytes() for mask in playing}) > 3


def test_an_instrument_fills_its_box_and_no_background_has_its_colour():
    for name in SETTINGS.instruments:
        left, top, right, bottom = (round(edge * drawing.SIZE) for edge in BOX)
        for background in score.BACKGROUNDS:
            shown = pictures(player(name, ()), background=background, seconds=1)
            mask = coloured(shown[0], name)
            inside = mask[top:bottom, left:right]
            assert inside.mean() > 0.2
            assert mask.sum() - inside.sum() < 30


def test_who_is_off_screen_is_not_seen():
    assert not coloured(pictures(player(box=None, sounds=((0, 1),)), seconds=1)[5], "violin").any()


@pytest.mark.usefixtures("ffmpeg")
def test_a_clip_is_a_real_mp4_and_the_same_every_time(tmp_path):
    for name in ("one.mp4", "two.mp4"):
        render(SETTINGS, 3, tmp_path / name)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.mp4", "two.mp4"]
    with av.open(str(tmp_path / "one.mp4")) as file:
        assert [s.codec_context.name for s in file.streams] == ["h264", "aac"]
        decoded = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    drawn = list(drawing.pictures(score.compose(SETTINGS, 3), SETTINGS.seed))
    assert len(decoded) == len(drawn) == 40
    for number in (5, 25):
        original = np.frombuffer(drawn[number], np.uint8).reshape(decoded[0].shape)
        assert np.abs(decoded[number].astype(int) - original).mean() < 4


@pytest.mark.usefixtures("ffmpeg")
def test_sound_stays_in_its_seconds_through_the_coder(tmp_path):
    number = next(
        n
        for n in range(1, 99)
        if any(p.sounds[0][0] > 0 for p in score.compose(SETTINGS, n).players if p.sounds)
    )
    render(SETTINGS, number, tmp_path / "a.mp4")
    made = sound.waveform(score.compose(SETTINGS, number), SETTINGS.instruments, SETTINGS.seed)
    with av.open(str(tmp_path / "a.mp4")) as file:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    size = min(len(made), len(heard))
    assert size > 3.9 * sound.RATE
    assert np.corrcoef(made[:size], heard[:size])[0, 1] > 0.95
    for k in range(3):
        if not second(made, k).any():
            assert np.abs(second(heard, k)).max() < 0.01


def test_a_failing_ffmpeg_is_reported(tmp_path):
    with pytest.raises(EnvironmentFailure, match="clip a.mp4: ffmpeg failed: .*expected an MP4"):
        render(SETTINGS, 1, tmp_path / "nowhere" / "a.mp4")
    assert not list(tmp_path.iterdir())
