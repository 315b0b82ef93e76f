"""TSPM against loops written from its equations, its counts, its selection and its prompts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.heads.head_batches import make_head, make_inputs, padded, partly_silent, select
from helpers.heads.numpy_blocks import parameters
from helpers.heads.numpy_tspm import tspm
from hypothesis import given
from hypothesis import strategies as st

from avqa import heads
from avqa.heads.tspm.modules import evenly, largest
from avqa.heads.tspm.paper import PAPER

SMALL = {"width": 16, "audio_width": 5, "visual_width": 6, "patch_width": 9, "text_width": 7}
SMALL |= {"num_answers": 4, "topk": 3}
OPTIONS = [
    {},
    {"selector_grad": "none"},
    {"patch_rows": "first"},
    {"selector_grad": "none", "patch_rows": "first", "prompt": "released"},
    {"prompt": "question"},
    {"temporal": False},
    {"spatial": False},
    {"av_attention": False},
    {"temporal": False, "spatial": False, "av_attention": False},
    {"question": "lstm"},
    {"topk": 99},
]


def uneven(head):
    """7 seconds, a hole in the second sample, one second in the third: fewer than K."""
    inputs = make_inputs(head, seconds=7, patches=5, dtype=torch.float64)
    valid = torch.ones(3, 7).bool()
    valid[1, 3] = False
    valid[2, 1:] = False
    return replace(inputs, valid=valid)


def sample_of(inputs, b):
    given = {n: x[b].numpy() for n, x in vars(inputs).items() if x is not None}
    for name in ("audio", "frame", "patch"):
        given[name] = np.array([r * t for r, t in zip(given[name], given["valid"], strict=True)])
    given["heard"] = inputs.heard[b].numpy()
    given["audio"] = given["audio"] * given["heard"][:, None]
    return given


@pytest.mark.parametrize("silence", [False, True], ids=["sound", "silence"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_whole_head_equals_the_loops(options, silence):
    head = make_head("tspm", 0, **{**SMALL, **options}).eval()
    inputs = partly_silent(uneven(head)) if silence else uneven(head)
    found = head(inputs, explain=True)
    p = parameters(head)
    for b in range(3):
        logits, told = tspm(p, sample_of(inputs, b), head.options)
        np.testing.assert_allclose(found.logits[b].detach(), logits, atol=1e-9)
        assert {name for name, value in told.items() if value is not None} == {*found.explain}
        for name, value in found.explain.items():
            number = len(told[name])
            if name == "second_index":
                assert value[b].tolist() == [*told[name], *[-1] * (value.shape[1] - number)]
            else:
                expected = padded(told[name], value.shape[1])
                np.testing.assert_allclose(value[b].detach(), expected, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(("grad", "count"), [("none", 12_304_426), ("weighted", 11_252_778)])
def test_as_many_parameters_as_counted(grad, count):
    with torch.device("meta"):
        head = heads.build("tspm", selector_grad=grad)
    assert heads.count_parameters(head) == count


def test_of_the_released_ones_as_many_get_a_gradient_as_counted():
    head = make_head("tspm", 0, selector_grad="none").float().train()
    inputs = make_inputs(head, seconds=12, batch=2)
    heads.total_loss(head, head(inputs), torch.tensor([0, 1])).backward()
    got = sum(p.numel() for p in head.parameters() if p.grad is not None)
    assert got == 10_333_738


def test_the_prompt_chooses_and_learns():
    head = make_head("tspm", 0, **{**SMALL, "topk": 2}).eval()
    inputs = make_inputs(head, seconds=12, dtype=torch.float64)
    other = replace(
        inputs, prompt=make_inputs(head, seconds=12, seed=7, dtype=torch.float64).prompt
    )
    before, after = head(inputs, explain=True), head(other, explain=True)
    assert (before.explain["second_index"] != after.explain["second_index"]).any()
    for grad, learns in (("weighted", True), ("none", False)):
        head = make_head("tspm", 0, **SMALL, selector_grad=grad).train()
        heads.total_loss(head, head(inputs), torch.tensor([0, 1, 2])).backward()
        for layer in (head.prompt, head.selector):
            grads = [p.grad for p in layer.parameters()]
            assert any(g is not None and bool(g.any()) for g in grads) == learns


@pytest.mark.parametrize("rows", ["selected", "first"])
def test_only_the_patches_of_kept_seconds_matter(rows):
    head = make_head("tspm", 0, **SMALL, patch_rows=rows).eval()
    inputs = make_inputs(head, batch=1, seconds=8, dtype=torch.float64)
    output = head(inputs, explain=True)
    kept = output.explain["second_index"][0].tolist() if rows == "selected" else [0, 1, 2]
    for second in range(8 - 1):  # the last one is padding
        patch = inputs.patch.clone()
        patch[0, second] += 1
        same = torch.equal(head(replace(inputs, patch=patch)).logits, output.logits)
        assert same == (second not in kept)


@given(st.integers(1, 12), st.integers(1, 15), st.integers(0, 10_000))
def test_seconds_are_kept_in_order(topk, seconds, seed):
    rng = np.random.default_rng(seed)
    valid = torch.from_numpy(rng.random((4, seconds)) < 0.7)
    valid[:, rng.integers(seconds)] = True
    weights = torch.from_numpy(rng.dirichlet(np.ones(seconds), 4)) * valid
    for kept in (largest(weights, valid, topk), evenly(valid, topk)):
        for b in range(4):
            real = kept.second[b][kept.there[b]].tolist()
            assert real == sorted(set(real))
            assert len(real) == min(topk, int(valid[b].sum()))
            assert valid[b, real].all()
            assert (kept.second[b][~kept.there[b]] == -1).all()
            assert kept.factor[b].sum().item() == pytest.approx(len(real))
    best = largest(weights, valid, topk)
    least = torch.where(best.there, weights.gather(1, best.second.clamp(min=0)), 2.0).amin(1)
    out = torch.where(valid, weights, -1.0)
    for b in range(4):
        out[b, best.second[b][best.there[b]]] = -1.0
    assert (out.amax(1) <= least).all()


def test_evenly_spaced_seconds_begin_and_end_with_the_video():
    valid = torch.ones(1, 60, dtype=torch.bool)
    found = evenly(valid, 10).second[0].tolist()
    assert found == [0, 7, 13, 20, 26, 33, 39, 46, 52, 59]


def test_evidence_is_at_the_kept_seconds():
    head = make_head("tspm", 0, **SMALL).eval()
    inputs = partly_silent(uneven(head))
    output = head(inputs, explain=True)
    found, index = head.evidence(inputs, output), output.explain["second_index"]
    for b in range(3):
        kept = index[b][index[b] >= 0].tolist()
        assert float(found.seconds[b].detach().sum()) == pytest.approx(1)
        if b:  # the first one is silent: no patch is asked, and the weights are 0
            assert {*found.seconds[b].nonzero().flatten().tolist()} <= {*kept}
            heard = [t for t in kept if inputs.heard[b, t]]
            assert found.patches[b].sum(-1).nonzero().flatten().tolist() == heard
        else:
            assert not found.patches[b].any()


def test_only_what_is_read_is_needed():
    def needs(**options):
        return heads.build("tspm", **SMALL, **options).needs

    assert "prompt" in needs()
    assert "prompt" not in needs(prompt="question")
    assert "prompt" not in needs(question="lstm")
    assert "prompt" not in needs(temporal=False)
    assert "patch" not in needs(spatial=False)


def test_a_sample_does_not_depend_on_the_others():
    head = make_head("tspm", 0, **SMALL).eval()
    inputs = make_inputs(head, seconds=6, dtype=torch.float64)
    together = head(inputs).logits
    for b in range(3):
        alone = head(select(inputs, slice(b, b + 1))).logits
        torch.testing.assert_close(alone[0], together[b], atol=1e-12, rtol=0)


def test_the_published_rows_are_of_the_updated_annotation():
    of_file, again = PAPER.figures
    assert (of_file.values["All"], of_file.annotation, of_file.consistent) == (76.79, "u", True)
    assert round(of_file.values["All"] * 9129 / 100) == 7010
    assert (again.values["All"], again.annotation, again.consistent) == (71.57, "u", True)
