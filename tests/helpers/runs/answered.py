"""A question that `avqa ask` answered: a clip of four seconds, a view of it of our choosing."""

import dataclasses

import numpy as np
from helpers.media import clips
from helpers.runs import run_folders

from avqa.datasets._parts.question import Question
from avqa.extract.settings import Settings
from avqa.pipelines.ask.answer import Answer
from avqa.training.run import Member


def hot(place, count=49, weight=0.9):
    """Weights [P] with one strong patch."""
    weights = np.full(count, (1 - weight) / (count - 1))
    weights[place] = weight
    return weights


PATCHES = np.stack([hot(0), hot(8), np.zeros(49), hot(48)])
EVIDENCE = {
    "seconds": np.array([0.2, 0.5, 0.0, 0.3]),
    "audio_time": np.array([0.4, 0.0, 0.0, 0.6]),
    "frame_time": np.array([0.0, 1.0, 0.0, 0.0]),
    "patches": PATCHES,
    "modality": np.array([0.5, 0.5]),
    "words": np.array([0.25, 0.75]),
}


def clip():
    return clips.cached_clip("asked.mp4", seconds=4.0, fps=8, sound_codec="aac")


def answer(tmp_path, evidence, *, stride=1, num_rows=4, crop="center"):
    config = run_folders.config()
    chosen = dataclasses.replace(config.settings, stride_seconds=stride)
    asked = Question(
        key="0",
        question_id=None,
        video_id="asked",
        split="test",
        text="Is there a violin sound",
        words=("Is", "there", "a", "violin", "sound"),
        modality="",
        kind="",
        template="",
        slots=(),
        answer=None,
    )
    return Answer(
        video=clip(),
        question=asked,
        member=Member(tmp_path / "run", dataclasses.replace(config, settings=chosen)),
        answers=(("two", 0.7), ("one", 0.3)),
        evidence=evidence,
        words=("Is", "there"),
        num_rows=num_rows,
        settings=Settings(),
        crop=crop,
        notes=("a note",),
        made=(),
        wall_seconds=1.0,
    )
