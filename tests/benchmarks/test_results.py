"""What the results are judged by: exact rows, the probe, hits; a real training, and the page."""

import dataclasses

import numpy as np
import pytest
import torch

from avqa import heads
from avqa.datasets import Question
from avqa.datasets._parts.floors import Score
from avqa.datasets._parts.taxonomy import COLUMNS
from avqa.demo.truth import asked_patches, asked_seconds, covered_patches, hits
from avqa.heads import Evidence
from avqa.training.run import Member
from avqa.training.settings import resolve
from benchmarks import results, results_page
from benchmarks.exact_rows import SCALE, ExactFeatures
from benchmarks.results import FORMS
from benchmarks.results_probe import probe
from benchmarks.trained import Done, Form, Unit

SMALL = {"epochs": "1", "width": "8", "visual": "clip_vit_b32", "stride_seconds": "1"}
PREPARED = {
    "bench": "avqa synth {bench} --videos 10 --seconds 2 --instruments 4",
    "features": results.PREPARED["features"],
    "texts": results.PREPARED["texts"],
}
VIOLIN = {
    "instrument": "violin",
    "place": "left",
    "box": [0.0, 0.0, 0.28, 0.28],
    "sounds": [[1, 3]],
    "level_db": -6,
    "strokes_per_second": 2,
}
UNSEEN = VIOLIN | {"instrument": "piano", "place": None, "box": None, "sounds": [[0, 1]]}
VIDEO = {
    "seconds": 4,
    "background": "indoor",
    "voiceover": [[3, 4]],
    "players": [VIOLIN, UNSEEN],
}
TRUTH = {"settings": {"instruments": ["violin", "piano"]}, "videos": {"1": VIDEO}}


def question(number=0, text="Is there a violin sound", **changes):
    asked = Question(
        key=str(number),
        question_id=str(number),
        video_id="1",
        split="test",
        text=text,
        words=tuple(text.split()),
        modality="Audio",
        kind="Counting",
        template="Is there a <Object> sound?",
        slots=("violin",),
        answer="yes",
    )
    return dataclasses.replace(asked, **changes)


def test_exact_rows_say_who_where_and_how_loud():
    features = ExactFeatures(TRUTH)
    rows = features.read("1")
    assert {name: tuple(x.shape) for name, x in rows.items()} == {
        "audio": (4, 128),
        "frame": (4, 512),
        "patch": (4, 49, 512),
    }
    heard = [{features.audio_names[i] for i in row.nonzero().flatten()} for row in rows["audio"]]
    violin = {"violin sounds", "violin -6 dB", "violin 2 a second"}
    assert heard[0] == {"piano sounds", "piano -6 dB", "piano 2 a second"}
    assert heard[1:] == [violin, violin, {"voiceover"}]

    def seen(second, place):
        return {features.patch_names[i] for i in rows["patch"][second, place].nonzero().flatten()}

    still = {"row 1", "column 0", "indoor", "violin", "left", "violin left"}
    assert seen(0, 7) == still
    assert seen(1, 7) == still | {"violin sounds", "violin sounds left", "violin 2 a second"}
    assert seen(1, 2) == {"row 0", "column 2", "indoor"}
    torch.testing.assert_close(rows["frame"], rows["patch"].amax(1))
    assert rows["audio"].max() == SCALE


def test_a_patch_is_covered_where_its_middle_is():
    assert covered_patches([0.05, 0.05, 0.28, 0.28], 7) == [0, 1, 7, 8]
    assert covered_patches([0.95, 0.0, 1.0, 1.0], 7) == []
    assert covered_patches(None, 7) == []


def test_too_many_instruments_do_not_fit():
    truth = {"settings": {"instruments": [str(i) for i in range(22)]}, "videos": {}}
    with pytest.raises(ValueError, match="instruments=22; expected fewer"):
        ExactFeatures(truth)


def test_what_is_asked():
    assert asked_seconds(question(), VIDEO).tolist() == [False, True, True, False]
    assert asked_patches(question(), VIDEO, 49).nonzero().flatten().tolist() == [0, 1, 7, 8]
    by_answer = question(slots=("first",), answer="piano")
    assert asked_seconds(by_answer, VIDEO).tolist() == [True, False, False, False]
    assert asked_patches(by_answer, VIDEO, 49) is None  # off screen
    by_place = question(slots=("first",), answer="left")
    assert asked_patches(by_place, VIDEO, 49).nonzero().flatten().tolist() == [0, 1, 7, 8]
    always = {**VIDEO, "players": [VIOLIN | {"sounds": [[0, 4]]}]}
    assert asked_seconds(question(), always) is None
    assert asked_seconds(question(slots=(), answer="yes"), VIDEO) is None


def test_equal_weights_hit_by_chance_and_others_by_what_they_weigh():
    flat, peaked = torch.full((4,), 0.25), torch.tensor([0.1, 0.2, 0.6, 0.1])
    patches = torch.zeros(2, 4, 49)
    patches[0, 2, 3], patches[1, 2, 8], patches[1, 1, 3] = 1, 1, 1
    evidence = Evidence(seconds=torch.stack([flat, peaked]), patches=patches)
    truth = {"videos": {"1": VIDEO}}
    alone = hits([(question(), evidence, 0)], truth)["seconds"]
    assert (alone.mass, alone.top, alone.chance) == (0.5, 0.5, 0.5)
    both = hits([(question(), evidence, 0), (question(), evidence, 1)], truth)
    assert both["seconds"].mass == pytest.approx((0.5 + 0.8) / 2)
    assert both["seconds"].top == 0.75
    # The first looked into second 2 alone, the second weighs it most.
    assert (both["patches"].questions, both["patches"].top) == (2, 0.5)
    assert both["patches"].chance == pytest.approx(4 / 49)
    assert "audio_time" not in both


class OneColumn:
    """The answer is in the video: even ones have it in the first column."""

    def read(self, video):
        return {"audio": torch.tensor([[float(int(video) % 2), 0.3]])}


def test_the_probe_reads_the_video_by_the_question():
    def asked(number, split):
        plain = number // 2 % 2 == 0
        return question(
            number,
            text="Is there a voiceover" if plain else "Is there a violin sound",
            template="a" if plain else "b",
            split=split,
            video_id=str(number),
            answer="yes" if plain == (number % 2 == 1) else "no",
        )

    numbers = {"train": range(40), "val": range(40, 60), "test": range(60, 80)}
    sets = {split: [asked(n, split) for n in these] for split, these in numbers.items()}
    assert probe(sets, OneColumn())["All"] == Score(20, 20)


def trained(form, *right, seed=0):
    unit = Unit(form, results.TRAIN, seed)
    return Done(unit, FORMS[form].given, np.array(right), 2, 0.5, 0.75, 60.0, 1000)


def test_the_page_has_what_is_done_beside_the_floors():
    """Two heads, one of them over the template floor by ten points."""
    asked = [question(n, video_id=str(n // 2)) for n in range(20)]
    rows = {"template floor": {column: Score(10, 20) for column in COLUMNS}}
    done = [
        trained("pstp-paper", *[True] * 11, *[False] * 9),
        trained("avst", *[True] * 12, *[False] * 8),
        trained("avst", *[True] * 13, *[False] * 7, seed=1),
    ]
    about = {"machine": "m", "store": "s", "commands": {"bench": "avqa synth {bench}"}, "forms": 9}
    everything = {"train": asked, "val": asked, "test": asked}
    lines = results_page.page(about, done, rows, everything)
    (low,) = [line for line in lines if line.startswith("| pstp-paper | 1 | 55.0 (")]
    (high,) = [line for line in lines if line.startswith("| avst | 2 | **62.5 (")]
    assert low.endswith(") [75] |")
    assert high.endswith(") [75]** |")
    assert (
        "- 2 of 9 forms are trained. What is not there is not done yet: the same command goes on."
        in lines
    )
    assert "avqa synth bench" in lines
    assert any("standardise=true" in line for line in lines if line.startswith("| avst | 600 |"))


def test_every_form_is_one_of_its_head():
    for form, wanted in FORMS.items():
        settings, options = resolve(wanted.head, wanted.given)
        assert settings.stride_seconds == 1, form
        paper = form.endswith("-paper")
        assert options["standardise"] is (not paper and form != "question_only"), form
        recipe = heads.load(wanted.head).PAPER.recipe
        assert (settings.learning_rate == recipe.learning_rate) or not paper, form


def test_a_training_is_as_typed_and_goes_on(tmp_path, monkeypatch):
    """Clips, store and heads are real, and small; the second time adds a seed."""
    monkeypatch.setattr(results, "FORMS", {"small": Form("late_fusion", SMALL)})
    monkeypatch.setattr(results, "PREPARED", PREPARED)
    bench = results.Bench(tmp_path)
    bench.prepare()
    first = bench.run(Unit("small", results.TRAIN, 0))
    second = bench.run(Unit("small", results.TRAIN, 1))
    test = bench.questions["test"]
    assert len(first.correct) == len(second.correct) == len(test) > 0
    assert first.best_epoch == 1
    assert first.looked == {}
    member = Member.load(tmp_path / "runs" / "small" / "default" / "seed-1")
    assert second.correct.sum() == member.result.scores["All"].correct
    assert bench.rows.keys() == {"template floor", "template and slots floor", "linear probe"}
