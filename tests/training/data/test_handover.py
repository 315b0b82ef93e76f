"""Batches on their way from worker processes, with and without what these share."""

import multiprocessing
import os
import pickle
import signal
import threading
import time
from dataclasses import fields
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from helpers.runs.tiny_fits import Features, build, question_set, questions

from avqa.errors import EnvironmentFailure
from avqa.training.data import handover, memory
from avqa.training.data.batches import make_loader
from avqa.training.data.handover import Parcel, in_our_words

UNEXPECTED = "DataLoader worker (pid(s) 7) exited unexpectedly"


def asked(features=None):
    head = build()
    return question_set(questions("train", 9), head, features or Features(head.FEATURES), True)


@pytest.fixture
def batch():
    return asked().__getitems__([0, 1, 5, 8])


def assert_same(found, batch):
    for field in fields(batch):
        one, two = getattr(found, field.name), getattr(batch, field.name)
        if isinstance(one, torch.Tensor):
            one, two = {"": one}, {"": two}
        assert list(one) == list(two)
        pairs = zip(one.values(), two.values(), strict=True)
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in pairs)


def refuse(*arguments, **keywords):
    raise OSError("AF_UNIX path too long")


@pytest.mark.parametrize("lacking", ["nothing", "room", "room at this moment", "descriptors"])
def test_a_parcel_holds_the_batch(batch, lacking, monkeypatch):
    if lacking == "room":
        monkeypatch.setattr(handover, "has_room", lambda size: False)
    elif lacking == "room at this moment":
        monkeypatch.setattr(torch.UntypedStorage, "_new_shared", refuse)
    elif lacking == "descriptors":
        monkeypatch.setattr(handover, "_spare_descriptors", lambda: False)
    parcel = Parcel(batch)
    assert (parcel._descriptor is not None) == (lacking == "nothing")
    assert_same(parcel.unpack(), batch)


def test_a_process_that_cannot_hand_a_descriptor_over_tries_once(batch, monkeypatch):
    tried = []

    def dumps(block):
        tried.append(block)
        refuse()

    monkeypatch.setattr(Parcel, "_can_share", True)
    monkeypatch.setattr(ForkingPickler, "dumps", dumps)
    for _ in range(2):
        assert_same(Parcel(batch).unpack(), batch)
    assert len(tried) == 1


def test_a_started_process_gets_its_questions_without_room(monkeypatch):
    monkeypatch.setattr(memory, "has_room", lambda size, root=None: False)
    loaded = pickle.loads(handover.dumps(asked()))
    assert not loaded.answers.is_shared()
    assert_same(loaded.__getitems__([0, 3]), asked().__getitems__([0, 3]))


def test_a_worker_that_is_killed_is_one_line():
    features = Features(build().FEATURES)
    features.at[2] = lambda rows: os.kill(os.getpid(), signal.SIGKILL)
    with pytest.raises(EnvironmentFailure) as caught:
        list(make_loader(asked(features), 2, order="given", workers=1))
    assert str(caught.value) == (
        "a process that prepares batches was ended by the signal 'Killed'; expected it to live as"
        " long as the training; most often memory ran out: look at the system's log, use --set"
        " workers=0 or a smaller batch_size, and go on with --resume"
    )


@pytest.mark.parametrize(
    "first", [EOFError(), ConnectionResetError(104, "reset"), RuntimeError(UNEXPECTED)], ids=repr
)
def test_what_a_closed_pipe_says_first_is_not_the_reason(first):
    """The system closes a killed process's pipes before it tells that it was killed."""
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    worker.start()
    threading.Timer(0.1, worker.kill).start()
    with pytest.raises(EnvironmentFailure, match="was ended by the signal 'Killed'; expected it"):
        with in_our_words([worker]):
            raise first
    worker.join()


def test_a_block_that_a_killed_worker_had_is_not_the_reason(batch):
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    worker.start()
    parcel = Parcel(batch)
    parcel._descriptor = b""  # whose bytes end before they begin: EOFError
    threading.Timer(0.1, worker.kill).start()
    with pytest.raises(EnvironmentFailure, match="was ended by the signal 'Killed'; expected it"):
        parcel.unpack([worker])
    worker.join()


def test_a_pipe_that_breaks_with_all_workers_alive_is_what_it_says(monkeypatch):
    monkeypatch.setattr(handover, "SETTLING_SECONDS", 0.05)
    with pytest.raises(
        EnvironmentFailure, match="cannot hand them over: EOFError; expected shared"
    ):
        with in_our_words([multiprocessing.current_process()]):
            raise EOFError


def test_workers_that_cannot_start_are_one_line(monkeypatch):
    monkeypatch.setattr(os, "fork", refuse)
    with pytest.raises(EnvironmentFailure, match=r"too long; expected .* use --set workers=0, or"):
        list(make_loader(asked(), 2, order="given", workers=1))
