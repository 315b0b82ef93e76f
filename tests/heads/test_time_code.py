"""A code of time beside every row: its values, and that every head then knows the order."""

from dataclasses import replace

import pytest
import torch
from helpers.heads.head_batches import make_inputs, own_widths, pad_seconds

from avqa import heads
from avqa.heads import HeadInput, coded_width, with_time

LOOKING = [name for name in heads.names() if heads.load(name).Head.FEATURES]
CODES = ("clock", "product")


def small(name, code, **options):
    """A head of rows that are 8 wide without their code."""
    torch.manual_seed(0)
    width = coded_width(8, code)
    sizes = {"width": 16, "audio_width": width, "visual_width": width, "text_width": 16}
    sizes |= own_widths(name, width)
    return heads.build(name, time_code=code, **sizes, **options).double().eval()


def inputs_of(head, **sizes):
    """Rows as they are stored."""
    made = make_inputs(head, dtype=torch.float64, **sizes)
    rows = heads.VIDEO_FEATURES
    return replace(made, **{name: getattr(made, name)[..., :8] for name in rows})


def test_the_clock_says_which_row_it_is():
    rows = torch.randn(2, 63, 4, 3)
    inputs = HeadInput(valid=torch.ones(2, 63, dtype=torch.bool), patch=rows)
    coded = with_time(inputs, "clock").patch
    assert coded.shape == (2, 63, 4, 63)
    assert torch.equal(coded[..., :3], rows)
    places = coded[..., 3:].argmax(-1)
    assert torch.equal(coded[..., 3:].sum(-1), torch.ones(2, 63, 4))
    assert places[1, :, 2].tolist() == [*range(60), 59, 59, 59]


def test_the_product_is_the_row_times_its_place():
    rows = torch.ones(3, 5, 2)
    valid = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]).bool()
    coded = with_time(HeadInput(valid=valid, audio=rows), "product").audio
    assert coded[0, :, 2:].T.tolist() == [[-1, -0.5, 0, 0.5, 1]] * 2
    assert coded[1, :3, 3].tolist() == [-1, 0, 1]
    assert coded[2, 0].tolist() == [1, 1, 0, 0]


def test_without_a_code_nothing_is_touched():
    inputs = HeadInput(valid=torch.ones(1, 2, dtype=torch.bool), audio=torch.ones(1, 2, 3))
    assert with_time(inputs, "none") is inputs
    assert not heads.build("avst")._forward_pre_hooks


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", LOOKING)
def test_every_head_with_a_code_tells_a_video_from_itself_backwards(name, code):
    head = small(name, code, **{"pstp": {"num_segments": 3}}.get(name, {}))
    inputs = inputs_of(head, seconds=6)
    inputs = replace(inputs, valid=torch.ones_like(inputs.valid))
    logits = head(inputs).logits
    backwards = {name: getattr(inputs, name).flip(1) for name in heads.VIDEO_FEATURES}
    alike = torch.allclose(head(replace(inputs, **backwards)).logits, logits, atol=1e-6)
    # The mean of rows with a clock beside them does not say which row had which time.
    assert alike == (name in ("late_fusion", "bilinear") and code == "clock")
    assert torch.equal(head(inputs=inputs).logits, logits)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", LOOKING)
def test_padded_seconds_have_no_code_that_counts(name, code):
    head = small(name, code)
    inputs = inputs_of(head)
    torch.testing.assert_close(
        head(pad_seconds(inputs, 3)).logits, head(inputs).logits, atol=1e-9, rtol=1e-9
    )


@pytest.mark.parametrize("code", CODES)
def test_costs_are_of_the_layers_that_read_the_code(code):
    head = heads.build("avst", time_code=code, audio_width=coded_width(128, code))
    plain = heads.build("avst")
    more = (coded_width(128, code) - 128) * 512
    assert heads.count_parameters(head) - heads.count_parameters(plain) == more
    assert heads.count_flops(head, seconds=10, patches=4) > 0


@pytest.mark.parametrize("code", CODES)
def test_rows_of_another_width_are_told_in_their_own_width(code):
    head = small("avst", code)
    inputs = inputs_of(head)
    width = coded_width(8, code)
    told = rf"audio has width 5; expected 8: audio_width={width} with time_code={code}$"
    with pytest.raises(ValueError, match=told):
        head(replace(inputs, audio=inputs.audio[..., :5]))
