"""PSTP-Net against loops written from its equations, its counts, its selections."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.heads.head_batches import make_inputs, pad_seconds, partly_silent, select
from helpers.heads.numpy_blocks import parameters, question_block
from helpers.heads.numpy_pstp import printed_flops, pstp, segments_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from avqa.heads import HeadInput, build, count_parameters
from avqa.heads.pstp.head import thop_parameters
from avqa.heads.pstp.modules import PatchSelection, SegmentSelection, cut
from avqa.heads.pstp.paper import ABLATIONS

D = 8
SMALL = {"width": D, "audio_width": 5, "visual_width": 6, "text_width": 7, "num_answers": 4}
FEW = {"num_segments": 3, "top_k_segments": 2, "top_k_patches": 2}
NOTHING = {"use_tssm": False, "use_srsm": False, "use_avam": False, "use_lgpm": False}
MEASURED = ABLATIONS["measured"].options
OFFICIAL = {"segments": 12, "k": 2, "m": 25}


def small(**options):
    torch.manual_seed(0)
    head = build("pstp", **{**SMALL, **FEW, **options}).double().eval()
    for p in head.parameters():  # zero biases would hide a missing one
        torch.nn.init.normal_(p, std=0.5)
    return head


def uneven(head):
    """7 seconds (segments of 3, 3 and 1); 7 seconds with a hole; one second, fewer than k."""
    inputs = make_inputs(head, seconds=7, patches=5, dtype=torch.float64)
    valid = torch.ones(3, 7).bool()
    valid[1, 3] = False
    valid[2, 1:] = False
    return replace(inputs, valid=valid)


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


OPTIONS = [
    {},
    *({"select_grad": value} for value in ("weighted", "attended", "none")),
    {"select_from": "raw"},
    {"avf": False},
    {"avf_layers": 3},
    {"avf": False, "select_from": "raw"},
    {"lgpm_layers": 2},
    {"pool": "groups"},
    {"fusion": "selfattn_words"},
    {"fusion": "selfattn_words", "pool": "groups", "avf": False, "select_grad": "none"},
    {"fusion": "selfattn_words", "question": "lstm"},
    {"question": "lstm", "pack": True},
    *({name: False} for name in NOTHING),
    {"use_srsm": False, "use_avam": False},
    {"use_tssm": False, "use_srsm": False},
    {**NOTHING, "use_avam": True},
    NOTHING,
    {**NOTHING, "fusion": "selfattn_words"},
    {"num_segments": 20, "top_k_segments": 9, "top_k_patches": 99},
    {"num_segments": 1},
]


@pytest.mark.parametrize("silence", [False, True], ids=["sound", "silence"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_whole_head_equals_the_loops(options, silence):
    head = small(**options)
    inputs = partly_silent(uneven(head)) if silence else uneven(head)
    found = head(inputs, explain=True)
    for b in range(3):
        sample = select(inputs, slice(b, b + 1))
        arrays = {n: x[0].numpy() for n, x in vars(sample).items() if x is not None}
        logits, seen = pstp(parameters(head), arrays, head.options)
        np.testing.assert_allclose(found.logits[b].detach(), logits, atol=1e-9)
        assert_same_explanations({n: x[b] for n, x in found.explain.items()}, seen)


def assert_same_explanations(found, expected):
    """Of the loops' explanations, which hold only what is real."""
    found = {name: value.detach().numpy() for name, value in found.items()}
    if "segment_index" in found:
        weights = expected["segment_weights"]
        np.testing.assert_allclose(found["segment_weights"][: len(weights)], weights, atol=1e-9)
        assert (found["segment_weights"][len(weights) :] == 0).all()
        index = found["segment_index"]
        real = found["segment_weights"][index] > 0
        assert index[real].tolist() == expected["segment_index"]
    if "frame_seconds" in found:
        real = found["frame_seconds"] >= 0
        assert found["frame_seconds"][real].tolist() == expected["frame_seconds"]
        for name in {"patch_weights", "patch_index", "audio_patch_attn"} & set(found):
            np.testing.assert_allclose(found[name][real], expected[name], atol=1e-9)
            if name != "patch_index":
                assert (found[name][~real] == 0).all()


def test_the_answer_to_several_options_uses_the_same_e():
    head = small(answer="choices")
    inputs = uneven(head)
    p = parameters(head)
    layer = {n: p.pop(n) for n in ("answer.layer.weight", "answer.layer.bias")}
    p |= {"answer.layer.weight": np.eye(D), "answer.layer.bias": np.zeros(D)}
    arrays = {n: x[1].numpy() for n, x in vars(inputs).items() if x is not None}
    e, _ = pstp(p, arrays, head.options)
    texts = arrays["choices"] / np.linalg.norm(arrays["choices"], axis=1, keepdims=True)
    projected = texts @ layer["answer.layer.weight"].T + layer["answer.layer.bias"]
    np.testing.assert_allclose(head(inputs).logits[1].detach(), projected @ e, atol=1e-9)


def test_segment_selection_equals_the_equations():
    torch.manual_seed(0)
    module = SegmentSelection(D, 0.1, top_k=2).double().eval()
    audio, visual, q = normal(1, 4, 3, D), normal(1, 4, 3, D, seed=2), normal(1, D, seed=3)
    valid = torch.ones(1, 4, 3).bool()
    valid[0, 3, 1:] = False
    found = module(module.segments(audio, visual, valid, valid), valid.any(-1), q)
    p = parameters(module)
    counts = [3, 3, 3, 1]
    means = [
        np.concatenate([x[0, i, :n].mean(0).numpy() for x in (audio, visual)])
        for i, n in enumerate(counts)
    ]
    vectors = np.tanh(means) @ p["join.weight"].T + p["join.bias"]
    block = {n.removeprefix("block."): x for n, x in p.items() if n.startswith("block.")}
    u, w = question_block(block, q[0].numpy(), vectors)
    best = sorted(np.argsort(-w)[:2])
    np.testing.assert_allclose(found.attended[0].detach(), u, atol=1e-9)
    np.testing.assert_allclose(found.weights[0].detach(), w, atol=1e-9)
    assert found.kept[0].tolist() == best
    np.testing.assert_allclose(found.factor[0].detach(), 2 * w[best] / w[best].sum(), atol=1e-9)


def test_segments_without_a_second_lose_to_real_ones_of_no_weight():
    torch.manual_seed(0)
    module = SegmentSelection(D, 0.1, top_k=2).double().eval()
    torch.nn.init.ones_(module.block.attention.in_proj_weight)  # all heads want the same
    valid = torch.ones(2, 3, 1).bool()
    valid[:, 0] = False
    q = 1e6 * normal(1, D, seed=3).expand(2, D)
    x = torch.cat([normal(1, 3, 1, D), normal(1, 3, 1, D).flip(1)])
    found = module(module.segments(x, x, valid, valid), valid.any(-1), q)
    assert (found.weights == 0).sum(1).tolist() == [2, 2]
    assert found.kept.tolist() == [[1, 2], [1, 2]]


def test_patch_selection_equals_the_equations():
    torch.manual_seed(0)
    module = PatchSelection(D, 0.1, top_m=2).double().eval()
    layer = torch.nn.Linear(6, D).double()
    q, patches = normal(2, D), normal(2, 3, 5, 6, seed=2)
    found = module(q, patches, layer, torch.ones(2, 3).bool())
    z = layer(patches).detach()
    block = {n.removeprefix("block."): x for n, x in parameters(module).items()}
    for b in range(2):
        for t in range(3):
            u, w = question_block(block, q[b].numpy(), z[b, t].numpy())
            best = sorted(np.argsort(-w)[:2])
            np.testing.assert_allclose(found.attended[b, t].detach(), u, atol=1e-9)
            np.testing.assert_allclose(found.weights[b, t].detach(), w, atol=1e-9)
            assert found.kept[b, t].tolist() == best
            np.testing.assert_allclose(found.patches[b, t].detach(), z[b, t, best], atol=1e-9)
            share = 2 * w[best] / w[best].sum()
            np.testing.assert_allclose(found.factor[b, t].detach(), share, atol=1e-9)


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(1, 14))
@settings(max_examples=60, deadline=None)
def test_segments_hold_every_valid_second_once_in_order(valid, num_segments):
    if not any(valid):
        valid[0] = True
    expected = segments_of(valid, num_segments)
    second, real = cut(torch.tensor([valid, [True] * len(valid)]), num_segments)
    found = [second[0, i][real[0, i]].tolist() for i in range(second.shape[1])]
    assert found[: len(expected)] == expected
    assert not any(found[len(expected) :])
    assert len(expected) <= num_segments


def test_sixty_seconds_are_twenty_segments_of_three():
    second, real = cut(torch.ones(1, 60).bool(), 20)
    assert second.shape == (1, 20, 3)
    assert second.flatten().tolist() == list(range(60))
    assert real.all()


@pytest.mark.parametrize("extra", [1, 2, 5, 14])
def test_padding_that_would_shift_segments_changes_nothing(extra):
    head = small()
    inputs = uneven(head)
    padded = head(pad_seconds(inputs, extra), explain=True)
    torch.testing.assert_close(padded.logits, head(inputs).logits, atol=1e-9, rtol=0)


def full_size(**options):
    with torch.device("meta"):
        return build("pstp", **options)


@pytest.mark.parametrize(
    ("options", "held", "thop"),
    [
        ({}, 11_388_458, 4_034_090),
        ({"fusion": "selfattn_words"}, 13_229_098, 4_824_106),
        (MEASURED, 10_600_490, 4_296_746),
        ({**MEASURED, "use_tssm": False}, 8_498_730, 3_245_610),
        ({**MEASURED, "use_avam": False}, 9_023_530, 3_770_410),
        ({**MEASURED, "use_lgpm": False}, 7_971_882, 3_769_386),
        ({**MEASURED, **NOTHING}, 2_453_546, 1_402_922),
    ],
    ids=str,
)
def test_parameters_to_the_unit(options, held, thop):
    head = full_size(**options)
    assert count_parameters(head) == held
    assert thop_parameters(head) == thop


def test_the_papers_counts_leave_the_patch_layer_out_without_srsm():
    head = full_size(**MEASURED, use_srsm=False)
    assert thop_parameters(head) - count_parameters_of(head.patch) == 3_507_754  # 3.508 M


def count_parameters_of(module):
    return sum(p.numel() for p in module.parameters())


def test_the_printed_flops_are_those_of_12_2_25():
    def billions(**options):
        return round(printed_flops(**{**OFFICIAL, **options}) / 1e9, 4)

    assert billions() == 1.2228
    assert billions(tssm=False, srsm=False, avam=False, lgpm=False) == 0.1442
    assert billions(tssm=False) == 1.9449
    assert billions(avam=False) == 1.2122
    assert billions(lgpm=False) == 1.0959
    assert billions(segments=20, k=7, m=20) == 1.3458  # not what is printed


def test_explanations_are_distributions_over_distinct_places():
    head = small(dropout=0.5).train()  # weights are those before dropout
    inputs = make_inputs(head, seconds=7, patches=5, dtype=torch.float64)
    seen = head(inputs, explain=True).explain
    real = (seen["frame_seconds"] >= 0).double()  # the last segment has a single second
    torch.testing.assert_close(seen["patch_weights"].sum(-1), real)
    torch.testing.assert_close(seen["audio_patch_attn"].sum(-1), real)
    torch.testing.assert_close(seen["segment_weights"].sum(-1), torch.ones(3).double())
    for name in ("segment_index", "patch_index"):
        assert (seen[name].diff(dim=-1) > 0).all()
    best = seen["patch_weights"].topk(2).indices.sort().values
    assert torch.equal(seen["patch_index"], best)
    assert not torch.equal(best[0, 0], best[0, 1]) or not torch.equal(best[0, 0], best[1, 0])
    assert len({tuple(row) for row in best.flatten(0, 1).tolist()}) > 2
    assert seen["frame_seconds"].shape == (3, 6)
    for b, t in seen["frame_seconds"].clamp(min=0).argwhere().tolist():
        second = seen["frame_seconds"][b, t]
        assert second // (2 if b == 2 else 3) == seen["segment_index"][b, t // 3]


@pytest.mark.parametrize("mode", ["weighted", "attended", "both", "none"])
def test_what_the_answer_teaches_the_selections(mode):
    head = small(select_grad=mode).train()
    inputs = make_inputs(head, batch=4, seconds=7, patches=5, dtype=torch.float64)
    head(inputs).logits.square().sum().backward()
    for block in (head.tssm.block, head.srsm.block):
        taught = {n for n, p in block.named_parameters() if p.grad is not None and p.grad.any()}
        names = {n for n, _ in block.named_parameters()}
        scores = {"attention.in_proj_weight", "attention.in_proj_bias"}
        assert taught == {"both": names, "attended": names, "weighted": scores, "none": set()}[mode]
        if mode == "weighted":
            grad = block.attention.in_proj_weight.grad
            assert (grad[: 2 * D] != 0).any()
            assert (grad[2 * D :] == 0).all()
    idle = sum(p.numel() for p in head.parameters() if p.grad is None)
    assert idle == {"weighted": 2 * (3 * (D * D + D) + 2 * D), "none": IDLE}.get(mode, 0)


IDLE = (4 + 2) * 2 * (D * D + D) + 2 * 2 * D + 2 * D * D + D
"""Both question blocks and the layer that makes segment vectors, which only they read."""


def test_more_than_there_is_keeps_all_there_is():
    head, all_ = small(), small(top_k_segments=99, top_k_patches=99)
    inputs = make_inputs(head, seconds=7, patches=5, dtype=torch.float64)
    seen = all_(inputs, explain=True).explain
    assert seen["segment_index"].tolist() == [[0, 1, 2]] * 3
    assert (seen["patch_index"] == torch.arange(5)).all()
    assert not torch.allclose(all_(inputs).logits, head(inputs).logits)


def test_words_are_needed_where_they_are_fused():
    head = small(fusion="selfattn_words")
    assert head.needs == ("audio", "frame", "patch", "sentence", "words", "eot")
    assert "words" not in small().needs
    inputs = make_inputs(head, dtype=torch.float64)
    with pytest.raises(ValueError, match="words is missing; head=pstp needs"):
        head(replace(inputs, words=None))
    assert small(fusion="selfattn_words", question="lstm").needs[3:] == ("tokens",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k_segments": 0}, "top_k_segments=0; expected 1 or more"),
        ({"select_grad": "soft"}, "select_grad='soft'; expected one of weighted, attended, both"),
        ({"fusion": "sum"}, "fusion='sum'; expected one of mean, selfattn_words"),
        ({"avf": 1}, "avf=1; expected true or false"),
        ({"avf": False, "avf_layers": 2}, "avf_layers=2 with avf=false; expected avf=true"),
        ({"width": 10}, "width=10; expected a multiple of heads=4"),
    ],
)
def test_options_that_cannot_be_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build("pstp", **{**SMALL, **options})


PLANTED = {"width": 32, "audio_width": 1, "visual_width": 24, "text_width": 16, "num_answers": 8}
PLANTED |= {"num_segments": 10, "top_k_segments": 2, "top_k_patches": 2}
PLANTED |= {"use_avam": False, "use_lgpm": False, "dropout": 0.0}


def planted(place, batch, generator):
    """One of 10 seconds or 16 patches holds the answer beside the marker that is asked for.

    Every place holds a marker of its own and one of 8 contents drawn at random.
    """
    seconds, patches = (10, 1) if place == "second" else (1, 16)
    places = seconds * patches
    content = torch.randint(8, (batch, places), generator=generator)
    marker = torch.stack([torch.randperm(places, generator=generator) for _ in range(batch)])
    asked = torch.randint(places, (batch,), generator=generator)
    items = torch.cat([F.one_hot(marker, 16), F.one_hot(content, 8)], -1).float() * 3
    frame = items if place == "second" else items.new_zeros(batch, 1, 24)
    return HeadInput(
        valid=torch.ones(batch, seconds).bool(),
        audio=torch.zeros(batch, seconds, 1),
        frame=frame,
        patch=items.view(batch, seconds, patches, 24),
        sentence=F.one_hot(asked, 16).float() * 3,
    ), content[marker == asked[:, None]]


@pytest.mark.parametrize("place", ["second", "patch"])
@pytest.mark.parametrize(("mode", "low", "high"), [("both", 0.7, 1.0), ("none", 0.0, 0.4)])
def test_only_taught_selections_find_a_planted_answer(place, mode, low, high):
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    head = build("pstp", **PLANTED, select_grad=mode, use_srsm=place == "patch")
    adam = torch.optim.Adam(head.parameters(), 3e-3)
    for _ in range(250):
        inputs, answers = planted(place, 64, g)
        loss = F.cross_entropy(head(inputs).logits, answers)
        adam.zero_grad()
        loss.backward()
        adam.step()
    inputs, answers = planted(place, 500, g)
    accuracy = float((head.eval()(inputs).logits.argmax(1) == answers).float().mean())
    assert low <= accuracy <= high, accuracy
