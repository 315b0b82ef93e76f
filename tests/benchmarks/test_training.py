"""The benchmark of training: a head's figures on a store of its own, and the page made of them."""

import json
import pickle

import torch

from avqa import heads
from avqa.heads._parts.blocks import Attention
from benchmarks import training, training_store
from benchmarks.training_profile import as_before, flops, gemm_rate


def test_a_head_is_measured_and_its_page_marks_what_is_missed(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "STEPS", 1)
    monkeypatch.setattr(training, "ROUNDS", 1)
    questions = training_store.write(tmp_path / "store", 20)
    (tmp_path / "questions").write_bytes(pickle.dumps(questions))
    found = training.train("question_only", tmp_path, speeds=True)
    assert found.keys() >= {"rate_batch", "rate_rows", "rate_0", "gain_3.5", "gain_8.0", "gflops"}
    assert len(found["most"]) == 4
    assert 0 < sum(share for _, share in found["most"]) <= 1
    assert found["of_video"] == 0  # the question's words enter everything
    assert found["fewer"] > 1.5  # 64 questions with 40 texts
    json.dumps(found)
    slow = {
        **found,
        "rate_0": 10.0,
        "waiting_0": 0.025,
        "gain_3.5": 2.5,
        "gain_8.0": 2.9,
        "share": 0.5,
    }
    slow |= {"of_video": 0.8, "fewer": 3.25}
    kept = {"machine": "two cores", "busy": 0.25, "rounds": 3, "heads": {"avst": slow}}
    kept["reading"] = [(1.0, 0.5)] * len(training.CASES)
    page = training.page(kept)
    assert "| avst | 64 | 80% | 3.33 | 3.25 | 2.50 | 2.90 (missed) | 3 |" in page
    assert "| 10.0 | 2.5%" in page
    assert "| 53 |" in page  # minutes an epoch of 32,000 questions
    assert "| 50% (missed) |" in page
    del slow["rate_0"]  # measured beside other programs alone
    assert "| avst | 64 |" in training.page(kept)
    assert "| 53 |" not in training.page(kept)


def test_what_version_0_1_multiplied():
    x = torch.zeros(2, 5, 8)
    lstm, head = torch.nn.LSTM(8, 8, batch_first=True), Attention(8, 1, 0.0)
    assert flops(lambda: lstm(x)) == 2 * 5 * 2 * (4 * 8) * (8 + 8)
    assert flops(lambda: lstm(x)[0].sum().backward()) == 3 * 2 * 5 * 2 * (4 * 8) * (8 + 8)
    many, few = torch.zeros(1, 100, 8), torch.zeros(1, 2, 8)
    now = flops(lambda: head(many, few, want_weights=False))
    with as_before():
        assert flops(lambda: head(many, few, want_weights=False)) > 2 * now
    assert flops(lambda: head(many, few, want_weights=False)) == now


def test_every_feature_that_a_paper_reads_is_there(tmp_path):
    questions = training_store.write(tmp_path / "store", 3)
    (tmp_path / "questions").write_bytes(pickle.dumps(questions))
    for name in heads.names():
        head, recipe, given = training.question_set(name, tmp_path, 0)
        rows = -(-60 // training.FEW.get(name, (0, recipe.stride_seconds))[1])
        assert not head.FEATURES or given[0].inputs.valid.shape[1] == rows, name
        assert all(getattr(given[0].inputs, need) is not None for need in head.needs), name
    head, _, given = training.question_set("bilinear", tmp_path, 0)  # its rows have a time code
    assert head.check(head.prepared(given[0].inputs))


def test_products_of_matrices_have_a_rate():
    assert gemm_rate() > 0.1
