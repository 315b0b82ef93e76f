"""MCCD's losses against loops in numpy, and what the bias learners learn by them."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from helpers.heads import numpy_mccd
from helpers.runs.tiny_fits import settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from avqa import heads
from avqa.heads import HeadOutput
from avqa.training.data.batch import Batch
from avqa.training.fitting import mccd
from avqa.training.fitting.debias import BiasLearners
from avqa.training.fitting.mccd import Answers
from avqa.training.fitting.trained import Trained

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = ("qav", "qa", "qv", "av", "q", "a", "v")


@st.composite
def cases(draw):
    """Logits of the head and of learners, options that are there, samples each sees, answers."""
    samples, answers = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    kinds = draw(st.sampled_from(KINDS))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.sampled_from([0.1, 3.0, 30.0]))
    logits = {kind: size * generator.normal(size=(samples, answers)) for kind in ("m", *kinds)}
    there = generator.random((samples, answers)) < draw(st.sampled_from([0.6, 1.0]))
    there[:, 0] = True
    shares = st.sampled_from([0.0, 0.5, 1.0])
    seen = {kind: generator.random(samples) < draw(shares) for kind in kinds}
    return kinds, logits, there, seen, generator.integers(1, size=samples)


def as_tensors(logits, there, seen):
    """Missing options at −∞ as heads have them; masks left out where they hide nothing."""
    there, found = torch.from_numpy(there), {}
    for name in logits:
        own = torch.from_numpy(logits[name]).masked_fill(~there, -math.inf).requires_grad_()
        some = seen.get(name, np.ones(len(own), bool))
        found[name] = Answers(
            own, None if there.all() else there, None if some.all() else torch.from_numpy(some)
        )
    return found.pop("m"), found


@hypothesis_settings(max_examples=60, deadline=None)
@given(case=cases(), kind=st.sampled_from(["l2", "kl"]))
def test_losses_are_those_of_the_equations(case, kind):
    kinds, logits, there, seen, right = case
    fusion, own = as_tensors(logits, there, seen)
    learners = {name: logits[name] for name in kinds}
    apart = mccd.distance_loss(fusion, own, kind)
    cycle = mccd.cycle_loss(own)
    terms = [
        mccd.mean_of(mccd.cross_entropies(y, torch.from_numpy(right)), y.seen, 0.0)
        for y in own.values()
    ]
    expected = numpy_mccd.distance_loss(logits["m"], learners, there, seen, kind)
    assert apart.item() == pytest.approx(expected, rel=1e-9)
    assert cycle.item() == pytest.approx(numpy_mccd.cycle_loss(learners, there, seen), abs=1e-9)
    entropy = numpy_mccd.cross_entropy(learners, right, there, seen)
    assert sum(terms).item() == pytest.approx(entropy, rel=1e-9, abs=1e-12)
    (apart + cycle + sum(terms)).backward()
    for answers in (fusion, *own.values()):
        if answers.logits.grad is not None:
            assert answers.logits.grad.isfinite().all()


def test_the_cycle_goes_one_way_round():
    """KL(q‖a) + KL(v‖q) + KL(a‖v): the other way round is another number."""
    generator = torch.Generator().manual_seed(0)
    y = {k: Answers(torch.randn(2, 4, generator=generator)) for k in "qav"}
    turned = {"q": y["a"], "a": y["q"], "v": y["v"]}
    assert abs(mccd.cycle_loss(y) - mccd.cycle_loss(turned)) > 1e-3


def test_a_pair_counts_where_both_see_something():
    generator = np.random.default_rng(0)
    logits = {kind: generator.normal(size=(3, 4)) for kind in "mqa"}
    seen = {"q": np.array([True, True, False]), "a": np.array([False, True, True])}
    _, own = as_tensors(logits, np.ones((3, 4), bool), seen)
    middle = numpy_mccd.divergence(logits["q"][1].tolist(), logits["a"][1].tolist())
    assert mccd.cycle_loss(own).item() == pytest.approx(0.333 * 0.999 * middle)


def learners_of(head, kinds="qav", **changes):
    return BiasLearners(head.options, kinds, settings(debias="mccd", **changes))


def test_parameters_are_those_of_the_specification():
    bias = learners_of(heads.build("question_only"))
    assert sum(p.numel() for p in bias["q"].parameters()) == 546_858
    assert sum(p.numel() for p in bias.parameters()) == 1_640_574
    assert bias.line == "bias learners of q, a, v: 1,640,574 parameters, in training alone"


WORDS, ANSWERS = 24, 4


def batch(size, generator):
    """Four answers. The question's word alone is right in 70 % of cases, neither sound nor picture
    alone says anything, both together say all."""
    word = torch.randint(WORDS, (size,), generator=generator)
    other = torch.randint(ANSWERS, (size,), generator=generator)
    right = torch.where(torch.rand(size, generator=generator) < 0.6, word % ANSWERS, other)
    heard = torch.randint(ANSWERS, (size,), generator=generator)
    one_of, each = torch.eye(ANSWERS), torch.arange(size)
    audio = one_of[heard].unsqueeze(1).expand(-1, 2, -1)
    patch = one_of[(right - heard) % ANSWERS][:, None, None].expand(-1, 2, 1, -1)
    return Batch(
        answers=right,
        rows=each,
        of_video=each,
        lengths=torch.full((size,), 2),
        lost=torch.zeros(size, 2, dtype=torch.bool),
        videos={"audio": audio, "patch": patch},
        texts={"tokens": word.unsqueeze(1) + 1},
    )


def small(**options):
    torch.manual_seed(1)
    sizes = {"width": 32, "audio_width": 4, "visual_width": 4, "num_answers": ANSWERS}
    plain = {"time_code": "none", "fusion": "product", "standardise": False}
    plain |= {"dropout": 0.0, "vocabulary": WORDS + 1}
    return heads.build("bilinear", **{**sizes, **plain, **options})


def planted(**changes):
    """What a head and its learners measure after 100 steps."""
    head = small()
    trained = Trained(head, learners_of(head, **changes)).train()
    adam = torch.optim.Adam(trained.parameters(), lr=8e-3)
    generator = torch.Generator().manual_seed(2)
    for _ in range(100):
        loss, _ = trained.loss(batch(96, generator))
        adam.zero_grad()
        loss.backward()
        adam.step()
    _, told = trained.loss(batch(4000, generator))
    return dict(zip(("loss", "accuracy", *trained.measured), told.tolist(), strict=True))


def test_with_a_label_the_question_learner_finds_the_planted_prior_and_without_it_does_not():
    """As released no label reaches the learners: they stay at chance, their logits grow beyond the
    head's, and both terms vanish."""
    released, labelled = planted(), planted(bias_ce=1.0)
    assert min(released["accuracy"], labelled["accuracy"]) > 0.98
    for kind in "qav":
        assert released[f"bias_accuracy_{kind}"] == pytest.approx(0.25, abs=0.05)
        assert released[f"bias_norm_{kind}"] > 1.3 * released["fusion_norm"]
        assert labelled[f"bias_norm_{kind}"] < 0.5 * labelled["fusion_norm"]
    assert labelled["bias_accuracy_q"] == pytest.approx(0.70, abs=0.03)
    for kind in "av":
        assert labelled[f"bias_accuracy_{kind}"] == pytest.approx(0.25, abs=0.05)
    assert released["cycle_loss"] < 1e-4 < 0.03 < labelled["cycle_loss"]
    assert released["distance_loss"] < 0.7 * labelled["distance_loss"]


def gradients(**changes):
    """Of the head's own layers by L_d + L_c + bias_ce CE alone, with y_m held fixed."""
    head = small()
    bias = learners_of(head, **changes)
    with heads.observed(head) as seen:
        asked = batch(8, torch.Generator().manual_seed(3))
        output = head(asked.inputs)
    fixed = HeadOutput(output.logits.detach())
    loss, _ = bias.losses(head, fixed, seen, asked.inputs, asked.answers)
    loss.backward()
    assert all(weight.grad is not None for weight in bias.parameters())
    return {name.partition(".")[0] for name, w in head.named_parameters() if w.grad is not None}


def test_the_learners_gradient_reaches_the_encoders_unless_detached():
    assert gradients() == {"question", "audio", "visual"}
    assert gradients(bias="qv", kinds="qv") == {"question", "visual"}
    assert gradients(bias_detach=True) == set()


def test_a_batch_without_sound_trains_the_other_learners_alone():
    head = small()
    trained = Trained(head, learners_of(head, bias_ce=1.0)).train()
    asked = batch(8, torch.Generator().manual_seed(3))
    silent = torch.zeros(8, 2, dtype=torch.bool)
    some = silent.clone()
    some[3:] = True

    def told(heard, audio):
        videos = {**asked.videos, "audio": audio, "audio_valid": heard}
        loss, told = trained.loss(dataclasses.replace(asked, videos=videos))
        trained.zero_grad()
        loss.backward()
        assert all(w.grad is None or w.grad.isfinite().all() for w in trained.parameters())
        return dict(zip(("loss", "accuracy", *trained.measured), told.tolist(), strict=True))

    noise = torch.full_like(asked.videos["audio"], 50.0)
    nothing = told(silent, noise)
    assert math.isfinite(nothing["loss"])
    absent = {name for name, value in nothing.items() if math.isnan(value)}
    assert absent == {"distance_a", "bias_accuracy_a", "bias_norm_a"}
    assert trained.bias["a"].answer.layer.weight.grad.abs().max() == 0
    assert trained.bias["q"].answer.layer.weight.grad.abs().max() > 0
    # Of samples with sound alone, whatever lies where the others have none.
    mixed = asked.videos["audio"].clone()
    mixed[:3] = 50.0
    partly = told(some, mixed)
    assert partly["distance_a"] == pytest.approx(told(some, asked.videos["audio"])["distance_a"])
    assert partly["bias_norm_a"] > 0


def test_learners_of_multiple_choice_score_the_options():
    torch.manual_seed(0)
    sizes = {"width": 16, "audio_width": 4, "visual_width": 4, "text_width": 6}
    head = heads.build("late_fusion", answer="choices", **sizes)
    trained = Trained(head, learners_of(head, bias_ce=1.0)).train()
    inputs = heads.random_input(head, batch=3, seconds=2, patches=2)
    there = torch.ones(3, 4, dtype=torch.bool)
    there[0, 3] = there[1, 1] = False
    inputs = dataclasses.replace(inputs, choice_valid=there)
    with heads.observed(head) as seen:
        output = head(inputs)
    loss, told = trained.bias.losses(head, output, seen, inputs, torch.tensor([0, 0, 3]))
    assert loss.isfinite()
    assert torch.stack(told).isfinite().all()
    loss.backward()
    assert all(weight.grad.isfinite().all() for weight in trained.bias.parameters())
    vectors = heads.pooled(seen, head, inputs)
    scores = trained.bias["v"](vectors["v"], inputs)
    assert scores.shape == (3, 4)
    assert torch.equal(scores.isneginf(), ~there)
