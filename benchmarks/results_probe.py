"""A linear probe of what heads read: ridge regression on question ⊗ video, in closed form.

Every question is the product of its words and template with the mean and the largest row of its
video: as much as a layer without any hidden unit can read. There are far more products than
questions, so it is solved through the kernel ⟨q, q'⟩ · (1 + ⟨v, v'⟩).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from avqa.datasets import Question
from avqa.datasets._parts.floors import Table, score_table
from avqa.datasets._parts.question import SPLITS
from avqa.datasets._parts.vocabulary import ANSWERS, MUSIC_AVQA, TYPE_WORDS, UNKNOWN, WORDS
from avqa.training.data.features import FeatureReader

PENALTIES = tuple(10.0**power for power in range(-3, 4))
"""Weight of the squared norm; chosen on the validation questions."""

_ROWS = {word: row for row, word in enumerate((*WORDS, *TYPE_WORDS))} | {UNKNOWN: 0}
"""Word of MUSIC-AVQA's questions → its place in a bag of words."""


def probe(questions: Mapping[str, Sequence[Question]], features: FeatureReader) -> Table:
    """Score on test of the probe that was fitted on train and chosen on val.

    Args:
        questions: split → its questions, whose video ids are those of ``features``.
        features: ``audio``, and ``patch`` or ``frame``.
    """
    everything = [question for split in SPLITS for question in questions[split]]
    videos = {video: row for row, video in enumerate(dict.fromkeys(q.video_id for q in everything))}
    of_question = torch.tensor([videos[q.video_id] for q in everything])
    train = torch.arange(len(questions["train"]))
    seen = torch.stack([pooled(features.read(video)) for video in videos])
    seen = standardised(seen, of_question[train])[of_question]
    asked = words(everything)
    kernel = (asked @ asked[train].T) * (1 + seen @ seen[train].T / seen.shape[1])
    places = dict(zip(SPLITS, torch.arange(len(everything)).split(_sizes(questions)), strict=True))
    target = torch.zeros(len(train), len(ANSWERS), dtype=torch.float64)
    target[train, torch.tensor([MUSIC_AVQA.encode_answer(q) for q in questions["train"]])] = 1
    solved = [_solve(kernel[train], target, penalty) for penalty in PENALTIES]

    def right(split: str, weights: Tensor) -> list[bool]:
        best = (kernel[places[split]] @ weights).argmax(1).tolist()
        return [ANSWERS[b] == q.answer for b, q in zip(best, questions[split], strict=True)]

    chosen = max(solved, key=lambda weights: sum(right("val", weights)))
    return score_table(zip(questions["test"], right("test", chosen), strict=True))


def _sizes(questions: Mapping[str, Sequence[Question]]) -> list[int]:
    return [len(questions[split]) for split in SPLITS]


def _solve(kernel: Tensor, target: Tensor, penalty: float) -> Tensor:
    return torch.linalg.solve(kernel + penalty * torch.eye(len(kernel), dtype=kernel.dtype), target)


def pooled(rows: Mapping[str, Tensor]) -> Tensor:
    """Mean and largest row of every feature, over time and place: a vector."""
    flat = [x.double().reshape(-1, x.shape[-1]) for _, x in sorted(rows.items())]
    return torch.cat([part for x in flat for part in (x.mean(0), x.amax(0))])


def standardised(values: Tensor, train: Tensor) -> Tensor:
    """Columns of mean 0 and standard deviation 1 in these rows; a constant one is 0."""
    mean, scale = values[train].mean(0), values[train].std(0)
    return torch.where(scale > 1e-6, (values - mean) / scale.clamp(min=1e-6), 0)


def words(questions: Sequence[Question]) -> Tensor:
    """Which words a question has and which template it is, each half of length 1."""
    templates = {t: i for i, t in enumerate(dict.fromkeys(q.template for q in questions))}
    bag = torch.zeros(len(questions), len(_ROWS), dtype=torch.float64)
    template = torch.zeros(len(questions), len(templates), dtype=torch.float64)
    for row, question in enumerate(questions):
        bag[row, [_ROWS.get(word, 0) for word in question.words]] = 1
        template[row, templates[question.template]] = 1
    return torch.cat([bag / bag.norm(dim=1, keepdim=True), template], 1)
