"""The benchmark of training beside other programs: what it reads, writes and leaves behind."""

import signal
import subprocess
import sys

import psutil
from helpers.ended import wait_until_gone

from benchmarks import beside

SAID = """\
avst default seed 0: epoch 1/3 done | loss 3.1 | accuracy 22% | 90 questions/s | waiting 1%
avst default seed 0: epoch 2/3 done | loss 2.9 | accuracy 23% | 150 questions/s | waiting 1%
avst default seed 0: epoch 3/3 done | loss 2.8 | accuracy 24% | 170 questions/s | waiting 1%
avst question_only seed 0: epoch 3/3 done | loss 2.8 | accuracy 24% | 2000 questions/s | waiting
"""


def test_the_rate_is_of_the_head_itself_once_it_is_warm():
    assert beside.warm_rate("avst", SAID) == 160


def test_the_page_has_the_places_that_were_measured():
    rates = {
        ("avst", "alone", way): rate
        for way, rate in zip(beside.WAYS, (190, 150, 200, 120), strict=True)
    }
    page = beside.page(rates, 3, "avst")
    assert page.splitlines()[-1] == "| avst | alone | 190 | 150 | 200 | 120 | 0.95 | 1.58 |"
    assert "`python -m benchmarks.beside --rounds 3 --heads avst`" in page
    assert "| a quota of one core" not in page


def test_the_other_program_ends_with_who_began_it_however_that_ends():
    code = (
        "import sys, time; from benchmarks import beside\n"
        "with beside.busy_core(): print('on', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=beside.ROOT
    ) as process:
        assert process.stdout.readline() == b"on\n"
        [other] = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGKILL)
    assert wait_until_gone(other.pid)
