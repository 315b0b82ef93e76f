"""Processes that train together: the steps of one process, and what ends them."""

import csv
import os
import signal
from multiprocessing import get_context

import pytest
import torch
from helpers.heads.head_batches import make_inputs, select
from helpers.runs.tiny_fits import Features, build, die_as_second, settings, tiny_fit
from torch.nn import functional as F

from avqa import heads
from avqa.errors import ConfigError, EnvironmentFailure
from avqa.signals import StopSignals
from avqa.training.fitting import processes
from avqa.training.fitting.checkpoints import Checkpoints
from avqa.training.fitting.task import Task

pytestmark = pytest.mark.usefixtures("one_thread")


def rows(folder):
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def test_two_processes_are_one_even_if_one_dies(tmp_path):
    """36 questions in batches of 7: shares of 4 and 3, and of 1 and none at the end."""
    alone = build(dropout=0.0)
    tiny_fit(tmp_path / "alone", alone, batch_size=7)
    folder, features = (
        tmp_path / "together",
        {s: Features(alone.FEATURES) for s in ("train", "val")},
    )
    features["train"].at[25] = die_as_second
    said = []
    with pytest.raises(EnvironmentFailure) as died:
        tiny_fit(
            *(folder, build(dropout=0.0)), features=features, said=said, batch_size=7, devices=2
        )
    assert str(died.value) == (
        "tiny: process 1 of devices=2 was killed by SIGKILL; expected it to train to the end;"
        " check the memory and the system's log, and go on with --resume"
    )
    assert said[0].endswith("3 epochs on 2 × cpu in fp32")
    assert len(rows(folder)) == 1

    head = build(dropout=0.0, seed=7)  # the checkpoint's weights count, not these
    tiny_fit(folder, head, resume=True, batch_size=7, devices=2)
    for one, two in zip(rows(tmp_path / "alone"), rows(folder), strict=True):
        for name in one.keys() - {"seconds", "waiting"}:
            assert two[name] == pytest.approx(one[name], abs=1e-5), name
    for name, weight in head.state_dict().items():
        assert torch.allclose(weight, alone.state_dict()[name], atol=1e-5), name
    assert not any(folder.rglob("*.partial"))


def answering(pipe, message):
    pipe.send("a line")
    if message is None:
        return
    pipe.send(message)
    signal.pause()


def listen(tmp_path, *works, say=str):
    """What forked processes say, each a function and its message, until `_listen` ends."""
    context, started = get_context("fork"), {}
    for work, message in works:
        ours, theirs = context.Pipe()
        started[ours] = context.Process(target=work, args=(theirs, message))
        started[ours].start()
        theirs.close()
    said = []
    task = Task(
        *(None, None, None, settings(), 1, "cpu", len(works), tmp_path, "tiny"),
        *(Checkpoints(tmp_path, {}), []),
    )
    try:
        with StopSignals("") as stop:
            processes._listen(task, started, lambda line: (said.append(line), say(line)), stop)
    finally:
        for process in started.values():
            process.kill()
            process.join()
    return said


def test_lines_come_until_all_processes_are_done(tmp_path):
    assert listen(tmp_path, (answering, None), (answering, None)) == ["a line", "a line"]


def test_an_error_of_one_process_ends_all(tmp_path):
    with pytest.raises(ConfigError, match="^no good$"):
        listen(tmp_path, (answering, "waiting"), (answering, ConfigError("no good")))
    with pytest.raises(RuntimeError, match="^a bug$"):
        listen(tmp_path, (answering, RuntimeError("a bug")))


def hanging_up(pipe, message):
    """Complains as one whose neighbour is gone."""
    pipe.send(RuntimeError("connection closed by peer"))
    signal.pause()


def late(pipe, message):
    signal.signal(signal.SIGALRM, lambda *_: os._exit(3))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    signal.pause()


def test_the_process_that_died_is_named_not_who_misses_it(tmp_path):
    with pytest.raises(EnvironmentFailure, match="process 1 of devices=2 ended with 3; expected"):
        listen(tmp_path, (hanging_up, None), (late, None))


def test_a_signal_ends_all(tmp_path):
    def terminate(line):
        os.kill(os.getpid(), signal.SIGTERM)

    # The error behind the line is not waited for.
    said = listen(tmp_path, (answering, "more"), (late, None), say=terminate)
    assert said == ["a line"]


# What is exact


@pytest.mark.parametrize("name", heads.names())
def test_shares_of_a_batch_have_the_gradient_of_the_batch(name):
    """Seven questions in shares of 3, 2 and 2; cross-entropy, without what is random."""
    fixed = {"joint_dropout": 0.0, "norm": "layer"}
    options = {k: v for k, v in fixed.items() if k in heads.load(name).Options.__dataclass_fields__}
    head = build(name, text_width=8, dropout=0.0, **options).train()
    inputs, answers = make_inputs(head, batch=7), torch.arange(7) % 5

    def gradients(places):
        head.zero_grad()
        loss = F.cross_entropy(head(select(inputs, places)).logits, answers[places])
        loss.backward()
        return [torch.zeros_like(w) if w.grad is None else w.grad for w in head.parameters()]

    whole = gradients(torch.arange(7))
    shares = [torch.arange(7)[number::3] for number in range(3)]
    parts = [[len(share) / 7 * g for g in gradients(share)] for share in shares]
    for exact, *summed in zip(whole, *parts, strict=True):
        assert torch.allclose(sum(summed), exact, atol=1e-6)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [(["lo", "eth0"], "lo"), (["gif0", "lo0", "en0"], "lo0"), (["lowpan0", "eth0"], "lo")],
)
def test_processes_talk_through_the_loopback_device(monkeypatch, devices, expected):
    monkeypatch.setattr("socket.if_nameindex", lambda: [*enumerate(devices, 1)])
    assert processes._loopback() == expected
