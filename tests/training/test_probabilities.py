"""``predictions.npz``: what is written is read back, and what is no such file is refused."""

import numpy as np
import pytest
from helpers.questions.question_files import make_question

from avqa.errors import RunDamaged
from avqa.training.probabilities import Probabilities, read_probabilities, write_probabilities

QUESTIONS = [
    make_question(key="k0", question_id="7"),
    make_question(key="k1", question_id=None),
]
VALUES = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)


def made():
    return Probabilities.of(QUESTIONS, ("no", "yes"), VALUES, np.array([1, -2]))


def same(first, second):
    return all(np.array_equal(value, getattr(second, name)) for name, value in vars(first).items())


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "predictions.npz"
    write_probabilities(path, made())
    found = read_probabilities(path)
    assert same(found, made())
    assert (found.values.dtype, found.answers.tolist()) == (np.float32, ["no", "yes"])
    assert found.question_ids.tolist() == ["7", ""]
    first = path.read_bytes()
    write_probabilities(path, made())
    assert path.read_bytes() == first  # the same numbers are the same file


def test_questions_are_chosen_by_key():
    found = made().chosen(["k1"])
    assert found.values.tolist() == [[0.5, 0.5]]
    assert (found.right.tolist(), found.answers.tolist()) == ([-2], ["no", "yes"])


def test_options_stand_beside_each_question():
    asked = [make_question(key="k0", choices=("dog", None)), make_question(choices=("cat",))]
    found = Probabilities.of(asked, (), VALUES, np.array([0, 0]))
    assert found.answers.tolist() == [["dog", ""], ["cat", ""]]
    assert found.chosen(["k0"]).answers.tolist() == [["dog", ""]]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", b"{}"])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "predictions.npz"
    path.write_bytes(content)
    with pytest.raises(RunDamaged, match="cannot be read: .*; expected the arrays that training"):
        read_probabilities(path)
    with pytest.raises(RunDamaged, match="No such file"):
        read_probabilities(tmp_path / "none.npz")


def test_arrays_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "predictions.npz"
    np.savez(path, **{**vars(made()), "right": np.array([1])})
    with pytest.raises(RunDamaged, match="do not fit"):
        read_probabilities(path)
    np.savez(path, **{**vars(made()), "keys": np.array([b"k", None], object)})
    with pytest.raises(RunDamaged, match="allow_pickle"):
        read_probabilities(path)
