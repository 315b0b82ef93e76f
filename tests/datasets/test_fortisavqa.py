import hashlib

import pytest
from helpers.questions.question_files import SAMPLES, fortis_row, music_row, write

from avqa import datasets
from avqa.errors import DatasetError


def test_the_files_own_groups_are_taken_and_not_those_of_the_rule(tmp_path):
    """By the rule of MUSIC-AVQA-R all answers that are yes would be head, and no other."""
    rows = [fortis_row(question_id=n, anser="yes", split="tail") for n in range(6)]
    rows += [fortis_row(question_id=7, anser="no"), fortis_row(question_id=8, anser="two")]
    file = write(tmp_path / "FortisAVQA-test.json", rows)
    everything = datasets.read("fortisavqa", tmp_path)
    assert [q.group for q in everything] == ["tail"] * 6 + ["head"] * 2
    for group in ("head", "tail"):
        chosen = datasets.read("fortisavqa", file, group=group)
        assert chosen == [q for q in everything if q.group == group]
    first = everything[0]
    assert (first.text, first.slots, first.split) == ("Does a violin play in it", (), "test")


def test_training_is_music_avqas_and_in_no_group(tmp_path):
    SAMPLES["fortisavqa"](tmp_path)
    questions = datasets.read("fortisavqa", tmp_path, group="tail")
    assert [(q.split, q.group) for q in questions] == [("train", "")] * 3 + [
        ("val", ""),
        ("test", "tail"),
    ]


@pytest.mark.parametrize("x", [0.5, "0.5", None, [1], {"k": 2}])
def test_what_is_not_read_may_be_anything(tmp_path, x):
    row = fortis_row() | {"x": x, "_comment_anser": x, "_comment": None}
    (question,) = datasets.read("fortisavqa", write(tmp_path / "test.json", [row]))
    assert (question.group, question.answer) == ("head", "yes")


@pytest.mark.parametrize("split", ["Head", "middle", None, 1, "test"])
def test_a_row_in_no_group_is_refused(tmp_path, split):
    rows = [fortis_row(), {**fortis_row(question_id=5), "split": split}]
    file = write(tmp_path / "FortisAVQA-test.json", rows)
    with pytest.raises(DatasetError) as caught:
        datasets.read("fortisavqa", file)
    assert str(caught.value) == (
        f"file={str(file)!r} row=1 question_id=5: split={split!r}; expected head or tail; correct"
        " or remove the row"
    )


def test_the_digest_and_the_wordings(tmp_path):
    file = write(tmp_path / "FortisAVQA-test.json", [fortis_row(), fortis_row(split="tail")])
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    told = f"test file: 'FortisAVQA-test.json', sha256={digest}"
    assert datasets.notes("fortisavqa", tmp_path, group="head") == [told]
    assert datasets.notes("fortisavqa", write(tmp_path / "a/avqa-val.json", [music_row()])) == []
    module = datasets.load("fortisavqa")
    one, other = datasets.read("fortisavqa", file)
    assert module.original(one) == module.original(other) == ("1", "00000007", "yes")
    assert module.version([one, other]) == "unknown"
