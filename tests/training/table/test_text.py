"""A table as a terminal shows it: as wide as that is, the best and the bad in colour."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avqa.datasets._parts.taxonomy import COLUMNS
from avqa.training.table.layout import Cell, ResultTable, Row
from avqa.training.table.reading import read_csv

STYLE = re.compile(r"\x1b\[[0-9;]*m")


def row(name, kind, mean, **more):
    cells = {c: Cell(mean + n / 10, 0.5, (3, 4), 7) for n, c in enumerate(COLUMNS)}
    return Row(name=name, kind=kind, cells=cells, seeds=(0, 1), **more)


TABLE = ResultTable(
    dataset="music-avqa",
    version="updated",
    split="test",
    columns=tuple(COLUMNS),
    rows=(
        Row(name="AVST", kind="published", cells={"All": Cell(71.52)}, note="a note " * 20),
        row("template floor", "floor", 50.0),
        row("ours: question_only", "question-only", 49.0, parameters=1e6, gflops=0.1),
        row("ours: a head whose name is long enough to be wrapped", "ours", 60.0, parameters=2e6),
        row("ours: another", "ablation", 55.0),
    ),
    warnings=("RANDOM WEIGHTS: a warning that is long enough to need a second line of 80",),
)


def head_of(text):
    return next(line for line in text.splitlines() if " ann " in line).split()


def test_at_its_own_width_nothing_is_left_out():
    text = TABLE.text()
    assert [name for name in head_of(text) if name != "|"] == [
        "ann", *COLUMNS, "params", "M", "GFLOPs",
    ]  # fmt: skip
    assert TABLE.text(500).splitlines()[2:14] == text.splitlines()[2:14]


@pytest.mark.parametrize("width", [80, 100, 120, 140, 160])
def test_no_line_is_wider_than_the_terminal(width):
    text = TABLE.text(width, colour=True)
    assert max(len(STYLE.sub("", line)) for line in text.splitlines()) <= width


def test_the_averages_stay_where_there_is_little_room():
    text = TABLE.text(80)
    averages = ["A-Avg", "V-Avg", "AV-Avg", "All"]
    assert [name for name in head_of(text) if name != "|"][:5] == ["ann", *averages]
    left_out = [name for name in COLUMNS if name not in averages]
    told = " ".join(text.split())
    assert f"no room for {', '.join(left_out)}: --cells shows all columns" in told
    assert (
        " ".join(
            ["ours:", "a", "head", "whose", "name", "is", "long", "enough", "to", "be", "wrapped"]
        )
        in re.sub(r"\s+[\d.]+ \|.*?\n", " ", text).replace("\n ", "").replace("  ", " ")
        or "wrapped" in text
    )


def test_the_best_of_ours_is_green_and_what_is_below_the_floor_red():
    text = TABLE.text(200, colour=True)
    lines = {
        name: line
        for line in text.splitlines()
        for name in ("long", "only", "another")
        if name in line
    }
    assert lines["long"].count("\x1b[1;32m") == len(COLUMNS)
    assert lines["only"].count("\x1b[31m") == len(COLUMNS)
    assert "\x1b" not in lines["another"]
    assert STYLE.sub("", text) == TABLE.text(200)


def test_a_data_set_without_averages_keeps_its_columns():
    cells = {"All": Cell(50.0), "Which": Cell(40.0)}
    table = ResultTable(
        dataset="d", version="v", split="test", columns=("Which", "All"),
        rows=(Row(name="x", kind="ours", cells=cells),),
    )  # fmt: skip
    assert "Which" in table.text(80)


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.none() | st.floats(0, 9), st.integers(0, 99)),
        min_size=1,
        max_size=4,
    )
)
def test_what_is_written_as_csv_is_read_as_it_was(values):
    columns = tuple(f"c{n}" for n in range(len(values)))
    cells = {
        c: Cell(
            round(mean, 4),
            None if sd is None else round(sd, 4),
            (n, n + 1),
            2 * n + 1,
            *((None, None) if sd is None else (round(mean - sd, 4), round(mean + sd / 3, 4))),
        )
        for c, (mean, sd, n) in zip(columns, values, strict=True)
    }
    table = ResultTable(
        dataset="d", version="v", split="test", columns=columns,
        rows=(
            Row(name="p", kind="published", cells={columns[0]: Cell(1.5)}, annotation="o",
                consistent=False, comparable=False, note="a, \"b\""),
            Row(name="x", kind="ours", cells=cells, seeds=(0, 2), parameters=3.0, gflops=0.25),
        ),
    )  # fmt: skip
    assert read_csv(table.csv()) == table


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "name,kind,All_total\nx,other,3\n"])
def test_other_files_are_no_tables(text):
    with pytest.raises(ValueError, match=r"no row of ours|a column is missing|kind='other'"):
        read_csv(text)
