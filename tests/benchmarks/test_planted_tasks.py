"""A planted answer cannot be had by pooling or from the question, and is where it is said to be."""

import pytest
import torch

from benchmarks import planted_tasks
from benchmarks.planted_tasks import CHANCE, NUM, Codes, plant

TASKS = ("second", "second16", "patch", "sounding", "modality")


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setattr(planted_tasks, "NOISE", 0.0)


def planted(task, batch=400):
    return plant(task, Codes(0), batch, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("task", ["second", "second16", "patch", "sounding"])
def test_pooled_pictures_are_the_same_for_every_answer(task, quiet):
    pooled = planted(task).inputs.patch.mean((1, 2))
    torch.testing.assert_close(pooled, pooled[:1].expand_as(pooled), atol=1e-5, rtol=0)


@pytest.mark.parametrize("task", ["second", "second16"])
def test_pooled_sound_is_the_same_for_every_answer(task, quiet):
    pooled = planted(task).inputs.audio.mean(1)
    torch.testing.assert_close(pooled, pooled[:1].expand_as(pooled), atol=1e-5, rtol=0)


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_even_and_independent_of_the_question(task):
    made = planted(task, batch=4000)
    assert torch.bincount(made.answers, minlength=NUM).min() > 4000 / NUM * 0.85
    marker = made.inputs.tokens[:, -1]
    for word in marker.unique():
        share = torch.bincount(made.answers[marker == word], minlength=NUM).max()
        assert share / (marker == word).sum() * 100 < CHANCE + 10


@pytest.mark.parametrize("task", TASKS)
def test_the_evidence_is_where_it_is_said_to_be(task, quiet):
    made, codes = planted(task), Codes(0)
    rows = torch.arange(len(made.answers))
    if task in ("second", "second16", "modality"):
        seen = made.inputs.patch[rows, made.place, 0]
        heard = made.inputs.audio[rows, made.place]
        marker = made.inputs.tokens[:, -1] - planted_tasks.MARKER
        parts = torch.where(
            made.asked[:, None] == 0,
            heard - codes.heard[marker] - codes.heard_content[made.answers],
            seen - codes.seen[marker] - codes.seen_content[made.answers],
        )
    else:
        seen = made.inputs.patch.gather(
            2, made.place[..., None, None].expand(-1, -1, 1, seen_width(made))
        )[:, :, 0]
        if task == "patch":
            marker = made.inputs.tokens[:, -1] - planted_tasks.MARKER
        else:
            marker = torch.cdist(made.inputs.audio[:, 0], codes.heard).argmin(1)
        parts = seen - (codes.seen[marker] + codes.seen_content[made.answers])[:, None]
    assert parts.abs().max() < 1e-5


def seen_width(made):
    return made.inputs.patch.shape[-1]


@pytest.mark.parametrize("task", TASKS)
def test_evidence_has_the_norm_of_the_distractors(task):
    made = planted(task)
    norms = made.inputs.patch.norm(dim=-1)
    assert norms.std() / norms.mean() < 0.25
