"""The page of a run: its figures are those of the run's own files."""

import base64
import io
import shutil

import pytest
from helpers.media import clips
from helpers.pages import reported
from helpers.pages.parsed import NASTY, Page, outside
from PIL import Image

from avqa import datasets
from avqa.errors import ConfigError, RunDamaged
from avqa.pipelines.pages.media import beside
from avqa.pipelines.pages.media.posters import FRAMES, HEIGHT, WIDTH
from avqa.pipelines.pages.run import run_page
from avqa.training.run import Run
from avqa.training.scoring import read_predictions, write_predictions
from avqa.training.table.table import result_table


@pytest.fixture
def run(tmp_path):
    return reported.reported_run(tmp_path)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A run, its page, and what was said."""
    folder = reported.reported_run(tmp_path_factory.mktemp("seen"))
    said = []
    return folder, Page(run_page(folder, said.append)), said


def page_of(run):
    said = []
    return Page(run_page(run, said.append)), said


def test_it_is_whole_and_says_that_nothing_is_missing(seen):
    _, page, said = seen
    assert said == []
    assert outside(page) == []
    assert "Not on this page" not in page.text
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {"results", "curves", "confusions", "templates", "questions", "settings"} <= set(ids)


def test_the_table_is_that_of_the_stored_answers(seen):
    folder, page, _ = seen
    questions = datasets.read("music-avqa", folder.parent / "annotations")
    fit, test = ([q for q in questions if q.split == s] for s in ("train", "test"))
    table = result_table(Run.load(folder), fit, test)
    ours = next(row for row in table.rows if row.kind == "ours")
    cell = ours.cells["All"]
    assert cell.correct == (9, 8)
    assert f"{cell.mean:.2f} %" in page.words  # a tile
    assert f"{cell.low:.1f}–{cell.high:.1f}" in page.words
    assert f"± {cell.sd:.2f}" in page.words
    assert "A-Count" in page.words
    best = max(r.cells["All"].mean for r in table.rows if r.kind == "floor")
    assert f"{cell.mean - best:+.2f}" in page.words


def test_what_is_below_the_floor_is_red(seen):
    _, page, _ = seen
    shown = [cell["class"] for cell in page.of("td") if "class" in cell]
    # A-Count and A-Avg: 45.83 % beside 50 %; all else of ours is at its floor or above.
    assert shown.count("bad") == 2 + 1  # and the template
    assert shown.count("good") == 1


def test_questions_come_with_every_seeds_answer(seen):
    folder, page, _ = seen
    found = page.data["questions"]
    texts = found["texts"]
    for seed, member in enumerate(found["members"]):
        rows = read_predictions(folder / f"default/seed-{seed}/predictions.json")
        assert member["name"] == f"default, seed {seed}"
        assert [texts[n] for n in member["prediction"]] == [row.prediction for row in rows]
        assert member["probability"] == [round(row.probability, 3) for row in rows]
        assert member["right"] == [int(row.correct) for row in rows]
        assert [texts[n] for n in found["text"]] == [row.text for row in rows]
        assert [texts[n] for n in found["answer"]] == [row.answer for row in rows]
    assert found["types"] == ["A-Count", "AV-Local"]
    assert [found["types"][n] for n in found["type"]] == ["A-Count"] * 12 + ["AV-Local"] * 6
    assert found["templates"] == ["Is there a <Object> sound?", "Where is the <LL> instrument?"]


def test_attention_is_of_the_surest_answers(seen):
    _, page, _ = seen
    found = page.data["attention"]
    assert (found["member"], found["stride"]) == ("default, seed 0", 2)
    assert len(found["weights"]) == 18
    for weights in found["weights"].values():
        assert sum(weights) == pytest.approx(1, abs=0.01)
    lengths = sorted({len(weights) for weights in found["weights"].values()})
    assert lengths == [2, 3, 4]  # of videos of 3, 5 and 7 seconds


def test_confusions_and_templates_are_counted(seen):
    _, page, _ = seen
    cells = {
        (b["data-type"], b["data-right"], b["data-said"]): b["title"]
        for b in page.of("button")
        if "data-said" in b
    }
    assert cells["A-Count", "yes", "yes"] == "yes → yes: 11, 92 % of the row"
    assert cells["A-Count", "yes", "no"] == "yes → no: 1, 8 % of the row"
    assert cells["AV-Local", "left", "yes"] == "left → yes: 2, 50 % of the row"
    at = page.words.index("Where is the <LL> instrument?", page.words.index("template"))
    assert page.words[at : at + 6] == [
        *("Where is the <LL> instrument?", "AV-Local", "6", "50.0", "33.3", "+16.7"),
    ]


def test_curves_have_a_line_for_each_seed_and_split(seen):
    _, page, _ = seen
    kinds = [line["class"] for line in page.of("polyline")]
    assert sorted(kinds) == sorted(
        f"line {split} c{seed}" for split in ("train", "val") for seed in (0, 1) for _ in range(2)
    )
    assert sum("best" in dot["class"] for dot in page.of("circle") if dot.get("class")) == 4
    assert "seed 1, validation, epoch 5: 70 %" in page.words


def test_the_same_files_give_the_same_bytes(seen):
    folder, _, _ = seen
    assert run_page(folder, lambda line: None) == run_page(folder, lambda line: None)


def test_no_text_runs_or_breaks_out(tmp_path):
    run = reported.reported_run(tmp_path, odd=NASTY)
    reported.with_prediction(
        run / "default/seed-0", prediction=NASTY, question_id=NASTY, video_id=NASTY, answer=NASTY
    )
    page, said = page_of(run)
    assert outside(page) == []
    assert page.of("img") == []
    assert page.data["questions"]["texts"].count(NASTY) == 1
    # Texts are normalised when they are read, and come out as they went in.
    assert any(NASTY.partition("\u2028")[0] in word for word in page.words)
    assert not [line for line in said if "attention" not in line]


def test_questions_that_are_gone_take_types_and_floors_along(run):
    table = result_table_csv(run)
    for file in (run.parent / "annotations").iterdir():
        file.unlink()
    (run / "table.csv").write_text(table, encoding="utf-8")
    page, said = page_of(run)
    (line,) = (line for line in said if "types, templates and floors" in line)
    assert "expected" in line
    assert "ours: avst" in page.text
    assert len(page.data["questions"]["text"]) == 18
    assert page.data["questions"]["types"] == []
    (run / "table.csv").unlink()
    page, said = page_of(run)
    assert any(f"there is no table.csv in {str(run)!r}" in line for line in said)


def result_table_csv(run):
    questions = datasets.read("music-avqa", run.parent / "annotations")
    fit, test = ([q for q in questions if q.split == s] for s in ("train", "test"))
    return result_table(Run.load(run), fit, test).csv()


def test_answers_that_are_gone_or_damaged_are_named(run):
    (run / "default/seed-0/predictions.json").unlink()
    page, said = page_of(run)
    (line,) = said
    assert line.startswith("not on the page: answers of default, seed 0: no predictions.json in ")
    assert [m["name"] for m in page.data["questions"]["members"]] == ["default, seed 1"]
    assert line.removeprefix("not on the page: ") in page.text
    (run / "default/seed-1/predictions.json").write_text("{", encoding="utf-8")
    page, said = page_of(run)
    assert any("answers of default, seed 1: predictions=" in line for line in said)
    assert page.data["questions"]["members"] == []
    assert page.data["attention"] is None


def test_curves_that_are_gone_are_named(run):
    (run / "default/seed-0/metrics.csv").unlink()
    (run / "default/seed-1/metrics.csv").write_text("a,b\n1,x\n", encoding="utf-8")
    page, _ = page_of(run)
    assert "seed 0: no metrics.csv as training writes it" in page.words
    assert any(w.startswith("seed 1: metrics.csv cannot be read: ") for w in page.words)
    assert page.of("polyline") == []


def test_without_its_store_there_is_no_attention(run):
    (run.parent / "store").rename(run.parent / "moved")
    page, said = page_of(run)
    assert page.data["attention"] is None
    assert said[0].startswith("not on the page: no attention over time: no store at ")
    assert "with attention" not in page.text


def test_random_weights_are_said_loudly(tmp_path):
    page, _ = page_of(reported.reported_run(tmp_path, made="random:0"))
    (mark,) = (w for w in page.words if w.startswith("random weights (random:0)"))
    assert mark.endswith("show that the program works, and nothing else")


def test_a_member_alone_has_a_page(seen):
    folder, _, _ = seen
    page, _ = page_of(folder / "default/seed-1")
    assert [m["name"] for m in page.data["questions"]["members"]] == ["default, seed 1"]


def test_settings_that_are_not_the_papers_are_marked(seen):
    _, page, _ = seen
    assert "(paper: 64)" in page.text  # batch_size=4
    assert page.words[page.words.index("batch_size") + 1] == "4"


def test_what_is_no_run_is_refused(tmp_path, run):
    with pytest.raises(ConfigError, match=r"no run\.json in"):
        run_page(tmp_path, print)
    (run / "default/seed-0/config.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunDamaged):
        run_page(run, print)


def test_without_any_answer_there_is_a_page(run):
    for seed in (0, 1):
        write_predictions(run / f"default/seed-{seed}/predictions.json", [])
    page, said = page_of(run)
    assert any("none of 18 questions has a right answer" in line for line in said)
    assert page.data["questions"]["text"] == []


def test_frames_stand_beside_the_questions_of_their_videos(seen, tmp_path):
    folder, _, _ = seen
    (tmp_path / "deep").mkdir()
    clip = clips.cached_clip("a.mp4", seconds=7, fps=4)
    for name in ("deep/00000001", "00000003", "stranger"):  # the ids differ in their last part
        shutil.copy(clip, tmp_path / f"{name}.mp4")
    said = []
    page = Page(run_page(folder, said.append, tmp_path))
    asked, posters = page.data["questions"], page.data["posters"]
    assert sorted(asked["texts"][int(number)] for number in posters) == ["00000001", "00000003"]
    assert {int(number) for number in posters} <= set(asked["video"])
    # The store says how long they are: five frames side by side.
    content = base64.b64decode(posters[str(asked["texts"].index("00000001"))].partition(",")[2])
    assert Image.open(io.BytesIO(content)).size == (FRAMES * WIDTH, HEIGHT)
    lacking = f"frames of 1 of 3 videos: not in '{tmp_path}', not to be read, or behind the first"
    assert said == [f"not on the page: {lacking} 1000"]
    assert outside(page) == []


def test_frames_of_a_run_without_store_and_questions_are_the_first_ones(run, tmp_path, monkeypatch):
    shutil.rmtree(run.parent / "store")
    shutil.rmtree(run.parent / "annotations")
    (tmp_path / "videos").mkdir()
    shutil.copy(clips.cached_clip("a.mp4", seconds=7, fps=4), tmp_path / "videos/00000001.mp4")
    monkeypatch.setattr(beside, "MOST_VIDEOS", 1)
    said = []
    page = Page(run_page(run, said.append, tmp_path / "videos"))
    (picture,) = page.data["posters"].values()
    content = base64.b64decode(picture.partition(",")[2])
    assert Image.open(io.BytesIO(content)).size == (WIDTH, HEIGHT)
    assert any("frames of 2 of 3 videos: not in " in line for line in said)
