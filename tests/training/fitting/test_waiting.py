"""Threads of torch spin while the cores are theirs alone, and sleep while others want them."""

import sys
import threading

import pytest
from helpers.extraction.light import finished
from helpers.runs.tiny_fits import Features, build, question_set, questions, settings, tiny_fit

from avqa.surroundings import SPINS, let_threads_spin_while_alone, spins_while_alone
from avqa.training.fitting import waiting
from avqa.training.fitting.fit import infer
from avqa.training.fitting.waiting import Crowd, Others, busy_seconds
from avqa.training.grounding import pretrain

SPIN_FOR_EVER = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "30000000000"}
IDLE = """
import time, torch
from avqa.training.fitting.waiting import Crowd
torch.set_num_threads(2)
def idle():
    torch.zeros(2**20).add_(1)  # its second thread waits behind it
    before = time.process_time()
    time.sleep(0.5)
    return time.process_time() - before
crowd = Crowd(2, {cores})
found = [idle()]
crowd.gather()
found.append(idle())
crowd.scatter()
found.append(idle())
print(*found)
"""


def test_more_threads_than_cores_send_the_others_to_sleep_and_wake_them():
    """By the processor time that a thread takes which waits for work."""
    code = IDLE.format(cores="len(__import__('os').sched_getaffinity(0))")
    status, told, said = finished([sys.executable, "-c", code], **SPIN_FOR_EVER)
    assert status == 0, said
    alone, crowded, again = map(float, told.split())
    if alone < 0.05:
        pytest.skip("torch has another OpenMP than GNU's, or one core")
    assert crowded < alone / 5
    assert again > crowded * 5


@pytest.mark.parametrize(
    ("given", "spins"),
    [
        ({"OMP_WAIT_POLICY": "PASSIVE"}, True),
        ({"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "7"}, False),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, False),
        ({"GOMP_SPINCOUNT": SPINS}, False),
    ],
)
def test_what_a_user_set_stays(given, spins, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    environ = dict(given)
    let_threads_spin_while_alone(environ)
    assert spins_while_alone(environ) == spins
    assert given.items() <= environ.items()


def test_with_torch_there_it_is_too_late():
    environ = {"OMP_WAIT_POLICY": "PASSIVE"}
    let_threads_spin_while_alone(environ)
    assert environ == {"OMP_WAIT_POLICY": "PASSIVE"}


class Seen:
    """In place of `Crowd` and `Others`: what is done, by what others use at each look."""

    def __init__(self, *uses):
        self.uses, self.done, self.ended = iter(uses), [], threading.Event()

    def __call__(self, *arguments):
        return self

    def cores_used(self):
        used = next(self.uses, None)
        if used is None:
            self.ended.set()
        return used or 0.0

    def gather(self):
        self.done.append("asleep")

    def scatter(self):
        self.done.append("awake")


def test_threads_are_awake_as_long_as_cores_are_left_for_them(monkeypatch):
    """Two threads on three cores, of which others may have one and a tenth."""
    seen = Seen(0.0, 1.05, 1.2, 3.0, 0.5)
    monkeypatch.setattr(waiting.os, "sched_getaffinity", lambda pid: {0, 1, 2})
    for name, value in {"Crowd": seen, "Others": seen, "SECONDS": 0}.items():
        monkeypatch.setattr(waiting, name, value)
    waiting._watch(seen.ended, 2)
    first, *looks, at_the_last_look, at_the_end = seen.done
    assert first == "asleep"  # until it is known that nobody else is there
    assert looks == ["awake", "awake", "asleep", "asleep", "awake"]
    assert at_the_last_look == at_the_end == "awake"


@pytest.fixture
def watched(monkeypatch):
    """Threads that spin while alone, and how often they were watched."""
    times = []
    monkeypatch.setattr(waiting, "spins_while_alone", lambda: True)
    monkeypatch.setattr(waiting.torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(waiting, "_watch", lambda ended, threads: times.append(threads))
    return times


def test_a_fit_and_its_test_are_watched(watched, tmp_path):
    head = build("question_only")
    tiny_fit(tmp_path, head)
    assert watched == [2]
    questions_asked = question_set(questions("val", 4), head, Features(head.FEATURES), False)
    assert len(list(infer(head, questions_asked, batch_size=2, device="cpu"))) == 2
    assert watched == [2, 2]


def test_grounding_is_watched(watched):
    head, reader = build("avst"), Features(("audio", "patch"))
    pretrain(head, reader, ["1", "2"], settings(epochs=1), seed=0, say=lambda line: None)
    assert watched == [2]


def test_one_thread_is_not_watched(watched, monkeypatch):
    monkeypatch.setattr(waiting.torch, "get_num_threads", lambda: 1)
    with waiting.awake_while_alone():
        pass
    assert watched == []


def test_others_are_all_but_this_process(monkeypatch):
    looks = iter([(0.0, 0.0, 100.0), (2.0, 3.0, 104.0), (4.0, 7.0, 108.0), (4.0, 7.0, 108.0)])
    monkeypatch.setattr(Others, "_look", lambda self: next(looks))
    others = Others()
    assert others.cores_used() == 0.5  # of 4 s in 2 s, 3 were this process's
    assert others.cores_used() == 0
    assert others.cores_used() == 0  # no time went by


def test_time_of_the_cores_of_this_process_alone_counts(monkeypatch, tmp_path):
    stat = tmp_path / "stat"
    stat.write_text(
        "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 50 60 4 5 6 7 8\ncpu1 9 9 9 9 9 9 9 9 9 9\n",
        encoding="utf-8",
    )
    real = open
    monkeypatch.setattr("builtins.open", lambda path, **named: real(stat, **named))
    monkeypatch.setattr(waiting.os, "sched_getaffinity", lambda pid: {0})
    monkeypatch.setattr(waiting.os, "sysconf", lambda name: 10)
    assert busy_seconds() == 2.1  # user, nice, system, irq, softirq, steal


@pytest.mark.parametrize(
    ("threads", "cores", "teams"), [(2, 2, 1), (16, 16, 1), (4, 16, 5), (2, 8, 7), (5, 8, 1)]
)
def test_teams_are_enough_to_be_more_than_the_cores(threads, cores, teams):
    crowd = Crowd(threads, cores)
    assert crowd._teams == teams
    assert threads + crowd._teams * (threads - 1) > cores
