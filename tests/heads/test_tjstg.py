"""TJSTG against loops written from its equations, for every option."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.heads.head_batches import make_head, padded, partly_silent, with_negatives
from helpers.heads.numpy_avst import match_loss, sample
from helpers.heads.numpy_blocks import parameters
from helpers.heads.numpy_tjstg import combine as combine_loop
from helpers.heads.numpy_tjstg import synchrony, tjstg
from hypothesis import given, settings
from hypothesis import strategies as st

from avqa import heads
from avqa.heads._parts.lstm import run_lstm
from avqa.heads.tjstg import combine, synchrony_loss

SMALL = {"width": 8, "audio_width": 6, "visual_width": 8, "text_width": 5}
SMALL |= {"vocabulary": 11, "num_answers": 7, "dropout": 0.0, "joint_dropout": 0.0}
CODE = {"ground_score": "cosine", "ground_on": "norm"}
OPTIONS = [
    {},
    {"visual_width": 5},
    {"pack": True},
    {"question": "clip"},
    {"question": "clip", "target": "hidden"},
    {"answer": "choices"},
    {"combine": "softmax"},
    {"combine": "sum"},
    {"combine": "softmax", "ta_grad": "hard"},
    CODE,
    {"ground_score": "cosine"},
    {"ground_on": "norm"},
    CODE | {"ground_temp": 0.1},
    CODE | {"ground_temp": 0.1, "combine": "sum"},
    CODE | {"ground_temp": 0.1, "threshold": 0.015},  # nothing is left of some frames
    {"target_mlp": True, "ta_query": "cell"},
    {"target_mlp": True, "target": "avg"},
    {"target_aware": False},
    CODE | {"target_aware": False, "stream": "dual", "csl": False},
    *({"target": target} for target in ("avg", "max", "hidden")),
    *({"order": order} for order in ("il_av", "cat_va", "cat_av")),
    {"stream": "dual"},
]


def small(name="tjstg", seed=0, **options):
    return make_head(name, seed, **(SMALL | options))


@pytest.mark.parametrize("silence", [False, True], ids=["sound", "silence"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_head_equals_the_loop(options, silence):
    head = small(**options)
    inputs = with_negatives(head)
    inputs = partly_silent(inputs) if silence else inputs
    expected = [tjstg(parameters(head), sample(inputs, b), head.options) for b in range(3)]
    with torch.no_grad():
        told = head.eval()(inputs, explain=True)
        assert told.aux_losses == {}
        losses = head.train()(inputs).aux_losses
    np.testing.assert_allclose(told.logits, [x["logits"] for x in expected], atol=1e-9)
    assert set(told.explain) == {*expected[0]["timed"], *expected[0]["words"]}
    for name in expected[0]["timed"]:
        wanted = [padded(x["timed"][name], 4) for x in expected]
        np.testing.assert_allclose(told.explain[name], wanted, atol=1e-9)
    if expected[0]["words"]:
        assert told.explain["target_index"].tolist() == [
            x["words"]["target_index"] for x in expected
        ]
        weights = told.explain["word_weights"]
        wanted = [padded(x["words"]["word_weights"], weights.shape[1]) for x in expected]
        np.testing.assert_allclose(weights, wanted, atol=1e-9)
    own, apart = zip(*(x["match"] for x in expected), strict=True)
    wanted = {"match": match_loss(own, apart)}
    if head.options.csl:
        wanted["csl"] = np.mean([x["csl"] for x in expected if x["csl"] is not None])
    assert {name: x.item() for name, x in losses.items()} == pytest.approx(wanted, abs=1e-9)
    assert head.aux_weights == {name: {"match": 0.5, "csl": 1.0}[name] for name in wanted}


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 10_544_300),
        ({"target_mlp": True}, 11_069_612),
        ({"target_aware": False}, 9_493_676),
        ({"stream": "dual", "target_aware": False}, 7_916_716),
    ],
)
def test_parameters_to_the_unit(options, count):
    with torch.device("meta"):
        head = heads.build("tjstg", **options)
    assert sum(p.numel() for p in head.parameters()) == count


def test_without_its_modules_it_is_avst():
    ours = small(stream="dual", target_aware=False, csl=False, **CODE).eval()
    theirs = heads.build("avst", **{k: v for k, v in SMALL.items() if k != "joint_dropout"})
    theirs = theirs.double().eval()
    theirs.load_state_dict(ours.state_dict())
    inputs = with_negatives(ours)
    torch.testing.assert_close(ours(inputs).logits, theirs(inputs).logits)


def test_explanations_are_distributions():
    head = small().eval()
    told = head(with_negatives(head), explain=True).explain
    one = torch.ones(3, 4, dtype=torch.float64)
    one[2, 3] = 0  # the padded second
    for name in ("attn_audio", "attn_target", "attn_joint"):
        assert told[name].shape == (3, 4, 5)
        torch.testing.assert_close(told[name].sum(-1), one)
    both = told["temporal_attn_audio"] + told["temporal_attn_visual"]
    torch.testing.assert_close(both.sum(1), one[:, 0])
    assert both[2, 3] == 0
    torch.testing.assert_close(told["word_weights"].sum(1), one[:, 0])
    chosen = told["word_weights"].gather(1, told["target_index"][:, None])
    assert (chosen[:, 0] == told["word_weights"].amax(1)).all()


def test_padding_is_never_the_target():
    head = small(seed=4).eval()
    tokens = torch.tensor([[3, 4, 0, 0, 0, 0], [5, 6, 7, 8, 9, 10], [2, 0, 0, 0, 0, 0]])
    told = head(replace(with_negatives(head), tokens=tokens), explain=True).explain
    assert ((told["word_weights"] != 0) == (tokens != 0)).all()
    assert told["target_index"][2] == 0


def test_every_second_meets_the_target_of_its_own_question():
    head = small().eval()
    inputs = with_negatives(head)
    tokens = inputs.tokens.clone()
    tokens[1] = torch.tensor([10, 9, 8, 7, 6, 5, 4, 3])
    before = head(inputs, explain=True).explain["attn_target"]
    after = head(replace(inputs, tokens=tokens), explain=True).explain["attn_target"]
    same = (after == before).all(-1)
    assert same[[0, 2]].all()
    assert not same[1].any()


@pytest.mark.parametrize(("grad", "learns"), [("st", True), ("hard", False)])
def test_the_choice_of_the_word_learns_straight_through(grad, learns):
    head = small(ta_grad=grad).train()
    inputs = with_negatives(head)
    head(inputs).logits.sum().backward()
    attention = head.target.attention
    queries = attention.in_proj_weight.grad
    assert (queries is not None and bool(queries[:16].abs().min() > 0)) == learns
    if learns:
        assert (queries[16:] == 0).all()  # the values are not used
    assert attention.out_proj.weight.grad is None


def test_straight_through_gradient_is_that_of_the_soft_choice():
    head = small()
    question = head.question(with_negatives(head))
    target = head.target(question)
    upstream = torch.randn(3, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    soft = torch.einsum("bn,bnd->bd", target.weights, question.words.detach())
    for vector in (target.vector, soft):
        vector.backward(upstream, retain_graph=True, inputs=[head.target.attention.in_proj_weight])
    hard = head.target.attention.in_proj_weight.grad
    (once,) = torch.autograd.grad(soft, head.target.attention.in_proj_weight, upstream)
    torch.testing.assert_close(hard, 2 * once)


maps = st.integers(1, 12).flatmap(
    lambda n: st.tuples(*(st.lists(st.floats(-8, 8), min_size=n, max_size=n) for _ in range(2)))
)


@given(maps, st.sampled_from(["renorm", "softmax", "sum"]), st.sampled_from([0.0, 0.005, 0.02]))
@settings(max_examples=100, deadline=None)
def test_combining_equals_the_loop(pair, how, threshold):
    heard, asked = (torch.tensor(x, dtype=torch.float64) for x in pair)
    s_a, s_q = heard.softmax(-1), asked.softmax(-1)
    cut = 196 / len(heard)
    nearest = torch.stack([(s_q - threshold * cut).abs(), (s_a + s_q - 0.01 * cut).abs()]).min()
    if threshold and nearest < 1e-9:
        return  # either side of the threshold is right
    found = combine(heard, asked, how, threshold)
    np.testing.assert_allclose(
        found, combine_loop(s_a.numpy(), s_q.numpy(), how, threshold), atol=1e-9
    )
    assert float(found.sum()) == pytest.approx(1)


def test_product_keeps_what_both_point_at_and_the_printed_form_is_flat():
    heard = torch.zeros(196)
    asked = torch.zeros(196)
    heard[[3, 7]], asked[[3, 9]] = 4.0, 4.0
    assert combine(heard, asked, "renorm", 0.005)[3] > 0.95
    assert combine(heard, asked, "softmax", 0.005).max() < 1.1 / 196
    dropped = combine(heard, asked, "renorm", 0.01)
    assert (dropped > 0).nonzero().flatten().tolist() == [3, 9]


def test_where_the_target_is_nowhere_the_sound_decides():
    heard = torch.randn(2, 196, generator=torch.Generator().manual_seed(0))
    asked = torch.zeros(2, 196)
    asked[1, 5] = 5.0
    found = combine(heard, asked, "renorm", 0.01)  # uniform 0.0051 is below
    torch.testing.assert_close(found[0], heard[0].softmax(-1))
    assert found[1, 5] == 1


def test_the_threshold_follows_the_size_of_the_map():
    asked = torch.tensor([1.0, 0.0]).repeat(98)
    for num in (196, 48):
        kept = combine(torch.zeros(num), asked[:num], "renorm", 0.005) > 0
        assert kept.float().mean() == 0.5


def test_far_apart_maps_stay_finite():
    heard = torch.tensor([300.0, 0.0, -300.0], requires_grad=True)
    asked = torch.tensor([-300.0, 0.0, 300.0], requires_grad=True)
    combine(heard, asked, "renorm", 0.0).max().backward()
    assert heard.grad.isfinite().all()
    assert asked.grad.isfinite().all()


weights = st.lists(st.tuples(st.floats(1e-3, 1), st.floats(1e-3, 1)), min_size=1, max_size=6)


@given(weights, st.floats(0.01, 1))
@settings(max_examples=50, deadline=None)
def test_synchrony_loss_is_a_bounded_symmetric_divergence(pairs, scale):
    a, v = torch.tensor(pairs, dtype=torch.float64).T
    value = synchrony_loss(a[None], v[None]).item()
    assert value == pytest.approx(synchrony(a.numpy(), v.numpy()), abs=1e-9)
    assert value == pytest.approx(synchrony_loss(v[None], a[None]).item(), abs=1e-9)
    assert value == pytest.approx(synchrony_loss(scale * a[None], v[None]).item(), abs=1e-6)
    assert -1e-7 <= value <= math.log(2)


def test_synchrony_loss_of_plain_cases():
    a = torch.tensor([[0.5, 0.0, 0.0], [0.2, 0.2, 0.0]], requires_grad=True)
    v = torch.tensor([[0.0, 0.1, 0.4], [0.3, 0.3, 0.0]])
    loss = synchrony_loss(a, v)
    assert loss.item() == pytest.approx(math.log(2) / 2)  # disjoint, and equal
    loss.backward()
    assert a.grad.isfinite().all()


def test_neither_way_starts_in_padding_and_gaps_are_skipped():
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(4, 2, batch_first=True, bidirectional=True).double()
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    valid = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 1, 1, 0], [0, 0, 0, 0, 1]]).bool()
    out = run_lstm(lstm, x, valid).out
    for b in range(3):
        torch.testing.assert_close(out[b][valid[b]], lstm(x[b][valid[b]][None])[0][0])
        assert (out[b][~valid[b]] == 0).all()


def test_attention_knows_no_order():
    head = small().eval()
    inputs = with_negatives(head)
    logits = head(inputs).logits
    for order in ("il_av", "cat_va", "cat_av"):
        other = small(order=order).eval()
        other.load_state_dict(head.state_dict())
        torch.testing.assert_close(other(inputs).logits, logits)


def test_match_loss_needs_another_video():
    head = small().train()
    inputs = replace(with_negatives(head), video=torch.zeros(3).long(), negative_patch=None)
    assert set(head(inputs).aux_losses) == {"csl"}


def test_dropout_rates_are_those_of_the_code():
    head = heads.build("tjstg", **{k: v for k, v in SMALL.items() if "dropout" not in k})
    block = head.joint.ground
    assert block.attention.dropout == 0.1
    rates = [m.p for m in block.modules() if isinstance(m, torch.nn.Dropout)]
    assert rates == [0.2, 0.2]  # in the feed-forward layer and on its branch


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"question": "clip", "ta_query": "cell"}, "ta_query=cell with question=clip; expected"),
        ({"threshold": -0.1}, r"threshold=-0.1; expected at least 0 and under 1"),
        ({"joint_dropout": 1.0}, r"joint_dropout=1.0; expected at least 0 and under 1"),
        ({"ground_temp": -1.0}, r"ground_temp=-1.0; expected more than 0"),
        ({"width": 6}, r"width=6; expected a multiple of 4 \(attention heads\)"),
        ({"combine": "product"}, "combine='product'; expected one of renorm, softmax, sum"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        heads.build("tjstg", **options)


@pytest.mark.parametrize("name", ["avst", "tjstg"])
def test_page_names_equations_options_and_tests_that_exist(name):
    root = Path(__file__).resolve().parents[2]
    page = (root / "docs" / "heads" / f"{name}.md").read_text(encoding="utf-8")
    table = page.split("## Equations")[1].split("## Options")[0]
    files = (root / "avqa" / "heads").glob(f"{name}*/*.py" if name == "tjstg" else f"{name}.py")
    source = "\n".join(file.read_text(encoding="utf-8") for file in files)
    tests = (root / "tests" / "heads" / f"test_{name}.py").read_text(encoding="utf-8")
    assert all(f"{eq} " in source for eq in re.findall(r"Eq\. [\d–]+", table))
    assert all(f"def {test}(" in tests for test in re.findall(r"test_\w+(?=`)", table))
    own = heads.load(name).Options.__dataclass_fields__.keys() - heads.HeadOptions.__annotations__
    assert all(f"| `{option}` |" in page for option in own)
    rows = page.split("## Ablations")[1]
    assert all(f"`{row.split('=')[-1]}`" in rows for row in heads.load(name).ABLATIONS)
