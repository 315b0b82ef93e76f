"""A store and questions as large as needed to measure training, with random features.

Only some videos are written; the others are hard links to them, which a reader cannot tell from
files of their own and which take no space on the disk.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avqa import datasets
from avqa.datasets._parts.prompts import prompt_of
from avqa.datasets._parts.question import Question, normalise, text_key
from avqa.store.commit import Store
from avqa.store.format.chunks import chunk_path
from avqa.store.format.records import FeatureRecord, Fingerprint, Status, VideoRecord
from avqa.store.format.schema import GROUP, FeatureSpec
from avqa.store.lock import Lock
from avqa.store.text_writer import NewText, Texts
from avqa.store.writer import ChunkWriter
from benchmarks.questions import invented_rows

SECONDS = 60
WRITTEN = 40
"""Videos whose files are not links."""
QUESTIONS_PER_VIDEO = 3.5
SPECS = (
    FeatureSpec("clip_vit_b32/frame", (512,), ("channel",), False),
    FeatureSpec("clip_vit_b32/patch", (49, 512), ("position", "channel"), False),
    FeatureSpec("resnet18/map", (14, 14, 512), ("y", "x", "channel"), True),
    FeatureSpec("vggish/audio", (128,), ("channel",), True),
    FeatureSpec("clip_vit_l14_336/frame", (768,), ("channel",), False),
    FeatureSpec("clip_vit_l14_336/frame@tome", (768,), ("channel",), False),
    FeatureSpec("clip_vit_l14_336/tome14", (14, 1024), ("merged", "width"), False),
    FeatureSpec("vit_l16_384/tome14", (14, 1024), ("merged", "width"), False),
    FeatureSpec("ast/class", (768,), ("channel",), False),
    FeatureSpec("ast/band", (12, 768), ("frequency", "channel"), False),
)
"""What the papers' heads read."""
TEXT_SPECS = (
    FeatureSpec("clip_vit_b32/sentence", (512,), ("channel",), False),
    FeatureSpec("clip_vit_b32/word", (77, 512), ("token", "channel"), False),
    FeatureSpec("clip_vit_l14_336/sentence", (768,), ("channel",), False),
    FeatureSpec("clip_vit_l14_336/word_state", (77, 768), ("token", "channel"), False),
)


def write(folder: Path, num_videos: int) -> list[Question]:
    """A new store of ``num_videos`` videos of 60 s, and the questions about them."""
    questions = _questions(folder.with_suffix(".json"), num_videos)
    recipes = {spec.name: {"weights": {"w": {"source": "random:0"}}} for spec in SPECS}
    with Lock.acquire(folder, "benchmark") as lock:
        store = Store.create(folder, recipes, SPECS, SECONDS, lock=lock)
        store.start_run({})
        rows = store.add_rows([f"{number:08d}" for number in range(num_videos)])
        store.set_pending((row, spec.name) for row in rows.values() for spec in SPECS)
        writer = ChunkWriter(folder, SPECS, SECONDS)
        rng = np.random.default_rng(0)
        records: list[VideoRecord] = []
        for video, row in rows.items():
            records.append(_video(video, row, writer, folder, rng, records))
        store.commit(records)
        _write_texts(folder, questions, lock, rng)
        store.finish_run({})
    return questions


def _questions(file: Path, num_videos: int) -> list[Question]:
    rows = invented_rows()[: round(QUESTIONS_PER_VIDEO * num_videos)]
    for row in rows:
        row["video_id"] = f"{int(str(row['video_id'])) % num_videos:08d}"
    file.write_text(json.dumps(rows), encoding="utf-8")
    return datasets.read("music-avqa", file, ["train"])


def _video(
    video: str,
    row: int,
    writer: ChunkWriter,
    folder: Path,
    rng: np.random.Generator,
    before: list[VideoRecord],
) -> VideoRecord:
    features = []
    for number, spec in enumerate(SPECS):
        if row < WRITTEN:
            chunk = writer.write(spec.name, row, 0, _values(spec, rng))
        else:
            source, target = (
                chunk_path(folder / GROUP, spec.name, r, 0, len(spec.shape))
                for r in (row % WRITTEN, row)
            )
            os.link(source, target)
            chunk = before[row % WRITTEN].features[number].chunks[0]
        features.append(FeatureRecord(spec.name, Status.OK, SECONDS, (chunk,)))
    return VideoRecord(
        video_id=video,
        row=row,
        relpath=f"{video}.mp4",
        fingerprint=Fingerprint(1, 1, "00"),
        duration=float(SECONDS),
        pts=tuple(second + 0.5 for second in range(SECONDS)),
        audio_start=0.0,
        audio_end=float(SECONDS),
        row_flags=0,
        features=tuple(features),
    )


def _values(spec: FeatureSpec, rng: np.random.Generator) -> NDArray[np.float32]:
    """Normal numbers; of a sparse feature, as of real maps, 38 % are over 0 and the rest is 0."""
    values = rng.standard_normal((SECONDS, *spec.shape), np.float32)
    return np.maximum(values - 0.305, 0) if spec.sparse else values


def _write_texts(
    folder: Path, questions: list[Question], lock: Lock, rng: np.random.Generator
) -> None:
    recipes = {spec.name: {"text": {"mark": ""}} for spec in TEXT_SPECS}
    texts = Texts.open(folder, TEXT_SPECS, recipes, lock=lock)
    contents = {normalise(question.text): len(question.words) for question in questions}
    prompts = {prompt_of(question) for question in questions}
    contents |= {normalise(prompt): len(prompt.split()) for prompt in prompts}
    texts.add([NewText(text_key(text), text, words + 2) for text, words in contents.items()])
    for rows, of_chunk in texts.work():
        values = {
            spec.name: rng.standard_normal((len(of_chunk), *spec.shape), np.float32)
            for spec in TEXT_SPECS
        }
        texts.write(rows, values)
