"""``python -m benchmarks.beside``: training as typed, alone and beside another program.

Every head is trained by `avqa train-head` on the same clips: alone, with one core kept busy by
another program, and with the processor time of one core (a control group; as root). Each time with
threads that spin while they are alone and else sleep while they wait for each other, as avqa has
them, with threads that always sleep, with threads that always spin, as torch has them by itself,
and with one thread. What is compared is measured in turn, so that what else the machine does hits
all alike. Writes docs/benchmarks_beside.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.__main__ import machine

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks_beside.md"
PREPARED = (
    "synth {bench} --videos 60 --seconds 10",
    "extract --videos {bench}/videos --out {store} --weights random:0 --chunk-seconds 10"
    " --features clip_vit_b32/frame,clip_vit_b32/patch,vggish/audio",
)
SETTINGS = "visual=clip_vit_b32 stride_seconds=1 max_seconds=10 batch_size=16 question=lstm"
WAYS = {
    "avqa": {},
    "sleeping": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"},
    "spinning": {"GOMP_SPINCOUNT": "300000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
"""Variables of each way; 300,000 is GNU OpenMP's own count where no policy is set."""
_THREADS = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS"}
"""What would have all ways wait alike: not taken from who began the benchmark."""
EPOCHS = 3
"""The first warms up."""
PLACES = ("alone", "beside one busy core", "a quota of one core")


def main() -> None:
    """Prepare, measure in turn, write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--heads", default="avst,sasr,late_fusion")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "beside")
    asked = parser.parse_args()
    prepare(asked.folder)
    found: dict[tuple[str, str, str], list[float]] = {}
    for _ in range(asked.rounds):
        for head in asked.heads.split(","):
            for place in PLACES:
                for way, environ in WAYS.items():
                    rate = questions_per_second(asked.folder, head, place, environ)
                    if rate is not None:
                        found.setdefault((head, place, way), []).append(rate)
                        print(f"{head}, {place}, {way}: {rate:.0f} questions/s", flush=True)
    rates = {key: statistics.median(values) for key, values in found.items()}
    PAGE.write_text(page(rates, asked.rounds, asked.heads), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


def prepare(folder: Path) -> None:
    """Clips and their features; each command leaves alone what is there."""
    for command in PREPARED:
        words = command.format(bench=folder / "bench", store=folder / "store").split()
        subprocess.run([sys.executable, "-m", "avqa", *words], check=True)


def questions_per_second(
    folder: Path, head: str, place: str, environ: dict[str, str]
) -> float | None:
    """Of the epochs after the first; None where the place cannot be had."""
    with tempfile.TemporaryDirectory() as out, contextlib.ExitStack() as stack:
        command = [
            *(sys.executable, "-m", "avqa", "train-head", head, "--dataset", "music-avqa"),
            *("--store", str(folder / "store"), "--out", f"{out}/run", "--device", "cpu"),
            *("--annotations", str(folder / "bench" / "annotations")),
            *(word for each in SETTINGS.split() for word in ("--set", each)),
            *("--set", f"epochs={EPOCHS}"),
        ]
        if place == "beside one busy core":
            stack.enter_context(busy_core())
        if place == "a quota of one core":
            group = stack.enter_context(quota_of_one_core())
            if group is None:
                return None
            command = in_group(group, command)
        done = subprocess.run(
            command,
            env={k: v for k, v in os.environ.items() if k not in _THREADS} | environ,
            check=True,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
    return warm_rate(head, done.stderr)


def warm_rate(head: str, said: str) -> float:
    """Questions a second that a training said of its epochs after the first."""
    rates = re.findall(rf"^{head} default.* done .*\| (\d+) questions/s", said, re.MULTILINE)
    return statistics.median(map(float, rates[1:]))


_BUSY = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): pass"
"""Ends with who began it, however and however early that ends."""


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    """Another program that computes without end, while entered."""
    other = subprocess.Popen([sys.executable, "-c", _BUSY, str(os.getpid())])
    try:
        yield
    finally:
        other.kill()
        other.wait()


@contextlib.contextmanager
def quota_of_one_core() -> Iterator[Path | None]:
    """A control group that may use one core's time; None where none can be made."""
    older = Path("/sys/fs/cgroup/cpu")
    group = (older if older.is_dir() else older.parent) / f"avqa-{os.getpid()}"
    limit = {"cpu.max": "100000 100000"}
    if older.is_dir():
        limit = {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "100000"}
    try:
        group.mkdir()
    except OSError:
        yield None
        return
    try:
        given = all((group / name).exists() for name in limit)
        for name, text in limit.items() if given else ():
            (group / name).write_text(text, encoding="ascii")
        yield group if given else None
    finally:
        group.rmdir()


def in_group(group: Path, command: Sequence[str]) -> list[str]:
    """A command that runs in a control group."""
    return ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh", *command]


def page(rates: dict[tuple[str, str, str], float], rounds: int, heads: str) -> str:
    """The page in Markdown."""
    lines = [
        "# Training beside other programs",
        "",
        f"Written by `python -m benchmarks.beside --rounds {rounds} --heads {heads}`; do not edit."
        " `avqa train-head` as typed, 60 clips of 10 s with seeded random weights, batches of 16,"
        " questions a second, medians of"
        f" {rounds} round(s) measured in turn. *avqa*: threads that wait for each other spin while"
        " the cores are theirs alone, else they sleep. *Sleeping*: they always do"
        " (`GOMP_SPINCOUNT=0`). *Spinning*: they always do, as torch's OpenMP has them by itself"
        " (`GOMP_SPINCOUNT=300000`). Wanted: alone avqa ÷ spinning at least 0.9, beside one busy"
        " core half the speed of alone, under a quota of one core, where avqa has one thread, its"
        " speed.",
        "",
        f"Machine: {machine()}.",
        "",
        "| head | where | avqa | sleeping | spinning | one thread | avqa ÷ spinning"
        " | avqa ÷ one thread |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for head, place in dict.fromkeys((head, place) for head, place, _ in rates):
        ours, sleeping, spinning, one = (rates[head, place, way] for way in WAYS)
        lines.append(
            f"| {head} | {place} | {ours:.0f} | {sleeping:.0f} | {spinning:.0f} | {one:.0f}"
            f" | {ours / spinning:.2f} | {ours / one:.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
