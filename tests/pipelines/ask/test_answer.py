"""What is printed of an answer, and how the type of a question is found."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from helpers.runs import run_folders

from avqa.datasets._parts.question import Question
from avqa.pipelines.ask.answer import Answer
from avqa.pipelines.ask.question import Kind, kind_of
from avqa.training.run import Member


def row(template, slots, modality="Audio", kind="Counting"):
    text = template
    for slot in slots:
        text = text.replace(text[text.index("<") : text.index(">") + 1], slot, 1)
    return Question(
        key=text,
        question_id=None,
        video_id="1",
        split="train",
        text=text,
        words=tuple(text.split()),
        modality=modality,
        kind=kind,
        template=template,
        slots=slots,
        answer="yes",
    )


TRAINING = [
    row("Is there a <Object> sound? ", ("violin",)),
    row("Is there a <Object> sound? ", ("tuba",)),
    row("Is there a <Object> sound? ", ("piano",), "Visual", "Counting"),
    row("What is <BA> the <Object> (now)?", ("before", "flute"), "Audio-Visual", "Temporal"),
]


def test_the_type_is_that_of_the_training_questions():
    found = kind_of("Is there a flute sound", TRAINING)
    assert found == Kind("Audio", "Counting", "Is there a <Object> sound? ", ("flute",))
    found = kind_of("What is before the tuba (now)", TRAINING)
    assert (found.modality, found.kind) == ("Audio-Visual", "Temporal")
    assert found.slots == ("before", "tuba")


@pytest.mark.parametrize(
    "text",
    [
        "Is there a before sound",  # a word of another slot
        "Is there a kazoo sound",
        "is there a flute sound",
        "Is there a flute sound now",
        "Is there a big flute sound",
        "What is before the tuba now",
    ],
)
def test_questions_of_no_training_form_have_no_type(text):
    assert kind_of(text, TRAINING) is None


def answer_of(evidence, num_rows=4, stride=1):
    config = run_folders.config(settings={"stride_seconds": stride})
    return Answer(
        video=Path("clip.mp4"),
        question=TRAINING[0],
        member=Member(Path("run"), config),
        answers=(("two", 0.7), ("seventeen", 0.2), ("x", 0.1)),
        evidence={name: np.array(value) for name, value in evidence.items()},
        words=(),
        num_rows=num_rows,
        settings=None,
        crop=None,
        notes=("a note",),
        made=("vggish/audio",),
        wall_seconds=2.04,
    )


def test_what_is_printed():
    weights = {"seconds": [0.05, 0.6, 0.0, 0.35], "modality": [0.25, 0.75]}
    assert answer_of(weights).lines(2) == [
        "video      clip.mp4 (4 seconds of it looked at)",
        "question   Is there a violin sound? ",
        "answer     two         70.0 %",
        "           seventeen   20.0 %",
        "right      yes, which is no answer of this head",
        "looked at  seconds 1 (60 %), 3 (35 %), 0 (5 %); frames 25 %, audio 75 %",
        "note       a note",
        "time       2.0 s; vggish/audio extracted",
    ]


@pytest.mark.parametrize(
    ("evidence", "num_rows", "line"),
    [
        ({}, 4, "this head does not tell which seconds"),
        ({}, None, "the question alone"),
        ({"seconds": [0.25, 0.26, 0.24, 0.25]}, 4, "4 seconds, nearly alike"),
        ({"seconds": [1.0]}, 1, "1 second, nearly alike"),
        ({"seconds": [0.0, 1.0]}, 2, "second 1 (100 %)"),
    ],
)
def test_where_it_looked(evidence, num_rows, line):
    assert answer_of(evidence, num_rows).looked_at() == line


def test_seconds_are_those_of_the_video():
    answer = answer_of({"seconds": [0.0, 0.0, 0.9, 0.1]}, stride=6)
    assert answer.looked_at() == "seconds 12 (90 %), 18 (10 %)"
    assert answer.lines(1)[0].endswith("(4 seconds of it looked at, one in 6)")


def test_what_python_and_a_notebook_show(monkeypatch):
    answer = answer_of({})
    assert repr(answer).splitlines() == answer.lines(5)
    monkeypatch.setattr(Answer, "random_weights", True)
    mark = "RANDOM WEIGHTS: the features come from seeded random weights and mean nothing"
    assert repr(answer).splitlines() == [mark, *answer.lines(5)]
    shown = answer._repr_html_()
    assert f">{mark}</div>" in shown
    assert re.search(
        ">two</td><td [^>]*>70.0 %</td></tr>\n.*>seventeen</td><td [^>]*>20.0 %<", shown
    )
    assert "<small>a note</small>" in shown
    asked = dataclasses.replace(answer.question, text="<b>?")
    assert "&lt;b&gt;?</strong>" in dataclasses.replace(answer, question=asked)._repr_html_()
