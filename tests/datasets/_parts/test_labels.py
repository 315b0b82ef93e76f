import numpy as np
import pytest
from helpers.questions.question_files import REAL, make_question, needs_real

from avqa import datasets
from avqa.datasets._parts.labels import collect, instrument_labels
from avqa.datasets._parts.vocabulary import INSTRUMENTS
from avqa.errors import DatasetError


def ask(template, answer, *slots, modality="Audio", kind="Counting", **changes):
    values = dict(template=template, answer=answer, slots=slots, modality=modality, kind=kind)
    return make_question(**{**values, **changes})


def names(mask):
    return [name for name, there in zip(INSTRUMENTS, mask, strict=True) if there]


def labels_of(*questions, evidence="any"):
    found = instrument_labels(questions, evidence)
    assert found.videos == ("v",)
    return names(found.positive[0]), names(found.negative[0])


AV = "Audio-Visual"
HOW_MANY = "How many <Object> are in the entire video?"
SOUNDING = "How many sounding <Object> in the video？"
SOUND = "Is there a <Object> sound?"
SEEN = "Is there a <Object> in the entire video?"
BOTH = "Are there <Object> and <Object> sound? "
LOUDER = "Is the <Object> on the <LR> louder than the <Object> on the <LR>?"
ALWAYS = "Is the <Object> in the video always playing?"
FIRST = "What is the <TH> instrument that comes in?"

CASES = [
    (ask(FIRST, "pipa", "third", modality=AV, kind="Temporal"), ["pipa"], []),
    (ask(LOUDER, "no", "erhu", "left", "tuba", "right", kind="Comparative"), ["erhu", "tuba"], []),
    (ask(ALWAYS, "no", "cello", modality=AV, kind="Existential"), ["cello"], []),
    (ask(HOW_MANY, "two", "drum", modality="Visual"), ["drum"], []),
    (ask(HOW_MANY, "zero", "drum", modality="Visual"), [], ["drum"]),
    (ask(SOUNDING, "one", "drum", modality=AV), ["drum"], []),
    (ask(SOUNDING, "zero", "drum", modality=AV), [], []),
    (ask(SOUND, "yes", "flute"), ["flute"], []),
    (ask(SOUND, "no", "flute"), [], ["flute"]),
    (ask(SEEN, "no", "flute", modality="Visual"), [], ["flute"]),
    (ask(BOTH, "yes", "flute", "piano"), ["flute", "piano"], []),
    (ask(BOTH, "no", "flute", "piano"), [], []),
    (ask("Is there a voiceover?", "no", modality=AV, kind="Existential"), [], []),
    (ask(SOUND, None, "flute"), [], []),
]


@pytest.mark.parametrize(("question", "positive", "negative"), CASES)
def test_what_one_question_says(question, positive, negative):
    assert labels_of(question) == (positive, negative)


def test_questions_of_a_video_add_up_and_contradictions_are_unknown():
    questions = [
        *(ask(SOUND, "yes", "flute"), ask(SOUND, "no", "tuba")),
        *(ask(SOUND, "no", "flute"), ask(HOW_MANY, "one", "piano", modality="Visual")),
    ]
    assert labels_of(*questions) == (["piano"], ["tuba"])
    found = instrument_labels(questions)
    assert found.num_conflicts == 1
    assert names(~found.unknown[0]) == ["piano", "tuba"]


def test_what_is_seen_and_what_sounds_can_be_kept_apart():
    questions = [
        ask(SOUND, "no", "flute"),
        ask(SEEN, "yes", "flute", modality="Visual"),
        ask(ALWAYS, "yes", "cello", modality=AV, kind="Existential"),
    ]
    assert labels_of(*questions, evidence="audio") == (["cello"], ["flute"])
    assert labels_of(*questions, evidence="visual") == (["cello", "flute"], [])
    assert labels_of(*questions) == (["cello"], [])


def test_every_video_has_a_row():
    found = instrument_labels([ask(SOUND, "yes", "tuba", video_id=v) for v in ("b", "a", "b")])
    assert found.videos == ("b", "a")
    assert found.positive.shape == found.negative.shape == (2, 22)
    assert found.positive.dtype == np.bool_


@pytest.mark.parametrize("split", ["val", "test"])
def test_only_training_questions_may_label(split):
    questions = [ask(SOUND, "yes", "tuba"), ask(SOUND, "yes", "tuba", split=split)]
    with pytest.raises(DatasetError) as caught:
        instrument_labels(questions)
    assert str(caught.value) == (
        f"instrument labels from a question of split='{split}', question_id='1'; expected training"
        " questions only, since the splits share videos; pass the questions of split 'train'"
    )


def coverage(labels):
    """Share of videos with a positive, positives per video, share with a negative, conflicts."""
    return (
        round(labels.positive.any(1).mean(), 2),
        round(labels.positive.sum() / len(labels.videos), 2),
        round(labels.negative.any(1).mean(), 2),
        labels.num_conflicts,
    )


@needs_real
def test_real_coverage():
    # heads.md section 9.6; val and test stand in for the training file that cannot be had.
    labels = collect(datasets.read("music-avqa", REAL))
    assert len(labels.videos) == 7918
    assert coverage(labels) == (0.71, 1.09, 0.03, 7)
    synthetic = datasets.read("music-avqa", REAL / "avqa-train_synthetic_original.json")
    assert coverage(instrument_labels(synthetic)) == (0.87, 1.65, 0.0, 0)
