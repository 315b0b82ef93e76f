"""``python -m benchmarks.scale [--videos N --seconds S]``: what one driver and one store bear.

The real driver, Dask scheduler, ledger and store at the sizes of MUSIC-AVQA and AVQA; only
decoding and networks are replaced, by a worker that writes chunk objects of one value per second.
A run is killed half-way, resumed, repeated with nothing left to do, opened and verified, each in a
process of its own. Fills the table of docs/scaling.md; with other sizes it prints. For a million
videos there is ``--linked``: videos and objects are hard links of a few, and none is verified.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from avqa.extract.profiles import profile
from avqa.pipelines.extraction import run as features
from avqa.pipelines.extraction.run import ExtractOptions, extract_folder
from avqa.store.format.schema import FeatureSpec

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "scaling.md"
PLACE = ROOT / "build" / "scale"
START, END = "<!-- scale -->", "<!-- /scale -->"
SIZES = ((9288, 60), (57015, 10))
"""Videos and seconds of each, of MUSIC-AVQA and of AVQA."""
MOST_LINKS = 60_000
FEATURES = ("clip_vit_b32/frame", "clip_vit_b32/patch", "resnet18/pool", "resnet18/map",
            "vggish/audio")  # fmt: skip


def main() -> None:
    """Measure both sizes and write the table, or one size and print it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--linked", action="store_true")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(STEPS[arguments.step](arguments.seconds, arguments.linked)))
        return
    sizes = SIZES if arguments.videos is None else ((arguments.videos, arguments.seconds),)
    table = rows([measure(videos, seconds, arguments.linked) for videos, seconds in sizes])
    print("\n".join(table))
    if arguments.videos is None:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
        after = rest.partition(END)[2]
        PAGE.write_text(before + "\n".join([START, "", *table, "", END]) + after, encoding="utf-8")


def measure(videos: int, seconds: int, linked: bool) -> dict[str, Any]:
    """Everything about one size."""
    shutil.rmtree(PLACE, ignore_errors=True)
    make_videos(videos, linked)
    steps = ("resume", "again", "open", *(() if linked else ("size", "crc")))
    try:
        killed_at = kill_half_way(videos, seconds, linked)
        found = {name: step(name, seconds, linked) for name in steps}
        root = PLACE / "store" / "features.zarr"
        files = [file.stat() for file in root.rglob("*") if file.is_file()]
        folders = sum(1 for entry in root.rglob("*") if entry.is_dir()) + 1
        return found | {
            "videos": videos,
            "seconds": seconds,
            "killed_at": killed_at,
            "files": len(files),
            "folders": folders,
            "ledger_files": len(list((PLACE / "store" / "ledger").rglob("*.jsonl"))),
            "ledger_bytes": sum(
                file.stat().st_size for file in (PLACE / "store" / "ledger").rglob("*.jsonl")
            ),
            "column_bytes": sum(
                file.stat().st_size
                for folder in ("index", "status", "length")
                for file in (root / folder).rglob("c*")
                if file.is_file()
            ),
        }
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)


def make_videos(videos: int, linked: bool) -> None:
    """The folder of stubs; as links, of a new one whenever a file can have no more names."""
    (PLACE / "videos").mkdir(parents=True)
    first = PLACE / "videos" / "v000000.mp4"
    for number in range(videos):
        path = PLACE / "videos" / f"v{number:06d}.mp4"
        if linked and number % MOST_LINKS:
            os.link(first, path)
        else:
            first = path
            path.write_text(f"stub {number}", encoding="utf-8")


def command(name: str, seconds: int, linked: bool) -> list[str]:
    """Of a step."""
    words = ["-m", "benchmarks.scale", "--step", name, "--seconds", str(seconds)]
    return [sys.executable, *words, *(["--linked"] if linked else [])]


def step(name: str, seconds: int, linked: bool) -> dict[str, float]:
    """One step; its figures are shown."""
    figures = in_its_own_process(name, command(name, seconds, linked))
    print(figures, file=sys.stderr, flush=True)
    return figures


def in_its_own_process(name: str, command: Sequence[str]) -> dict[str, Any]:
    """The figures that a command prints as JSON on its last line: its memory is its alone."""
    print(f"{name} …", file=sys.stderr, flush=True)
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        encoding="utf-8",
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(figures, file=sys.stderr, flush=True)
    return figures


def kill_half_way(videos: int, seconds: int, linked: bool) -> int:
    """Kill the first run, all its processes at once, when half of the videos are on disk."""
    folder = PLACE / "store" / "features.zarr" / FEATURES[-1]
    run = subprocess.Popen(
        command("resume", seconds, linked),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        process_group=0,
    )
    try:
        while run.poll() is None:
            time.sleep(max(1.0, videos / 50_000))
            count = len(os.listdir(folder)) if folder.exists() else 0
            if count > videos // 2:
                return count
        raise RuntimeError("the first run ended before it could be killed")
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def extraction(seconds: int, linked: bool) -> dict[str, float]:
    """A run of the whole driver over what is left to do."""
    first: list[tuple[float, float]] = []

    def connect(scheduler: str, config: Any, gpus: Any, **options: Any) -> Any:
        from avqa.pipelines.cluster.on_dask import connect_local

        executor = connect_local(config, gpus)
        return _stubbed(executor, seconds, linked, lambda: first.append(clocks()))

    features.connect = connect  # type: ignore[attr-defined]
    features.is_in_process = lambda *values: False  # type: ignore[attr-defined]
    features.feature_specs = lambda settings: specs(settings.dtype)  # type: ignore[assignment]
    settings = profile(
        "default", features=FEATURES, weights="random:0", device="cpu", chunk_seconds=seconds
    )
    started = clocks()
    report = extract_folder(ExtractOptions(PLACE / "videos", PLACE / "store", settings))
    ended = clocks()
    began = first[0] if first else ended
    return {
        "extracted": report.extracted,
        "there": report.finished_before,
        "wall": ended[0] - started[0],
        "first": began[0] - started[0],
        "processor": ended[1] - began[1],
        "memory": peak_bytes(),
    }


def clocks() -> tuple[float, float]:
    """Seconds of wall time, and of processor time of this process."""
    return time.monotonic(), time.process_time()


def specs(dtype: Any) -> tuple[FeatureSpec, ...]:
    """The features' names with one value a second: all files, hardly any bytes."""
    return tuple(FeatureSpec(name, (1,), ("value",), False, dtype) for name in FEATURES)


def _stubbed(executor: Any, seconds: int, linked: bool, on_first: Callable[[], None]) -> Any:
    """The real executor on a real Dask cluster, with another task."""
    submit = executor.submit

    def noted(bundle: Any) -> None:
        on_first()
        submit(bundle)

    executor.submit = noted
    executor._task = stub_task(seconds, linked)
    return executor


def stub_task(seconds: int, linked: bool) -> Callable[[str, str, bytes, bytes], Any]:
    """A Dask task with the arguments and the answer of the real one."""

    def stub(name: str, version: str, config: bytes, work: bytes) -> Any:
        from distributed import get_worker

        from avqa.store.writer import ChunkWriter
        from benchmarks.scale import Linked, stub_record

        kept = get_worker().plugins
        loaded = pickle.loads(config)
        if "stub" not in kept:
            writer = ChunkWriter(loaded.store, loaded.specs, seconds)
            kept["stub"] = Linked(writer) if linked else writer
        writer = kept["stub"]
        jobs, attempt = pickle.loads(work)
        return [stub_record(writer, job, attempt, seconds, loaded.run_id) for job in jobs], None

    return stub


class Linked:
    """Writes an object once, and others of the same content as names of it."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._made: dict[tuple[str, float], tuple[Any, Any]] = {}

    def write(self, feature: str, row: int, chunk: int, values: Any) -> Any:
        """As `ChunkWriter.write`."""
        key = (feature, float(values[0, 0]))
        path = self._writer._path(feature, row, chunk)
        if key in self._made:
            first, record = self._made[key]
            try:
                os.link(first, path)
                return record
            except FileExistsError:  # by a run that was killed
                return record
            except OSError as error:  # no more names, or gone into a shard
                if error.errno not in {errno.EMLINK, errno.ENOENT}:
                    raise
        record = self._writer.write(feature, row, chunk, values)
        self._made[key] = path, record
        return record


def stub_record(writer: Any, job: Any, attempt: int, seconds: int, run_id: str) -> Any:
    """Write a video's chunk objects and report them, with all that a real record holds."""
    import numpy as np

    from avqa.pipelines.engine.files import fingerprint
    from avqa.store.format.records import FeatureRecord, Fingerprint, Status, VideoRecord

    values = np.full((seconds, 1), 1.0 + job.row % 7, np.float32)
    made = [
        FeatureRecord(name, Status.OK, seconds, (writer.write(name, job.row, 0, values),))
        for name in job.features
    ]
    return VideoRecord(
        video_id=job.video_id,
        row=job.row,
        relpath=job.relpath,
        fingerprint=fingerprint(job.path) or Fingerprint(0, 0, ""),
        duration=float(seconds),
        pts=tuple(k + 0.5 for k in range(seconds)),
        audio_start=0.0,
        audio_end=float(seconds),
        row_flags=1,
        features=tuple(made),
        timings={"decode": 2.46, "encode": 11.07, "prepare": 0.18, "sound": 0.17, "write": 0.04},
        attempt=attempt,
        host="node-0123",
        worker="pid-123456",
        finished_at="2026-01-01T00:00:00+00:00",
        run_id=run_id,
    )


def opening(seconds: int, linked: bool) -> dict[str, float]:
    """`avqa.open_store` and a first read."""
    from avqa.store.reader import FeatureStore

    start = time.monotonic()
    store = FeatureStore(PLACE / "store")
    opened = time.monotonic() - start
    names = store.video_ids
    for name in names[:1000]:
        store.read(name, FEATURES[0])
    return {"wall": opened, "memory": peak_bytes()}


def verifying(level: str) -> Callable[[int, bool], dict[str, float]]:
    """`avqa verify` at a level; a problem is an error."""

    def run(seconds: int, linked: bool) -> dict[str, float]:
        from avqa.store.checks.verify import verify

        start = time.monotonic()
        report = verify(PLACE / "store", level)  # type: ignore[arg-type]
        if report.problems:
            raise RuntimeError(f"{len(report.problems)} problems, the first: {report.problems[0]}")
        return {"wall": time.monotonic() - start, "memory": peak_bytes(), "objects": report.objects}

    return run


STEPS: dict[str, Callable[[int, bool], dict[str, float]]] = {
    "resume": extraction,
    "again": extraction,
    "open": opening,
    "size": verifying("size"),
    "crc": verifying("crc"),
}


def rows(measured: list[dict[str, Any]]) -> list[str]:
    """The table: one column a size."""
    heads = [f"{m['videos']:,} × {m['seconds']} s" for m in measured]
    lines = {
        "driver and scheduler, processor time per video": "{0[resume][per_video]:.2f} ms",
        "whole run per video, stub worker's writes included": "{0[resume][wall_per_video]:.2f} ms",
        "driver's peak memory": "{0[resume][memory_mb]:.0f} MB",
        "files; folders": "{0[files]:,}; {0[folders]:,}",
        "ledger": "{0[ledger_files]} segments, {0[ledger_mb]:.0f} MB",
        "index, status, length columns": "{0[column_kb]:,.0f} kB",
        "after `kill -9` at half: until the first video goes out": "{0[resume][first]:.1f} s",
        "run again, nothing left to do": "{0[again][wall]:.1f} s, {0[again][memory_mb]:.0f} MB",
        "`avqa.open_store`": "{0[open][wall]:.2f} s",
        "`avqa verify --level size`": "{0[size][wall]:.1f} s, {0[size][memory_mb]:.0f} MB",
        "`avqa verify` (crc; the stub's objects are small)": "{0[crc][wall]:.0f} s,"
        " {0[crc][memory_mb]:.0f} MB",
    }
    for m in measured:
        for name in {"resume", "again", "size", "crc"} & m.keys():
            m[name]["memory_mb"] = m[name]["memory"] / 1e6
        resumed = m["resume"]
        resumed["per_video"] = 1000 * resumed["processor"] / resumed["extracted"]
        resumed["wall_per_video"] = (
            1000 * (resumed["wall"] - resumed["first"]) / resumed["extracted"]
        )
        m["ledger_mb"], m["column_kb"] = m["ledger_bytes"] / 1e6, m["column_bytes"] / 1e3
    table = [f"| | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    return table + [
        f"| {what} | {' | '.join(form.format(m) for m in measured)} |"
        for what, form in lines.items()
        if all("verify" not in what or "crc" in m for m in measured)
    ]


if __name__ == "__main__":
    main()
