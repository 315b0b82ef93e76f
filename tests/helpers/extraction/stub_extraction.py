"""Extraction with everything real but decoding and networks: for tests of what is around them.

A "video" is what `fake_reader.write_video` writes; its rows follow from its seed. Of the ways to
misbehave this knows ``corrupt`` and ``half``. As a program it is the command line: ``python
stub_extraction.py extract --videos ...``; STUB_PAUSE makes it wait after every feature of a video,
so that there is something to interrupt.
"""

import json
import os
import subprocess
import sys
import time
import zlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from helpers.media import fake_reader

from avqa.extract.profiles import profile
from avqa.pipelines.cluster import executor
from avqa.pipelines.cluster.environment import feature_recipe
from avqa.pipelines.engine.files import fingerprint
from avqa.pipelines.extraction import run as features
from avqa.pipelines.extraction.array_job import partition_of
from avqa.pipelines.extraction.run import ExtractOptions, extract_folder
from avqa.store.format.records import FeatureRecord, Fingerprint, Status, VideoRecord
from avqa.store.writer import ChunkWriter

POOL, AUDIO = "resnet18/pool", "vggish/audio"
CHUNK_SECONDS = 2


class StubExtractor:
    """In place of `avqa.pipelines.cluster.worker.Extractor`."""

    def __init__(self, config, ahead):
        self._config = config
        self._draining = False
        self._specs = {spec.name: spec for spec in config.specs}
        self._writer = None

    def extract(self, jobs, attempt):
        if self._writer is None:
            self._writer = ChunkWriter(self._config.store, self._config.specs, CHUNK_SECONDS)
        return [self._video(job, attempt) for job in jobs if not self._draining], None

    def drain(self):
        self._draining = True

    def close(self):
        pass

    def _video(self, job, attempt):
        read = fingerprint(job.path) or Fingerprint(0, 0, "")
        info = (
            json.loads(Path(job.path).read_text(encoding="utf-8"))
            if read.quick_hash
            else {"act": "corrupt"}
        )
        made = [self._feature(job, feature, info) for feature in job.features]
        rows = max(record.length for record in made)
        audio = bool(rows) and info["sound"]
        return VideoRecord(
            video_id=job.video_id,
            row=job.row,
            relpath=job.relpath,
            fingerprint=read,
            duration=float(info["seconds"]) if rows else float("nan"),
            pts=tuple(k + 0.5 for k in range(rows)),
            audio_start=0.0 if audio else None,
            audio_end=float(info["seconds"]) if audio else None,
            row_flags=int(audio),
            features=tuple(made),
            attempt=attempt,
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            run_id=self._config.run_id,
        )

    def _feature(self, job, feature, info):
        if info["act"] == "corrupt":
            return FeatureRecord(feature, Status.FAILED, 0, (), "corrupt", "told so", "decode")
        if feature == AUDIO and not info["sound"]:
            return FeatureRecord(feature, Status.ABSENT, 0)
        rows = info["seconds"] // (2 if info["act"] == "half" else 1)
        rows = min(rows, job.max_rows or rows)
        seed = (info["seed"], zlib.crc32(feature.encode()))
        shape = (rows, *self._specs[feature].shape)
        values = np.random.default_rng(seed).uniform(0.5, 2, shape).astype(np.float32)
        chunks = tuple(
            self._writer.write(feature, job.row, number, values[start : start + CHUNK_SECONDS])
            for number, start in enumerate(range(0, rows, CHUNK_SECONDS))
        )
        self._writer.trim(feature, job.row, len(chunks))
        time.sleep(float(os.environ.get("STUB_PAUSE", "0")))
        return FeatureRecord(feature, Status.OK, rows, chunks)


class NoProbe:
    """In place of `avqa.pipelines.extraction.probe.LengthProbe`."""

    def __init__(self, *args):
        pass

    def start(self, learn):
        pass

    def stop(self):
        pass


class NoAhead:
    """In place of `avqa.pipelines.engine.ahead.Ahead`."""

    decoder = None

    def __init__(self, *args):
        pass

    def begin(self):
        pass

    def close(self):
        pass


def recipes(settings, source, decoder):
    return {name: feature_recipe(name, settings, source, "1") for name in settings.features}


REPLACED = (
    (executor, "Extractor", StubExtractor),
    (features, "Ahead", NoAhead),
    (features, "LengthProbe", NoProbe),
    (features, "build_recipes", recipes),
)


def install(monkeypatch):
    """Let extraction of the test's own process be a stub."""
    for module, name, stub in REPLACED:
        monkeypatch.setattr(module, name, stub)


def extract(videos, store, *, wanted=(POOL, AUDIO), part=None, say=lambda line: None, **options):
    """Run `extract_folder`, after `install`."""
    settings = profile(
        "default",
        features=wanted,
        decoder=fake_reader.DECODER,
        weights="random:0",
        chunk_seconds=CHUNK_SECONDS,
        frame_at=options.pop("frame_at", None),
    )
    partition = partition_of(part) if part else None
    chosen = ExtractOptions(
        videos, store, settings, scheduler="sync", partition=partition, **options
    )
    return extract_folder(chosen, say)


def extract_parts(videos, store, count, **options):
    """Run every task, the last one first; their reports."""
    numbers = reversed(range(count))
    return [extract(videos, store, part=f"{number}/{count}", **options) for number in numbers]


def arguments(videos, store, *more, wanted=(POOL, AUDIO)):
    """Of `start`, for `avqa extract`."""
    return [
        *("extract", "--videos", str(videos), "--out", str(store), "--scheduler", "sync"),
        *("--features", ",".join(wanted), "--decoder", fake_reader.DECODER),
        *("--weights", "random:0", "--chunk-seconds", str(CHUNK_SECONDS), *more),
    ]


def start(*line, pause=0):
    """The command line as a process, in a group of its own."""
    tests = Path(__file__).parents[2]
    path = os.pathsep.join([str(tests), str(tests.parent)])
    return subprocess.Popen(
        [sys.executable, str(Path(__file__)), *(str(word) for word in line)],
        env={
            **os.environ,
            "PYTHONPATH": path,
            "PYTHONWARNINGS": "ignore",
            "STUB_PAUSE": str(pause),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        encoding="utf-8",
    )


def complete(*line):
    """Run the command line to its end: exit code, standard output, standard error."""
    run = start(*line)
    out, errors = run.communicate(timeout=100)
    return run.returncode, out, errors


if __name__ == "__main__":
    from avqa.cli import main

    for module, name, stub in REPLACED:
        setattr(module, name, stub)
    main()
