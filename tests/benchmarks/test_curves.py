"""What the page of learning curves says of trainings that are done, and which are wanted."""

import dataclasses

import numpy as np
import pytest
from helpers.questions.question_files import make_question

from avqa import heads
from avqa.datasets._parts.floors import floors
from avqa.datasets._parts.vocabulary import MUSIC_AVQA
from avqa.demo.truth import Hits
from avqa.training.scoring import Prediction
from avqa.training.settings import resolve
from benchmarks import curves, curves_page, trained
from benchmarks.batches import composed
from benchmarks.curves import FORMS
from benchmarks.oracle import Oracle
from benchmarks.trained import Done, Unit

LOUDER = {
    "Where is the <LL> instrument?",
    "Is the <Object> on the <LR> louder than the <Object> on the <LR>?",
    "Is the instrument on the <LR> louder than the instrument on the <LR>?",
}
NARROW = {"width": 8, "vocabulary": MUSIC_AVQA.num_words()}


def done(unit, right, looked=None):
    return Done(
        unit=unit,
        given=curves.given(unit) or {},
        correct=np.array(right),
        best_epoch=3,
        val_accuracy=0.5,
        train_accuracy=0.75,
        seconds=61.0,
        parameters=1234,
        looked=looked or {},
        flips=0.25,
    )


def right_answers(head, questions):
    return [
        Prediction(q.key, "", q.video_id, "test", q.text, q.answer, q.answer, 1.0, True)
        for q in questions
    ]


def asked(count):
    return [make_question(key=f"k{n}", video_id=f"v{n // 2}") for n in range(count)]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_one_of_its_head(form):
    settings, _ = resolve(FORMS[form].head, curves.given(Unit(form, 20_000, 0)))
    seen = FORMS[form].longer * 2_000_000
    assert settings.epochs * 200_000 == pytest.approx(seen, rel=0.1)
    assert settings.batches == ("shuffled" if "shuffled" in form else "together")


def test_a_training_is_kept_as_it_was_and_counts_for_its_own_settings_alone(tmp_path, monkeypatch):
    kept = tmp_path / "kept.jsonl"
    assert trained.finished(kept, curves.given) == {}
    unit = Unit("bilinear", 500, 1)
    was = done(unit, [True, False, True] * 7)
    for one in (done(unit, [False] * 21), was, done(Unit("of-before", 120, 0), [True])):
        trained.keep(kept, one)
    (found,) = trained.finished(kept, curves.given).values()
    assert found.correct.tolist() == was.correct.tolist()
    assert (found.unit, found.train_accuracy) == (unit, 0.75)
    assert found.looked == {}
    monkeypatch.setitem(FORMS, "bilinear", trained.Form("bilinear", {"rank": "8"}))
    assert trained.finished(kept, curves.given) == {}


def test_what_is_missing_is_trained_kept_and_written(tmp_path):
    units = [Unit("bilinear", 500, seed) for seed in range(3)]
    trained.keep(tmp_path / "kept", done(units[1], [True]))
    told = []

    def run(unit):
        told.append(unit.seed)
        return done(unit, [False])

    for _ in range(2):
        trained.go_on(tmp_path / "kept", units, curves.given, run, lambda: told.append("page"))
    assert told == [0, "page", 2, "page", "page", "page"]
    assert trained.finished(tmp_path / "kept", curves.given).keys() == set(units)


def test_few_videos_are_tested_on_the_questions_of_many(monkeypatch):
    """What was kept of a size belongs to the page, whatever sizes were asked for."""
    asked = []

    def composed(videos):
        asked.append(videos)
        raise KeyboardInterrupt

    monkeypatch.setattr(curves, "composed", composed)
    for sizes in ("120", "120,20000"):
        monkeypatch.setattr("sys.argv", ["curves", "--sizes", sizes])
        with pytest.raises(KeyboardInterrupt):
            curves.main()
    assert asked == [33334, 33334]


def test_the_page_has_mean_interval_seeds_and_settings(tmp_path):
    picture = tmp_path / "curves.svg"
    runs = [
        done(Unit("bilinear", 500, 0), [True] * 30 + [False] * 10),
        done(Unit("bilinear", 500, 1), [True] * 20 + [False] * 20),
        done(Unit("late_fusion", 120, 0), [True] * 10 + [False] * 30),
        done(Unit("avst", 120, 0), [True] * 40, {"seconds": (0.9, 0.5, 30)}),
        done(Unit("avst", 120, 1), [True] * 40, {"seconds": (0.8, 0.5, 30)}),
    ]
    rows = {"template floor": floors(asked(40), asked(40))["template"]}
    about = {"machine": "m", "seen": curves.SEEN, "val": 3, "test": 20}
    about |= {"made_for": {"bilinear": (("All",), "w"), "pstp": (("All",), "p")}}
    about |= {"against": "avst-500"}
    better = dataclasses.replace(runs[1], unit=Unit("avst-500", 500, 0))
    runs.append(better)
    lines = curves_page.page(about, runs, rows, asked(40), picture)
    (row,) = [line for line in lines if line.startswith("| bilinear | – / 2 |")]
    assert "| 62.5 (" in row
    assert row.endswith("[75] |")
    (row,) = [line for line in lines if line.startswith("| late_fusion | 1 / – |")]
    assert "| 25.0 (" in row
    assert any("| bilinear | 500 | 1,234 | 3, 3 | 1:01 |" in line for line in lines)
    assert "| avst | 120 | 85 % [50] of 30 |  |" in lines
    assert not any(line.startswith("| late_fusion | 120 |  |") for line in lines)
    (row,) = [line for line in lines if line.startswith("| avst | 2 | ")]
    assert row.endswith(" | 100.0 | 25.0 |")
    assert "| pstp | p | All | not done |  |" in lines
    (row,) = [line for line in lines if line.startswith("| bilinear | w | All | ")]
    assert row.startswith("| bilinear | w | All | +12.5 (")  # 62.5 by both seeds, over 50
    assert "bilinear" in picture.read_text(encoding="utf-8")


def test_videos_are_drawn_whatever_the_order_of_their_questions():
    questions = asked(400)  # of 200 videos
    few, more = curves._some(questions, 20), curves._some(questions, 50)
    assert len(few) == 40
    assert {q.video_id for q in few} < {q.video_id for q in more}
    backwards = curves._some(questions[::-1], 20)
    assert backwards[::-1] == few
    ids = [q.video_id for q in questions]
    drawn = {q.video_id for q in few}
    assert drawn not in ({*ids[:40]}, {*sorted(ids)[:40]})  # the first of the file, or by name


def test_the_oracle_answers_from_rows_alone():
    """All but who of two of a kind, that sound together, is the louder."""
    questions, features = composed(60)
    oracle = Oracle(features)
    right = oracle.right(questions["train"])
    assert right.mean() == pytest.approx(0.983, abs=0.003)  # one of each such pair by luck
    assert {q.template for q, r in zip(questions["train"], right, strict=True) if not r} <= LOUDER
    flipped = [q for q in questions["train"] if q.answer in ("yes", "no")]
    flipped = [dataclasses.replace(q, answer="yes" if q.answer == "no" else "no") for q in flipped]
    assert oracle.right(flipped).mean() < 0.04
    features._made.clear()
    features._videos = dict(zip(features._videos, reversed(features._videos.values()), strict=True))
    assert Oracle(features).right(questions["train"]).mean() < 0.6  # of other videos


def test_a_training_is_held_against_the_truth(monkeypatch):
    """The real bench, small: a head with attention, and one without."""
    for name, value in {"VAL": 4, "TEST": 12, "LOOKED": 6}.items():
        monkeypatch.setattr(curves, name, value)
    monkeypatch.setattr(curves, "SEEN", {20: 200})
    bench = curves.Bench(20)
    found = bench.run(Unit("avst", 20, 0))
    assert len(found.correct) == 120
    assert found.looked.keys() == {"seconds", "patches"}
    for top, chance, count in found.looked.values():
        assert 0 <= top <= 1
        assert 0 < chance < 1
        assert 0 < count <= 60
    assert 0 <= found.flips <= 1
    monkeypatch.setattr(bench, "answers", right_answers)
    perfect = bench.run(Unit("late_fusion", 20, 0))
    assert (perfect.looked, perfect.flips, len(perfect.correct)) == ({}, 1.0, 120)
    assert perfect.correct.all()
    counted = {
        "seconds": Hits(questions=30, mass=0.5, top=0.9, chance=0.4),
        "audio_time": Hits(questions=30, mass=0.5, top=0.8, chance=0.4),
    }
    monkeypatch.setattr(curves, "hits", lambda rows, truth: counted)
    assert bench.looked(heads.build("late_fusion", **NARROW)) == {"seconds": (0.9, 0.4, 30)}
