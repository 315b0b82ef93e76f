"""Our own baseline as typed, with comparisons the other way round."""

import json
import re

from helpers.questions import question_files
from helpers.runs import run_folders
from typer.testing import CliRunner

from avqa.cli import app

VIDEOS = {f"{n:08d}": 3 for n in range(1, 7)}
LOUDER = {
    "question_content": "Is the <Object> louder than the <Object>?",
    "templ_values": '["violin", "cello"]',
    "type": '["Audio", "Comparative"]',
}


def typed(*words):
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, done.stderr
    return done.stdout, done.stderr


def test_what_is_asked_the_other_way_round_is_trained_and_neither_counted_nor_tested(tmp_path):
    run_folders.write_store(tmp_path / "store", VIDEOS, "random:0")
    ids = list(VIDEOS)
    for split, videos in {"train": ids[:4], "val": ids[4:5], "test": ids[5:]}.items():
        rows = [
            question_files.music_row(video_id=v, question_id=2 * n + k, **more)
            for n, v in enumerate(videos)
            for k, more in enumerate(({}, LOUDER | {"anser": ("yes", "no")[n % 2]}))
        ]
        question_files.write(tmp_path / "annotations" / f"avqa-{split}.json", rows)
    out = tmp_path / "run"
    table, said = typed(
        *("train-head", "bilinear", "--store", tmp_path / "store", "--dataset", "music-avqa"),
        *("--annotations", tmp_path / "annotations", "--out", out, "--device", "cpu"),
        *("--set", "epochs=1", "--set", "width=8", "--set", "rank=4", "--set", "exchange=yes"),
    )
    assert "questions: train 8, val 2, test 2" in said
    assert "2 comparisons answered with yes are asked the other way round, too" in said
    assert re.search(r"bilinear default seed 0: 10 questions to train on", said)
    config = json.loads((out / "default/seed-0/config.json").read_text(encoding="utf-8"))
    assert (config["options"]["question"], config["options"]["rank"]) == ("positions", 4)
    assert config["settings"]["exchange"] == "yes"
    assert re.search(r"template floor .* 100.00", table)  # of the 8 as they stand in the file
    assert typed("evaluate", out)[0].startswith(table)
