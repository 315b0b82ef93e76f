"""SaSR-Net against loops written from its equations, its labels, and that it heeds a question."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.heads.head_batches import make_inputs, pad_seconds, partly_silent
from helpers.heads.numpy_avst import match_loss
from helpers.heads.numpy_blocks import parameters
from helpers.heads.numpy_sasr import sasr

from avqa import heads
from avqa.heads import HeadInput
from avqa.heads import sasr as module
from avqa.heads._parts.grounding import grounding_state, load_grounding
from avqa.heads.sasr.head import known_labels, weighted_bce
from avqa.heads.sasr.official import DropPath, Grouping

SMALL = {"width": 8, "audio_width": 6, "visual_width": 8, "text_width": 5}
SMALL |= {"vocabulary": 11, "num_answers": 7, "dropout": 0.0, "num_sources": 5}
OFFICIAL = {"variant": "official"}
OPTIONS = [
    {},
    {"slt_attn": "plain"},
    {"residual": False},
    {"sa_norm": "dot"},
    {"sa_norm": "dot", "ground_temp": 2.0},
    {"ground_temp": 0.1},
    {"temporal": "qblock"},
    {"shortcut": "vsa"},
    {"sound": "linear"},
    {"audio_tokens": "before"},
    {"key_value": "shared"},
    {"question_state": "hidden"},
    {"question_state": "hidden", "pack": True},
    {"match": "linear"},
    {"sa": False},
    {"ta": False},
    {"visual_width": 5},
    {"pack": True},
    {"question": "clip"},
    {"answer": "choices"},
    *(dict(ablation.options) for name, ablation in module.ABLATIONS.items() if name != "full"),
    OFFICIAL,
    OFFICIAL | {"ground_temp": 0.1, "visual_width": 5, "question": "clip"},
]


def small(seed=0, **options):
    torch.manual_seed(seed)
    head = heads.build("sasr", **(SMALL | options)).double()
    for p in head.parameters():  # zero biases would hide a missing one
        torch.nn.init.normal_(p, std=0.4)
    return head


def inputs_of(head, **sizes):
    """Sample 0 has labels of weight 1 and 0.1, sample 1 none at all, sample 2 some."""
    official = head.options.variant == "official"
    sizes = {"patches": 5, "seconds": 10 if official else 4} | sizes
    inputs = make_inputs(head, dtype=torch.float64, **sizes)
    negative = torch.randn(inputs.patch.shape, generator=torch.Generator().manual_seed(3))
    number = head.options.num_sources
    sources, weight = torch.zeros(3, number).double(), torch.full((3, number), 0.1).double()
    sources[0, 1], weight[0, :3] = 1.0, 1.0
    sources[2, 2:4], weight[2] = torch.tensor([0.7, 1.0]), torch.arange(number) / number
    return replace(inputs, negative_patch=negative.double(), sources=sources, source_weight=weight)


def sample(inputs, b):
    return {k: v[b].numpy() for k, v in vars(inputs).items() if v is not None}


def of_valid(value, name, valid):
    """What a head shows at valid seconds; elsewhere it must show 0."""
    if "token_source" in name:
        return value
    value = value.swapaxes(0, -1) if "token_time" in name else value
    assert (value[~valid] == 0).all()
    return value[valid]


@pytest.mark.parametrize("silence", [False, True], ids=["sound", "silence"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_head_equals_the_loop(options, silence):
    head = small(**options)
    inputs = partly_silent(inputs_of(head)) if silence else inputs_of(head)
    expected = [sasr(parameters(head), sample(inputs, b), head.options) for b in range(3)]
    with torch.no_grad():
        told = head.eval()(inputs, explain=True)
    np.testing.assert_allclose(told.logits, [x["logits"] for x in expected], atol=1e-9)
    assert set(told.explain) == set(expected[0]) - {"logits", "match", "apart"}
    for name, shown in told.explain.items():
        for b, valid in enumerate(inputs.valid):
            wanted = np.array(expected[b][name])
            if "token_time" in name:  # the official reference has padded seconds
                wanted = wanted.T[valid.numpy()] if len(wanted.T) == len(valid) else wanted.T
            np.testing.assert_allclose(of_valid(shown[b], name, valid), wanted, atol=1e-9)


@pytest.mark.parametrize("silence", [False, True], ids=["sound", "silence"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_losses_equal_the_loop(options, silence):
    head = small(**options)
    inputs = partly_silent(inputs_of(head)) if silence else inputs_of(head)
    p = parameters(head)
    expected = [sasr(p, sample(inputs, b), head.options) for b in range(3)]
    head.train().sources.eval()  # the official network is random in training
    with torch.no_grad():
        losses = head(inputs).aux_losses
    wanted = {}
    if head.options.sa:
        wanted["match"] = match_loss(*([x[name] for x in expected] for name in ("match", "apart")))
    if head.options.has_tokens:
        logits = p["sources.tokens"] @ p["token_class.weight"].T + p["token_class.bias"]
        of_own = np.exp(np.diag(logits)) / np.exp(logits).sum(1)
        wanted["reg"] = -np.log(of_own).mean()
        wanted["source"] = 0.0
        for name in ("audio", "visual"):
            total = weights = 0.0
            # Sample 1 has no label; tokens that heard nothing learn none.
            for b in (2,) if silence and name == "audio" else (0, 2):
                for g in range(5):
                    label, weight = inputs.sources[b, g].item(), inputs.source_weight[b, g].item()
                    prob = expected[b][f"token_source_prob_{name}"][g]
                    total -= weight * (label * np.log(prob) + (1 - label) * np.log(1 - prob))
                    weights += weight
            wanted["source"] += total / weights
    if head.options.match == "linear":
        wanted["match"] *= 2  # a sum of two means, where the other is the mean of both
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(wanted, abs=1e-9)
    assert head.aux_weights == dict.fromkeys(wanted, 0.5)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 15_293_636),
        ({"slt_attn": "plain"}, 8_988_868),
        ({"temporal": "qblock"}, 15_293_636 + 3_153_920),
        ({"slt": False, "sasr": False}, 15_293_636 - 10_507_264 - 11_264 - 1_026 - 11_286),
        (OFFICIAL, 53_424_635),
        (module.ABLATIONS["as_printed"].options, 6_462_532),
    ],
    ids=str,
)
def test_parameters_to_the_unit(options, count):
    with torch.device("meta"):
        head = heads.build("sasr", **options)
    assert heads.count_parameters(head) == count


def test_the_papers_figure_is_the_official_network_and_an_unused_resnet():
    with torch.device("meta"):
        head = heads.build("sasr", **OFFICIAL)
    unused = sum(p.numel() for n, p in head.named_parameters() if n.startswith("sources.unused."))
    assert heads.count_parameters(head) - unused == 53_423_098
    resnet18 = 11_692_648
    paper = module.PAPER.parameters_millions * 1e6
    assert heads.count_parameters(head) + resnet18 == pytest.approx(paper, abs=0.5)
    assert "53,424,635" in module.PAPER.parameters_note
    assert "11,692,648" in module.PAPER.parameters_note


def test_every_parameter_of_the_official_network_learns_but_the_unused():
    head = small(**OFFICIAL, dropout=0.1).train()
    inputs = inputs_of(head)
    torch.manual_seed(1)
    heads.total_loss(head, head(inputs), torch.tensor([0, 1, 2])).backward()
    without = {n for n, p in head.named_parameters() if p.grad is None or not (p.grad != 0).any()}
    assert without == {n for n, _ in head.named_parameters() if n.startswith("sources.unused.")}


def test_the_official_network_has_ten_seconds_at_most():
    head = small(**OFFICIAL).eval()
    with pytest.raises(ValueError, match="valid has T=11 seconds; expected 10 at most with varia"):
        head(inputs_of(head, seconds=11))
    fewer = inputs_of(head, seconds=7)
    told, wanted = (head(x, explain=True) for x in (fewer, pad_seconds(fewer, 3)))
    torch.testing.assert_close(told.logits, wanted.logits, atol=1e-12, rtol=0)
    for name, value in told.explain.items():
        longer = wanted.explain[name]
        if "token_time" in name:
            longer = longer[..., :7]
        elif "token_source" not in name:
            longer = longer[:, :7]
        torch.testing.assert_close(value, longer, atol=1e-12, rtol=0)


def test_padded_rows_of_ten_seconds_do_not_matter():
    head = small(**OFFICIAL).eval()
    inputs = inputs_of(head, seconds=7)
    one, other = pad_seconds(inputs, 3), pad_seconds(inputs, 3, seed=4)
    torch.testing.assert_close(head(one).logits, head(other).logits, atol=1e-12, rtol=0)


def test_grouping_is_hard_random_in_training_and_learns_through_the_softmax():
    torch.manual_seed(0)
    group = Grouping(8, 4, hard=True).double()
    x, tokens = torch.randn(1, 6, 8).double(), torch.randn(1, 4, 8).double()
    valid = torch.tensor([[True] * 5 + [False]])
    torch.nn.init.normal_(group.query.weight)
    _, many = group(x.expand(300, -1, -1), tokens.expand(300, -1, -1), valid.expand(300, -1))
    torch.testing.assert_close(many.sum(1), valid.double().expand(300, -1))
    assert ((many - many.round()).abs() < 1e-9).all()
    z = group.cross(
        group.norm_mixed(group.mix(group.norm_tokens(tokens).mT).mT), group.norm_x(x), valid
    )
    scores = group.query(z) @ group.key(group.norm_x(x)).mT / 8**0.5
    soft = scores.softmax(1)[..., :5]  # Gumbel noise draws from the softmax
    assert (many.mean(0)[..., :5] - soft).abs().max() < 4 * (0.25 / 300) ** 0.5
    w = group.eval()(x, tokens, valid)[1]
    assert torch.equal(w.detach()[..., :5].argmax(1), soft.argmax(1))
    assert torch.equal(group(x, tokens, valid)[1], w)
    group(x, tokens, valid)[0].sum().backward()
    assert group.query.weight.grad.abs().max() > 0


def test_drop_path_leaves_out_whole_samples_in_training_only():
    torch.manual_seed(0)
    drop, x = DropPath(0.1), torch.ones(1000, 2, 3)
    out = drop.train()(x)
    torch.testing.assert_close(out[out != 0], torch.full_like(out[out != 0], 1 / 0.9))
    assert torch.equal(out, out[:, :1, :1].expand(-1, 2, 3))
    assert 850 < (out[:, 0, 0] > 0).sum() < 950
    assert torch.equal(drop.eval()(x), x)


def test_the_official_network_starts_at_truncated_normals():
    torch.manual_seed(0)
    head = heads.build("sasr", **OFFICIAL, width=64)
    state = head.sources.state_dict()
    for name, value in state.items():
        if "norm" in name or name.startswith("unused.0") or name == "tokens":
            continue
        if name.endswith("bias"):
            assert (value == 0).all(), name
        elif value.numel() > 2000:
            assert value.std().item() == pytest.approx(0.02, rel=0.05), name
    assert state["tokens"].std().item() == pytest.approx(0.02, rel=0.1)
    assert head.visual.weight.std().item() == pytest.approx(1 / (3 * 128) ** 0.5, rel=0.05)


def test_samples_without_any_label_are_left_out():
    head = small()
    inputs = inputs_of(head)
    _, weight = known_labels(inputs, 5)
    assert torch.equal(weight[[0, 2]], inputs.source_weight[[0, 2]])
    assert (weight[1] == 0).all()
    bare = replace(inputs, source_weight=None)
    assert known_labels(bare, 5)[1].tolist() == [[1.0] * 5, [0.0] * 5, [1.0] * 5]
    absent = replace(inputs, sources=torch.zeros(3, 5), source_weight=torch.eye(3, 5))
    assert torch.equal(known_labels(absent, 5)[1], torch.eye(3, 5))


@pytest.mark.parametrize("change", [{"sources": None}, {"sources": torch.zeros(3, 5)}], ids=str)
def test_a_batch_without_labels_has_no_source_loss(change):
    head = small().train()
    output = head(replace(inputs_of(head), source_weight=None, **change))
    assert output.aux_losses["source"] == 0
    assert output.aux_losses["reg"] > 0
    heads.total_loss(head, output, torch.tensor([0, 1, 2])).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters() if p.grad is not None)


def test_one_video_alone_has_no_match_loss():
    head = small().train()
    inputs = replace(inputs_of(head), negative_patch=None, video=torch.zeros(3).long())
    assert set(head(inputs).aux_losses) == {"source", "reg"}


def test_weighted_bce_of_confident_scores():
    scores, labels = torch.tensor([[9.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    loss = weighted_bce(scores, labels, torch.tensor([[0.0, 0.5]]))
    assert loss.item() == pytest.approx(np.log(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 12}, "width=12; expected a multiple of 8"),
        ({"ground_temp": 0.0}, "ground_temp=0.0; expected more than 0"),
        ({"num_sources": 0}, "num_sources=0; expected 1 or more"),
        ({"slt_attn": "mlp"}, "slt_attn='mlp'; expected one of block, plain"),
        (OFFICIAL | {"match": "linear"}, "match=linear with variant=official; that network is"),
        (
            {"question_state": "hidden", "question": "clip"},
            "question_state='hidden' with question='clip'; expected question='lstm'",
        ),
        (OFFICIAL | {"ta": False}, "ta=False with variant=official; that network is fixed: leave"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        heads.build("sasr", **(SMALL | options))


@pytest.mark.parametrize("name", ["sources", "source_weight"])
def test_labels_of_other_classes_are_refused(name):
    head = small().train()
    inputs = inputs_of(head)
    wrong = replace(inputs, **{name: torch.ones(3, 4).double()})
    with pytest.raises(ValueError, match=f"^{name} has 4 classes; expected num_sources=5"):
        head(wrong)


def test_it_starts_from_the_grounding_of_avst():
    sizes = {k: v for k, v in SMALL.items() if k != "num_sources"}
    avst, head = heads.build("avst", **sizes), small().float()
    load_grounding(head, grounding_state(avst))
    assert torch.equal(head.audio[2].weight, avst.audio[2].weight)
    assert torch.equal(head.visual.weight, avst.visual.weight)
    assert torch.equal(head.match[6].bias, avst.match[6].bias)


def two_sources(batch, g):
    """An answer in the audio, another in the frame; the second of 14 words says which to give."""
    heard, seen = torch.randint(4, (2, batch), generator=g)
    asked = torch.randint(2, (batch,), generator=g)
    code = torch.eye(8)[:4].repeat(1, 4) * 2
    audio = code[heard][:, None] + 0.5 * torch.randn(batch, 3, 32, generator=g)
    patch = code[seen][:, None, None] + 0.5 * torch.randn(batch, 3, 2, 32, generator=g)
    tokens = torch.randint(3, 20, (batch, 14), generator=g)
    tokens *= torch.arange(14) < torch.randint(6, 13, (batch, 1), generator=g)
    tokens[:, 1] = 1 + asked
    valid = torch.ones(batch, 3, dtype=torch.bool)
    answers = torch.where(asked == 0, heard, seen)
    return HeadInput(valid=valid, audio=audio, patch=patch, tokens=tokens), answers


def test_it_learns_to_heed_an_early_word():
    """See docs/heads/sasr.md: through closed forget gates and padding it stays at one half."""
    torch.manual_seed(0)
    options = {"width": 32, "audio_width": 32, "visual_width": 32, "vocabulary": 20}
    options |= {"num_answers": 4, "num_sources": 2, "pack": True, "forget_bias": 2.0}
    head, g = heads.build("sasr", **options), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(head.parameters(), 3e-3)
    for _ in range(120):
        inputs, answers = two_sources(64, g)
        loss = torch.nn.functional.cross_entropy(head(inputs).logits, answers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    inputs, answers = two_sources(512, g)
    accuracy = (head.eval()(inputs).logits.argmax(1) == answers).float().mean()
    assert accuracy > 0.95  # 0.625 without the question
