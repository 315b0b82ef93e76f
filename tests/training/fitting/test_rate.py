"""How the learning rate falls, told by what a fit notes of its epochs."""

import csv

import pytest
from helpers.runs.tiny_fits import build, tiny_fit

from avqa.training.fitting.rate import linear


def rates(folder):
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as lines:
        return [float(row["learning_rate"]) for row in csv.DictReader(lines)]


def test_in_steps_or_in_a_line_that_would_meet_zero(tmp_path):
    tiny_fit(tmp_path / "step", epochs=5, step_epochs=2)
    assert rates(tmp_path / "step") == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])
    tiny_fit(tmp_path / "line", epochs=5, step_epochs=2, decay="linear")
    assert rates(tmp_path / "line") == pytest.approx([0.1, 0.1, 0.075, 0.05, 0.025])


def test_a_line_goes_on_where_it_was_left(tmp_path, monkeypatch):
    from avqa.training.fitting import loop

    whole, parted = build(), build()
    tiny_fit(tmp_path / "whole", whole, epochs=4, step_epochs=1, decay="linear")
    kept = loop._keep

    def stopped(task, state, row):
        kept(task, state, row)
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_keep", stopped)
    with pytest.raises(KeyboardInterrupt):
        tiny_fit(tmp_path / "parted", parted, epochs=4, step_epochs=1, decay="linear")
    monkeypatch.setattr(loop, "_keep", kept)
    tiny_fit(tmp_path / "parted", build(), epochs=4, step_epochs=1, decay="linear", resume=True)
    assert rates(tmp_path / "parted") == rates(tmp_path / "whole")
    assert rates(tmp_path / "whole")[-1] == pytest.approx(0.025)


def test_a_line_of_no_length():
    assert [linear(epoch, 3, 3) for epoch in range(3)] == [1, 1, 1]
    assert [linear(epoch, 9, 3) for epoch in range(3)] == [1, 1, 1]
    assert linear(3, 3, 3) == 0  # what the step after the last epoch sets
