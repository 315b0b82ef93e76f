"""What a fit says, draws and measures about itself."""

import math

import pytest

from avqa.training.fitting import progress as _progress
from avqa.training.fitting.curves import RANDOM_MARK, Marks, curves
from avqa.training.fitting.history import best_epoch, mean_waiting, read_metrics, write_metrics
from avqa.training.fitting.progress import Progress, Tally, TimedBatches


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still; ``clock[0] += seconds`` moves it."""
    now = [100.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    return now


def epoch_row(epoch, seconds, val_accuracy):
    row = {"epoch": epoch, "train_loss": 1.5, "train_accuracy": 0.25, "val_loss": 1.25}
    return row | {"val_accuracy": val_accuracy, "seconds": seconds, "waiting": 0.0625}


def test_progress_says_where_it_is_every_five_seconds(clock):
    said, history = [], []
    progress = Progress(said.append, "pstp seed 0", 3, history)
    tally = Tally()
    tally.add({"loss": 2.0, "accuracy": 0.5}, 30)
    tally.add({"loss": 5.0, "accuracy": 0.0}, 10)
    clock[0] += 4.9
    progress.batch(1, 100, tally, 0.5)
    assert said == []
    clock[0] += 0.1
    progress.batch(2, 100, tally, 0.5)
    progress.batch(3, 100, tally, 0.5)
    assert said == [
        "pstp seed 0: epoch 1/3 | 12:25 left | batch 2/100 | loss 2.7500 | accuracy 37.50%"
        " | 8 questions/s | waiting 10%"
    ]
    assert progress.shown().share == 3 / 300
    clock[0] += 5
    progress.validation(4, 20)
    assert progress.shown().share == 1 / 3
    assert said[1:] == ["pstp seed 0: epoch 1/3 | validation batch 4/20"]

    history += [epoch_row(1, 200.0, 0.5), epoch_row(2, 100.0, 0.375)]
    progress.end_epoch(123.4)
    assert said[2:] == [
        "pstp seed 0: epoch 2/3 done | loss 1.5000 | accuracy 25.00% | validation loss 1.2500"
        " | validation accuracy 37.50% (best: 50.00% in epoch 1) | 123 questions/s | waiting 6%"
        " | 2:30 left"
    ]
    progress.begin_epoch()
    clock[0] += 10
    progress.batch(1, 100, tally, 0.0)
    # 150 s an epoch so far, one epoch to go, 10 s of it over.
    assert "| 2:20 left | batch 1/100 |" in said[3]


class SlowLoader:
    """Two batches; the first is 2 s away, the second 3 s, the end 7 s."""

    batch_sampler = None

    def __init__(self, clock):
        self.clock = clock

    def __len__(self):
        return 2

    def __iter__(self):
        for seconds in (2, 3):
            self.clock[0] += seconds
            yield seconds
        self.clock[0] += 7


def test_waiting_is_the_time_until_a_batch_is_there(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("avqa.training.fitting.progress.time.perf_counter", lambda: clock[0])
    batches = TimedBatches(SlowLoader(clock))
    for epoch in range(2):  # each counts its own
        for _ in batches.of_epoch(epoch):
            clock[0] += 10  # training
        assert batches.waited == 5
    assert len(batches) == 2


def test_the_first_of_equal_epochs_is_the_best():
    history = [{"epoch": n, "val_accuracy": v} for n, v in enumerate((0.1, 0.3, 0.3, 0.2), 1)]
    assert best_epoch(history) == 2


def test_waiting_is_weighed_by_time():
    history = [{"seconds": 1.0, "waiting": 0.5}, {"seconds": 3.0, "waiting": 0.1}]
    assert mean_waiting(history) == pytest.approx(0.2)


def test_an_epoch_without_an_auxiliary_loss_leaves_its_place(tmp_path):
    write_metrics(tmp_path / "m.csv", [{"epoch": 1, "train_x": float("nan")}])
    assert (tmp_path / "m.csv").read_text(encoding="utf-8") == "epoch,train_x\n1,nan\n"


def test_curves_show_the_history_and_the_best_epoch():
    table = [epoch_row(n, 1.0, v) | {"train_loss": 1 / n} for n, v in enumerate((0.1, 0.3, 0.2), 1)]
    loss, right = curves(table, "a title").axes
    lines = {line.get_label(): line.get_ydata() for line in loss.lines}
    assert list(lines["training"]) == [row["train_loss"] for row in table]
    assert list(lines["validation"]) == [row["val_loss"] for row in table]
    lines = {line.get_label(): line for line in right.lines}
    assert list(lines["training"].get_ydata()) == [100 * row["train_accuracy"] for row in table]
    assert list(lines["validation"].get_ydata()) == [100 * row["val_accuracy"] for row in table]
    best = best_epoch(table)
    assert list(lines[f"best epoch {best}"].get_xdata()) == [best, best]


def test_curves_show_what_the_head_has_to_clear():
    table = [epoch_row(n, 1.0, v) | {"train_loss": 1 / n} for n, v in enumerate((0.1, 0.3), 1)]
    marks = Marks(0.25, "template floor", 0.5, random_weights=True)
    figure = curves(table, "a title", marks)
    loss, right = figure.axes
    lines = {line.get_label(): list(line.get_ydata()) for line in right.lines}
    assert lines["template floor 25.0 %"] == [25, 25]
    assert lines["question-only 50.0 %"] == [50, 50]
    assert len(loss.lines) == 3
    assert figure.get_suptitle() == f"a title\n{RANDOM_MARK}"
    plain = curves(table, "a title")
    assert plain.get_suptitle() == "a title"
    assert len(plain.axes[1].lines) == 3


def test_metrics_are_read_as_they_were_written(tmp_path):
    table = [epoch_row(n, 1.0, v) | {"train_loss": 1 / n} for n, v in enumerate((0.1, 0.3), 1)]
    assert read_metrics(tmp_path / "m.csv") == []
    write_metrics(tmp_path / "m.csv", table)
    assert read_metrics(tmp_path / "m.csv") == table


def test_bias_learners_are_drawn_and_told_where_there_are_any(clock):
    def row(epoch, q, a):
        shares = {"train_bias_accuracy_q": q, "train_bias_accuracy_a": a}
        return epoch_row(epoch, 10.0, 0.5) | shares

    said, history = [], [row(1, 0.25, math.nan), row(2, 0.625, 0.125)]
    Progress(said.append, "pstp seed 0", 2, history).end_epoch(100.0)
    assert "(best: 50.00% in epoch 1) | bias learners q 62.50%, a 12.50% | 100 questions" in said[0]
    _, axes = curves(history, "pstp").axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert list(lines["bias learner q"]) == [25.0, 62.5]
    assert math.isnan(lines["bias learner a"][0])
    assert not any(
        "bias" in line.get_label() for line in curves([epoch_row(1, 1, 0.5)], "").axes[1].lines
    )
