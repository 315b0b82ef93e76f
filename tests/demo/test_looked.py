"""Whether the demo's head looked where the truth says: its evidence, and what is told of it."""

import json
from types import SimpleNamespace

import pytest
import torch
from helpers.questions.question_files import make_question
from helpers.runs.run_folders import config, of_store, write_member, write_store

from avqa.demo import looked
from avqa.heads import Evidence
from avqa.store.format.schema import FeatureSpec

SPECS = (
    FeatureSpec("vggish/audio", (4,), ("channel",), False),
    FeatureSpec("clip_vit_b32/patch", (4, 8), ("position", "channel"), False),
)
VIOLIN = {"instrument": "violin", "place": "left", "box": [0, 0, 0.5, 0.5], "sounds": [[1, 3]]}
TRUTH = {"videos": {name: {"seconds": 4, "players": [VIOLIN]} for name in ("a", "b")}}


def asked(number, video):
    return make_question(
        key=str(number),
        video_id=video,
        split="test",
        text="Is there a violin sound",
        words=("Is", "there", "a", "violin", "sound"),
        slots=("violin",),
    )


def test_each_question_gets_the_evidence_of_its_video(tmp_path):
    store = write_store(tmp_path / "store", {"a": 4, "b": 4}, specs=SPECS)
    settings = {
        "batch_size": 4,
        "stride_seconds": 1,
        "device": "cpu",
        "visual": "clip_vit_b32",
    }
    member = write_member(tmp_path / "run", config(settings=settings, **of_store(store)))
    questions = [asked(n, video) for n, video in enumerate("abbab")]
    found = list(looked.looked(member, questions))
    assert [question.key for question, _, _ in found] == list("01234")
    head = member.load_head()
    for question, evidence, row in found:
        [(_, alone, _)] = looked.looked(member, [question])
        torch.testing.assert_close(evidence.seconds[row], alone.seconds[0])
        assert evidence.patches.shape[1:] == (4, 4)
    by_video = {question.video_id: evidence.seconds[row] for question, evidence, row in found}
    assert not torch.allclose(by_video["a"], by_video["b"])
    assert head.FEATURES == ("audio", "patch")


@pytest.fixture
def told(monkeypatch, tmp_path):
    """Lines of a head whose largest weights lie as given: right or wrong, of two questions."""
    (tmp_path / "truth.json").write_text(json.dumps(TRUTH), encoding="utf-8")

    def lines(seconds, patches):
        evidence = Evidence(
            seconds=torch.tensor(seconds),
            patches=None if patches is None else torch.tensor(patches).unsqueeze(1).expand(2, 4, 4),
        )
        questions = [asked(0, "a"), asked(1, "b")]
        rows = [(question, evidence, row) for row, question in enumerate(questions)]
        monkeypatch.setattr(looked, "looked", lambda member, these: iter(rows))
        only = SimpleNamespace(members=[None])
        monkeypatch.setattr(looked, "Run", SimpleNamespace(load=lambda run: only))
        return looked.lines(tmp_path / "avst", questions, tmp_path / "truth.json", questions[1])

    return lines


def test_what_is_told(told):
    inside, outside = [0.1, 0.6, 0.2, 0.1], [0.7, 0.1, 0.1, 0.1]
    assert told([outside, inside], [inside, inside]) == [
        "where avst looks, by the truth of the held-out clips:",
        "  in 50 % of 2 questions (equal weights: 50 %) most weight is on a second in which the"
        " instrument that is asked about sounds; in this one it is",
        "  in 0 % of 2 questions (equal weights: 25 %) most weight is on a patch of the picture"
        " that shows it; in this one it is not",
    ]


def test_a_head_without_patches_or_anything(told):
    lines = told([[0.1, 0.6, 0.2, 0.1]] * 2, None)
    assert len(lines) == 2
    assert lines[1].startswith("  in 100 % of 2 questions (equal weights: 50 %)")
