"""Questions that share the rows of their videos get what they would with rows of their own."""

from dataclasses import fields, replace

import pytest
import torch
from helpers.heads.head_batches import make_inputs, partly_silent
from hypothesis import given
from hypothesis import strategies as st

from avqa import heads
from avqa.heads._parts.head import VIDEO_FEATURES
from avqa.heads._parts.sharing import ByVideo

SMALL = {"width": 8, "audio_width": 8, "visual_width": 8, "text_width": 8, "vocabulary": 11}
OF_VIDEO = torch.tensor([2, 0, 2, 1, 2, 0])
ANSWERS = torch.tensor([0, 1, 2, 3, 4, 5])
ROWS = [(name, row) for name in heads.names() for row in heads.load(name).ABLATIONS]
OF_VIDEOS = ("valid", "audio_valid", "negative_patch", *VIDEO_FEATURES)


def shared(head):
    """Six questions about three videos of 3, 2 and 3 seconds, one of which is partly silent."""
    inputs = partly_silent(make_inputs(head, batch=6, seconds=3, patches=2, num_words=3))
    generator = torch.Generator().manual_seed(5)
    negatives = torch.randn(inputs.patch.shape, generator=generator)
    inputs = replace(inputs, video=OF_VIDEO, of_video=OF_VIDEO, negative_patch=negatives)
    features = {n: x[:3] for n in OF_VIDEOS if (x := getattr(inputs, n)) is not None}
    inputs = replace(inputs, **features)
    inputs.valid[1, 2] = False
    return replace(inputs, audio_valid=inputs.heard)


def in_double(inputs):
    values = {f.name: getattr(inputs, f.name) for f in fields(inputs)}
    floats = {n: x for n, x in values.items() if x is not None and x.is_floating_point()}
    return replace(inputs, **{n: x.double() for n, x in floats.items()})


def built(name, **options):
    torch.manual_seed(0)
    return heads.build(name, **SMALL, dropout=0.0, **options).double()


def learnt(head, inputs):
    torch.manual_seed(3)
    head.zero_grad()
    state = {name: buffer.clone() for name, buffer in head.named_buffers()}
    output = head.train()(inputs)
    heads.total_loss(head, output, ANSWERS).backward()
    found = {
        f"gradient of {n}": p.grad.clone() for n, p in head.named_parameters() if p.grad is not None
    }
    found |= {f"buffer {n}": b.clone() for n, b in head.named_buffers()}
    head.load_state_dict(state, strict=False)
    return found | output.aux_losses | {"logits": output.logits}


@pytest.mark.parametrize(("name", "row"), ROWS, ids=lambda x: x)
def test_logits_losses_and_gradients_are_those_of_rows_of_their_own(name, row):
    options = dict(heads.load(name).ABLATIONS[row].options)
    head = built(name, **options)
    inputs = in_double(shared(head))
    with torch.no_grad():
        found, expected = (head.eval()(x).logits for x in (inputs, inputs.apart()))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)
    if options.get("variant") == "official":  # whose training draws a number for every row
        return
    found, expected = learnt(head, inputs), learnt(head, inputs.apart())
    assert found.keys() == expected.keys()
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], atol=1e-10, rtol=1e-8, msg=key)


@pytest.mark.parametrize("name", heads.names())
def test_what_a_head_shows_has_a_row_a_question(name):
    head = built(name).eval()
    inputs = in_double(shared(head))
    with torch.no_grad():
        found, expected = (head(x, explain=True) for x in (inputs, inputs.apart()))
    assert found.explain.keys() == expected.explain.keys()
    for key, value in found.explain.items():
        assert len(value) == len(ANSWERS)
        torch.testing.assert_close(value, expected.explain[key])


def test_a_head_of_one_piece_gets_rows_for_every_question():
    """As a plug-in's may be: it defines `forward` alone."""

    class Whole(heads.Head):
        FEATURES = ("audio",)

        def forward(self, inputs, explain=False):
            inputs = self.check(inputs)
            return heads.HeadOutput(inputs.audio.sum(1) + inputs.tokens.sum(1, keepdim=True))

    head = Whole(heads.HeadOptions(**SMALL))
    inputs = shared(head)
    expected = inputs.audio.masked_fill(~inputs.heard.unsqueeze(-1), 0).sum(1)[OF_VIDEO]
    expected = expected + inputs.tokens.sum(1, keepdim=True)
    torch.testing.assert_close(head(inputs).logits, expected)


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.integers(0, n - 1), min_size=1)))
def test_questions_laid_out_by_video_and_back(of_video):
    of_video = torch.tensor(of_video)
    videos = int(of_video.max()) + 1
    inputs = heads.HeadInput(valid=torch.ones(videos, 2).bool(), of_video=of_video)
    layout, number = ByVideo.of(inputs), torch.arange(len(of_video))
    assert torch.equal(layout.apart(layout.together(number)), number)
    assert layout.question.shape == (videos, of_video.bincount().max())
    for video, questions in enumerate(layout.question.tolist()):
        own = number[of_video == video].tolist()
        assert questions[: len(own)] == own


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"of_video": torch.tensor([0, 1, 3, 0, 1, 2])},
            "of_video holds 0 to 3; expected 0 to 2, rows of valid",
        ),
        ({"of_video": torch.tensor([0, 1, 2])}, "has batch 6; expected that of of_video, 3"),
        ({"audio": torch.zeros(6, 3, 8)}, "audio has batch 6; expected that of valid, 3"),
        ({"of_video": OF_VIDEO.int()}, "of_video has dtype int32; expected int64"),
    ],
)
def test_what_does_not_fit_is_refused(changed, message):
    head = heads.build("late_fusion", **SMALL)
    with pytest.raises(ValueError, match=message):
        head(replace(shared(head), **changed))
