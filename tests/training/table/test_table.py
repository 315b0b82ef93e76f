import csv
import dataclasses
import math
import re

import numpy as np
import pytest
import torch
from helpers.questions.question_files import make_question
from helpers.runs.run_folders import config, run_of, write_member
from hypothesis import given
from hypothesis import strategies as st

from avqa import heads
from avqa.datasets._parts.floors import Score, score_table
from avqa.datasets._parts.taxonomy import COLUMNS, NAMES
from avqa.errors import ConfigError
from avqa.heads.pstp.head import thop_parameters
from avqa.training.scoring import write_predictions
from avqa.training.table.intervals import interval
from avqa.training.table.layout import Cell, ResultTable, Row, cells_of
from avqa.training.table.published import Scope, published_rows
from avqa.training.table.reading import read_csv
from avqa.training.table.table import result_table


def questions_of(split, per_type=2):
    return [
        make_question(
            key=f"{split}{name}{n}",
            modality=modality,
            kind=kind,
            split=split,
            template=name,
            answer="yes" if n else "no",
        )
        for name, (modality, kind) in NAMES.items()
        for n in range(per_type)
    ]


VIDEO_ONLY = heads.load("avst").ABLATIONS["v+q"].options
TRAIN, TEST = questions_of("train", 3), questions_of("test")


def row_of(table, name):
    (row,) = [row for row in table.rows if row.name == name]
    return row


def percents(row):
    return {column: cell.mean for column, cell in row.cells.items()}


def note(table, start):
    (line,) = [line for line in table.notes if line.startswith(start)]
    return line


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=5))
def test_mean_and_deviation_over_seeds(right):
    tables = [{"All": Score(sum(these), 3)} for these in right]
    cell = cells_of(tables)["All"]
    shares = 100 * np.array(right).mean(1)
    assert cell.mean == pytest.approx(shares.mean())
    assert cell.correct == tuple(map(sum, right))
    assert cell.total == 3
    if len(right) == 1:
        assert cell.sd is None
    else:
        assert cell.sd == pytest.approx(shares.std(ddof=1), abs=1e-9)


def test_a_column_without_a_question_has_neither():
    cell = cells_of([{"All": Score(0, 0)}] * 2)["All"]
    assert (str(cell), cell.sd, cell.total) == ("–", None, 0)


@given(st.lists(st.tuples(st.sampled_from(sorted(NAMES)), st.booleans()), min_size=1, max_size=40))
def test_averages_are_not_averages_of_percentages(asked):
    pairs = [(make_question(modality=NAMES[n][0], kind=NAMES[n][1]), r) for n, r in asked]
    cells = cells_of([score_table(pairs)])
    for column in COLUMNS:
        group = column.removesuffix("Avg") if column.endswith("-Avg") else column
        mine = [r for n, r in asked if column == "All" or n == group or n.startswith(group)]
        assert cells[column].total == len(mine)
        if mine:
            assert cells[column].mean == pytest.approx(100 * np.mean(mine))


@pytest.fixture(scope="module")
def avst(tmp_path_factory):
    """Two seeds of AVST, one of an ablation, one of question-only."""
    root = tmp_path_factory.mktemp("run")
    text_only = {**config("question_only").options, "width": 8}
    members = [
        write_member(root, config(seed=0), TEST, lambda n: n < 9),
        write_member(root, config(seed=1), TEST, lambda n: n < 12),
        write_member(
            root,
            config(variant="v+q", options=VIDEO_ONLY, grounding="9f" * 32),
            TEST,
            lambda n: n % 2 == 1,
        ),
        write_member(
            root,
            config("question_only", variant="question_only", options=text_only, features={}),
            TEST,
            lambda n: n < 6,
        ),
    ]
    return run_of(members, {"same_as": {"full": "default"}, "notes": ["a note of the run"]})


def test_rows_and_their_order(avst):
    table = result_table(avst, TRAIN, TEST)
    assert [(row.name, row.kind) for row in table.rows] == [
        ("AVST", "published"),
        ("AVST, updated annotation", "published"),
        ("AVST, run again", "published"),
        ("template floor", "floor"),
        ("ours: question_only", "question-only"),
        ("ours: avst", "ours"),
        ("ours: v+q", "ablation"),
        ("paper: v+q", "paper's ablation"),
        ("ours: full", "ablation"),
        ("paper: full", "paper's ablation"),
    ]
    assert table.columns == heads.COLUMNS
    assert [row.mark for row in table.rows] == ["o*", "u", "u", "", "", "", "", "o*", "", "o*"]


def test_what_the_rows_say(avst):
    table = result_table(avst, TRAIN, TEST)
    printed = row_of(table, "AVST, updated annotation")
    assert percents(printed) == heads.load("avst").PAPER.figures[1].values
    # "yes" twice of three in every template of TRAIN, once of two in TEST.
    assert set(percents(row_of(table, "template floor")).values()) == {50.0}
    ours = row_of(table, "ours: avst")
    assert dataclasses.replace(ours.cells["All"], low=None, high=None) == Cell(
        mean=pytest.approx(100 * 10.5 / 18),
        sd=pytest.approx(100 * 1.5 / 18 * math.sqrt(2)),
        correct=(9, 12),
        total=18,
    )
    # Two questions a type: A 4, V 4, AV 10.
    assert ours.cells["A-Avg"].correct == (4, 4)
    assert ours.cells["V-Avg"].correct == (4, 4)
    assert ours.cells["AV-Avg"].correct == (1, 4)
    assert ours.cells["AV-Avg"].mean == pytest.approx(25)
    assert ours.seeds == (0, 1)
    assert row_of(table, "ours: full").cells == ours.cells
    assert row_of(table, "ours: full").note == "the same network as default"
    assert percents(row_of(table, "paper: v+q")) == {
        "A-Avg": 68.76,
        "V-Avg": 67.28,
        "AV-Avg": 63.23,
        "All": 65.28,
    }
    chosen = "width=8, modalities=vq, temporal=false, spatial=false; grounding starts from 9f9f9f9f"
    assert row_of(table, "ours: v+q").note == chosen
    assert row_of(table, "ours: v+q").cells["All"].sd is None


def test_cost_is_that_of_the_trained_heads(avst):
    before = torch.random.get_rng_state()
    table = result_table(avst, TRAIN, TEST, seconds=14)
    assert torch.equal(torch.random.get_rng_state(), before)
    for row, member in (("ours: avst", avst.members[0]), ("ours: v+q", avst.members[2])):
        head = heads.build("avst", **member.config.options)
        assert row_of(table, row).parameters == heads.count_parameters(head)
        # 14 seconds, a row every 6 of them.
        flops = heads.count_flops(head, seconds=3, patches=196)
        assert row_of(table, row).gflops == flops / 1e9
    assert "about 3 rows of 196 patches" in note(table, "cost of ours: ")
    longest = note(result_table(avst, TRAIN, TEST, seconds=100), "cost of ours: ")
    assert "about 10 rows of 196 patches" in longest
    assert row_of(table, "AVST").parameters == 18_480_000
    assert row_of(table, "AVST").gflops == 3.188
    assert row_of(table, "AVST, run again").parameters is None


def test_notes_say_what_must_be_known(avst):
    table = result_table(avst, TRAIN, TEST)
    assert note(table, "questions: ") == (
        "questions: music-avqa, annotation version updated, its own splits; in training train 3,"
        " val 2, test 4; scored here 18 of test"
    )
    assert "a note of the run" in table.notes
    assert note(table, "floors, All: ") == (
        "floors, All: global 50.00, type 50.00, template 50.00, slots 50.00; fitted on 27 training"
        " questions"
    )
    assert note(table, "features with recipe: ") == (
        "features with recipe: vggish/audio abababab, resnet18/map cdcdcdcd; weights: pretrained"
    )
    assert note(table, "seeds ") == (
        "seeds 0, 1 (v+q: 0; question_only: 0); checkpoint: the best epoch on val (7, 7 of 30),"
        " test scored once at the end; recipe: the paper's"
    )
    assert note(table, "published figures: copied as printed, none was reproduced here; ann: u ")
    assert table.warnings == ()


def test_questions_that_one_member_was_not_asked_count_for_none(tmp_path):
    members = [
        write_member(tmp_path, config(seed=0), TEST, lambda n: n < 2),
        write_member(tmp_path, config(seed=1), TEST[1:], lambda n: True),
        write_member(tmp_path, config(seed=2), TEST, lambda n: None if n == 2 else True),
    ]
    table = result_table(run_of(members), TRAIN, TEST)
    cell = row_of(table, "ours: avst").cells["All"]
    assert (cell.correct, cell.total) == ((1, 16, 16), 16)
    assert row_of(table, "template floor").cells["All"].total == 16
    assert note(table, "questions: ").endswith(
        "scored here 16 of test, and 2 left out: without a right answer, or without the features"
        " some row needs"
    )
    write_predictions(members[0].path / "predictions.json", [])
    with pytest.raises(ConfigError, match="none of 18 questions has a right answer and was answ"):
        result_table(run_of(members), TRAIN, TEST)


@pytest.mark.parametrize(
    ("scope", "comparable"),
    [
        (Scope("music-avqa", "updated", "test", True), ["u", "u"]),
        (Scope("music-avqa", "original", "test", True), ["o"]),
        (Scope("music-avqa", "train unknown, test original", "test", True), ["o"]),
        (Scope("music-avqa", "train original, test unknown", "test", True), []),
        (Scope("music-avqa", "unknown", "test", True), []),
        (Scope("music-avqa", "updated", "val", True), []),
        (Scope("music-avqa", "updated", "test", False), []),
        (Scope("music-avqa-v2", "updated", "test", True), []),
    ],
)
def test_published_rows_of_other_questions_are_marked(scope, comparable):
    rows = list(published_rows(heads.load("avst").PAPER, scope))
    assert len(rows) == 3
    assert [row.annotation for row in rows if row.comparable] == comparable
    assert [row.mark for row in rows if not row.mark.endswith("*")] == comparable


def test_warnings_stand_above(tmp_path):
    asked = questions_of("val")
    made_up = config(
        weights="random:0, pretrained", features={}, settings={"epochs": 3, "visual": "resnet18"}
    )
    table = result_table(run_of([write_member(tmp_path, made_up, asked)]), [], asked)
    elsewhere = "published figures: of MUSIC-AVQA's test split, not of these questions; copied"
    assert note(table, elsewhere)
    assert table.warnings == (
        "random weights (random:0, pretrained) made the features: these accuracies show that the"
        " program works, and nothing else",
        "val chose the checkpoint: these accuracies are too high for a result",
    )
    assert table.text().splitlines()[1] == f"!! {table.warnings[0]}"
    assert f"\n\n**{table.warnings[1]}**\n\n" in table.markdown()
    assert note(table, "no floors") == "no floors: there are no training questions"
    assert [row.kind for row in table.rows].count("floor") == 0
    assert "features: none are read" in table.notes
    assert note(table, "seeds 0; ").endswith("recipe: epochs=3 (paper: 30)")


def test_inconsistent_rows_name_the_inconsistency(tmp_path):
    of = config("pstp", options={"num_segments": 2}, settings={"visual": "clip_vit_b32"})
    table = result_table(run_of([write_member(tmp_path, of, TEST)]), TRAIN, TEST)
    printed = row_of(table, "PSTP-Net [CLIP B/32]")
    assert printed.mark == "o/?!*"
    assert "A-Avg follows as 70.87" in printed.note
    assert "(1) PSTP-Net, Table 1; A-Avg follows as 70.87;" in table.text()
    # AVQA's figure has no place among these columns.
    assert "PSTP-Net on AVQA" not in [row.name for row in table.rows]
    counted = thop_parameters(heads.build("pstp", **of.options))
    assert note(table, "parameters of ours as thop").endswith(f": {counted / 1e6:.3f} M")


def test_ablations_that_are_one_network_are_shown_under_each_name(tmp_path):
    small = {"width": 8}
    settings = {"visual": "clip_vit_b32"}
    of = {"settings": settings, "annotation_version": "updated"}
    members = [
        write_member(tmp_path, config("avaf", options=small, **of), TEST, lambda n: n < 9),
        write_member(
            tmp_path,
            config("avaf", options={**small, "sacl": False}, variant="no_sacl", **of),
            TEST,
            lambda n: n < 6,
        ),
    ]
    same_as = {"full": "default", "phi_0.000": "no_sacl", "phi_0.019": "default"}
    table = result_table(run_of(members, {"same_as": same_as}), TRAIN, TEST)
    ours, twin = row_of(table, "ours: no_sacl"), row_of(table, "ours: phi_0.000")
    assert (twin.cells, twin.note) == (ours.cells, "the same network as no_sacl")
    assert row_of(table, "ours: phi_0.019").cells["All"].correct == (9,)
    printed = row_of(table, "paper: phi_0.000")
    assert percents(printed) == {"A-Avg": 77.28, "V-Avg": 82.62, "AV-Avg": 71.55, "All": 75.50}
    assert (printed.mark, row_of(table, "paper: full").mark) == ("u", "u!")
    # A member of its own, of an earlier run, comes before its twin.
    members.append(
        write_member(
            tmp_path,
            config("avaf", options={**small, "phi": 0.0}, variant="phi_0.000", **of),
            TEST,
            lambda n: n < 3,
        )
    )
    table = result_table(run_of(members, {"same_as": same_as}), TRAIN, TEST)
    assert row_of(table, "ours: phi_0.000").cells["All"].correct == (3,)


def test_figures_on_avqa(tmp_path):
    question = make_question(
        key="q", split="test", modality="Both", kind="Which", choices=("a", "b"), choice=1
    )
    of = config(
        "mcd", dataset="avqa", annotation_version="released", variant="no_loss_qv",
        options={"loss_qv": False}, settings={"visual": "resnet18"},
    )  # fmt: skip
    table = result_table(run_of([write_member(tmp_path, of, [question])]), [question], [question])
    # Its averages on MUSIC-AVQA do not follow, of which this table shows none.
    assert not heads.load("mcd").ABLATIONS["no_loss_qv"].consistent
    assert [(row.name, str(row.cells["All"]), row.mark) for row in table.rows] == [
        ("MCD on AVQA", "90.78", "?"),
        ("position floor", "100.00", ""),
        ("option floor", "100.00", ""),
        ("longest-option floor", "0.00", ""),
        ("ours: no_loss_qv", "100.00", ""),
        ("paper: no_loss_qv", "90.14", "?"),
    ]
    assert table.columns[0] == "Which"


@pytest.mark.parametrize("name", heads.names())
def test_ablations_are_of_the_annotation_of_the_papers_first_row(name):
    module = heads.load(name)
    if "full" in module.ABLATIONS:
        full, first = module.ABLATIONS["full"].values, module.PAPER.figures[0].values
        assert {c: v for c, v in full.items() if c != "AVQA"}.items() <= first.items()


SMALL = ResultTable(
    dataset="music-avqa",
    version="updated",
    split="test",
    columns=("A-Count", "A-Avg", "All"),
    rows=(
        Row(
            name="Paper [a|b]",
            kind="published",
            cells={"A-Avg": Cell(71.5), "All": Cell(70.25)},
            annotation="o",
            consistent=False,
            comparable=False,
            parameters=4_297_000,
            note="as printed",
        ),
        Row(name="template floor", kind="floor", cells={"A-Count": Cell(float("nan"), total=0)}),
        Row(
            name="ours: x",
            kind="ours",
            cells={
                "A-Count": Cell(float("nan"), correct=(0, 0), total=0),
                "A-Avg": Cell(100.0, 0.0, (3, 3), 3),
                "All": Cell(62.5, 17.6776695, (6, 4), 8),
            },
            seeds=(0, 1),
            parameters=1234,
            gflops=0.0125,
            note="as printed",
        ),
    ),
    warnings=("mind this",),
    notes=("one note", "word " * 30),
)


def test_text():
    words = ("word " * 16).strip() + "\n  " + ("word " * 14).strip()
    assert (
        SMALL.text()
        == f"""\
music-avqa, test, annotation version: updated; accuracy in percent, averages over questions
!! mind this
                    ann A-Count  A-Avg |   All params M GFLOPs
--------------------------------------------------------------
Paper [a|b] (1)     o!*          71.50 | 70.25    4.297
--------------------------------------------------------------
template floor                –        |
--------------------------------------------------------------
ours: x (1)                   – 100.00 | 62.50    0.001  0.013
  ± s.d. of 2 seeds               0.00 | 17.68
--------------------------------------------------------------
(1) as printed
one note
{words}
"""
    )


def test_csv_holds_the_counts_that_the_percentages_come_from(avst):
    table = result_table(avst, TRAIN, TEST)
    rows = {row["name"]: row for row in csv.DictReader(table.csv().splitlines())}
    assert len(rows) == len(table.rows)
    for name in ("ours: avst", "ours: v+q", "template floor"):
        for column in table.columns:
            total = int(rows[name][f"{column}_total"])
            right = np.array(rows[name][f"{column}_correct"].split(";"), int) / total * 100
            assert float(rows[name][column]) == pytest.approx(right.mean(), abs=1e-4)
            if len(right) > 1:
                found = float(rows[name][f"{column}_sd"])
                assert found == pytest.approx(right.std(ddof=1), abs=1e-4)
            else:
                assert rows[name][f"{column}_sd"] == ""
    ours, printed = rows["ours: avst"], rows["AVST"]
    assert (ours["dataset"], ours["version"], ours["split"]) == ("music-avqa", "updated", "test")
    assert (ours["seeds"], ours["kind"], ours["All_total"]) == ("0;1", "ours", "18")
    assert (printed["A-Avg"], printed["annotation"], printed["parameters"]) == (
        *("74.06", "o"),
        "18480000",
    )
    assert (printed["comparable"], printed["All_total"], printed["split"]) == ("false", "", "")


def test_every_column_has_the_interval_of_its_questions_and_videos(tmp_path):
    """Read beside what `interval` gives for the column's questions alone."""
    asked = [
        dataclasses.replace(q, video_id=f"v{n * n % 11}")
        for n, q in enumerate(questions_of("test", 6))
    ]
    right = [lambda n: n % 3 > 0, lambda n: n % 5 > 0]
    members = [write_member(tmp_path, config(seed=s), asked, how) for s, how in enumerate(right)]
    table = result_table(run_of(members, {"same_as": {}, "notes": []}), TRAIN, asked)
    ours = row_of(table, "ours: avst")
    for column, pairs in COLUMNS.items():
        places = [n for n, q in enumerate(asked) if (q.modality, q.kind) in pairs]
        correct = np.array([[how(n) for n in places] for how in right])
        wanted = interval(correct, [asked[n].video_id for n in places])
        assert (ours.cells[column].low, ours.cells[column].high) == (wanted.low, wanted.high)
    line = next(line for line in table.text().splitlines() if "± 95 %" in line)
    cell = ours.cells["All"]
    assert line.split()[-1] == f"{(cell.high - cell.low) / 2:.2f}"
    assert "± 95 %: half of the interval" in table.text()
    assert f"{(cell.high - cell.low) / 2:.2f}" in table.markdown()
    assert read_csv(table.csv()).rows[-1].cells["All"].low == pytest.approx(cell.low, abs=1e-4)
    assert not row_of(table, "template floor").has_intervals


def test_markdown():
    lines = SMALL.markdown().splitlines()
    assert lines[2] == "**mind this**"
    assert lines[4:9] == [
        "|  | ann | A-Count | A-Avg | All | params M | GFLOPs |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
        "| Paper [a\\|b] (1) | o!* |  | 71.50 | 70.25 | 4.297 |  |",
        "| template floor |  | – |  |  |  |  |",
        "| ours: x (1) |  | – | 100.00 ± 0.00 | 62.50 ± 17.68 | 0.001 | 0.013 |",
    ]
    assert lines[10:12] == ["- (1) as printed", "- one note"]


def test_what_python_and_a_notebook_show():
    assert repr(SMALL) == SMALL.text().rstrip()
    shown = SMALL._repr_html_()
    assert 'bold">mind this</div>' in shown
    row = [">ours: x (1)<", "><", ">–<", ">100.00 ± 0.00<", ">62.50 ± 17.68<", ">0.001<", ">0.013<"]
    assert re.search(".*".join(map(re.escape, row)), shown)
    assert "<small>(1) as printed</small>" in shown
    harmful = dataclasses.replace(SMALL, notes=("<b>",), warnings=("<i>",))._repr_html_()
    assert "<b>" not in harmful
    assert "&lt;i&gt;" in harmful


def test_the_text_of_several_seeds_fits_160_columns(avst):
    assert max(map(len, result_table(avst, TRAIN, TEST).text().splitlines())) <= 160
