"""Streams that are missing or another video's."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avqa.errors import ConfigError, UnknownName
from avqa.training.data.conditions import MissingAudio, Swapped, Without, streams_of

LENGTHS = {"a": 4, "b": 2, "c": 3}
VIDEOS = ["a", "b", "c", "a"]


class Rows:
    """Rows that say whose they are and which; b has no audio, the second row of c is lost."""

    def __init__(self, masked=False):
        self.masked = masked

    def read(self, video):
        first = 100.0 * (1 + ord(video) - ord("a"))
        rows = first + torch.arange(LENGTHS[video])[:, None].float()
        found = {"audio": rows, "frame": rows + 0.5, "patch": (rows + 0.25)[:, None]}
        if self.masked:
            found["audio_valid"] = torch.full((len(rows),), video != "b")
        if video == "c":
            found["valid"] = torch.tensor([True, False, True])
        return found


def read(condition, video, missing="error", masked=False):
    return condition.of(Rows(masked), VIDEOS, missing).read(video)


def test_audio_that_is_not_there_is_hidden():
    found = read(Without(("audio",)), "a")
    assert found["audio_valid"].tolist() == [False] * 4
    assert found["audio"].tolist() == [[0.0]] * 4
    assert torch.equal(found["frame"], Rows().read("a")["frame"])


def test_bands_go_with_the_audio():
    class WithBands(Rows):
        def read(self, video):
            found = super().read(video)
            return {**found, "bands": found["audio"][:, None]}

    for condition in (Without(("audio",)), Swapped(("audio",), 0), MissingAudio(1.0, 0)):
        found = condition.of(WithBands(), VIDEOS, "masked").read("a")
        assert torch.equal(found["bands"][:, 0], found["audio"])
        assert not torch.equal(found["audio"], Rows().read("a")["audio"])


def test_audio_is_zeros_to_a_run_that_hears_them():
    found = read(Without(("audio",)), "a", missing="zeros")
    assert found["audio"].tolist() == [[0.0]] * 4
    assert "audio_valid" not in found


def test_frames_and_patches_are_zeros():
    found = read(Without(("frames", "patches")), "c")
    assert not found["frame"].any()
    assert found["patch"].shape == (3, 1, 1)
    assert not found["patch"].any()
    assert torch.equal(found["audio"], Rows().read("c")["audio"])
    assert found["valid"].tolist() == [True, False, True]


def test_another_videos_rows_begin_again_where_they_are_shorter():
    swapped = Swapped(("audio", "patches"), seed=0)
    partners = swapped.partners(VIDEOS)
    for video, other in partners.items():
        found, theirs = read(swapped, video, masked=True), Rows(masked=True).read(other)
        place = [n % LENGTHS[other] for n in range(LENGTHS[video])]
        assert found["audio"].tolist() == [theirs["audio"][n].tolist() for n in place]
        assert found["patch"].tolist() == [theirs["patch"][n].tolist() for n in place]
        assert torch.equal(found["frame"], Rows().read(video)["frame"])
        heard = [other != "b" and not (other == "c" and n == 1) for n in place]
        assert found["audio_valid"].tolist() == heard


@given(st.sets(st.text(max_size=3), min_size=2, max_size=9), st.integers(0, 99))
def test_every_video_gets_anothers_and_gives_to_one(videos, seed):
    partners = Swapped(("audio",), seed).partners([*videos, *videos])
    assert partners.keys() == {*partners.values()} == videos
    assert all(video != other for video, other in partners.items())
    assert partners == Swapped(("audio",), seed).partners(sorted(videos))


def test_one_video_has_no_other():
    with pytest.raises(ConfigError, match="--swap audio of 1 video; expected at least two"):
        Swapped(("audio",), 0).partners(["a", "a"])


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_what_is_missing_at_a_rate_is_missing_at_higher_ones(one, other, seed):
    low, high = (MissingAudio(rate, seed) for rate in sorted((one, other)))
    videos = [f"video-{n}" for n in range(30)]
    assert {v for v in videos if low.lacks(v)} <= {v for v in videos if high.lacks(v)}


def test_as_many_are_missing_as_the_rate_says_and_others_by_another_seed():
    videos = [f"video-{n}" for n in range(2000)]
    drawn = [{v for v in videos if MissingAudio(0.3, seed).lacks(v)} for seed in (0, 1)]
    assert [abs(len(these) - 600) < 80 for these in drawn] == [True, True]
    assert len(drawn[0] & drawn[1]) < 300
    assert not any(MissingAudio(0, 0).lacks(v) for v in videos)
    assert all(MissingAudio(1, 0).lacks(v) for v in videos)


def test_all_videos_say_which_audio_is_there():
    condition = MissingAudio(0.5, 0)
    for video in LENGTHS:
        found = read(condition, video, masked=True)
        heard = video != "b" and not condition.lacks(video)
        assert found["audio_valid"].tolist() == [heard] * LENGTHS[video]
        assert found["audio"].any() != condition.lacks(video)


def test_what_a_condition_does_is_said():
    lacking = sum(MissingAudio(0.5, 1).lacks(v) for v in LENGTHS)
    told = {
        Without(("audio",)): "heads go without the audio, as with missing=masked",
        Without(("frames", "patches")): "frames and patches are zeros",
        Swapped(("audio",), 4): "audio of another of the 3 videos each, by seed 4",
        MissingAudio(0.5, 1): "heads go without the audio, as with missing=masked, of"
        f" {lacking} of 3 videos, by seed 1 and their ids",
    }
    assert {c: c.note(VIDEOS, "skip") for c in told} == told
    zeros = Without(("audio", "patches")).note(VIDEOS, "zeros")
    assert zeros == ("zeros stand for the audio, as in training (missing=zeros); patches are zeros")


def test_streams_are_read_by_name():
    assert streams_of("--without", "audio, patches") == ("audio", "patches")
    with pytest.raises(UnknownName, match="no stream of --without 'sound'; available: audio"):
        streams_of("--without", "sound")
    with pytest.raises(ConfigError, match="--swap 'audio,audio' names a stream twice"):
        streams_of("--swap", "audio,audio")
