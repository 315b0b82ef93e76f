"""Accuracies on one axis: where their numbers are, and only those that may be compared."""

from avqa.pipelines.pages.intervals import LEFT, LINE, RIGHT, TOP, WIDTH, over_columns
from avqa.training.table.flips import FLIP
from avqa.training.table.layout import Cell, ResultTable, Row


def table(*rows):
    columns = ("A-Count", "V-Count", "All", FLIP)
    return ResultTable(dataset="d", version="v", split="test", columns=columns, rows=rows)


OURS = Row(
    name="ours: x",
    kind="ours",
    cells={"A-Count": Cell(50.0), "All": Cell(25.0, low=0, high=100), FLIP: Cell(9.0)},
)
FLOOR = Row(name="floor", kind="floor", cells={"All": Cell(75.0), "V-Count": Cell(float("nan"))})
OTHER = Row(name="theirs", kind="published", cells={"All": Cell(70.0)}, comparable=False)


def test_marks_lie_where_their_numbers_are():
    found = over_columns(table(OTHER, FLOOR, OURS))
    assert [label for _, label in found.rows] == ["A-Count", "All"]  # no figure, no line
    assert found.kinds == ("ours", "floor")  # of other questions: not on the same axis
    floor, ours = (m for m in found.marks if m.label.startswith(("floor, All", "ours: x, All")))
    wide = WIDTH - LEFT - RIGHT
    assert (ours.low, ours.x, ours.high) == (LEFT, LEFT + wide / 4, WIDTH - RIGHT)
    assert (floor.x, floor.low) == (LEFT + 3 * wide / 4, None)
    assert abs(ours.y - (TOP + 1.5 * LINE)) < LINE / 2
    assert ours.label == "ours: x, All: 25.00 % (0.0 to 100.0)"


def test_without_figures_of_ours_there_is_nothing():
    assert over_columns(table(FLOOR)) is None
    assert over_columns(table()) is None
