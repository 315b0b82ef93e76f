"""Our own baseline against a loop written from its formulas, and what each of its parts is for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.heads.head_batches import make_head, make_inputs, partly_silent
from helpers.heads.numpy_blocks import at, linear, parameters

from avqa import heads
from avqa.heads._parts.blocks import PositionsQuestion

SMALL = {"width": 8, "audio_width": 6, "visual_width": 10, "text_width": 5, "rank": 4}
SMALL |= {"vocabulary": 11, "num_answers": 7}


def small(seed=0, **options):
    return make_head("bilinear", seed, **(SMALL | options))


def places(valid):
    """[T], -1 at the first second to 1 at the last one of the video."""
    last = int(valid.nonzero().max())
    return np.array([2 * t / last - 1 if last else 0.0 for t in range(len(valid))])


def expected(p, inputs, b, options):
    """Logits of sample ``b``."""
    valid = inputs.valid[b].numpy()
    heard = valid if inputs.audio_valid is None else valid & inputs.audio_valid[b].numpy()
    tau = places(inputs.valid[b]) if options.time_code == "product" else None

    def row(x, t):
        return x if tau is None else np.concatenate([x, x * tau[t]])

    audio, patch = inputs.audio[b].numpy(), inputs.patch[b].numpy()
    a = [linear(at(p, "audio."), row(audio[t], t)) for t in range(len(valid)) if heard[t]]
    a = np.mean(a, 0) if a else np.zeros(options.width)
    v = np.mean(
        [
            linear(at(p, "visual."), row(place, t))
            for t in range(len(valid))
            if valid[t]
            for place in patch[t]
        ],
        0,
    )
    f = linear(at(p, "fuse."), np.tanh(np.concatenate([a, v])))
    q = np.zeros(options.width)
    for n, word in enumerate(inputs.tokens[b].tolist()):
        if word:
            q += p["question.embedding.weight"][n * options.vocabulary + word]
    e = f * q
    if options.fusion != "sum":
        both = linear(at(p, "product.audio."), a) * linear(at(p, "product.visual."), v)
        if options.fusion == "asked":
            e = e + linear(at(p, "product.out."), both * linear(at(p, "asked."), q))
        else:
            e = (f + linear(at(p, "product.out."), both)) * q
    return linear(at(p, "answer.layer."), np.tanh(e))


@pytest.mark.parametrize("silence", [False, True], ids=["sound", "silence"])
@pytest.mark.parametrize(
    "options", [{}, {"fusion": "sum"}, {"fusion": "product"}, {"time_code": "none"}], ids=str
)
def test_head_equals_the_loop(options, silence):
    head = small(**options).eval()
    inputs = make_inputs(head, dtype=torch.float64)
    inputs = partly_silent(inputs) if silence else inputs
    with torch.no_grad():
        logits = head(inputs).logits
    for b in range(3):
        wanted = expected(parameters(head), inputs, b, head.options)
        np.testing.assert_allclose(logits[b], wanted, atol=1e-9)


def test_words_count_by_their_places_and_late_ones_share_one():
    encoder = PositionsQuestion(vocabulary=5, width=3)
    assert encoder.embedding.weight.shape == (16 * 5, 3)

    def encoded(*words):
        return encoder.encode(torch.tensor([words])).sentence

    assert not torch.allclose(encoded(1, 2), encoded(2, 1))
    torch.testing.assert_close(encoded(1, 2), encoded(1, 0) + encoded(0, 2))
    torch.testing.assert_close(encoded(1, 2, 0, 0), encoded(1, 2))  # padding
    late = [0] * 15
    torch.testing.assert_close(encoded(*late, 3, 4), encoded(*late, 4, 3))
    assert not torch.allclose(encoded(*late[1:], 3, 4), encoded(*late[1:], 4, 3))


def test_only_a_product_tells_which_sound_goes_with_which_picture():
    """Two sounds and two pictures: the four pairs' sum is told by no layer over both alone."""

    def answers(head, pairs):
        inputs = make_inputs(head, dtype=torch.float64, batch=4, seconds=1)
        audio = torch.zeros_like(inputs.audio)
        patch = torch.zeros_like(inputs.patch)
        for row, (sound, picture) in enumerate(pairs):
            audio[row, :, sound] = 1
            patch[row, ..., picture] = 1
        tokens = inputs.tokens[:1].expand(4, -1)
        valid = torch.ones_like(inputs.valid)
        given = replace(inputs, audio=audio, patch=patch, tokens=tokens, valid=valid)
        read = []
        head.answer.register_forward_pre_hook(lambda layer, given: read.append(given[0]))
        head(given)
        return read[0].atanh()

    pairs = [(0, 0), (1, 1), (0, 1), (1, 0)]
    for fusion in ("sum", "product", "asked"):
        head = small(time_code="none", fusion=fusion).eval()
        with torch.no_grad():
            torch.nn.init.zeros_(head.fuse.weight)  # the layer of both has its tanh between
            first, second, third, fourth = answers(head, pairs)
        mixed = (first + second - third - fourth).abs().max()
        assert (mixed > 1e-3) == (fusion != "sum")


def test_every_part_may_be_left_out():
    assert heads.load("bilinear").ABLATIONS.keys() == {
        *("no_product", "plain_product", "no_time_code", "lstm", "plain_rows"),
    }
    asked, plain, without = (
        heads.count_parameters(small(fusion=f)) for f in ("asked", "product", "sum")
    )
    assert plain - without == 2 * (8 * 4 + 4) + 4 * 8 + 8
    assert asked - plain == 8 * 4 + 4
