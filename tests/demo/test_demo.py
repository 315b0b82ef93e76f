"""The demo's steps in their order, what it remembers, and how it stops; the commands are fakes."""

import json

import pytest
import typer

from avqa.demo import demo, looked

ROW = {
    "video_id": "00000049",
    "question_id": 7,
    "type": '["Audio-Visual", "Temporal"]',
    "question_content": "Is there a voiceover?",
    "templ_values": "[]",
    "question_deleted": 0,
    "anser": "no",
}
ASKED = ROW | {
    "video_id": "00000050",
    "question_content": "What is the instrument on the <LR> of <Object>?",
    "templ_values": '["left", "piano"]',
    "anser": "violin",
}


@pytest.fixture
def calls(tmp_path, monkeypatch, capsys):
    """Commands that were run; each leaves behind what the next steps look for."""
    folder, made = tmp_path / "demo", []

    def app(words, standalone_mode):
        assert not standalone_mode
        made.append(words)
        if words[0] == "synth":
            (folder / "bench" / "annotations").mkdir(parents=True, exist_ok=True)
            path = folder / "bench" / "annotations" / "avqa-test.json"
            path.write_text(json.dumps([ROW, ASKED]), encoding="utf-8")
        if words[0] == "train-head":
            (folder / words[1]).mkdir(exist_ok=True)
            (folder / words[1] / "run.json").write_text("{}", encoding="utf-8")
        if words[0] == "ask":
            (folder / "explained").mkdir(exist_ok=True)
            (folder / "explained" / "time.png").write_bytes(b"")

    monkeypatch.setattr(demo, "app", app)

    def lines(run, questions, truth, asked):
        assert (run, truth) == (folder / "avst", folder / "bench" / "truth.json")
        assert [q.question_id for q in questions] == ["7", "7"]
        assert asked.answer == "violin"
        return [f"where {run.name} looks: well"]

    monkeypatch.setattr(looked, "lines", lines)
    monkeypatch.setattr(demo, "choose_weights", lambda: "random:0")
    demo.main([str(folder)])
    return made


def test_every_step_is_a_command_that_is_shown(calls, tmp_path, capsys):
    assert [words[0] for words in calls] == [
        *("synth", "extract", "train-head", "train-head", "ask")
    ]
    assert [words[1] for words in calls if words[0] == "train-head"] == list(demo.HEADS)
    assert calls[1][calls[1].index("--weights") + 1] == "random:0"
    shown = capsys.readouterr().err
    for words in calls[:4]:
        assert f"$ avqa {' '.join(words)}" in shown
    assert f"pictures  {tmp_path / 'demo' / 'explained'}: time.png" in shown
    assert "render 0:00; extract 0:00; train late_fusion 0:00; train avst 0:00" in shown
    assert "answer, which no training saw: violin\n\nwhere avst looks: well\n" in shown


def test_a_held_back_clip_is_asked_about_and_its_answer_is_told(calls, tmp_path, capsys):
    folder = tmp_path / "demo"
    assert calls[-1] == [
        *("ask", str(folder / "avst"), str(folder / "bench" / "videos" / "00000050.mp4")),
        *("What is the instrument on the left of piano?", "--explain", str(folder / "explained")),
    ]
    assert "right answer, which no training saw: violin" in capsys.readouterr().err


def test_a_second_run_goes_on_with_the_same_weights(calls, tmp_path, monkeypatch):
    assert not any("--resume" in words for words in calls)
    before = len(calls)
    monkeypatch.setattr(demo, "choose_weights", lambda: pytest.fail("weights were chosen again"))
    demo.main([str(tmp_path / "demo")])
    again = calls[before:]
    assert [words[0] for words in again if "--resume" in words] == ["train-head", "train-head"]
    assert again[1][-2:] == ["--weights", "random:0"]


def test_weights_that_are_given_are_taken(calls, tmp_path):
    before = len(calls)
    demo.main([str(tmp_path / "demo"), "--weights", "random:3"])
    assert calls[before + 1][-2:] == ["--weights", "random:3"]


def test_a_step_that_fails_ends_the_demo(tmp_path, monkeypatch):
    made = []

    def app(words, standalone_mode):
        made.append(words[0])
        return 5

    monkeypatch.setattr(demo, "app", app)
    with pytest.raises(typer.Exit) as ended:
        demo.main([str(tmp_path / "demo")])
    assert ended.value.exit_code == 5
    assert made == ["synth"]
