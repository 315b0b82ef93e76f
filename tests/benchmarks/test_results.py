"""What the results are judged by: exact rows, scaling, the probe, hits, the verdict, the page."""

import dataclasses
import json

import pytest
import torch

from avqa.datasets import Question
from avqa.datasets._parts.floors import Score
from avqa.datasets._parts.taxonomy import COLUMNS
from avqa.demo.truth import asked_patches, asked_seconds, covered_patches, hits
from avqa.heads import Evidence
from benchmarks import results
from benchmarks.results_exact import SCALE, ExactFeatures, Standardised
from benchmarks.results_page import page, verdict
from benchmarks.results_probe import probe
from benchmarks.results_units import Bench, Done, Unit

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


class Fixed:
    """Two videos of one column that is large and differs little."""

    def read(self, video):
        return {"audio": torch.tensor([[100.0], [102.0]]) + (10 if video == "test" else 0)}


def test_scaling_is_measured_on_the_training_videos():
    scaled = Standardised(Fixed(), ["train", "test"], ["train"])
    half = 2**-0.5
    measured = scaled.read("train")["audio"].float().flatten().tolist()
    assert measured == pytest.approx([-half, half], abs=1e-3)
    assert scaled.read("test")["audio"][0, 0] == pytest.approx(9 * half, abs=1e-2)


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


def done(kind, correct, head="pstp", seed=0):
    scores = {column: Score(correct, 100) for column in COLUMNS}
    unit = Unit(head, kind, seed, 3)
    return Done(unit, scores, 2, 0.5, 60.0, 1000, unit.assignments, {})


def test_the_first_way_that_clears_the_floor_is_the_verdict():
    ways = {"paper": [done("paper", 41)], "exact": [done("exact", 60)]}
    assert verdict({"paper": ways["paper"]}, 40.0) == ""
    assert verdict(ways, 40.0) == "recipe or features"
    ways |= {"scaled": [done("scaled", 50)]}
    assert verdict(ways, 40.0) == "recipe or the features' scale"
    assert verdict(ways, 41.0) == "features: what they tell"
    assert verdict(ways, 55.0) == "the head, or the budget"
    assert verdict({"paper": [done("paper", 60)]}, 40.0) == "nothing"


def test_the_page_has_every_way_and_the_mean_of_seeds():
    about = {"machine": "m", "store": "s", "progress": "p"}
    rows = {"template floor": {column: Score(40, 100) for column in COLUMNS}}
    text = page(about, [done("paper", 41), done("exact", 50), done("exact", 60, seed=1)], rows)
    assert "| pstp | exact | 2 | 55.0 |" in text
    assert "| pstp | 41.0 |  | **55.0 ± 7.1** | recipe or features |" in text
    assert "| pstp | paper | 0.00 | 0.0001 | 64 | 3 | 2 | 50.0 % | 1:00 |" in text


def test_a_training_is_done_if_it_was_of_these_settings(tmp_path, monkeypatch):
    bench, result = Bench(tmp_path), done("paper", 41)
    path = bench.result_path(result.unit)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(dataclasses.asdict(result)), encoding="utf-8")
    assert results.finished(bench, result.unit) == result
    monkeypatch.setitem(results.SLOW, "pstp", {"precision": "bf16"})
    assert results.finished(bench, result.unit) is None


def test_every_head_has_every_way():
    units = results.units(2, 15)
    assert len(units) == len({unit.name for unit in units}) == 2 * (8 * 3 - 1)
    assert {unit.epochs for unit in units if unit.head == "pstp"} == {15}
    scaled = next(unit for unit in units if (unit.head, unit.kind) == ("avst", "scaled"))
    assert scaled.assignments["batch_size"] == "16"
    assert scaled.assignments["pack"] == "true"
    assert scaled.assignments["ground_temp"] == "0.1"
    paper = next(unit for unit in units if (unit.head, unit.kind) == ("avst", "paper"))
    assert not {"batch_size", "pack", "ground_temp", "learning_rate"} & set(paper.assignments)
