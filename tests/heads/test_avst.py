"""AVST against loops written from its equations, and what its grounding pre-training leaves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.heads.head_batches import make_head, padded, partly_silent, with_negatives
from helpers.heads.numpy_avst import avst, match_loss, sample
from helpers.heads.numpy_blocks import parameters

from avqa import heads
from avqa.heads import avst as module
from avqa.heads._parts.grounding import cosine, grounding_state, load_grounding

SMALL = {"width": 8, "audio_width": 6, "visual_width": 8, "text_width": 5}
SMALL |= {"vocabulary": 11, "num_answers": 7, "dropout": 0.0}
OPTIONS = [
    {},
    {"ground_temp": 0.1},
    {"visual_width": 5},
    {"pack": True},
    {"question": "clip"},
    {"answer": "choices"},
    *(dict(ablation.options) for name, ablation in module.ABLATIONS.items() if name != "full"),
    {"modalities": "aq", "spatial": False},
    {"modalities": "vq", "spatial": False, "visual_width": 5},
]


def small(name="avst", seed=0, **options):
    return make_head(name, seed, **(SMALL | options))


@pytest.mark.parametrize("silence", [False, True], ids=["sound", "silence"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_head_equals_the_loop(options, silence):
    head = small(**options)
    inputs = with_negatives(head)
    inputs = partly_silent(inputs) if silence else inputs
    expected = [avst(parameters(head), sample(inputs, b), head.options) for b in range(3)]
    with torch.no_grad():
        told = head.eval()(inputs, explain=True)
        assert told.aux_losses == {}
        losses = head.train()(inputs).aux_losses
    np.testing.assert_allclose(told.logits, [x["logits"] for x in expected], atol=1e-9)
    shown = set(expected[0]) - {"logits", "match"}
    assert set(told.explain) == shown
    for name in shown:
        wanted = [padded(x[name], 4) for x in expected]
        np.testing.assert_allclose(told.explain[name], wanted, atol=1e-9)
    if not head.options.spatial:
        assert losses == {} == head.aux_weights
        return
    wanted = match_loss(*zip(*(x["match"] for x in expected), strict=True))
    assert losses["match"].item() == pytest.approx(wanted, abs=1e-9)
    assert head.aux_weights == {"match": 0.5}


@pytest.mark.parametrize(
    ("row", "count"),
    [("full", 7_916_716), ("av+q+temporal", 6_965_290), ("av+q", 3_811_370), ("q", 2_957_866)],
)
def test_parameters_to_the_unit(row, count):
    with torch.device("meta"):
        head = heads.build("avst", **module.ABLATIONS[row].options)
    assert sum(p.numel() for p in head.parameters()) == count


def test_explanations_are_distributions():
    head = small().eval()
    told = head(with_negatives(head), explain=True).explain
    assert {name: value.shape for name, value in told.items()} == {
        "spatial_attn": (3, 4, 5),
        "match_prob": (3, 4),
        "temporal_attn_audio": (3, 4),
        "temporal_attn_visual": (3, 4),
    }
    one = torch.ones(3, dtype=torch.float64)
    torch.testing.assert_close(told["temporal_attn_audio"].sum(1), one)
    torch.testing.assert_close(told["temporal_attn_visual"].sum(1), one)
    torch.testing.assert_close(told["spatial_attn"].sum(-1)[:2], one[:2, None].expand(2, 4))
    assert all((value[2, 3] == 0).all() for value in told.values())


def test_the_place_that_looks_like_the_sound_gets_the_most_weight():
    inputs = with_negatives(small())
    for temperature, share in ((1.0, 0.6), (0.1, 0.99)):
        head = small(ground_temp=temperature).eval()
        a = head.audio(inputs.audio).detach()
        patch = -a.unsqueeze(2) * torch.ones(5, 1, dtype=torch.float64)
        patch[:, :, 3] = 7 * a  # lengths do not count
        weights = head(replace(inputs, patch=patch), explain=True).explain["spatial_attn"]
        expected = 1 / (1 + 4 * np.exp(-2 / temperature))
        np.testing.assert_allclose(weights[:2, :, 3].detach(), expected)
        assert expected > share


def test_rows_of_zeros_are_no_trouble():
    rows = torch.zeros(2, 3, requires_grad=True)
    value = cosine(rows, torch.ones(3))
    value.sum().backward()
    assert value.tolist() == [0, 0]
    assert rows.grad.isfinite().all()


def test_match_loss_needs_another_video():
    head = small().train()
    inputs = replace(with_negatives(head), video=torch.zeros(3).long())
    assert set(head(inputs).aux_losses) == {"match"}  # frames of others are given
    alone = replace(inputs, negative_patch=None)
    output = head(alone)
    assert output.aux_losses == {}
    right = torch.tensor([0, 1, 2])
    plain = torch.nn.functional.cross_entropy(output.logits, right)
    torch.testing.assert_close(heads.total_loss(head, output, right), plain)
    assert head.grounding_loss(alone) is None


def test_negatives_of_the_batch_are_drawn_anew():
    head = small().train()
    inputs = replace(with_negatives(head), negative_patch=None)
    drawn = [head(inputs).aux_losses["match"].item() for _ in range(3)]
    assert len(set(drawn)) > 1
    torch.manual_seed(5)
    first = head(inputs).aux_losses["match"].item()
    torch.manual_seed(5)
    assert head(inputs).aux_losses["match"].item() == first


def test_grounding_is_trained_without_questions():
    head = small().train()
    inputs = with_negatives(head)
    bare = replace(inputs, tokens=None, sentence=None, words=None, eot=None)
    loss = head.grounding_loss(bare)
    torch.testing.assert_close(loss, head(inputs).aux_losses["match"])
    loss.backward()
    trained = {name for name, p in head.named_parameters() if p.grad is not None}
    assert trained == set(grounding_state(head))
    assert {name.split(".")[0] for name in trained} == {"audio", "visual", "match"}


@pytest.mark.parametrize("name", ["avst", "tjstg"])
def test_heads_start_from_trained_grounding(name):
    trained, head = small(visual_width=5), small(name, seed=1, visual_width=5)
    before = {k: v.clone() for k, v in head.state_dict().items()}
    load_grounding(head, grounding_state(trained))
    for key, value in head.state_dict().items():
        own = key.startswith(("audio.", "picture.", "visual.", "match."))
        torch.testing.assert_close(value, trained.state_dict()[key] if own else before[key])
    inputs = with_negatives(head)
    torch.testing.assert_close(head.audio(inputs.audio), trained.audio(inputs.audio))


def test_grounding_of_another_shape_is_refused():
    state = grounding_state(small())
    with pytest.raises(
        ValueError, match=r"audio\.0\.weight has shape \(8, 6\); expected \(8, 4\), the widths"
    ):
        load_grounding(small(audio_width=4), state)
    with pytest.raises(ValueError, match=r"head=avst in picture\.bias and 1 more"):
        load_grounding(small(visual_width=4), state)
    with pytest.raises(ValueError, match=r"late_fusion in audio\.0\.bias and 13 more"):
        load_grounding(small("late_fusion"), state)


def test_grounding_loss_says_what_it_needs():
    head = small(spatial=False)
    with pytest.raises(ValueError, match="spatial=False; expected spatial=True"):
        head.grounding_loss(with_negatives(head))
    with pytest.raises(ValueError, match=r"patch is missing; .*avst needs \('audio', 'patch'\)"):
        small().grounding_loss(replace(with_negatives(head), patch=None))


def test_modalities_that_are_off_are_not_needed():
    for modalities, needs in {"q": (), "aq": ("audio",), "vq": ("patch",)}.items():
        head = small(modalities=modalities, temporal=False, spatial=False).eval()
        assert head.needs == (*needs, "tokens")
        inputs = with_negatives(head)
        off = {name: None for name in ("audio", "patch") if name not in needs}
        assert torch.equal(head(replace(inputs, **off)).logits, head(inputs).logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": "vq"}, "modalities=vq with spatial=true; expected spatial=false"),
        ({"modalities": "q", "spatial": False}, "modalities=q with temporal=true; expected"),
        ({"modalities": "av"}, "modalities='av'; expected one of q, aq, vq, avq"),
        ({"ground_temp": 0.0}, r"ground_temp=0.0; expected more than 0"),
        ({"width": 6}, r"width=6; expected a multiple of 4 \(attention heads\)"),
        ({"temporal": 1}, "temporal=1; expected true or false"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        heads.build("avst", **options)
