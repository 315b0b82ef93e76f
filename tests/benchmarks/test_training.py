"""The benchmark of training: a head's figures on a store of its own, and the page made of them."""

import json
import pickle
import subprocess

import torch

from avqa import heads
from avqa.heads._parts.blocks import Attention
from benchmarks import training, training_store
from benchmarks.training_profile import as_before, counted, flops, gemm_rate


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


def test_a_head_whose_rows_have_a_time_code_is_counted(tmp_path):
    questions = training_store.write(tmp_path / "store", 20)
    (tmp_path / "questions").write_bytes(pickle.dumps(questions))
    steps = training.Steps("bilinear", tmp_path, 8.0, 0)
    assert steps.head.options.time_code == "product"
    assert steps.head.options.audio_width == 2 * 128
    found = counted(steps)
    assert 0.98 < found["of_video"] < 1  # all but the question's own layers and the answer's
    assert 5 < found["fewer"] < 8  # questions a video, of which all but that is met once


def test_figures_of_other_heads_stay_where_they_are_kept(tmp_path, monkeypatch):
    figures = {"gain_3.5": 1.5, "gain_8.0": 2.0, "batch": 64}
    kept = {"machine": "two cores", "busy": 0.25, "rounds": 3, "heads": {"avst": figures}}
    kept["reading"] = [(1.0, 0.5)] * len(training.CASES)
    monkeypatch.setattr(training, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(training, "KEPT", tmp_path / "page.json")
    monkeypatch.setattr(training, "ROOT", tmp_path)
    monkeypatch.setattr("benchmarks.__main__.machine", lambda: "a third core")
    monkeypatch.setattr(training_store, "write", lambda folder, videos: [])
    training.KEPT.write_text(json.dumps(kept), encoding="utf-8")
    asked = []

    def measured(command, **options):
        asked.append(command[command.index("--only") + 1])
        return subprocess.CompletedProcess(command, 0, json.dumps(figures | {"gain_8.0": 3.0}))

    monkeypatch.setattr(subprocess, "run", measured)
    words = ["training", "--loaded", "--heads", "pstp,mcd", "--folder", str(tmp_path / "build")]
    monkeypatch.setattr("sys.argv", words)
    training.main()
    assert asked == ["pstp", "mcd"]
    found = json.loads(training.KEPT.read_text(encoding="utf-8"))
    assert {name: f["gain_8.0"] for name, f in found["heads"].items()} == {
        "avst": 2.0, "pstp": 3.0, "mcd": 3.0
    }  # fmt: skip
    page = training.PAGE.read_text(encoding="utf-8")
    assert [page.count(f"| {name} | 64 |") for name in ("avst", "pstp", "mcd")] == [1, 1, 1]
    assert "when the reading was measured. On a third core: `mcd`, `pstp`.\n" in page


def test_the_published_page_is_that_of_the_kept_figures():
    kept = json.loads(training.KEPT.read_text(encoding="utf-8"))
    assert training.page(kept) == training.PAGE.read_text(encoding="utf-8")


def test_products_of_matrices_have_a_rate():
    assert gemm_rate() > 0.1
