import json
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from helpers.questions.question_files import make_question
from helpers.runs.run_folders import answered
from hypothesis import given
from hypothesis import strategies as st

from avqa.datasets._parts.floors import Score
from avqa.datasets._parts.taxonomy import COLUMNS, NAMES
from avqa.datasets._parts.vocabulary import ANSWERS, MUSIC_AVQA
from avqa.errors import ConfigError
from avqa.heads import HeadOutput
from avqa.training.scoring import predictions, read_predictions, score, write_predictions


def of_type(name, number=0, **changes):
    modality, kind = NAMES[name]
    return make_question(modality=modality, kind=kind, key=f"k{number}", **changes)


def answers_to(questions, *batches):
    """Predictions from batches of (rows, logits)."""
    outputs = [
        (SimpleNamespace(rows=torch.tensor(rows)), HeadOutput(torch.tensor(logits)))
        for rows, logits in batches
    ]
    return predictions(SimpleNamespace(questions=questions, vocabulary=MUSIC_AVQA), outputs)


def logits_of(answer, margin=2.0):
    return [margin if text == answer else 0.0 for text in ANSWERS]


def test_answers_of_a_vocabulary_come_in_the_questions_order():
    questions = [of_type("A-Count", n, answer=a) for n, a in enumerate(["yes", "no", None, "42"])]
    rows = answers_to(
        questions,
        ([2, 0], [logits_of("violin"), logits_of("yes")]),
        ([3, 1], [logits_of("zero"), logits_of("yes")]),
    )
    assert [(r.key, r.answer, r.prediction, r.correct) for r in rows] == [
        ("k0", "yes", "yes", True),
        ("k1", "no", "yes", False),
        ("k2", None, "violin", None),
        ("k3", "42", "zero", False),  # no answer that the head can give: wrong, not left out
    ]
    e2 = 7.38905609893065
    assert rows[0].probability == pytest.approx(e2 / (e2 + 41), abs=1e-6)


def test_an_option_is_right_by_its_place():
    options = ("dog", "Cat", None, "dog")
    question = make_question(choices=options, choice=3, answer=None)
    missing = float("-inf")
    first, last, without = answers_to(
        [question, question, make_question(choices=options, answer=None)],
        # A fifth option, since another question of the batch has five.
        ([0, 1, 2], [[1.0, 0, missing, 0, missing], [0.0, 0, missing, 1, missing], [0.0] * 5]),
    )
    assert (first.prediction, first.answer, first.correct) == ("dog", "dog", False)
    assert (last.prediction, last.answer, last.correct) == ("dog", "dog", True)
    assert (without.answer, without.correct) == (None, None)


def test_numbers_that_are_none_are_refused():
    questions = [of_type("A-Count", text="Is it", video_id="v7")] * 2
    nan = [float("nan")] * 42
    with pytest.raises(ConfigError) as error:
        answers_to(questions, ([0, 1], [logits_of("yes"), nan]))
    assert str(error.value) == (
        "logits of question 'Is it' video_id='v7' are not finite; expected numbers; the weights"
        " or features are damaged, or precision=fp16 is too narrow: use precision=fp32, or train"
        " again"
    )


@pytest.mark.parametrize("width", [41, 43])
def test_logits_must_fit_the_answers(width):
    with pytest.raises(ConfigError, match=f"the head gives {width} logits to question 'Is it',"):
        answers_to([of_type("A-Count")], ([0], [[0.0] * width]))


@given(st.lists(st.tuples(st.sampled_from(sorted(NAMES)), st.sampled_from([True, False, None]))))
def test_scores_are_counts(asked):
    questions = [of_type(name, number) for number, (name, _) in enumerate(asked)]
    rows = [answered(q, correct) for q, (_, correct) in zip(questions, asked, strict=True)]
    strangers = [answered(of_type("A-Comp", "x"), True)]
    table = score(questions, [*reversed(rows), *strangers])
    # Counted apart: by the name's first letters, with no table of types.
    expected = {column: Counter() for column in COLUMNS}
    for name, correct in asked:
        if correct is not None:
            for column in (name, name.split("-")[0] + "-Avg", "All"):
                expected[column][correct] += 1
    assert table == {c: Score(n[True], n[True] + n[False]) for c, n in expected.items()}


def test_questions_that_were_not_asked_are_not_counted():
    questions = [of_type("A-Count", number) for number in range(5)]
    assert score(questions, [answered(questions[3], True)])["All"] == Score(1, 1)


def test_a_file_holds_every_row(tmp_path):
    questions = [of_type("V-Local", n, text="Où est l'accordéon", answer=None) for n in range(3)]
    rows = [answered(q, correct) for q, correct in zip(questions, [True, False, None], strict=True)]
    path = tmp_path / "predictions.json"
    write_predictions(path, rows)
    assert read_predictions(path) == rows
    assert json.loads(path.read_text(encoding="utf-8"))[0]["text"] == "Où est l'accordéon"
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2 + len(rows)
    write_predictions(path, [])
    assert read_predictions(path) == []
    assert [p.name for p in tmp_path.iterdir()] == ["predictions.json"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "no such file or directory"),
        ("[{", "expecting property name"),
        ('[{"key": "k"}]', "missing 8 required positional arguments"),
        ('{"1": "yes"}', "expected a list"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, content, why):
    path = tmp_path / "predictions.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        read_predictions(path)
    assert str(error.value).startswith(f"predictions='{path}' cannot be read: ")
    assert why in str(error.value)
    assert str(error.value).endswith(
        "remove the file and have it made again by the same `avqa train-head` command and --resume"
    )
