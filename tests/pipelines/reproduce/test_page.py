"""The page of a paper: printed figures beside ours, whether they agree, what is not there."""

import re
import shutil
from dataclasses import replace

import pytest
from helpers.runs.reproduced import write_annotations, write_member, write_out
from helpers.runs.run_folders import config

from avqa import heads
from avqa.errors import DifferenceFound, RunDamaged
from avqa.heads._parts.printed import FOLDER
from avqa.pipelines.reproduce.page import pages
from avqa.store.places.files import read_json, write_json
from avqa.training import digests
from avqa.training.scoring import read_predictions, write_predictions


@pytest.fixture
def annotations(tmp_path):
    return write_annotations(tmp_path / "annotations")


def row(page, name):
    """Cells of the row of a table."""
    (line,) = re.findall(rf"^\| {re.escape(name)} \|(.*)\|$", page, re.MULTILINE)
    return [cell.strip() for cell in line.split(" | ")]


def two_seeds(head, first, second, variant="default"):
    return {(head, variant, 0): first, (head, variant, 1): second}


def test_a_printed_figure_is_within_the_interval_or_not(tmp_path, annotations):
    """Of 24 questions about 6 videos the seeds answer 18 and 17 right, and none of 24."""
    good = two_seeds("tjstg", lambda n: n % 4 != 0, lambda n: n % 4 != 0 and n != 1)
    write_out(tmp_path / "o", annotations, good)
    page = pages(tmp_path / "o")["tjstg.md"]
    printed, ours, span, difference, within, count = row(page, "All")
    assert (printed, ours, difference, within, count) == ("73.04", "72.92", "-0.12", "yes", "24")
    low, high = map(float, span.split(" to "))
    assert low < 72.9 < high
    assert row(page, "A-Count")[1:] == ["50.00", *row(page, "A-Count")[2:5], "12"]
    bad = two_seeds("tjstg", lambda n: False, lambda n: False)
    write_out(tmp_path / "p", annotations, bad)
    page = pages(tmp_path / "p")["tjstg.md"]
    assert row(page, "All")[4] == "no"


def test_figures_of_other_questions_are_not_judged(tmp_path, annotations):
    answers = two_seeds("tjstg", lambda n: True, lambda n: True)
    write_out(tmp_path / "o", annotations, answers, version="original")
    page = pages(tmp_path / "o")["tjstg.md"]
    assert row(page, "All")[4] == "other questions"
    assert "annotation version original: train 12, val 8, test 24" in page


def test_ablations_stand_beside_what_the_paper_prints_of_them(tmp_path, annotations):
    answers = {
        **two_seeds("tjstg", lambda n: True, lambda n: True),
        **two_seeds("tjstg", lambda n: n < 12, lambda n: n < 12, "w/o csl"),
        ("tjstg", "question_only", 0): lambda n: n % 2 == 0,
    }
    same = {"il(a;v)": "default"}
    write_out(tmp_path / "o", annotations, answers, same_as=same)
    page = pages(tmp_path / "o")["tjstg.md"]
    of_all = page.partition("## Ablations")[2].partition("\nAll:\n")[2]
    assert row(of_all, "w/o csl")[:2] == ["72.28", "50.00"]
    assert row(of_all, "il(a;v)")[1] == "100.00"
    assert "the same network as default" in row(of_all, "il(a;v)")[5]
    assert "without sound and pictures: 50.00 (" in page
    assert "tjstg w/o csl: 3:00 for 2 seed(s), 123 trainable parameters" in page


def test_rows_that_no_run_trains_are_told_with_the_reason(tmp_path, annotations):
    answers = {("sasr", v, 0): lambda n: True for v in ("default", "no_sa")}
    write_out(tmp_path / "o", annotations, answers, settings={"stride_seconds": "1"})
    page = pages(tmp_path / "o")["sasr.md"]
    assert "- row `official` was not trained: settings of sasr (ablation official): max_se" in page
    alone = {("sasr", "default", 0): lambda n: True}
    write_out(tmp_path / "p", annotations, alone, settings={"stride_seconds": "1"})
    assert "was not trained" not in pages(tmp_path / "p")["sasr.md"]


def test_what_is_not_finished_is_said(tmp_path, annotations):
    answers = {
        ("tjstg", "default", 0): lambda n: True,
        ("tjstg", "question_only", 0): lambda n: True,
        ("avst", "question_only", 1): lambda n: True,
    }
    write_out(tmp_path / "o", annotations, answers)
    made = pages(tmp_path / "o")
    left = "tjstg/default/seed-1, tjstg/question_only/seed-1"
    assert f"**Not finished, and not on this page: {left}.**" in made["tjstg.md"]
    name = "[TJSTG (Findings of EMNLP 2023)](tjstg.md)"
    assert row(made["papers.md"], name)[6] == "all but 2"
    assert row(made["papers.md"], "AVST (CVPR 2022)")[6] == "not begun"
    assert "avst.md" not in made


def test_every_departure_is_told(tmp_path, annotations):
    write_out(tmp_path / "o", annotations, two_seeds("pstp", lambda n: True, lambda n: True))
    page = pages(tmp_path / "o")["pstp.md"]
    told = page.partition("## In what ours departs")[2].partition("## What made")[0]
    for line in heads.load("pstp").PAPER.departures:
        assert f"- {line}\n" in told
    assert "- options: width=8\n" in told
    member = tmp_path / "o/runs/pstp/default/seed-0"
    assert read_json(member / "result.json")["files"]["predictions.json"] in page
    assert config("pstp").features["audio"]["recipe_hash"] in page


def change_config(member, **changes):
    """Change a member's config.json, and its digest."""
    value = read_json(member / "config.json") | changes
    write_json(member / "config.json", value)
    result = digests.unsealed(read_json(member / "result.json"))
    result["config"] = digests.of_json(value)
    write_json(member / "result.json", digests.sealed(result))


def test_settings_that_are_not_the_papers_are_departures(tmp_path, annotations):
    write_out(tmp_path / "o", annotations, two_seeds("avst", lambda n: True, lambda n: True))
    for seed in (0, 1):
        member = tmp_path / f"o/runs/avst/default/seed-{seed}"
        given = {"epochs": 3, "max_seconds": 12, "missing": "masked", "workers": 4}
        settings = read_json(member / "config.json")["settings"] | given
        change_config(member, settings=settings | {"batches": "grouped"})
    assert (
        "- recipe: `epochs=3` (paper: 30), `max_seconds=12` (else: 60), `missing=masked` (else:"
        " skip), `batches=grouped` (paper: shuffled)\n"
    ) in pages(tmp_path / "o")["avst.md"]


def test_a_figure_of_the_same_features_comes_before_the_headline(tmp_path, annotations):
    write_out(tmp_path / "o", annotations, two_seeds("mcd", lambda n: True, lambda n: True))
    page = pages(tmp_path / "o")["mcd.md"]
    assert row(page, "All")[:2] == ["75.42", "100.00"]
    assert "MCD [CLIP ViT-B/32] (updated annotation; " in page
    assert row(page, "MCD [Swin-V2-L]")[0] == "76.12"
    assert row(page, "MCD [ResNet-18]")[4] == "other features"
    index = pages(tmp_path / "o")["papers.md"]
    assert row(index, "[MCD (arXiv 2024)](mcd.md)")[:2] == ["MCD [CLIP ViT-B/32]", "75.42"]


def test_random_weights_mark_every_page(tmp_path, annotations):
    write_out(tmp_path / "o", annotations, two_seeds("avst", lambda n: True, lambda n: True))
    for seed in (0, 1):
        change_config(tmp_path / f"o/runs/avst/default/seed-{seed}", weights="random:0")
    for page in pages(tmp_path / "o").values():
        assert "**The features come from random weights (random:0)" in page


def test_every_head_with_a_paper_says_in_what_it_departs():
    beside = {"mccd", "maven"}  # of --debias, which is no head
    named = {path.stem for path in FOLDER.glob("*.toml")} - beside
    papers = {name: heads.load(name).PAPER for name in heads.names()}
    assert {name for name, paper in papers.items() if paper.departures} == named
    assert {name for name, paper in papers.items() if paper.references} <= named
    for paper in papers.values():
        assert all(len(line) < 110 and not line.endswith(".") for line in paper.departures)


def edit(member, change):
    """Change the first row of a member's answers, and the digest of the file."""
    rows = read_predictions(member / "predictions.json")
    write_predictions(member / "predictions.json", [replace(rows[0], **change), *rows[1:]])
    result = digests.unsealed(read_json(member / "result.json"))
    result["files"]["predictions.json"] = digests.of_file(member / "predictions.json")
    write_json(member / "result.json", digests.sealed(result))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"correct": True}, r"'no' counts as right for .*, whose right answer is 'yes'; expected"),
        ({"prediction": "yes"}, r"'yes' counts as wrong for .*, whose right answer is 'yes'; exp"),
        (
            {"correct": True, "prediction": "yes"},
            r"1 of 24 predictions are right; expected 0 of 24, as its result.json says",
        ),
        (
            {"answer": "no", "correct": True},
            r"the right answer to .* is 'no';\s+expected 'yes', as questions.json has it",
        ),
        ({"key": "another"}, r"question 'another' is none of the test; expected answers to its"),
    ],
)
def test_answers_that_were_edited_with_their_digests_are_found(tmp_path, annotations, change, said):
    write_out(tmp_path / "o", annotations, two_seeds("avst", lambda n: False, lambda n: True))
    edit(tmp_path / "o/runs/avst/default/seed-0", change)
    with pytest.raises(DifferenceFound, match=said):
        pages(tmp_path / "o")


def test_answers_that_were_edited_alone_are_damage(tmp_path, annotations):
    write_out(tmp_path / "o", annotations, two_seeds("avst", lambda n: False, lambda n: True))
    path = tmp_path / "o/runs/avst/default/seed-1/predictions.json"
    path.write_text(path.read_text(encoding="utf-8").replace("yes", "no"), encoding="utf-8")
    with pytest.raises(RunDamaged, match="is not the file that training wrote"):
        pages(tmp_path / "o")


def test_other_folders_beside_a_run_are_no_runs_of_the_head(tmp_path, annotations):
    questions = write_out(
        tmp_path / "o", annotations, two_seeds("mcd", lambda n: True, lambda n: False)
    )
    copy = tmp_path / "o/runs/mcd-copy"
    write_member(copy, "mcd", "default", 0, questions.test, lambda n: False)
    page = pages(tmp_path / "o")["mcd.md"]
    assert row(page, "All")[1] == "50.00"


def reseal(path, **changes):
    """Change a file that holds its own digest."""
    write_json(path, digests.sealed(digests.unsealed(read_json(path)) | changes))


def test_questions_of_another_reproduction_are_found(tmp_path, annotations):
    write_out(tmp_path / "o", annotations, two_seeds("avst", lambda n: True, lambda n: True))
    reseal(tmp_path / "o/reproduce.json", questions="ab" * 32)
    with pytest.raises(DifferenceFound, match=f"; expected music-avqa {'ab' * 6}, as reproduce.js"):
        pages(tmp_path / "o")


def test_a_row_of_fewer_questions_says_so(tmp_path, annotations):
    """As where an ablation was trained when a video was not there yet."""
    answers = {("avst", v, 0): lambda n: True for v in ("default", "q", "a+q")}
    questions = write_out(tmp_path / "o", annotations, answers)
    run = tmp_path / "o/runs/avst"
    shutil.rmtree(run / "q")
    write_member(run, "avst", "q", 0, questions.test[4:], lambda n: True)
    of_all = pages(tmp_path / "o")["avst.md"].partition("## Ablations")[2]
    of_all = of_all.partition("\nAll:\n")[2]
    assert row(of_all, "q")[5].endswith("4 questions less than above")
    assert "less than above" not in row(of_all, "a+q")[5]


def test_figures_of_another_data_set_are_said_to_be(tmp_path, annotations):
    write_out(tmp_path / "o", annotations, two_seeds("avst", lambda n: True, lambda n: True))
    of = "- printed figures are of MUSIC-AVQA, not of this data set\n"
    assert of not in pages(tmp_path / "o")["avst.md"]
    for name in ("reproduce.json", "questions.json"):
        reseal(tmp_path / "o" / name, dataset="music-avqa-r")
    page = pages(tmp_path / "o")["avst.md"]
    assert of in page
    assert row(page, "All")[4] == "other questions"


def test_only_questions_that_every_seed_was_asked_count(tmp_path, annotations):
    questions = write_out(
        tmp_path / "o", annotations, two_seeds("avst", lambda n: n < 4, lambda n: False)
    )
    run = tmp_path / "o/runs/avst"
    shutil.rmtree(run / "default/seed-1")
    write_member(run, "avst", "default", 1, questions.test[4:], lambda n: False)
    page = pages(tmp_path / "o")["avst.md"]
    assert (row(page, "All")[1], row(page, "All")[5]) == ("0.00", "20")
    assert "- 4 test questions were not asked: their videos are missing\n" in page
