"""A file is judged as a whole: what is asked of it changes no verdict. As typed, on real clips."""

import pytest
from helpers.extraction.light import AUDIO, POOL
from helpers.media import clips
from helpers.media.damage import without_packets
from typer.testing import CliRunner

from avqa import open_store
from avqa.cli import app
from avqa.store.format.records import Status

pytestmark = [
    pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning"),
    pytest.mark.usefixtures("light", "reused_children"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verdict")
    whole = {
        "mp4": ("-movflags", "+faststart", "-g", "10"),
        "mkv": ("-g", "10"),
    }
    for kind, extra in whole.items():
        clip = clips.cached_clip(f"whole.{kind}", seconds=6, fps=10, sound_codec="aac", extra=extra)
        data = clip.read_bytes()
        (folder / f"half-{kind}.{kind}").write_bytes(data[: len(data) // 2])
    clip = clips.cached_clip("whole.mp4", seconds=6, fps=10, sound_codec="aac", extra=whole["mp4"])
    (folder / "whole.mp4").write_bytes(clip.read_bytes())
    without_packets(clip, folder / "torn-frames.mp4", (2.2, 2.6), of="video")
    without_packets(clip, folder / "torn-sound.mp4", (2, 5))
    return folder


def extract(folder, store, features, reader, *more):
    arguments = ["extract", "--videos", folder, "--out", store, "--decoder", reader, *more]
    arguments += ["--features", ",".join(features), "--weights", "random:0", "--scheduler", "sync"]
    return CliRunner().invoke(app, list(map(str, arguments))).exit_code


def outcome(store, feature):
    found = open_store(store)
    return {name: found.status(name, feature) for name in found.video_ids}


@pytest.mark.parametrize("reader", ["pyav", "ffmpeg"])
def test_what_is_asked_for_changes_no_verdict(folder, tmp_path, reader):
    both, sound, frames = tmp_path / "both", tmp_path / "sound", tmp_path / "frames"
    assert extract(folder, both, (POOL, AUDIO), reader) == 3
    assert extract(folder, sound, (AUDIO,), reader) == 3
    assert extract(folder, frames, (POOL,), reader) == 3
    damaged = dict.fromkeys(("half-mkv", "half-mp4", "torn-frames"), Status.FAILED)
    of_frames = damaged | {"torn-sound": Status.OK, "whole": Status.OK}
    assert outcome(both, POOL) == outcome(frames, POOL) == of_frames
    assert (
        outcome(both, AUDIO) == outcome(sound, AUDIO) == of_frames | {"torn-sound": Status.FAILED}
    )


def test_partial_videos_have_the_same_rows_whatever_is_asked_for(folder, tmp_path):
    both, sound = tmp_path / "both", tmp_path / "sound"
    more = ("--accept-partial", "--max-lost-sound", "1")
    assert extract(folder, both, (POOL, AUDIO), "pyav", *more) == 0
    assert extract(folder, sound, (AUDIO,), "pyav", *more) == 0
    rows = [
        {name: len(found.read(name, AUDIO)) for name in found.video_ids}
        for found in map(open_store, (both, sound))
    ]
    assert rows[0] == rows[1]
    assert rows[0]["half-mp4"] < rows[0]["whole"] == rows[0]["torn-frames"] == 6
