"""The measure of learnability: a constant gets half, a readable label nearly all."""

import numpy as np
import pytest

from benchmarks import learnable
from benchmarks.learnable import Examples, auroc, balanced_accuracy, probe, seen, sounding

TRUTH = {
    "settings": {"instruments": ["violin", "piano"]},
    "videos": {
        "1": {
            "split": "train",
            "players": [
                {"instrument": "violin", "place": "left", "sounds": [[1, 2]]},
                {"instrument": "piano", "place": None, "sounds": [[0, 3]]},
            ],
        }
    },
}


def test_labels_follow_the_truth():
    rows = {"1": np.array([[1.0, 0.0], [0.0, 5.0], [0.0, 0.0]])}
    by_second = sounding(rows, TRUTH)
    assert by_second.labels.tolist() == [[False, True], [True, True], [False, True]]
    np.testing.assert_array_equal(by_second.features, rows["1"])
    by_video = seen(rows, TRUTH)
    assert by_video.labels.tolist() == [[True, False]]
    assert by_video.features.tolist() == [[1.0, 5.0]]


def test_a_constant_gets_half():
    truth = np.array([True, False, False, False])
    for guess in (True, False):
        assert balanced_accuracy(np.full(4, guess), truth) == 0.5
    assert auroc(np.zeros(4), truth) == 0.5
    assert balanced_accuracy(np.array([True, True, False, False]), truth) == pytest.approx(5 / 6)
    assert auroc(np.array([2.0, 3.0, 1.0, 2.0]), truth) == pytest.approx(1.5 / 3)


def test_the_probe_reads_what_is_there_and_nothing_from_shuffled_labels(monkeypatch):
    monkeypatch.setattr(learnable, "PENALTIES", (0.1,))
    rng = np.random.default_rng(0)
    labels = rng.random((300, 2)) < 0.3
    features = rng.normal(size=(300, 3))
    features[:, :2] += 4 * labels
    examples = Examples(features, labels, np.repeat(["train", "val", "test"], 100))
    accuracy, area = probe(examples)
    assert accuracy > 90
    assert area > 0.97
    accuracy, area = np.mean([probe(examples.shuffled(rng)) for _ in range(10)], axis=0)
    assert 35 < accuracy < 65
    assert 0.3 < area < 0.7
