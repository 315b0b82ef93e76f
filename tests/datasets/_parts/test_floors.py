import math

import pytest
from helpers.questions.question_files import REAL, make_question, needs_real
from hypothesis import given
from hypothesis import strategies as st

from avqa import datasets
from avqa.datasets._parts.floors import AnswerPrior, Score, chance, floors, score_table
from avqa.datasets._parts.taxonomy import COLUMNS, NAMES

FIELD_ORDER = (
    "A-Count A-Comp A-Avg V-Count V-Local V-Avg"
    " AV-Exist AV-Count AV-Local AV-Comp AV-Temp AV-Avg All"
)


def of_type(name, **changes):
    modality, kind = NAMES[name]
    return make_question(modality=modality, kind=kind, **changes)


def test_columns_in_the_fields_order():
    assert list(COLUMNS) == FIELD_ORDER.split()
    assert list(score_table([])) == FIELD_ORDER.split()


def test_averages_are_over_questions():
    scored = [(of_type("A-Count"), True)] * 3 + [(of_type("A-Comp"), False)]
    scored += [(of_type("AV-Temp"), True)]
    table = score_table(scored)
    assert table["A-Count"] == Score(3, 3)
    assert table["A-Avg"] == Score(3, 4)
    assert table["A-Avg"].percent == 75
    assert table["AV-Avg"] == table["AV-Temp"] == Score(1, 1)
    assert table["All"] == Score(4, 5)
    assert math.isnan(table["V-Avg"].percent)


@given(st.lists(st.tuples(st.sampled_from(sorted(NAMES)), st.booleans())))
def test_groups_are_the_sums_of_their_types(pairs):
    table = score_table([(of_type(name), right) for name, right in pairs])
    for group, prefix in (("A-Avg", "A-"), ("V-Avg", "V-"), ("AV-Avg", "AV-")):
        members = [table[name] for name in NAMES if name.startswith(prefix)]
        assert table[group] == Score(*(sum(s[i] for s in members) for i in (0, 1)))
    assert table["All"] == Score(sum(right for _, right in pairs), len(pairs))


def test_a_strange_type_is_refused():
    with pytest.raises(ValueError, match=r"types=\[\('Audio', 'Temporal'\)\]; expected those of"):
        score_table([(make_question(kind="Temporal"), True)])


def test_of_equally_frequent_answers_the_first_in_the_file_wins():
    asked = make_question()
    for order in (["no", "yes"], ["yes", "no"], ["yes", "no", "no", "yes"]):
        fit = [make_question(answer=answer) for answer in order]
        assert AnswerPrior(fit, "template").answer(asked) == order[0]
    most = [make_question(answer=answer) for answer in ("no", "yes", "yes")]
    assert AnswerPrior(most, "template").answer(asked) == "yes"


def test_what_was_never_seen_falls_back():
    fit = [
        make_question(template="a", slots=("x",), answer="one"),
        make_question(template="a", slots=("y",), answer="two"),
        make_question(template="a", slots=("y",), answer="two"),
        *[make_question(template="b", answer="three")] * 4,
        *[make_question(kind="Comparative", template="c", answer="no")] * 9,
        make_question(template="a", slots=("x",), answer=None),
    ]
    prior = AnswerPrior(fit, "slots")
    answers = {
        ("a", ("x",), "Counting"): "one",
        ("a", ("z",), "Counting"): "two",
        ("d", (), "Counting"): "three",
        ("d", (), "Location"): "no",
    }
    for (template, slots, kind), answer in answers.items():
        asked = make_question(template=template, slots=slots, kind=kind)
        assert prior.answer(asked) == answer
    assert AnswerPrior([], "slots").answer(make_question()) is None


def test_questions_without_an_answer_are_not_scored():
    tables = floors([make_question()], [make_question(), make_question(answer=None)])
    assert list(tables) == ["global", "type", "template", "slots"]
    assert tables["slots"]["All"] == Score(1, 1)


def choose(*choices, right):
    values = {"modality": "Both", "kind": "Which", "answer": None}
    return make_question(choices=choices, choice=right, **values)


def test_floors_of_multiple_choice():
    columns = datasets.load("avqa").COLUMNS
    fit = [
        *(choose("Dog", "cat", "a", "b", right=0), choose("x", "dog", "y", "z", right=1)),
        *(choose("c", "Cat", "d", "e", right=1), choose("f", "g", "h", "i", right=None)),
    ]
    score = [
        choose("cat", "bird", "DOG", "fish", right=2),  # option: dog 2, cat 1
        choose("p", "q", "r", "s", right=1),  # position: 1; option: none known, so the first
        choose("p", None, "r", "s", right=0),  # a missing option is never picked
        choose("p", None, None, None, right=None),
    ]
    tables = floors(fit, score, columns)
    assert list(tables) == ["position", "option", "longest"]
    # Of equally long ones the first; of the second question it is as much.
    assert tables["longest"]["All"] == Score(1, 3)
    assert chance(score) == pytest.approx(100 * (1 / 4 + 1 / 4 + 1 / 3) / 3)
    assert chance([make_question()]) is None
    assert tables["position"]["All"] == Score(2, 3)
    assert tables["option"]["Which"] == Score(2, 3)


PERCENT = {
    # heads.md section 8: fitted on the updated val file, scored on the updated test file.
    "global": "48.87 45.62 47.67 32.75 0.00 16.18 52.94 0.00 15.87 50.68 0.00 24.08 26.15",
    "type": "48.87 54.38 50.90 32.75 19.18 25.89 52.94 35.81 15.87 50.68 16.79 35.68 35.77",
    "template": "65.59 54.55 61.51 56.81 27.27 41.87 78.95 56.05 32.39 57.77 28.22 52.10 51.05",
    "slots": "64.70 57.74 62.14 54.80 30.94 42.73 78.64 55.73 35.43 59.40 28.22 52.86 51.81",
}


@needs_real
def test_real_floors():
    val, test = (datasets.read("music-avqa", REAL, [split]) for split in ("val", "test"))
    tables = floors(val, test)
    right = {name: table["All"] for name, table in tables.items()}
    counts = {"global": 2387, "type": 3265, "template": 4660, "slots": 4730}
    assert right == {name: Score(count, 9129) for name, count in counts.items()}
    for name, expected in PERCENT.items():
        assert " ".join(f"{s.percent:.2f}" for s in tables[name].values()) == expected
    oracle = floors(test, test)["template"]["All"]
    assert f"{oracle.percent:.2f}" == "51.46"
    back = floors(test, val)
    assert [f"{back[n]['All'].percent:.2f}" for n in ("template", "slots")] == ["51.12", "53.09"]
