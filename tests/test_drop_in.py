"""The examples of docs/plugins.md dropped in and used by the command line, end to end.

Once as files of the package's folders, once as modules of another installed package. One run of the
commands for all kinds: a video read by one example, questions of another, a head that is the third.
"""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.media import clips
from helpers.plugins.dropped import WAYS, drop_in, example, run
from helpers.questions.question_files import write
from PIL import Image

from avqa.extract.media.types import Limits, Report
from avqa.extract.readers import pyav

VIDEO = "00000001"
EXAMPLES = (
    ("avqa.readers", "unplanned"),
    ("avqa.datasets", "clips"),
    ("avqa.heads", "audio_alone"),
)


def rows(split):
    return [
        {"clip": VIDEO, "question": "Is there a violin sound?", "heard": True, "answer": "yes"},
        {"clip": VIDEO, "question": "Is there a piano in it?", "heard": False, "answer": "no"},
        {"clip": VIDEO, "question": f"Is it in {split}?", "heard": False, "answer": "no"},
    ]


@pytest.fixture(scope="module", params=WAYS)
def used(request, tmp_path_factory):
    """What each command said, and where its files are."""
    root = tmp_path_factory.mktemp(request.param)
    path = drop_in(root / "site", [example(*each) for each in EXAMPLES], request.param)
    video = clips.cached_clip(f"{VIDEO}.mp4", seconds=2.0, fps=8, sound_codec="aac")
    (root / "videos").mkdir()
    (root / "videos" / video.name).symlink_to(video)
    annotations = root / "annotations"
    for split in ("train", "val", "test"):
        write(annotations / f"{split}.json", rows(split))
    questions = ("--dataset", "clips", "--annotations", annotations)
    extract = ("--scheduler", "sync", "--follow-links", "--weights", "random:0", "--device", "cpu")
    train = ("--set", "epochs=1", "--set", "width=16", "--device", "cpu")
    train += ("--debias", "mccd", "--set", "bias=qa")  # it has no frames
    store, trained = root / "store", root / "run"
    commands = {
        "decoders": ["decoders"],
        "frames": ["frames", video, "--decoder", "unplanned", "--out", root / "frames"],
        "extract": ["extract", "--videos", root / "videos", "--out", store, *extract,
                    "--decoder", "unplanned", "--features", "vggish/audio"],
        "questions": ["questions", *questions, "--show", 3],
        "train": ["train-head", "audio_alone", "--store", store, *questions, "--out", trained,
                  *train],
        "evaluate": ["evaluate", trained],
        "ask": ["ask", trained, video, "Is there a violin sound?"],
    }  # fmt: skip
    done = dict(zip(commands, run(path, root / "cache", *commands.values()), strict=True))
    return SimpleNamespace(root=root, video=video, run=trained, **done)


def test_a_reader_reads_frames_and_features(used):
    listed = {line.split()[0]: line for line in used.decoders.out.splitlines()}
    assert listed["unplanned"].split(None, 1)[1].startswith("unplanned 1, by pyav ")
    assert (used.frames.code, used.extract.code) == (0, 0), used.frames.err + used.extract.err
    index = json.loads((used.root / "frames" / "frames.json").read_text(encoding="utf-8"))
    probe = pyav.READER.probe(str(used.video), Limits())
    wanted = [row["index"] for row in index["rows"]]
    for row, frame in zip(index["rows"], pyav.READER.frames(probe, wanted, Report()), strict=True):
        written = np.asarray(Image.open(used.root / "frames" / row["file"]))
        assert np.array_equal(written, frame.rgb)
    assert index["decoder"]["name"] == "unplanned"
    assert index["decoder"]["version"].startswith("unplanned 1, by pyav ")


def test_a_data_set_gives_questions_and_its_own_table(used):
    assert used.questions.code == 0, used.questions.err
    assert "data set clips, annotation version: 1.0" in used.questions.out
    assert "test 3 (1 videos)" in used.questions.out
    assert used.train.code == 0, used.train.err
    (header,) = (line for line in used.train.out.splitlines() if "Heard" in line)
    assert header.split()[:5] == ["ann", "Heard", "Seen", "|", "All"]


def test_a_head_is_trained_evaluated_and_asked(used):
    assert used.train.code == 0, used.train.err
    assert "ours: audio_alone" in used.train.out
    assert "audio_alone default seed 0: bias learners of q, a: " in used.train.err
    config = json.loads(
        (used.run / "default" / "seed-0" / "config.json").read_text(encoding="utf-8")
    )
    assert (config["head"], config["dataset"]) == ("audio_alone", "clips")
    assert config["options"]["attend"] is True
    assert config["features"]["audio"]["recipe"]["decoder"]["name"] == "unplanned"
    assert used.evaluate.code == 0, used.evaluate.err
    assert "ours: audio_alone" in used.evaluate.out
    assert used.ask.code == 0, used.ask.err
    assert "looked at  " in used.ask.out
    assert "second" in used.ask.out.partition("looked at  ")[2].partition("\n")[0]
