"""AVAF-Net against loops written from its equations, its counts, and its own rules."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.heads import numpy_avaf
from helpers.heads.head_batches import make_inputs, pad_seconds, partly_silent
from helpers.heads.numpy_blocks import parameters, unit

from avqa.heads import HeadOptions, build, load, total_loss
from avqa.heads._parts.grounding import UnitMap
from avqa.heads.avaf.losses import foreign_cosine, spatial_loss, temporal_loss

SIZES = {"width": 8, "audio_width": 5, "visual_width": 6, "text_width": 7, "num_answers": 4}
SMALL = {**SIZES, "vocabulary": 11, "num_seconds": 7}


def small(**options):
    torch.manual_seed(0)
    head = build("avaf", **{**SMALL, **options}).double().eval()
    for p in head.parameters():  # zero biases would hide a missing one
        torch.nn.init.normal_(p, std=0.4)
    return head


def inputs_of(head, **sizes):
    inputs = make_inputs(head, dtype=torch.float64, **{"seconds": 3, "patches": 4, **sizes})
    inputs.valid[0, 1] = False  # a hole
    return inputs


def numpy_batch(head, inputs):
    p = parameters(head)
    fields = {k: v.numpy() for k, v in vars(inputs).items() if v is not None}
    samples = [{k: v[b] for k, v in fields.items()} for b in range(len(inputs.valid))]
    return [numpy_avaf.sample(p, s, head.options) for s in samples], samples


OPTIONS = [
    {},
    {"text_width": 8},
    {"question": "lstm"},
    {"question": "lstm", "pack": True},
    {"q_pool": "sot"},
    {"q_pool": "sot", "text_width": 8},
    {"answer": "choices"},
    {"audio_encoder": False},
    {"avcm": False},
    {"qoaf": False},
    {"fuse": "sum"},
    {"fuse": "sum", "qoaf": False},
    {"weight_relu": True},
    {"attention": "alone"},
    {"attention": "alone", "audio_encoder": False, "qoaf": False},
    {"tacl": False, "avcm": False, "sacl": False, "qoaf": False},
]


@pytest.mark.parametrize("silence", [False, True], ids=["sound", "silence"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_logits_equal_the_loop(options, silence):
    head = small(**options)
    inputs = partly_silent(inputs_of(head)) if silence else inputs_of(head)
    logits = head(inputs).logits.detach()
    for b, found in enumerate(numpy_batch(head, inputs)[0]):
        np.testing.assert_allclose(logits[b], found["logits"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("silence", [False, True], ids=["sound", "silence"])
def test_explanations_equal_the_loop(silence):
    head = small()
    inputs = partly_silent(inputs_of(head)) if silence else inputs_of(head)
    told = {k: v.detach().numpy() for k, v in head(inputs, explain=True).explain.items()}
    for b, (found, s) in enumerate(zip(*numpy_batch(head, inputs), strict=True)):
        shown, heard = s["valid"][:, None], numpy_avaf.hears(s)[:, None]
        cosines = unit(found["Z'"]) @ unit(found["q"]) * shown
        by_sound = np.einsum("tpd,td->tp", unit(found["Z'"]), unit(found["a'"])) * heard
        expected = {
            "modality_weights": found["delta"],
            "question_patch_sim": cosines,
            "audio_patch_sim": by_sound,
            "word_attn_audio": found["word_attn"] * heard,
            "word_pool": found["pool"],
            "word_audio_attn": found["audio_attn"],
            "word_patch_attn": found["patch_attn"],
        }
        assert set(told) == set(expected)
        for name, value in expected.items():
            real = slice(s["eot"] if name.endswith(("audio_attn", "patch_attn")) else None)
            np.testing.assert_allclose(told[name][b][real], value[real], atol=1e-9, err_msg=name)


def test_explanations_are_what_they_say():
    head = small()
    inputs = inputs_of(head)
    told = head(inputs, explain=True).explain
    one = torch.ones((), dtype=torch.float64)
    for name in ("modality_weights", "word_pool", "word_audio_attn", "word_patch_attn"):
        total = told[name].sum(-1)
        torch.testing.assert_close(total, one.expand(total.shape), msg=name)
    words = told["word_attn_audio"]
    torch.testing.assert_close(words.sum(-1), inputs.valid.double())
    behind = torch.arange(1, 77) > inputs.eot[:, None]
    assert (told["word_pool"][behind] == 0).all()
    assert (words.transpose(1, 2)[behind] == 0).all()
    hidden = ~inputs.valid.repeat_interleave(4, 1)
    assert (told["word_patch_attn"].transpose(1, 2)[hidden] == 0).all()
    assert (told["word_audio_attn"].transpose(1, 2)[~inputs.valid] == 0).all()
    assert (told["question_patch_sim"][~inputs.valid] == 0).all()
    assert (told["audio_patch_sim"][~inputs.valid] == 0).all()


def test_without_mining_there_is_no_attention_of_the_sound():
    head = small(avcm=False, qoaf=False)
    told = head(inputs_of(head), explain=True).explain
    assert "word_attn_audio" not in told
    assert (told["modality_weights"] == 1).all()


@pytest.mark.parametrize("silence", [False, True], ids=["sound", "silence"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temp_loss": "fnac"},
        {"sounding": "product"},
        {"attention": "alone"},
        {"spat_temp": 0.07, "tau": 0.1},
        {"spat_batch_neg": True},
        {"phi": 0.0206},
        {"avcm": False},
    ],
    ids=str,
)
def test_losses_equal_the_loop(options, silence):
    head = small(dropout=0.0, **options)
    inputs = replace(inputs_of(head, batch=4), video=torch.tensor([3, 5, 3, 7]))
    inputs = partly_silent(inputs) if silence else inputs
    found, samples = numpy_batch(head, inputs)
    losses = {k: v.item() for k, v in head.train()(inputs).aux_losses.items()}
    valids, heard = [s["valid"] for s in samples], [numpy_avaf.hears(s) for s in samples]
    sounds, maps = [f["a"] for f in found], [f["Z"] for f in found]
    temp = np.mean(
        [
            numpy_avaf.temporal_loss(*x, head.options.sounding)
            for x in zip(sounds, maps, heard, strict=True)
            if x[2].any()
        ]
    )
    if head.options.temp_loss == "fnac":
        temp = numpy_avaf.fnac_loss(sounds, maps, heard)
    assert losses["temp"] == pytest.approx(temp, rel=1e-9)

    o, spat = head.options, 0.0
    for name in ("q", "a'"):
        seconds = []
        for b in range(4):
            others = [c for c in range(4) if inputs.video[c] != inputs.video[b]]
            foreign = [z for c in others for z in unit(found[c]["Z'"][valids[c]]).reshape(-1, 8)]
            seconds += numpy_avaf.spatial_losses(
                *(found[b][name], found[b]["Z'"], (heard if name == "a'" else valids)[b]),
                *(o.phi * 49 / 4, o.tau, o.spat_temp),
                foreign if o.spat_batch_neg else (),
            )
        spat += np.mean(seconds)
    assert losses["spat"] == pytest.approx(spat, rel=1e-9)
    assert losses["spat"] != 0


def test_spatial_loss_skips_seconds_without_a_positive():
    rows = torch.eye(4).expand(1, 3, 4, 4)  # a query along one axis prefers that patch
    query = torch.tensor([[[9.0, 0, 0, 0], [1.0, 1, 1, 1], [0, 1.0, 0, 0]]])
    valid = torch.tensor([[True, True, False]])

    def loss(phi):
        maps = UnitMap.of(rows)
        settings = {"phi": phi, "tau": 0.4, "temperature": 1.0, "others": None}
        return spatial_loss(query, maps, valid, **settings).item()

    p = np.array([np.e, 1, 1, 1]) / (np.e + 3)
    peaked = -np.log(np.exp(p[0] / 0.4) / np.exp(p / 0.4).sum())
    assert loss(0.3) == pytest.approx(peaked, rel=1e-5)  # the flat second has no p over 0.3
    assert loss(0.2) == pytest.approx(peaked / 2, rel=1e-5)  # all of it is positive: loss 0
    assert loss(0.9) == 0


def test_without_a_threshold_the_spatial_loss_neither_is_nor_teaches_anything():
    options = load("avaf").ABLATIONS["phi_0.000"].options
    losses, gradients = {}, {}
    for name, chosen in (("phi_0.000", options), ("no_sacl", {"sacl": False})):
        torch.manual_seed(0)
        head = small(dropout=0.0, **chosen).train()
        output = head(inputs_of(head, batch=4))
        losses[name] = output.aux_losses
        total_loss(head, output, torch.tensor([0, 1, 2, 3])).backward()
        gradients[name] = torch.cat([p.grad.flatten() for p in head.parameters()])
    assert "spat" not in losses["no_sacl"]
    assert losses["phi_0.000"]["spat"].item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(gradients["phi_0.000"], gradients["no_sacl"], rtol=0, atol=1e-12)


def test_no_positive_patch_gives_no_nan_gradient():
    head = small(phi=0.5)
    inputs = inputs_of(head)
    loss = head.train()(inputs).aux_losses["spat"]
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad.isfinite().all() for p in head.parameters() if p.grad is not None)


def test_a_sharp_spatial_loss_stays_finite():
    rows = torch.randn(2, 3, 4, 8, requires_grad=True)
    valid = torch.ones(2, 3, dtype=torch.bool)
    settings = {"phi": 0.2, "tau": 1e-3, "temperature": 0.07}
    others = torch.full((2, 1), -1.0)
    query = torch.randn(2, 1, 8)
    loss = spatial_loss(query, UnitMap.of(rows), valid, **settings, others=others)
    loss.backward()
    assert loss.isfinite()
    assert rows.grad.isfinite().all()


def test_other_videos_are_none_in_a_batch_of_one_video():
    rows, valid = torch.randn(2, 3, 4, 8), torch.ones(2, 3, dtype=torch.bool)
    query = torch.randn(2, 1, 8)
    assert (foreign_cosine(query, UnitMap.of(rows), valid, torch.zeros(2)) == 0).all()
    assert (foreign_cosine(query, UnitMap.of(rows), valid, None) != 0).all()


@pytest.mark.parametrize("kind", ["paper", "fnac"])
def test_temporal_loss_vanishes_when_sound_and_picture_agree(kind):
    sound = torch.randn(2, 5, 8)
    patches = sound.unsqueeze(2).repeat(1, 1, 3, 1)
    valid = torch.ones(2, 5, dtype=torch.bool)
    assert temporal_loss(sound, patches, valid, kind).item() == pytest.approx(0, abs=1e-6)
    assert temporal_loss(sound, patches.flip(1), valid, kind).item() > 0.01


@pytest.mark.parametrize("options", [{}, {"temp_loss": "fnac"}, {"spat_batch_neg": True}], ids=str)
def test_padding_changes_no_logit_and_no_loss(options):
    head = small(dropout=0.0, **options)
    inputs = inputs_of(head)
    longer = pad_seconds(inputs, 3)
    torch.testing.assert_close(head(longer).logits, head(inputs).logits)
    head.train()
    before, after = head(inputs).aux_losses, head(longer).aux_losses
    assert before.keys() == after.keys() == {"temp", "spat"}
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, msg=name)


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, {"temp": 1.0, "spat": 0.2}),
        ({"temp_loss": "fnac"}, {"temp": 100.0, "spat": 0.2}),
        ({"alpha": 0.5, "beta": 0.3, "temp_loss": "fnac"}, {"temp": 0.5, "spat": 0.3}),
        ({"tacl": False}, {"spat": 0.2}),
        ({"sacl": False}, {"temp": 1.0}),
    ],
    ids=str,
)
def test_weights_of_the_losses(options, weights):
    head = small(**options)
    assert head.aux_weights == weights
    assert head.train()(inputs_of(head)).aux_losses.keys() == weights.keys()


def test_the_start_token_makes_the_weights_blind_to_the_question():
    for q_pool, blind in (("sot", True), ("eot", False)):
        head = small(q_pool=q_pool)
        inputs = inputs_of(head)
        start = inputs.words[:1, :1].expand(3, 1, -1)  # CLIP's is the same for every question
        inputs = replace(inputs, words=torch.cat([start, inputs.words[:, 1:]], 1))
        delta = head(inputs, explain=True).explain["modality_weights"]
        assert torch.equal(delta[0], delta[1]) == blind


def test_more_seconds_than_positions():
    head = small()
    with pytest.raises(ValueError, match="T=8; expected at most num_seconds=7 with audio_encoder"):
        head(make_inputs(head, seconds=8, dtype=torch.float64))
    head = small(audio_encoder=False)
    assert head(make_inputs(head, seconds=8, dtype=torch.float64)).logits.isfinite().all()


def test_words_are_needed_with_clip():
    head = small()
    assert head.needs == ("audio", "patch", "sentence", "words", "eot")
    with pytest.raises(ValueError, match="words is missing"):
        head(replace(inputs_of(head), words=None))
    assert small(question="lstm").needs == ("audio", "patch", "tokens")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 6}, "width=6; expected a multiple of 4"),
        ({"tau": 0.0}, "tau=0.0; expected more than 0"),
        ({"spat_temp": -1.0}, "spat_temp=-1.0; expected more than 0"),
        ({"alpha": -1.0}, "alpha=-1.0; expected 0 or more"),
        ({"phi": -0.1}, "phi=-0.1; expected 0 or more"),
        ({"beta": float("nan")}, "beta=nan; expected 0 or more"),
        ({"q_pool": "sot", "question": "lstm"}, "q_pool='sot' with question='lstm'; expected"),
        ({"fuse": "mean"}, "fuse='mean'; expected one of concat, sum"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def count(**options):
    with torch.device("meta"):
        return sum(p.numel() for p in build("avaf", **options).parameters())


def test_parameters_are_counted_to_the_unit():
    assert count() == 16_931_885
    assert count(audio_encoder=False) == 13_748_781
    assert count(fuse="sum") == 16_407_085
    assert count() - count(qoaf=False) == 1_026
    assert count() - count(avcm=False) == 2 * 3_152_384
    layer, alone = 3_152_384, 4 * 512 * 513
    assert count() - count(attention="alone") == 4 * (layer - alone)


def test_blocks_start_xavier():
    torch.manual_seed(0)
    layer = build("avaf").mine_audio
    spread = (6 / (512 + 2048)) ** 0.5
    weight = layer.feed_forward[0].weight
    assert weight.abs().max().item() == pytest.approx(spread, rel=1e-3)
    assert weight.std().item() == pytest.approx(spread / 3**0.5, rel=0.02)


def test_sweeps_of_the_paper_are_there():
    rows = load("avaf").ABLATIONS
    full = {"A-Avg": 78.15, "V-Avg": 82.37, "AV-Avg": 72.12, "All": 75.90}
    assert rows["phi_0.019"].values == rows["beta_0.2"].values == full
    assert full.items() <= rows["full"].values.items()
    assert (rows["beta_0.7"].consistent, rows["beta_0.8"].consistent) == (False, False)
    assert "A-Avg 73.36 is a misprint for 75.36: 1214 of 1611; All 74.64" in rows["beta_0.7"].note
    assert len(rows) == 8 + 7 + 8


def test_the_page_names_equations_rows_and_tests_that_exist():
    root = Path(__file__).parents[2]
    page = (root / "docs" / "heads" / "avaf.md").read_text(encoding="utf-8")
    source = "".join(
        p.read_text(encoding="utf-8") for p in (root / "avqa" / "heads" / "avaf").glob("*.py")
    )
    table = page.split("## Equations")[1].split("## Options")[0]
    assert all(f"{eq} " in source for eq in re.findall(r"Eq\. [\d–]+", table))
    assert all(name in globals() for name in re.findall(r"\x60(test_\w+)\x60", table))
    options = re.findall(r"^\| (\x60.*?) \|", page.split("## Options")[1].split("## Abl")[0], re.M)
    named = {name for cell in options for name in re.findall(r"\w+", cell)}
    own = set(load("avaf").Options.__dataclass_fields__) - set(HeadOptions.__dataclass_fields__)
    assert own - {"num_seconds"} <= named
