"""What a head makes of each input before they meet, as bias learners see it: every head's."""

from dataclasses import replace

import pytest
import torch
from helpers.heads.head_batches import make_inputs, pad_seconds, partly_silent
from torch import nn

from avqa import heads
from avqa.heads import Head, HeadOptions, HeadOutput, masked_mean, observed, pooled

SMALL = {"width": 16, "audio_width": 12, "visual_width": 20, "text_width": 24}
EACH = [name for name in heads.names() if name != "question_only"]
ROWS = [(name, row) for name in EACH for row in heads.load(name).ABLATIONS]
INPUTS = {"q": ("tokens", "sentence"), "a": ("audio",), "v": ("frame", "patch")}


def small(name, **options):
    torch.manual_seed(0)
    return heads.build(name, **SMALL, **options).double()


def seen_by(head, inputs):
    """One vector a question of each input, and the logits."""
    with observed(head) as seen:
        output = head(inputs)
    return pooled(seen, head, inputs), output.logits


def changed(inputs, kind):
    """The same batch with another question, sound or picture."""
    values = {}
    for name in INPUTS[kind]:
        value = getattr(inputs, name)
        values[name] = value.roll(1, 0) if kind == "q" else value.flip(-1) + 1
    return replace(inputs, **values)


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("question", ["lstm", "positions", "clip"])
def test_each_is_of_its_own_input_alone(name, question):
    head = small(name, question=question).eval()
    inputs = make_inputs(head, dtype=torch.float64)
    assert heads.projection_problems(head.float(), "qav") == []
    before, _ = seen_by(head.double(), inputs)
    assert {kind: x.shape for kind, x in before.items()} == dict.fromkeys("qav", (3, 16))
    for kind in "qav":
        after, _ = seen_by(head, changed(inputs, kind))
        differs = {k for k in "qav" if not torch.allclose(after[k], before[k], atol=1e-9)}
        assert differs == {kind}


@pytest.mark.parametrize("name", EACH)
def test_padding_and_seconds_without_sound_are_in_no_mean(name):
    head = small(name).eval()
    inputs = partly_silent(make_inputs(head, dtype=torch.float64))
    before, _ = seen_by(head, inputs)
    assert before["a"][0].abs().max() == 0
    noisy = inputs.audio.clone()
    noisy[~inputs.heard] = 50.0
    after, _ = seen_by(head, pad_seconds(replace(inputs, audio=noisy), 2))
    for kind in "qav":
        torch.testing.assert_close(after[kind], before[kind])


@pytest.mark.parametrize("name", EACH)
def test_nothing_changes_by_being_seen_and_the_gradient_arrives(name):
    head = small(name).train()
    inputs = make_inputs(head, dtype=torch.float64)
    with observed(head) as seen:
        torch.manual_seed(3)
        logits = head(inputs).logits
    vectors = pooled(seen, head, inputs)
    torch.manual_seed(3)
    assert torch.equal(head(inputs).logits, logits)
    assert not any(module._forward_hooks for module in head.modules())
    # Frames of other videos run through the same layer later and are not taken for its own.
    for kind, rows in seen_by(head.eval(), inputs)[0].items():
        torch.testing.assert_close(vectors[kind], rows)
    sum(x.sum() for x in vectors.values()).backward()
    for layer in head.projections.values():
        weights = list(head.get_submodule(layer).parameters())
        assert any(w.grad is not None and w.grad.abs().max() > 0 for w in weights)


@pytest.mark.parametrize("name", EACH)
def test_questions_about_one_video_share_what_is_seen_of_it(name):
    """Also in training, where frames of other videos run through the same layer afterwards."""
    head = small(name, dropout=0.0).train()
    inputs = make_inputs(head, dtype=torch.float64)
    of_video = torch.tensor([1, 0, 1])
    rows = {n: getattr(inputs, n)[:2] for n in ("valid", *heads.VIDEO_FEATURES)}
    shared = replace(inputs, of_video=of_video, video=of_video, **rows)
    together, _ = seen_by(head, shared)
    apart, _ = seen_by(head, shared.apart())
    for kind in "qav":
        torch.testing.assert_close(together[kind], apart[kind])


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_ablations_show_what_they_read(name, row):
    options = heads.load(name).ABLATIONS[row].options
    torch.manual_seed(0)
    head = heads.build(name, **{**SMALL, **options})
    fields = {"q": ("tokens", "sentence"), "a": ("audio",), "v": ("frame", "patch")}
    read = "".join(k for k in "qav" if set(fields[k]) & set(head.needs))
    assert "".join(head.projections) == read
    assert heads.projection_problems(head, read) == []


class Plain(Head):
    """A head without `encode`, as a plug-in may be."""

    FEATURES = ("audio", "frame")
    PROJECTIONS = {"q": "word", "a": "audio", "v": "missing"}

    def __init__(self, width=16):
        super().__init__(HeadOptions(**SMALL))
        self.word = nn.EmbeddingBag(93, 16)
        self.audio = nn.Linear(12, width)
        self.unused = nn.Linear(20, 16)
        self.answer = nn.Linear(16, 42)

    def forward(self, inputs, explain=False):
        inputs = self.check(inputs)
        heard = masked_mean(self.audio(inputs.audio)[..., :16], inputs.heard)
        return HeadOutput(self.answer(heard * self.word(inputs.tokens)))


def test_a_head_of_one_piece_shows_rows_of_questions():
    head = Plain().double()
    inputs = make_inputs(head, dtype=torch.float64)
    of_video = torch.tensor([1, 0, 1])
    rows = {n: getattr(inputs, n)[:2] for n in ("valid", *heads.VIDEO_FEATURES)}
    vectors, _ = seen_by(head, replace(inputs, of_video=of_video, **rows))
    expected = masked_mean(head.audio(inputs.audio[:2]), inputs.valid[:2])[of_video]
    torch.testing.assert_close(vectors["a"], expected)


def test_what_is_missing_is_named(monkeypatch):
    assert heads.projection_problems(Plain(), "qa") == []
    assert heads.projection_problems(Plain(), "qav") == ["v (the frames): no layer is named"]
    assert heads.projection_problems(Plain(width=20), "qa") == [
        "a (the audio): layer 'audio' gives (2, 3, 20) of 2 videos of 3 seconds; expected"
        " (2, 3, 16)"
    ]
    monkeypatch.setattr(Plain, "PROJECTIONS", {"v": "unused"})
    assert heads.projection_problems(Plain(), "v") == [
        "v (the frames): layer 'unused' does not run"
    ]
