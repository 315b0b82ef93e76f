"""Places in charts: ticks are round and around all values, points where their numbers are."""

import math

from hypothesis import given
from hypothesis import strategies as st

from avqa.pipelines.pages import charts
from avqa.pipelines.pages.charts import Level, Line, Scale, over_epochs, ticks

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda x: round(x, 3))


@given(NUMBERS, NUMBERS)
def test_ticks_are_round_numbers_around_all(one, other):
    low, high = min(one, other), max(one, other)
    found = ticks(low, high)
    assert found[0] <= low + 1e-6 * (high - low)
    assert found[-1] >= high - 1e-6 * (high - low)
    assert 2 <= len(found) <= 2 * charts.NUM_TICKS + 2
    step = found[1] - found[0]
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - m) for m in (1, 2, 5, 10)) < 1e-3


def test_ticks_of_percents():
    assert ticks(31.2, 68.4) == (30, 40, 50, 60, 70)
    assert ticks(0.5, 0.5) == (0.5, 0.6)


def test_a_scale_is_linear():
    scale = Scale(0, 100, 50, 250)
    assert [scale(x) for x in (0, 25, 100)] == [50, 100, 250]


def test_lines_lie_where_their_values_are():
    line = Line("seed 0", "val", 0, (20.0, math.nan, 60.0), best=3)
    chart = over_epochs("accuracy", [line], [Level("floor 40 %", 40.0, "floor")], "%")
    assert chart.title == "accuracy (%)"
    assert [label for _, label in chart.up] == ["20", "30", "40", "50", "60"]
    assert [label for _, label in chart.across] == ["1", "2", "3"]
    (drawn,) = chart.lines
    first, last = drawn.dots  # what is no number is left out
    bottom, top = charts.HEIGHT - charts.BOTTOM, charts.TOP
    assert (first.x, first.y, first.best) == (charts.LEFT, bottom, False)
    assert (last.x, last.y, last.best) == (charts.WIDTH - charts.RIGHT, top, True)
    assert last.label == "seed 0, epoch 3: 60 %"
    assert drawn.points == f"{first.x:g},{first.y:g} {last.x:g},{last.y:g}"
    ((_, level),) = chart.levels
    assert level == (top + bottom) / 2


def test_without_a_number_there_is_no_chart():
    assert over_epochs("loss", [Line("a", "val", 0, (math.nan,))]) is None
    assert over_epochs("loss", []) is None
