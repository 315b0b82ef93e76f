"""Fits of seconds: invented questions, features that follow from the video's id, small heads.

As a program, one fit that kills its own process: ``tiny_fits.py FOLDER reading|writing N``, with
settings behind it: ``debias=mccd``.
"""

import os
import signal
import sys
from pathlib import Path

import torch

from avqa import heads
from avqa.datasets._parts.question import Question
from avqa.training.data.questions import QuestionSet
from avqa.training.fitting.debias import learners_of
from avqa.training.fitting.fit import fit
from avqa.training.run import DEFAULT
from avqa.training.settings import TrainSettings
from avqa.training.variants import Variant

WORDS = ("violin", "cello", "flute", "piano", "left", "right", "sound", "there")
ANSWERS = ("yes", "no", "one", "two")


class Features:
    """Reads of a store that is none; ``at[n]`` is called with the rows of read number n."""

    def __init__(self, fields=("audio", "patch")):
        self.fields = fields
        self.reads = 0
        self.at = {}

    def read(self, video_id):
        self.reads += 1
        generator = torch.Generator().manual_seed(int(video_id))
        shapes = {"audio": (3, 4), "frame": (3, 8), "patch": (3, 2, 8)}
        rows = {name: torch.randn(shapes[name], generator=generator) for name in shapes}
        rows = {name: rows[name] for name in self.fields}
        self.at.get(self.reads, lambda rows: None)(rows)
        return rows


def questions(split, n, right=True):
    """The last word tells the answer, unless not ``right``; three questions a video."""
    return [
        Question(
            key=f"{split}-{i}",
            question_id=str(100 + i),
            video_id=str(i // 3),
            split=split,
            text=" ".join(words := ("there", WORDS[i % 7], WORDS[i * 3 % 4])),
            words=words,
            modality="Audio",
            kind="Counting",
            template="<Object>",
            slots=(),
            answer=ANSWERS[(i * 3 if right else i * i * 7 // 5) % 4],
        )
        for i in range(n)
    ]


def build(name="late_fusion", seed=0, **options):
    torch.manual_seed(seed)
    return heads.build(name, **{"width": 8, "audio_width": 4, "visual_width": 8, **options})


def question_set(asked, head, features, training):
    videos = [question.video_id for question in asked]
    return QuestionSet(asked, videos, features, None, head, training=training)


def settings(**changes):
    values = {
        "epochs": 3,
        "batch_size": 8,
        "learning_rate": 0.1,
        "step_epochs": 2,
        "gamma": 0.5,
        "stride_seconds": 1,
        "visual": "resnet18",
        "batches": "grouped",
        "device": "cpu",
    }
    return TrainSettings(**{**values, **changes})


def tiny_fit(folder, head=None, *, seed=1, resume=False, said=None, features=None, **changes):
    """A fit of 3 epochs of 5 batches (36 questions, 12 videos); 2 batches to validate with."""
    head = build() if head is None else head
    features = features or {split: Features(head.FEATURES) for split in ("train", "val")}
    train = question_set(questions("train", 36), head, features["train"], True)
    val = question_set(questions("val", 16, right=False), head, features["val"], False)
    devices, chosen = changes.pop("devices", 1), settings(**changes)
    return fit(
        head,
        train,
        val,
        chosen,
        seed=seed,
        folder=Path(folder),
        resume=resume,
        say=(lambda line: None) if said is None else said.append,
        label="tiny",
        devices=devices,
        bias=learners_of(head, Variant(DEFAULT, head.name, {}), chosen, seed),
    )


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def die_as_second(rows):
    """Kill this process if it is the second of a fit's."""
    if os.environ["LOCAL_RANK"] == "1":
        die()


def die_while_writing(number):
    """Leave the process at the moment when ``last.ckpt`` number ``number`` is half written."""
    from avqa.training.fitting import checkpoints

    write, seen = checkpoints.write_atomic, []

    def fsync(handle):
        os.ftruncate(handle, 1000)
        die()

    def write_atomic(path, data):
        if path.name == "last.ckpt":
            seen.append(path)
            if len(seen) == number:
                os.fsync = fsync
        write(path, data)

    checkpoints.write_atomic = write_atomic


if __name__ == "__main__":
    torch.set_num_threads(1)
    head = build("avst")
    features = {split: Features(head.FEATURES) for split in ("train", "val")}
    if sys.argv[2] == "reading":
        features["train"].at[int(sys.argv[3])] = die
    else:
        die_while_writing(int(sys.argv[3]))
    more = dict(word.split("=") for word in sys.argv[4:])
    tiny_fit(sys.argv[1], head, features=features, **more)
