"""Which answer is given in place of which, template by template."""

import csv
import io
from dataclasses import replace

from helpers.questions.question_files import make_question
from helpers.runs.run_folders import answered

from avqa.training.table.confusions import confusions


def test_counts_by_template_variant_and_seed():
    questions = [
        make_question(key="a", template="Is there a <Object> sound?", answer="yes"),
        make_question(key="b", template="Is there a <Object> sound?", answer="yes"),
        make_question(key="c", template='How "many", <Object>?', answer="two", kind="Comparative"),
        make_question(key="d", answer=None),
    ]
    said = {"a": "no", "b": "no", "c": "two", "d": "yes"}
    rows = [replace(answered(q, None), prediction=said[q.key]) for q in questions]
    text = confusions(questions, {("q", 1): rows, ("default", 0): rows[:1]})
    found = list(csv.reader(io.StringIO(text)))
    assert found[0][-3:] == ["answer", "predicted", "count"]
    assert found[1:] == [
        ["q", "1", "Audio", "Comparative", 'How "many", <Object>?', "two", "two", "1"],
        ["q", "1", "Audio", "Counting", "Is there a <Object> sound?", "yes", "no", "2"],
        ["default", "0", "Audio", "Counting", "Is there a <Object> sound?", "yes", "no", "1"],
    ]


def test_rows_of_other_questions_do_not_count():
    text = confusions([], {("default", 0): [answered(make_question(), True)]})
    assert len(text.splitlines()) == 1
