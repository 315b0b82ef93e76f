"""What masks hide reaches nothing, and no head stops to look at its masks."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch._dynamo
from helpers.heads.head_batches import make_inputs, partly_silent, select
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from avqa import heads
from avqa.heads._parts import blocks, grounding, lstm
from avqa.heads._parts import head as base
from avqa.heads._parts.grounding import draw_negatives, match_loss
from avqa.heads._parts.lstm import run_lstm
from avqa.heads.mcd import association
from avqa.heads.tjstg import synchrony_loss

SMALL = {"width": 8, "audio_width": 8, "visual_width": 8, "text_width": 8, "vocabulary": 11}
ANSWERS = torch.tensor([0, 1, 2])
SIZES = {"seconds": 3, "patches": 2, "num_words": 3}


@functools.cache
def small(name, **options):
    torch.manual_seed(0)
    return heads.build(name, **SMALL, **options)


def learnt(head, inputs):
    """Logits, losses and gradients of one step, with whatever the head draws drawn alike."""
    before = {name: buffer.clone() for name, buffer in head.named_buffers()}
    torch.manual_seed(3)
    head.zero_grad()
    output = head.train()(inputs)
    heads.total_loss(head, output, ANSWERS).backward()
    found = {f"gradient of {name}": p.grad for name, p in head.named_parameters()}
    found |= {"logits": output.logits, "evaluated": head.eval()(inputs).logits}
    head.load_state_dict(before, strict=False)
    return {k: v for k, v in (found | output.aux_losses).items() if v is not None}


def same(found, expected, **tolerance):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert not value.isnan().any(), name
        torch.testing.assert_close(value, expected[name], **tolerance, msg=name)


masks = st.lists(
    st.lists(st.booleans(), min_size=3, max_size=3).filter(any), min_size=3, max_size=3
)
sounds = st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=3, max_size=3)
strange = st.sampled_from([torch.nan, torch.inf, -torch.inf])
ROWS = [(name, row) for name in heads.names() for row in heads.load(name).ABLATIONS]


@pytest.mark.parametrize("question", ["lstm", "clip"])
@pytest.mark.parametrize("name", heads.names())
@given(mask=masks, value=strange)
@settings(max_examples=4, deadline=None)
def test_what_is_hidden_reaches_no_logit_loss_or_gradient(name, question, mask, value):
    head = small(name, question=question)
    inputs = replace(make_inputs(head, **SIZES), valid=torch.tensor(mask))
    position = torch.arange(77)
    hidden = {
        **dict.fromkeys(heads.VIDEO_FEATURES, ~inputs.valid),
        "words": position > inputs.eot[:, None],
    }
    dirty = {n: getattr(inputs, n).clone() for n in hidden}
    for n, where in hidden.items():
        dirty[n][where] = value
    same(learnt(head, replace(inputs, **dirty)), learnt(head, inputs))


@pytest.mark.parametrize("question", ["lstm", "clip"])
@pytest.mark.parametrize("name", heads.names())
@given(mask=masks, heard=sounds, value=strange | st.floats(-9, 9))
@settings(max_examples=4, deadline=None)
def test_sound_that_is_not_there_reaches_no_logit_loss_or_gradient(
    name, question, mask, heard, value
):
    head, valid = small(name, question=question), torch.tensor(mask)
    heard = torch.tensor(heard)
    assume((valid & heard).sum() != 1)  # which has no variance: `MaskedNorm`
    inputs = replace(make_inputs(head, **SIZES), valid=valid, audio_valid=heard)
    dirty = inputs.audio.clone()
    dirty[~(valid & heard)] = value
    same(learnt(head, replace(inputs, audio=dirty)), learnt(head, inputs))


@pytest.mark.parametrize(("name", "row"), ROWS, ids=lambda x: x)
def test_a_head_of_any_options_goes_without_sound(name, row):
    """One video without, then none with: all is finite, and what lies there reaches nothing."""
    head = small(name, **heads.load(name).ABLATIONS[row].options)
    inputs = partly_silent(make_inputs(head, **SIZES))
    for batch in (inputs, replace(inputs, audio_valid=torch.zeros(3, 3, dtype=torch.bool))):
        dirty = batch.audio.clone()
        dirty[~batch.audio_valid] = torch.nan
        found = learnt(head, replace(batch, audio=dirty))
        same(found, learnt(head, batch))
        assert all(value.isfinite().all() for value in found.values())
        output = head(batch, explain=True)
        evidence = head.evidence(batch, output)
        for shown in (*output.explain.values(), *vars(evidence).values()):
            assert shown is None or shown.isfinite().all()


@pytest.mark.parametrize("question", ["lstm", "clip"])
@pytest.mark.parametrize("name", heads.names())
def test_a_mask_of_sound_that_hides_nothing_changes_no_bit(name, question):
    head = small(name, question=question)
    inputs = make_inputs(head, **SIZES)
    expected = learnt(head, inputs)
    for heard in (inputs.valid, torch.ones_like(inputs.valid)):
        same(learnt(head, replace(inputs, audio_valid=heard)), expected, atol=0, rtol=0)


OF_SOUND = {
    "avst": {"match"},
    "sasr": {"match"},
    "tjstg": {"match", "csl"},
    "mcd": {"qa", "av"},
    "avaf": {"temp"},
}
"""Head → its losses that compare the sound with something."""


@pytest.mark.parametrize("name", OF_SOUND)
def test_losses_of_the_sound_are_those_of_the_other_videos(name):
    options = {"norm": "layer"} if name == "mcd" else {}
    options |= {"joint_dropout": 0.0} if name == "tjstg" else {}
    head = small(name, dropout=0.0, **options).train()
    inputs = make_inputs(head, **SIZES)
    given = partly_silent(replace(inputs, negative_patch=inputs.patch.flip(0)))
    found, others = head(given).aux_losses, head(select(given, slice(1, 3))).aux_losses
    assert set(found) == set(others) >= OF_SOUND[name]
    for loss in OF_SOUND[name]:
        torch.testing.assert_close(found[loss], others[loss], msg=loss)


class Deaf(heads.Head):
    """As a plug-in may be that knows nothing of the mask."""

    FEATURES = ("audio",)

    def __init__(self, options):
        super().__init__(options)
        self.answer = torch.nn.Linear(options.audio_width, options.num_answers)

    def forward(self, inputs, explain=False):
        inputs = self.check(inputs)
        pooled = heads.masked_mean(inputs.audio, inputs.valid)
        return heads.HeadOutput(self.answer(pooled))


def test_a_head_that_ignores_the_mask_reads_zeros():
    head = Deaf(heads.HeadOptions(**SMALL))
    inputs = partly_silent(make_inputs(head, **SIZES))
    dirty = torch.where(inputs.heard[..., None], inputs.audio, torch.nan)
    zeros = torch.where(inputs.heard[..., None], inputs.audio, 0)
    expected = learnt(head, replace(inputs, audio=zeros, audio_valid=None))
    same(learnt(head, replace(inputs, audio=dirty)), expected)


def test_late_fusion_without_sound_is_that_of_the_frames():
    head = small("late_fusion").eval()
    inputs = partly_silent(make_inputs(head, **SIZES))
    with torch.no_grad():
        logits, q = head(inputs).logits, head.question(inputs).sentence
        for b in range(3):
            rows = [head.audio(inputs.audio[b, t]) for t in range(3) if head_hears(inputs, b, t)]
            audio = np.mean(rows, 0) if rows else np.zeros(8)
            shown = inputs.patch[b][inputs.valid[b]].mean(1)
            visual = head.visual(shown).mean(0)
            fused = head.fuse(torch.cat([torch.tensor(audio, dtype=torch.float32), visual]).tanh())
            expected = head.answer.layer((fused * q[b]).tanh())
            torch.testing.assert_close(logits[b], expected)


def head_hears(inputs, b, t):
    return bool(inputs.valid[b, t] and inputs.audio_valid[b, t])


def test_missing_options_may_be_anything():
    head = small("late_fusion", answer="choices")
    inputs = make_inputs(head, **SIZES)
    dirty = inputs.choices.clone()
    dirty[~inputs.choice_valid] = torch.nan
    with torch.no_grad():
        found = head.eval()(replace(inputs, choices=dirty)).logits
        assert torch.equal(found, head(inputs).logits)
    heads.total_loss(head, head(replace(inputs, choices=dirty)), ANSWERS).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_a_batch_without_hidden_seconds_is_not_copied():
    head = small("avst")
    inputs = replace(make_inputs(head, **SIZES), valid=torch.ones(3, 3, dtype=torch.bool))
    assert head.check(inputs).patch is inputs.patch
    heard = head.check(replace(inputs, audio_valid=inputs.valid))
    assert heard.audio is inputs.audio
    assert head.check(inputs).audio_valid is None


def test_sound_is_hidden_in_padding_whatever_its_mask_says():
    head = small("avst")
    inputs = make_inputs(head, **SIZES)
    checked = head.check(replace(inputs, audio_valid=torch.ones_like(inputs.valid)))
    assert torch.equal(checked.audio_valid, inputs.valid)


@pytest.fixture
def elsewhere(monkeypatch):
    """As on a GPU, whose values are not looked at."""
    for module in (base, blocks, grounding, lstm, association):
        monkeypatch.setattr(module, "at_hand", lambda tensor: False)


@pytest.mark.parametrize("name", heads.names())
def test_on_another_device_the_numbers_are_the_same(name, request):
    head = small(name, question="lstm", pack=True)
    inputs = make_inputs(head, **SIZES)
    nothing = torch.zeros_like(inputs.valid)
    batches = [inputs, partly_silent(inputs), replace(inputs, audio_valid=nothing)]
    expected = [learnt(head, batch) for batch in batches]
    request.getfixturevalue("elsewhere")
    for batch, wanted in zip(batches, expected, strict=True):
        same(learnt(head, batch), wanted, atol=1e-5, rtol=1e-4)


def test_on_another_device_one_video_has_no_match_loss(elsewhere):
    head = small("avst")
    inputs = replace(make_inputs(head, **SIZES), video=torch.zeros(3).long())
    found = draw_negatives(inputs)
    assert not found.weight.any()
    loss = match_loss(found.patch[..., 0, :2], found.patch[..., 0, :2], found.weight)
    assert loss == 0
    alone = replace(inputs, valid=inputs.valid[:1], video=None)
    assert draw_negatives(alone) is None
    for name, options in (("avst", {}), ("tjstg", {}), ("sasr", {}), ("sasr", {"match": "linear"})):
        assert small(name, **options).train()(inputs).aux_losses["match"] == 0


@given(
    st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=3),
    st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_entry_after_entry_is_torchs_lstm(mask, both):
    torch.manual_seed(0)
    own = torch.nn.LSTM(4, 2, batch_first=True, bidirectional=both).double()
    x, shown = torch.randn(len(mask), 5, 4, dtype=torch.float64), torch.tensor(mask)
    found = lstm._entry_after_entry(own, x, shown)
    for b, (row, rows) in enumerate(zip(x, shown, strict=True)):
        if not rows.any():
            assert not any(value[b].any() for value in found)
            continue
        out, (h, c) = own(row[rows][None])
        torch.testing.assert_close(found.out[b][rows], out[0])
        torch.testing.assert_close(found.hidden[b], h.flatten())
        torch.testing.assert_close(found.cell[b], c.flatten())
    for one, other in zip(found, run_lstm(own, x, shown), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_synchrony_is_measured_in_float32(dtype):
    w = torch.tensor([[[0.5, 0.0, 0.0], [0.0, 0.25, 0.25]], [[0.0, 0.0, 0.0]] * 2]).to(dtype)
    loss = synchrony_loss(w[0], w[1])
    assert loss.dtype == torch.float32
    assert loss == synchrony_loss(w[0].float(), w[1].float())
    head = small("tjstg", question="clip").train()
    with torch.autocast("cpu", torch.bfloat16):
        found = head(make_inputs(head, **SIZES)).aux_losses["csl"]
    assert found.dtype == torch.float32
    assert found.isfinite()


@pytest.mark.filterwarnings("ignore:Guards may run slower:RuntimeWarning")  # Python 3.13.0
@pytest.mark.parametrize(
    ("training", "silence"),
    [(True, False), (False, False), (True, True)],
    ids=["training", "evaluation", "silence"],
)
@pytest.mark.parametrize("name", heads.names())
def test_a_whole_head_is_one_graph(name, training, silence):
    """Where an LSTM reads the question, torch wants a switch of its own."""
    question = "lstm" if name in ("question_only", "tjstg") else "clip"
    options = {"num_blocks": 1, "num_frames": 2} if name == "mcd" else {}
    head = small(name, question=question, pack=question == "lstm", **options).train(training)
    inputs = make_inputs(head, **SIZES)
    inputs = partly_silent(inputs) if silence else inputs
    torch._dynamo.reset()
    graph = torch.compile(head, backend="eager", fullgraph=True)
    torch.manual_seed(0)
    with torch._dynamo.config.patch(allow_rnn=True):
        found = graph(inputs)
    torch.manual_seed(0)
    expected = head(inputs)
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.aux_losses, expected.aux_losses)
