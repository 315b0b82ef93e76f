"""What is shown of work: pieces that fit, a time left that is steady, lines where nothing draws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avqa import telling
from avqa.telling import Bar, Pace, Shown, Watched, counting


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still; ``now[0] += seconds`` moves it."""
    time = [1000.0]
    monkeypatch.setattr(telling.time, "monotonic", lambda: time[0])
    return time


def test_the_least_important_goes_first_where_room_is_short():
    shown = Shown(0.256, ("3/14 videos", "2:05 left", "1.5 h of video per hour"))
    assert shown.fitted(80) == " 26% | 3/14 videos | 2:05 left | 1.5 h of video per hour"
    assert shown.fitted(31) == " 26% | 3/14 videos | 2:05 left"
    assert shown.fitted(29) == " 26% | 3/14 videos"
    assert shown.fitted(2) == " 2"
    assert Shown(None, ("starting",)).fitted(80) == "starting"


@given(st.none() | st.floats(0, 1), st.lists(st.text(max_size=20), max_size=6), st.integers(0, 99))
def test_no_line_is_longer_than_the_terminal(share, pieces, width):
    assert len(Shown(share, tuple(pieces)).fitted(width)) <= width


def test_the_time_left_counts_down_and_settles(now):
    pace = Pace()
    assert pace.left(0, 100) is None
    now[0] += 10
    assert pace.left(10, 100) == 90  # one a second
    now[0] += 5
    assert 85 < pace.left(10, 100) < 120  # a pause: slowly more, no jump to 135
    steady = Pace()
    for done in range(1, 60):
        now[0] += 1
        left = steady.left(done, 100)
    assert left == pytest.approx(41, abs=1e-6)
    now[0] += 1
    assert steady.left(100, 100) == 0  # done, however slow it was


@given(st.lists(st.tuples(st.floats(0.01, 30), st.floats(0, 50)), min_size=1, max_size=30))
def test_a_time_left_is_never_negative_nor_over_at_once(steps):
    with pytest.MonkeyPatch.context() as patch:
        clock = [0.0]
        patch.setattr(telling.time, "monotonic", lambda: clock[0])
        pace, done = Pace(), 0.0
        total = sum(more for _, more in steps) + 1
        for seconds, more in steps:
            clock[0] += seconds
            done += more
            left = pace.left(done, total)
            assert left is None or left >= 0


def test_where_nothing_draws_a_line_comes_every_five_seconds(now):
    said = []
    with counting(said.append, "verify", 40, "records") as count:
        for _ in range(20):
            now[0] += 1
            count.step()
    assert said == [
        "verify: 5/40 records | 0:35 left",
        "verify: 10/40 records | 0:30 left",
        "verify: 15/40 records | 0:25 left",
        "verify: 20/40 records | 0:20 left",
    ]


class Drawing:
    """Something to say with that draws."""

    def __init__(self):
        self.lines, self.shown, self.ended = [], None, False

    def __call__(self, line):
        self.lines.append(line)

    def draw(self, shown):
        self.shown = shown
        return self.end

    def end(self):
        self.ended = True


def test_what_draws_gets_a_bar_and_no_lines(now):
    say = Drawing()
    bar = Bar(say, lambda: Shown(0.5, ("half",)))
    with bar:
        now[0] += 60
        bar.tick()
        assert say.shown() == Shown(0.5, ("half",))
        assert not say.ended
    assert say.ended
    assert say.lines == []


def test_who_may_say_no_more_says_nothing_and_draws_as_before():
    say, seen = Drawing(), []

    def look():
        seen.append(len(say.lines))
        if len(seen) == 2:
            raise KeyError

    watched = Watched(say, look)
    watched("one")
    with pytest.raises(KeyError):
        watched("two")
    assert (say.lines, seen) == (["one"], [0, 1])
    assert watched.draw(lambda: Shown(None, ("x",))) == say.end
    assert say.shown().line() == "x"
    assert Watched([].append, look).draw(lambda: Shown(None, ())) is None
