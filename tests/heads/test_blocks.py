"""The shared blocks against loops written from their equations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.heads.head_batches import make_inputs
from helpers.heads.numpy_blocks import (
    attention,
    hybrid_layer,
    lstm_question,
    parameters,
    question_block,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from avqa.heads import build
from avqa.heads._parts.blocks import (
    Attention,
    ClipQuestion,
    HybridLayer,
    LstmQuestion,
    QuestionBlock,
    masked_mean,
    masked_softmax,
)
from avqa.heads._parts.grounding import draw_negatives, match_loss

D = 8


def double(module, seed=0):
    torch.manual_seed(seed)
    module = module.double().eval()
    for p in module.parameters():  # zero biases would hide a missing one
        torch.nn.init.normal_(p, std=0.5)
    return module


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("queries", "columns"),
    [(1, 5), (2, 30), (3, 5), (30, 2)],
    ids=["one", "few queries", "full", "few keys"],
)
@pytest.mark.parametrize("heads", [1, 4])
def test_attention_equals_the_loop(queries, columns, heads):
    module = double(Attention(D, heads, 0.1))
    query, keys = normal(2, queries, D), normal(2, columns, D, seed=2)
    mask = torch.tensor([[1] * columns, [1] + [0] * (columns - 2) + [1]]).bool()
    out, weights = module(query, keys, mask)
    for b in range(2):
        expected = attention(
            parameters(module), query[b].numpy(), keys[b].numpy(), heads, mask[b].numpy()
        )
        np.testing.assert_allclose(out[b].detach(), expected[0], atol=1e-9)
        np.testing.assert_allclose(weights[b].detach(), expected[1], atol=1e-9)


@pytest.mark.parametrize(("queries", "columns"), [(3, 5), (30, 2)], ids=["full", "few keys"])
def test_fast_path_without_weights_is_the_same(queries, columns):
    module = double(Attention(D, 4, 0.1))
    query, keys = normal(2, queries, D), normal(2, columns, D, seed=2)
    mask = torch.tensor([[1] * columns, [1] + [0] * (columns - 1)]).bool()
    slow, _ = module(query, keys, mask)
    fast, weights = module(query, keys, mask, want_weights=False)
    assert weights is None
    torch.testing.assert_close(fast, slow)


def test_a_question_that_finds_nothing_is_zeros():
    module = double(QuestionBlock(D, 0.1))
    mask = torch.tensor([[1] * 5, [0] * 5]).bool()
    out, weights = module(normal(2, D), normal(2, 5, D, seed=2), mask)
    assert (out[1] == 0).all()
    assert (weights[1] == 0).all()
    assert (out[0] != 0).all()


@pytest.mark.parametrize("queries", [1, 3, 60])
@pytest.mark.parametrize("want", [True, False])
def test_a_query_with_nothing_to_attend_to_gives_zeros(queries, want):
    module = double(Attention(D, 4, 0.1))
    keys = normal(2, 5, D).requires_grad_()
    mask = torch.tensor([[1] * 5, [0] * 5]).bool()
    out, _ = module(normal(2, queries, D), keys, mask, want_weights=want)
    assert (out[1] == 0).all()
    assert (out[0] != 0).all()
    out.sum().backward()
    assert keys.grad.isfinite().all()


@pytest.mark.parametrize("queries", [1, 3])
def test_weights_are_those_before_dropout(queries):
    module = double(Attention(D, 4, 0.5)).train()
    _, weights = module(normal(2, queries, D), normal(2, 5, D, seed=2))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, queries, dtype=torch.float64))


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([1, 2, 4]),
    st.booleans(),
    st.integers(0, 9),
)
def test_folded_or_not_it_is_the_stock_function_and_its_gradient(rows, columns, heads, own, seed):
    module = double(Attention(D, heads, 0.0), seed)
    x, y = normal(2, rows, D, seed=seed), normal(2, columns, D, seed=seed + 50)
    z = normal(2, columns, D, seed=seed + 100) if own else None
    mask = torch.rand(2, columns, generator=torch.Generator().manual_seed(seed)) < 0.7
    mask[:, 0] = True
    given = [t.requires_grad_() for t in (x, y, z) if t is not None]
    out, weights = module(x, y, mask, values=z)
    expected, averaged = torch.nn.functional.multi_head_attention_forward(
        *(t.transpose(0, 1) for t in (x, y, y if z is None else z)),
        *(D, heads, module.in_proj_weight, module.in_proj_bias, None, None, False, 0.0),
        *(module.out_proj.weight, module.out_proj.bias),
        key_padding_mask=~mask,
    )
    expected = expected.transpose(0, 1)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(weights, averaged)
    wanted = normal(*out.shape, seed=seed + 7)
    inputs = [*given, *module.parameters()]
    found, right = (torch.autograd.grad((o * wanted).sum(), inputs) for o in (out, expected))
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(one, other)


def test_projections_of_the_many_are_folded_into_those_of_the_few():
    attention = Attention(64, 4, 0.0)
    many, few = torch.zeros(1, 1000, 64), torch.zeros(1, 3, 64)

    def spent(*given):
        with FlopCounterMode(display=False) as counter:
            attention(*given, want_weights=False)
        return counter.get_total_flops()

    whole = 2 * 64 * 64 * 2 * 1003 + 2 * 2 * 64 * 3 * 1000
    assert spent(many, few) < whole / 4
    assert spent(few, many) < whole / 4
    assert spent(many, many) == 2 * 64 * 64 * 4 * 1000 + 2 * 2 * 64 * 1000 * 1000


def test_attention_starts_and_counts_like_the_stock_module():
    ours, stock = Attention(512, 4, 0.1), torch.nn.MultiheadAttention(512, 4)
    assert sum(p.numel() for p in ours.parameters()) == 1_050_624
    assert {n: p.shape for n, p in ours.named_parameters()} == {
        n: p.shape for n, p in stock.named_parameters()
    }
    for name, p in stock.named_parameters():
        assert float(ours.state_dict()[name].std()) == pytest.approx(
            float(p.detach().std()), rel=0.05
        )


def test_folding_broadcasts_one_question_over_many_frames():
    module = double(Attention(D, 4, 0.1))
    question, frames = normal(2, D), normal(2, 6, 5, D, seed=2)
    out, weights = module(question[:, None, None], frames)
    assert out.shape == (2, 6, 1, D)
    expected, _ = attention(parameters(module), question[1:].numpy(), frames[1, 4].numpy(), 4)
    np.testing.assert_allclose(out[1, 4].detach(), expected, atol=1e-9)
    assert weights.shape == (2, 6, 1, 5)


def test_a_layer_before_the_keys_folds_in():
    module, layer = double(QuestionBlock(D, 0.1)), double(torch.nn.Linear(3, D))
    query, keys = normal(2, D), normal(2, 6, 5, 3, seed=2)
    mask = torch.tensor([1, 1, 0, 1, 1]).bool()
    found = module(query[:, None], keys, mask, layer)
    torch.testing.assert_close(found, module(query[:, None], layer(keys), mask))


def test_question_block_equals_the_loop():
    module = double(QuestionBlock(D, 0.1))
    query, keys = normal(D), normal(5, D, seed=2)
    out, weights = module(query, keys)
    expected = question_block(parameters(module), query.numpy(), keys.numpy())
    np.testing.assert_allclose(out.detach(), expected[0], atol=1e-9)
    np.testing.assert_allclose(weights.detach(), expected[1], atol=1e-9)
    assert sum(p.numel() for p in QuestionBlock(512, 0.1).parameters()) == 1_576_960


def test_hybrid_layer_equals_the_loop():
    module = double(HybridLayer(D, 0.1))
    x, y = normal(2, 5, D), normal(2, 5, D, seed=2)
    mask = torch.tensor([[1] * 5, [1, 1, 1, 0, 0]]).bool()
    out, p = module(x, y, mask), parameters(module)
    for b in range(2):
        both = (mask[b].numpy(),) * 2
        expected = hybrid_layer(p, x[b].numpy(), y[b].numpy(), *both)
        np.testing.assert_allclose(out[b].detach(), expected, atol=1e-9)
    other = torch.tensor([[0] * 5, [0, 1, 1, 1, 0]]).bool()
    out = module(x, y, mask, other)
    for b in range(2):
        each = mask[b].numpy(), other[b].numpy()
        expected = hybrid_layer(p, x[b].numpy(), y[b].numpy(), *each)
        np.testing.assert_allclose(out[b].detach(), expected, atol=1e-9)
    assert sum(p.numel() for p in HybridLayer(512, 0.1).parameters()) == 2_628_608


@pytest.mark.parametrize("pack", [False, True])
def test_lstm_question_equals_the_loop(pack):
    module = double(LstmQuestion(11, D, pack=pack))
    tokens = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0]])
    found = module.encode(tokens)
    for b in range(2):
        q, words, cell = lstm_question(parameters(module), tokens[b].numpy(), pack)
        np.testing.assert_allclose(found.sentence[b].detach(), q, atol=1e-9)
        np.testing.assert_allclose(found.words[b].detach(), words, atol=1e-9)
        np.testing.assert_allclose(found.cell[b].detach(), cell, atol=1e-9)
    assert found.mask.tolist() == [[True] * 4, [True, True, False, False]]
    assert sum(p.numel() for p in LstmQuestion(93, 512, pack=pack).parameters()) == 2_673_664


@pytest.mark.parametrize(
    ("forget_bias", "least", "most"), [(0.0, 0.0, 0.003), (2.0, 0.05, 0.2)], ids=["0", "2"]
)
def test_an_early_word_reaches_the_question_only_past_open_forget_gates(forget_bias, least, most):
    torch.manual_seed(0)
    module = LstmQuestion(20, 64, pack=False, forget_bias=forget_bias)
    tokens = torch.randint(3, 20, (64, 14)) * (torch.arange(14) < 9)
    asked = [tokens.index_fill(1, torch.tensor([1]), word) for word in (1, 2)]
    with torch.no_grad():
        one, other = (module.encode(x).sentence for x in asked)
    moved = ((one - other).norm(dim=1) / one.norm(dim=1)).mean()
    assert least < moved < most


def test_forget_bias_moves_the_forget_gates_of_both_ways_alone():
    for both in (False, True):
        torch.manual_seed(0)
        plain = LstmQuestion(20, D, pack=False, bidirectional=both).state_dict()
        torch.manual_seed(0)
        module = LstmQuestion(20, D, pack=False, bidirectional=both, forget_bias=2.0)
        size = D // 2 if both else D
        for name, value in module.state_dict().items():
            moved = torch.zeros_like(value)
            if "bias_ih" in name:
                moved[size : 2 * size] = 2.0
            torch.testing.assert_close(value - plain[name], moved)


def test_clip_question_drops_the_start_token_and_masks_behind_the_end():
    module = double(ClipQuestion(D, 4, words=True))
    inputs = replace(
        make_inputs(build("question_only", text_width=D), dtype=torch.float64),
        eot=torch.tensor([1, 3, 76]),
    )
    found = module(inputs)
    p = parameters(module)
    expected = inputs.words[1, 3].numpy() @ p["words.weight"].T + p["words.bias"]
    np.testing.assert_allclose(found.words[1, 2].detach(), expected, atol=1e-9)
    assert found.mask.sum(1).tolist() == [1, 3, 76]
    changed = replace(inputs, words=torch.cat([inputs.words[:, :1] + 1, inputs.words[:, 1:]], 1))
    assert torch.equal(module(changed).words, found.words)


@pytest.mark.parametrize("eot", [0, 77])
def test_end_of_text_outside_the_words_is_refused(eot):
    head = build("question_only")
    inputs = replace(make_inputs(head, batch=1), eot=torch.tensor([eot]))
    with pytest.raises(ValueError, match=rf"eot=\[{eot}\]; expected positions 1 to 76"):
        ClipQuestion(512, 4, words=True)(inputs)


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_masked_softmax_and_mean_equal_those_of_what_is_left(mask, seed):
    x = normal(len(mask), 3, seed=seed)
    keep = torch.tensor(mask)
    mean = masked_mean(x[None], keep[None])[0]
    weights = masked_softmax(x.mT, keep)
    if any(mask):
        torch.testing.assert_close(mean, x[keep].mean(0))
        torch.testing.assert_close(weights[:, keep], x[keep].mT.softmax(-1))
    assert (weights[:, ~keep] == 0).all()
    assert mean.isfinite().all()


def test_negatives_come_from_other_videos_and_valid_seconds():
    head = build("late_fusion", visual_width=1)
    inputs = make_inputs(head, batch=4, seconds=5, patches=1)
    number = torch.arange(20.0).view(4, 5, 1, 1)
    inputs = replace(inputs, patch=number, video=torch.tensor([0, 0, 1, 2]))
    torch.manual_seed(0)
    drawn = torch.stack([draw_negatives(inputs).patch.long().view(4, 5) for _ in range(200)])
    for b, others in enumerate([{2, 3}, {2, 3}, {0, 1, 3}, {0, 1, 2}]):
        allowed = {5 * o + t for o in others for t in range(5) if inputs.valid[o, t]}
        assert set(drawn[:, b].flatten().tolist()) == allowed
    assert draw_negatives(replace(inputs, video=torch.zeros(4).long())) is None


def test_match_loss_leaves_padded_seconds_out():
    positive, negative = normal(2, 3, 2), normal(2, 3, 2, seed=2)
    valid = torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()
    pairs = [(positive, 1, b, t) for b, t in ((0, 0), (0, 1), (1, 0))]
    pairs += [(negative, 0, b, t) for b, t in ((0, 0), (0, 1), (1, 0))]
    losses = [-float(x[b, t].log_softmax(0)[k]) for x, k, b, t in pairs]
    assert float(match_loss(positive, negative, valid)) == pytest.approx(sum(losses) / 6)
