import hashlib
import json

import pytest
from helpers.questions.question_files import valor_row, write

from avqa import datasets
from avqa.datasets.valor32k import CATEGORIES, COUNTS, MODALITIES
from avqa.errors import DatasetError

NAME = "combined_dataset_test_flattened.json"


def read_row(tmp_path, **changes):
    (question,) = datasets.read("valor32k", write(tmp_path / NAME, [valor_row(**changes)]))
    return question


def test_a_row_becomes_a_question(tmp_path):
    q = read_row(tmp_path, correct_answer_idx=3)
    assert (q.question_id, q.video_id, q.split) == ("7", "-uGHAvfqs2I", "test")
    assert (q.text, q.words) == ("What runs", ("What", "runs"))
    assert (q.modality, q.kind) == ("Audio-Visual", "Action")
    assert q.choices == ("A dog", "A cat", "A car", "A man with a hat")
    assert (q.choice, q.answer) == (3, None)


def test_every_pair_has_its_columns():
    columns = datasets.load("valor32k").COLUMNS
    assert [*columns] == [
        *("Description", "Action", "Count", "Temporal", "Location", "Relative"),
        *("A-Avg", "V-Avg", "AV-Avg", "All"),
    ]
    assert len(columns["All"]) == len(MODALITIES) * len(CATEGORIES) == 18
    assert columns["Relative"] & columns["V-Avg"] == {("Visual", "Relative-Position")}


@pytest.mark.parametrize(
    "changes",
    [
        {"rephrased_answers": ["a", "b", "c", "d"]},
        {"rephrased_answers": None, "caption": None, "source_tags": None, "oid": None},
        {"quality_rating": "guess", "model": "gpt3.5", "start_time": 30.0},
    ],
)
def test_what_is_not_read_may_be_anything(tmp_path, changes):
    assert read_row(tmp_path, **changes) == read_row(tmp_path)


def test_lines_of_hugging_face_are_read(tmp_path):
    rows = [valor_row(id=n, question=f"Is it {n}?", correct_answer_idx=float(n)) for n in range(3)]
    for split in ("train", "validation", "test"):
        file = tmp_path / f"data/flattened/{split}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = datasets.read("valor32k", tmp_path)
    assert [q.split for q in found] == ["train"] * 3 + ["val"] * 3 + ["test"] * 3
    assert [q.choice for q in found[3:6]] == [0, 1, 2]
    assert found == datasets.read("valor32k", file.parent)
    assert found[3:6] == datasets.read("valor32k", file.with_name("validation.jsonl"))
    lines = datasets.notes("valor32k", tmp_path)
    assert lines[1] == (
        "val file: 'validation.jsonl', sha256="
        f"{hashlib.sha256(file.with_name('validation.jsonl').read_bytes()).hexdigest()}"
    )
    assert [line.split()[0] for line in lines] == ["train", "val", "test"]


EARLY = "; an early release had such rows: take a corrected one, or correct or remove the row"
THREE = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": THREE}, f"options={THREE} (3 of them); expected 4 texts{EARLY}"),
        ({"options": [*THREE, "d", "e"]}, "(5 of them); expected 4 texts"),
        ({"options": "a|b|c|d"}, "options='a|b|c|d'; expected 4 texts"),
        ({"options": None}, "options=None; expected 4 texts"),
        (
            {"options": [*THREE, " b "]},
            f"options={[*THREE, ' b ']!r} have 'b' twice; expected others{EARLY}",
        ),
        ({"options": [*THREE, None]}, "options=None; expected a text"),
        ({"correct_answer_idx": 4}, "correct_answer_idx=4; expected the index of an option, 0 to"),
        ({"correct_answer_idx": -1}, "correct_answer_idx=-1; expected the index of an option"),
        ({"correct_answer_idx": "b"}, "correct_answer_idx='b'; expected the index of an option"),
        ({"modality": "sound"}, "modality='sound'; expected one of audio, visual, audio-visual"),
        ({"category": "why"}, "category='why'; expected one of description, action, count, "),
        ({"video_id": None}, "video_id=None; expected a text"),
        (
            {"questions": [{}], "question": None},
            "the row holds the questions of a video; expected one question a row; give the"
            " flattened file, such as combined_dataset_test_flattened.json",
        ),
    ],
)
def test_rows_that_cannot_be_used(tmp_path, changes, message):
    with pytest.raises(DatasetError) as caught:
        read_row(tmp_path, **changes)
    assert f"{NAME}' row=0 id=7: " in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_question_without_an_answer_can_be_asked(tmp_path):
    assert read_row(tmp_path, correct_answer_idx=None).choice is None


def test_a_release_is_told_by_its_counts():
    version = datasets.load("valor32k").version
    questions = {split: [] for split in COUNTS["v2.0"]}

    class Asked:
        def __init__(self, split):
            self.split = split

    for split, (count,) in ((s, tuple(c)) for s, c in COUNTS["v2.0"].items()):
        questions[split] = [Asked(split)] * count
    everything = [q for these in questions.values() for q in these]
    assert version(everything) == version(questions["test"]) == "v2.0"
    assert version(everything[8:]) == "v2.0 of Hugging Face"
    assert version(everything[1:]) == "unknown"
