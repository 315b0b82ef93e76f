"""One head, one seed: what is computed, kept, measured, said, and what stops it."""

import csv
import errno
import functools
import logging
import os
import signal
import struct
import warnings

import pytest
import torch
from helpers.runs.tiny_fits import (
    ANSWERS,
    Features,
    build,
    question_set,
    questions,
    settings,
    tiny_fit,
)

from avqa.errors import (
    Aborted,
    ConfigError,
    DatasetError,
    EnvironmentFailure,
    Stopped,
    StorageFailure,
)
from avqa.heads import HeadOutput, question_only, total_loss
from avqa.signals import StopSignals
from avqa.training.data.batches import make_loader
from avqa.training.fitting.fit import fit, infer

pytestmark = pytest.mark.usefixtures("one_thread")


def sets(head):
    features = Features(head.FEATURES)
    train = question_set(questions("train", 36), head, features, True)
    return train, question_set(questions("val", 16, right=False), head, features, False)


def rows(folder):
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def accuracy(head):
    answered = infer(head, sets(head)[1], batch_size=5, device="cpu")
    right = [(o.logits.argmax(-1) == b.answers).tolist() for b, o in answered]
    return sum(map(sum, right)) / 16


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A fit of a head with dropout, drawn negatives and an auxiliary loss."""
    folder, head, said = tmp_path_factory.mktemp("fitted"), build("avst"), []
    return folder, head, tiny_fit(folder, head, said=said), said


def by_hand(head):
    """The same fit as a plain loop: Adam × 0.5 after 2 epochs, and what each epoch measured."""
    from avqa.training.fitting.loop import step_seed

    train, _ = sets(head)
    adam = torch.optim.Adam(head.parameters(), lr=0.1)
    loader = make_loader(train, 8, order="grouped", seed=1)
    epochs = []
    for epoch in range(3):
        adam.param_groups[0]["lr"] = 0.1 * 0.5 ** (epoch // 2)
        loader.batch_sampler.set_epoch(epoch)
        sums = torch.zeros(3, dtype=torch.float64)
        for step, batch in enumerate(loader):
            torch.manual_seed(step_seed(1, epoch, step))
            output = head(batch.inputs)
            loss = total_loss(head, output, batch.answers)
            adam.zero_grad()
            loss.backward()
            adam.step()
            right = (output.logits.argmax(-1) == batch.answers).float().mean()
            measured = torch.stack([loss, right, output.aux_losses["match"]])
            sums += measured.detach().double() * len(batch)
        epochs.append((sums / 36).tolist())
    return epochs


def test_every_step_is_the_one_written_down(fitted):
    folder, *_ = fitted
    head = build("avst")
    measured = by_hand(head)
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name, weight in head.state_dict().items():
        assert torch.equal(state[f"head.{name}"], weight), name
    for row, means in zip(rows(folder), measured, strict=True):
        found = [row[name] for name in ("train_loss", "train_accuracy", "train_match")]
        assert found == pytest.approx(means, abs=1e-9)


def test_decay_takes_its_share_of_every_weight(tmp_path):
    """Of one step: what is left of a weight is that of the same step without, less its share."""
    once = {"epochs": 1, "batch_size": 36}
    plain, decayed = build(), build()
    before = {name: weight.detach().clone() for name, weight in plain.named_parameters()}
    tiny_fit(tmp_path / "plain", plain, **once)
    tiny_fit(tmp_path / "decayed", decayed, weight_decay=0.5, **once)
    after = dict(plain.named_parameters())
    for name, weight in decayed.named_parameters():
        torch.testing.assert_close(weight, after[name] - 0.1 * 0.5 * before[name])


def test_adam_keeps_as_much_as_it_is_told(tmp_path):
    head = build()
    tiny_fit(tmp_path / "kept", head, beta1=0.5, epochs=1)
    state = torch.load(tmp_path / "kept" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["betas"] == (0.5, 0.999)


def test_a_steps_seed_depends_on_all_three_and_on_nothing_else():
    from avqa.training.fitting.loop import step_seed

    # Python's own hash differs between processes; this number is what sha256 gives.
    assert step_seed(0, 0, 0) == 3_051_931_488_724_851_722
    assert len({step_seed(*place) for place in [(1, 2, 3), (2, 1, 3), (1, 3, 2), (12, 3, 0)]}) == 4


def test_the_best_epochs_weights_are_left_in_the_head(tmp_path):
    head = build()
    result = tiny_fit(tmp_path, head, step_epochs=10)
    values = [row["val_accuracy"] for row in rows(tmp_path)]
    assert values.index(max(values)) == 1  # else this test tells nothing
    assert values[1] > values[2]
    assert (result.best_epoch, result.epochs) == (2, 3)
    assert accuracy(head) == result.val_accuracy == values[1]
    assert not head.training
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert not torch.equal(last["head.fuse.weight"], head.fuse.weight)


def test_validation_is_the_mean_over_questions(tmp_path):
    """16 questions in batches of 7, 7 and 2."""
    head = build()
    tiny_fit(tmp_path, head, epochs=1, batch_size=7)
    _, val = sets(head)
    batch = val.__getitems__(list(range(16)))
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(head(batch.inputs).logits, batch.answers)
    assert rows(tmp_path)[0]["val_loss"] == pytest.approx(loss.item(), abs=1e-6)


def test_questions_without_a_known_answer_do_not_count(tmp_path):
    """Three known ones of 16, in batches of two: one batch knows one, six know none."""
    head = build()
    train, val = sets(head)
    val.answers[3:] = -1
    fit_of = functools.partial(
        fit, head, train, val, seed=1, folder=tmp_path, resume=False, label="tiny"
    )
    result = fit_of(settings(epochs=1, batch_size=2), say=str)
    logits = next(infer(head, val, batch_size=16, device="cpu"))[1].logits[:3]
    loss = torch.nn.functional.cross_entropy(logits, val.answers[:3]).item()
    right = (logits.argmax(-1) == val.answers[:3]).float().mean().item()
    assert rows(tmp_path)[0]["val_loss"] == pytest.approx(loss, abs=1e-6)
    assert result.val_accuracy == pytest.approx(right)

    val.answers[:] = -1
    with pytest.raises(DatasetError) as caught:
        fit_of(settings(), say=str)
    assert str(caught.value) == (
        "none of 16 validation questions has an answer that the head can give; expected at least"
        " one, to choose the epoch by; check the answers of split val"
    )


def test_metrics_have_one_row_per_epoch(fitted):
    folder, _, result, _ = fitted
    table = rows(folder)
    assert list(table[0]) == [
        *("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "train_match"),
        *("learning_rate", "seconds", "waiting"),
    ]
    assert [row["epoch"] for row in table] == [1, 2, 3]
    assert [row["learning_rate"] for row in table] == [0.1, 0.1, 0.05]
    assert all(0 < row["waiting"] < 1 for row in table)
    assert result.seconds == pytest.approx(sum(row["seconds"] for row in table))


def test_the_picture_of_the_curves_is_there(fitted):
    frame = (fitted[0] / "curves.png").read_bytes()
    assert frame[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", frame[16:24]) == (900, 390)  # with room for marks below


def test_logs_are_there_for_people_and_tensorboard(fitted):
    folder, *_ = fitted
    with (folder / "logs" / "csv" / "from-epoch-1" / "metrics.csv").open(encoding="utf-8") as file:
        logged = list(csv.DictReader(file))
    assert [row["step"] for row in logged] == ["5", "10", "15"]
    assert [float(row["val_loss"]) for row in logged] == [row["val_loss"] for row in rows(folder)]
    events = list((folder / "logs" / "tensorboard").glob("events.out.tfevents.*"))
    assert len(events) == 1
    assert b"val_accuracy" in events[0].read_bytes()


# What stops it


def not_a_number(values):
    for tensor in values.values():
        tensor.fill_(float("nan"))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_epoch_before(tmp_path):
    head = build()
    features = {"train": Features(head.FEATURES), "val": Features(head.FEATURES)}
    # One batch of 36: every epoch reads 12 videos, number 13 is the first of the second epoch.
    features["train"].at[13] = not_a_number
    with pytest.raises(ConfigError) as caught:
        tiny_fit(tmp_path, head, features=features, batch_size=36)
    text = str(caught.value)
    begin, _, rest = text.partition("questions ")
    ids, _, end = rest.partition("; ")
    assert begin == "tiny: loss=nan in epoch=2, step=1, "
    order = make_loader(sets(head)[0], 36, order="grouped", seed=1).batch_sampler
    order.set_epoch(1)
    first = [str(100 + row) for row in next(iter(order))[:3]]
    assert ids == ", ".join([*first, "…"])
    assert end == (
        "expected finite values; lower learning_rate=0.1, or set epochs=1 to end before, and"
        " train anew in another --out; epoch 1 is kept"
    )
    assert caught.value.exit_code == 2
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert [row["epoch"] for row in kept["avqa"]["history"]] == [1]
    assert all(bool(weight.isfinite().all()) for weight in kept["state_dict"].values())
    assert len(rows(tmp_path)) == 1
    assert (tmp_path / "curves.png").exists()


def test_a_validation_loss_that_is_not_finite_keeps_nothing(tmp_path):
    head = build()
    features = {"train": Features(head.FEATURES), "val": Features(head.FEATURES)}
    features["val"].at[1] = not_a_number
    with pytest.raises(ConfigError) as caught:
        tiny_fit(tmp_path, head, features=features, precision="bf16")
    assert str(caught.value) == (
        "tiny: validation loss=nan after epoch=1; expected finite values; lower learning_rate=0.1"
        " or leave precision=bf16 for fp32 and train anew in the same --out;"
        " no epoch was finished"
    )
    assert not (tmp_path / "checkpoints").exists()


class TrainedAlone(question_only.Head):
    """Has a weight that is not used in evaluation, with a gradient that ends as NaN."""

    def __init__(self, options, steps):
        super().__init__(options)
        self.extra = torch.nn.Parameter(torch.ones(()))
        self.aux_weights = {"extra": 1.0}
        self._left = steps
        self.extra.register_hook(self._gradient)

    def _gradient(self, gradient):
        self._left -= 1
        return gradient if self._left else gradient * float("nan")

    def forward(self, inputs, explain=False):
        output = super().forward(inputs)
        return HeadOutput(output.logits, {"extra": self.extra * 1} if self.training else {})


def test_a_weight_that_is_not_finite_is_not_kept(tmp_path):
    head = TrainedAlone(question_only.Options(width=8), steps=10)
    with pytest.raises(ConfigError, match="tiny: weight extra is NaN or infinite after epoch=2;"):
        tiny_fit(tmp_path, head)
    assert len(rows(tmp_path)) == 1
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert bool(kept["head.extra"].isfinite())


def signalled(split, read, *signals):
    """Features that send this process signals at one read."""
    features = {name: Features() for name in ("train", "val")}
    features[split].at[read] = lambda rows: [os.kill(os.getpid(), s) for s in signals]
    return features


@pytest.mark.parametrize(
    ("signum", "code", "split", "read", "finished"),
    [
        (signal.SIGINT, 130, "train", 14, 1),
        (signal.SIGTERM, 143, "train", 14, 1),
        (signal.SIGINT, 130, "val", 7, 1),
        (signal.SIGTERM, 143, "val", 18, 2),  # the last of all reads
    ],
)
def test_a_signal_stops_between_batches(tmp_path, signum, code, split, read, finished):
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    features = signalled(split, read, signum)
    with pytest.raises(Stopped) as caught:
        tiny_fit(tmp_path, features=features, batch_size=36)
    assert caught.value.exit_code == code
    assert not isinstance(caught.value, Aborted)
    assert str(caught.value) == (
        f"tiny: stopped by {signal.Signals(signum).name} with {finished} of 3 epochs finished and"
        " kept; go on with the same command and --resume"
    )
    assert len(rows(tmp_path)) == finished
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert len(kept["avqa"]["history"]) == finished


class Interrupting(list):
    """Lines; the one that says that the last epoch is done comes with a signal."""

    def append(self, line):
        super().append(line)
        if "epoch 3/3 done" in line:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_after_the_last_step_is_not_lost(tmp_path):
    with pytest.raises(Stopped, match="SIGINT with 3 of 3 epochs finished and kept; go on"):
        tiny_fit(tmp_path, said=Interrupting())


def test_a_second_signal_does_not_wait(tmp_path):
    features = signalled("train", 3, signal.SIGINT, signal.SIGTERM)
    with pytest.raises(Aborted, match="aborted by a second signal; go on with --resume") as caught:
        tiny_fit(tmp_path, features=features)
    assert caught.value.exit_code == 143
    assert features["train"].reads == 3


def test_signals_are_left_alone_in_other_threads():
    import threading

    before, seen = signal.getsignal(signal.SIGINT), []

    def look():
        with StopSignals("go on with --resume"):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_gpu_that_is_too_small_is_the_machines_fault(tmp_path):
    features = {name: Features() for name in ("train", "val")}

    def full(rows):
        raise torch.OutOfMemoryError("CUDA out of memory")

    features["train"].at[3] = full
    with pytest.raises(EnvironmentFailure) as caught:
        tiny_fit(tmp_path, features=features)
    assert caught.value.exit_code == 5
    assert str(caught.value) == (
        "tiny: out of GPU memory; expected room for batch_size=8 in fp32; lower batch_size and"
        " train anew, or use another GPU or device=cpu and go on with --resume"
    )


def test_a_full_disk_under_the_logs_is_the_machines_fault(tmp_path, monkeypatch):
    def full(self, metrics, step):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("lightning_fabric.loggers.CSVLogger.log_metrics", full)
    with pytest.raises(StorageFailure, match="cannot write the logs: ENOSPC; disk or quota is"):
        tiny_fit(tmp_path, epochs=1)


# Where and how precisely


def test_fp16_needs_a_gpu(tmp_path):
    with pytest.raises(ConfigError) as caught:
        tiny_fit(tmp_path, precision="fp16")
    assert str(caught.value) == (
        "precision=fp16 on device=cpu; expected fp32 or bf16 there; use precision=bf16, or a GPU"
    )
    assert not any(tmp_path.iterdir())


def test_bf16_computes_less_precisely_and_keeps_weights_in_full(tmp_path):
    losses = {}
    for precision in ("fp32", "bf16"):
        tiny_fit(tmp_path / precision, epochs=1, precision=precision)
        losses[precision] = rows(tmp_path / precision)[0]["train_loss"]
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)
    best = torch.load(tmp_path / "bf16" / "checkpoints" / "best-1.ckpt", weights_only=True)
    assert {weight.dtype for weight in best["state_dict"].values()} == {torch.float32}


# What it leaves alone


def test_nothing_outside_the_folder_changes(tmp_path, monkeypatch, capfd):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("SLURM_NTASKS", "4")  # a batch system's variables are not for Fabric
    monkeypatch.setenv("SLURM_JOB_NAME", "train")

    def outside():
        return [
            dict(os.environ),
            [signal.getsignal(s) for s in sorted(signal.valid_signals())],
            list(warnings.filters),
            {name: logging.getLogger(name).level for name in ("", "lightning_fabric")},
            torch.random.get_rng_state().tolist(),
            torch.is_grad_enabled(),
            os.listdir("."),
        ]

    import lightning_fabric  # noqa: F401  its import does change some of these

    before = outside()
    head = build("question_only")
    torch.manual_seed(5)
    before = outside()
    tiny_fit(tmp_path / "run", head, epochs=1)
    assert outside() == before
    assert capfd.readouterr() == ("", "")
    assert sorted(os.listdir(tmp_path)) == ["here", "run"]
    assert sorted(os.listdir(tmp_path / "run")) == [
        "checkpoints",
        "curves.png",
        "logs",
        "metrics.csv",
    ]


# What it says


def test_a_fit_says_what_begins_and_how_each_epoch_went(fitted):
    folder, _, _, said = fitted
    table = rows(folder)
    assert said[0] == (
        "tiny: 36 questions to train on in 5 batches, 16 to validate with, 3 epochs on cpu in fp32"
    )
    for row, line in zip(table, said[1:], strict=True):
        assert line.startswith(
            f"tiny: epoch {row['epoch']:.0f}/3 done | loss {row['train_loss']:.4f}"
            f" | accuracy {row['train_accuracy']:.2%} | validation loss {row['val_loss']:.4f}"
            f" | validation accuracy {row['val_accuracy']:.2%} (best: "
        )


# Running a trained head


def test_infer_answers_in_order_and_leaves_the_head_as_it_was():
    head = build("avst", dropout=0.5)
    _, val = sets(head)
    assert head.training
    answered = infer(head, val, batch_size=5, device="auto")
    batch, output = next(answered)
    assert not head.training
    assert output.logits.shape == (5, 42)
    assert not output.logits.requires_grad
    assert output.explain == {}
    seen = [batch, *(batch for batch, _ in answered)]
    assert torch.cat([batch.rows for batch in seen]).tolist() == list(range(16))
    assert head.training
    whole = next(infer(head, val, batch_size=16, device="cpu", explain=True))[1]
    assert torch.allclose(whole.logits[:5], output.logits, atol=1e-6)
    assert whole.explain


def test_answers_are_those_of_the_vocabulary():
    """The invented answers are known, so that every question of these tests counts."""
    train, val = sets(build())
    assert int(train.answers.min()) >= 0
    assert int(val.answers.min()) >= 0
    assert len(set(train.answers.tolist())) == len(ANSWERS)
