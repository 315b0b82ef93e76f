"""The benchmark of training: a head's figures on a store of its own, and the page made of them."""

import json
import pickle

from benchmarks import training, training_store
from benchmarks.training_profile import gemm_rate


def test_a_head_is_measured_and_its_page_marks_what_is_missed(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "STEPS", 1)
    monkeypatch.setattr(training, "ROUNDS", 1)
    questions = training_store.write(tmp_path / "store", 40)
    (tmp_path / "questions").write_bytes(pickle.dumps(questions))
    found = training.train("question_only", tmp_path)
    assert found.keys() >= {"batch", "rows", "rate_0", "gain_3.5", "gain_8.0", "gflops", "share"}
    assert len(found["most"]) == 4
    assert 0 < sum(share for _, share in found["most"]) <= 1
    json.dumps(found)
    slow = {**found, "rate_0": 10.0, "gain_3.5": 2.5, "gain_8.0": 2.9, "share": 0.5}
    page = "\n".join([*training.training({"avst": slow}), *training.profiles({"avst": slow})])
    assert "| 2.50 | 2.90 (missed) | 3 |" in page
    assert "| 53 | 2.50 |" in page  # minutes an epoch of 32,000 questions
    assert "| 50% |" in page


def test_products_of_matrices_have_a_rate():
    assert gemm_rate() > 0.1
