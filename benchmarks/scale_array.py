"""``python -m benchmarks.scale_array [--videos N --seconds S --tasks T --linked]``: array tasks.

An array job as `docs/cluster.md` has it, task by task: the real driver, ledger, store, `finalize`
and `verify`; only decoding and networks are replaced, as in `benchmarks.scale`. Task 0 is killed at
half and run again, and its part compared with that of a run that was not. Every step is a process
of its own. Fills the second table of docs/scaling.md; with another size it prints. For a million
videos there is ``--linked``: objects that go into a shard are hard links of a few.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from avqa.extract.profiles import profile
from avqa.pipelines.cluster import executor
from avqa.pipelines.cluster.environment import feature_recipe
from avqa.pipelines.extraction import array_job
from avqa.pipelines.extraction import run as features
from avqa.pipelines.extraction.array_job import Partition
from avqa.pipelines.extraction.run import ExtractOptions, extract_folder
from benchmarks.scale import (
    FEATURES,
    PAGE,
    ROOT,
    Linked,
    in_its_own_process,
    peak_bytes,
    specs,
    stub_record,
)

PLACE = ROOT / "build" / "scale-array"
STORE = PLACE / "store"
START, END = "<!-- scale-array -->", "<!-- /scale-array -->"
VIDEOS, SECONDS, TASKS = 100_000, 10, 8


def main() -> None:
    """Measure and write the table, or print that of another size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=VIDEOS)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--linked", action="store_true")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        print(json.dumps(STEPS[asked.step.partition(" ")[0]](asked)))
        return
    table = rows(measure(asked))
    print("\n".join(table))
    if (asked.videos, asked.seconds, asked.tasks) == (VIDEOS, SECONDS, TASKS):
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
        after = rest.partition(END)[2]
        PAGE.write_text(before + "\n".join([START, "", *table, "", END]) + after, encoding="utf-8")


def measure(asked: Any) -> dict[str, Any]:
    """Everything about one size."""
    shutil.rmtree(PLACE, ignore_errors=True)
    (PLACE / "videos").mkdir(parents=True)
    for number in range(asked.videos):
        (PLACE / "videos" / f"v{number:08d}.mp4").write_text(f"stub {number}", encoding="utf-8")
    try:
        killed = kill_half_way(asked)
        tasks = [step(f"task {index}", asked) for index in range(asked.tasks)]
        resumed = digest(part(0, asked))
        shutil.rmtree(part(0, asked))
        tasks[0] = step("task 0", asked)
        same = resumed == digest(part(0, asked))
        found: dict[str, Any] = {
            "killed": killed,
            "same": same,
            "tasks": tasks,
            "in_parts": num_files(STORE / "parts"),
            "finalize": step("finalize", asked),
            "files": num_files(STORE / "features.zarr") + num_files(STORE / "loose.zarr"),
        }
        for name in ("open", "size", "crc"):
            found[name] = step(name, asked)
        for level in ("size", "crc"):
            found[f"{level}_part"] = step(f"{level} {asked.tasks // 2}/{asked.tasks}", asked)
        return found | {"videos": asked.videos, "seconds": asked.seconds, "count": asked.tasks}
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)


def part(index: int, asked: Any) -> Path:
    """Folder of a task."""
    return STORE / "parts" / f"{index}-of-{asked.tasks}"


def num_files(folder: Path) -> int:
    """Of feature objects below a folder: columns and metadata are few."""
    groups = {"features.zarr", "loose.zarr"}
    return sum(
        name.startswith("c.")
        for place, _, names in os.walk(folder)
        if Path(place).parts[-3] in groups and "/".join(Path(place).parts[-2:]) in FEATURES
        for name in names
    )


def digest(folder: Path) -> str:
    """Of all files of a store's arrays."""
    found = hashlib.sha256()
    for file in sorted((folder / "features.zarr").rglob("*")):
        if file.is_file():
            found.update(str(file.relative_to(folder)).encode())
            found.update(file.read_bytes())
    return found.hexdigest()


def command(name: str, asked: Any) -> list[str]:
    """One step as a program."""
    words = {"videos": asked.videos, "seconds": asked.seconds, "tasks": asked.tasks, "step": name}
    options = [text for key, value in words.items() for text in (f"--{key}", str(value))]
    linked = ["--linked"] if asked.linked else []
    return [sys.executable, "-m", "benchmarks.scale_array", *options, *linked]


def step(name: str, asked: Any) -> dict[str, Any]:
    """One step in a process of its own."""
    return in_its_own_process(name, command(name, asked))


def kill_half_way(asked: Any) -> int:
    """Kill task 0 when half of its shards are there; most files in no shard that were seen."""
    folder, most = part(0, asked), 0
    half = asked.videos // asked.tasks // 2
    run = subprocess.Popen(command("task 0", asked), cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        while run.poll() is None:
            time.sleep(0.2)
            loose = num_files(folder / "loose.zarr")
            most = max(most, loose)
            lines = sum(
                file.read_bytes().count(b"\n") for file in (folder / "ledger").rglob("*.jsonl")
            )
            if lines > half:
                return most
        raise RuntimeError("task 0 ended before it could be killed")
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()


class Stub:
    """In place of `avqa.pipelines.cluster.worker.Extractor`: one value a second."""

    linked = False

    def __init__(self, config: Any, ahead: Any = None) -> None:
        from avqa.store.writer import ChunkWriter

        self._config = config
        self._seconds = config.engine.settings.chunk_seconds
        writer = ChunkWriter(config.store, config.specs, self._seconds)
        self._writer = Linked(writer) if self.linked else writer

    def extract(self, jobs: Any, attempt: int) -> Any:
        """Records of a bundle."""
        run, seconds = self._config.run_id, self._seconds
        return [stub_record(self._writer, job, attempt, seconds, run) for job in jobs], None

    def under_way(self) -> tuple[int, float]:
        """Nothing is known."""
        return 0, 0.0

    def drain(self) -> None:
        """Nothing is begun by itself."""

    close = drain


class Nothing:
    """In place of what takes long to begin, and of what looks into videos."""

    decoder = None

    def __init__(self, *values: Any) -> None:
        """Take anything."""

    def start(self, *values: Any) -> None:
        """Nothing."""

    begin = stop = close = start


def task(asked: Any) -> dict[str, Any]:
    """One task of the array job: as `avqa extract --partition` runs it."""
    index = int(asked.step.split()[1])
    array_job.LEAST_VIDEOS = min(array_job.LEAST_VIDEOS, asked.videos)
    Stub.linked = asked.linked
    executor.Extractor = Stub  # type: ignore[misc, assignment]
    features.Ahead = features.LengthProbe = Nothing  # type: ignore[misc, assignment]
    features.feature_specs = lambda settings: specs(settings.dtype)
    features.build_recipes = lambda settings, source, decoder: {  # type: ignore[assignment]
        name: feature_recipe(name, settings, source, "1") for name in settings.features
    }
    settings = profile(
        "default", features=FEATURES, weights="random:0", device="cpu", chunk_seconds=asked.seconds
    )
    started = time.monotonic(), time.process_time()
    partition = Partition(index, asked.tasks)
    report = extract_folder(ExtractOptions(PLACE / "videos", STORE, settings, partition=partition))
    return {
        "extracted": report.extracted,
        "wall": time.monotonic() - started[0],
        "processor": time.process_time() - started[1],
        "memory": peak_bytes(),
    }


def finalizing(asked: Any) -> dict[str, Any]:
    """`avqa finalize`, and what it says."""
    from avqa.pipelines.extraction import finalize

    stubs = {spec.name: spec for spec in specs("float16")}
    finalize._spec = lambda part, feature: stubs[feature]  # type: ignore[assignment]
    said: list[str] = []
    started = time.monotonic()
    finalize.finalize(STORE, said.append)
    copied = [line for line in said if line.startswith("copied")]
    return {"wall": time.monotonic() - started, "memory": peak_bytes(), "copied": copied}


def opening(asked: Any) -> dict[str, Any]:
    """`avqa.open_store`, and reads of two features one by one."""
    from avqa.store.reader import FeatureStore

    started = time.monotonic()
    store = FeatureStore(STORE)
    opened = time.monotonic()
    names = store.video_ids[:1000]
    for name in names:
        store.read(name, FEATURES[0])
    read = (time.monotonic() - opened) / len(names)
    return {"wall": opened - started, "read": read, "memory": peak_bytes()}


def verifying(asked: Any) -> dict[str, Any]:
    """`avqa verify` at a level, of all rows or of a part; a problem is an error."""
    from avqa.store.checks.verify import verify

    level, _, of = asked.step.partition(" ")
    index, _, count = of.partition("/")
    started = time.monotonic()
    report = verify(STORE, level, part=(int(index), int(count)) if of else None)
    if report.problems:
        raise RuntimeError(f"{len(report.problems)} problems, the first: {report.problems[0]}")
    return {"wall": time.monotonic() - started, "memory": peak_bytes(), "videos": report.videos}


STEPS = {
    "task": task,
    "finalize": finalizing,
    "open": opening,
    "size": verifying,
    "crc": verifying,
}


def rows(m: dict[str, Any]) -> list[str]:
    """The table."""
    tasks, files = m["tasks"], m["files"] / len(FEATURES)
    processor = sum(t["processor"] for t in tasks) / sum(t["extracted"] for t in tasks)
    lines = {
        "files of features": f"{m['files']:,}: one per {m['videos'] / files:,.0f} videos and"
        " feature",
        "files in no shard, at most, of a task": f"{m['killed']:,}",
        "processor time of a task per video, the stub's writes included": f"{1e3 * processor:.1f}"
        " ms",
        "memory of a task": _memory(max(tasks, key=lambda t: t["memory"])),
        "a task killed with `kill -9` at half and run again": "the same bytes"
        if m["same"]
        else "OTHER BYTES",
        "`avqa finalize`": f"{m['finalize']['wall']:.0f} s, {_memory(m['finalize'])},"
        f" {' '.join(m['finalize']['copied']) or 'nothing copied'}",
        "`avqa.open_store`; a read": f"{m['open']['wall']:.2f} s; {1e3 * m['open']['read']:.2f} ms",
    }
    for level in ("size", "crc"):
        whole, one = m[level], m[f"{level}_part"]
        lines[f"`avqa verify --level {level}`"] = f"{whole['wall']:.0f} s, {_memory(whole)}"
        of = f"the same with `--partition i/{m['count']}`, one part"
        lines[f"{of}, {level}"] = f"{one['wall']:.1f} s, {_memory(one)}"
    head = f"| | {m['videos']:,} × {m['seconds']} s in {m['count']} tasks |"
    return [head, "|---|---|", *(f"| {what} | {told} |" for what, told in lines.items())]


def _memory(figures: dict[str, Any]) -> str:
    return f"{figures['memory'] / 1e6:.0f} MB"


if __name__ == "__main__":
    main()
