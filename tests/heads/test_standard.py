"""Standardised rows: their values, what is left alone, and that every head reads them."""

from dataclasses import replace

import pytest
import torch
from helpers.heads.head_batches import make_inputs, own_widths
from hypothesis import given
from hypothesis import strategies as st

from avqa import heads
from avqa.heads import coded_width
from avqa.heads._parts.rows import Standard
from avqa.training.data.standard import Moments, standardise

LOOKING = [name for name in heads.names() if heads.load(name).Head.FEATURES]


def small(name, **options):
    torch.manual_seed(0)
    width = coded_width(8, options.get("time_code", "none"))
    sizes = {"width": 16, "audio_width": width, "visual_width": width, "text_width": 16}
    sizes |= own_widths(name, width)
    return heads.build(name, **sizes, **options).double().eval()


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(0, 2**32))
def test_moments_of_parts_are_those_of_the_whole(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    parts = [100 + torch.randn(size, 3, generator=generator).double() for size in sizes]
    found = Moments.of(parts[0])
    for part in parts[1:]:
        found.add(Moments.of(part))
    whole = torch.cat(parts)
    assert found.count == len(whole)
    torch.testing.assert_close(found.mean, whole.mean(0))
    torch.testing.assert_close(found.deviation, whole.std(0, correction=0))


def test_columns_get_mean_0_and_deviation_1_and_constant_ones_are_only_moved():
    rows = torch.tensor([[1, 7, 0, 1e4], [3, 7, 0, 1e4 + 1e-2]], dtype=torch.float64)
    standard = Standard({"audio": 4}).double()
    assert torch.equal(standard("audio", rows), rows)  # nothing is set yet
    moments = Moments.of(rows)
    standard.set("audio", moments.mean, moments.deviation)
    moved = torch.tensor([[-1, 0, 0, -5e-3], [1, 0, 0, 5e-3]]).double()
    torch.testing.assert_close(standard("audio", rows), moved, atol=1e-9, rtol=1e-9)


class Videos:
    """Two videos of which a second is lost and one is silent."""

    def __init__(self):
        torch.manual_seed(1)
        self.rows = {v: torch.randn(4, 8).double() + 5 for v in ("a", "b")}
        self.valid = torch.tensor([True, True, False, True])
        self.read_videos = []

    def read(self, video):
        self.read_videos.append(video)
        rows = self.rows[video]
        return {
            "audio": rows,
            "patch": rows[:, None].expand(4, 3, 8),
            "valid": self.valid,
            "audio_valid": torch.full((4,), video == "a"),
        }


def test_what_is_lost_or_not_heard_does_not_count_and_each_video_is_read_once():
    head, videos, checked = small("late_fusion", standardise=True), Videos(), []
    standardise(head, videos, ["a", "b", "a"], lambda: checked.append(1))
    assert videos.read_videos == ["a", "b"]
    assert checked == [1, 1]
    heard = videos.rows["a"][videos.valid]
    seen = torch.cat([rows[videos.valid] for rows in videos.rows.values()])
    torch.testing.assert_close(head.standard.audio_mean, heard.mean(0))
    torch.testing.assert_close(head.standard.patch_mean, seen.mean(0))
    torch.testing.assert_close(head.standard.patch_deviation, seen.std(0, correction=0))


@pytest.mark.parametrize("code", ["none", "product"])
@pytest.mark.parametrize("name", LOOKING)
def test_a_head_reads_what_it_would_of_rows_standardised_before(name, code):
    head, plain = (small(name, standardise=on, time_code=code) for on in (True, False))
    plain.load_state_dict(
        {k: v for k, v in head.state_dict().items() if not k.startswith("standard.")}
    )
    inputs = make_inputs(plain, dtype=torch.float64)
    inputs = replace(inputs, negative_patch=inputs.patch.flip(0))
    for field in head.FEATURES:
        head.standard.set(field, torch.arange(8.0), 1 + torch.arange(8.0))
    by_hand = {
        field: (getattr(inputs, field) - torch.arange(8.0)) / (1 + torch.arange(8.0))
        for field in (*head.FEATURES, *(["negative_patch"] if "patch" in head.FEATURES else []))
    }
    expected = plain(replace(inputs, **by_hand)).logits
    assert not torch.allclose(plain(inputs).logits, expected)
    assert torch.equal(head(inputs).logits, expected)


def test_frames_of_other_videos_are_standardised_as_the_videos_own():
    head = small("avst", standardise=True)
    head.standard.set("patch", torch.arange(8.0), 1 + torch.arange(8.0))
    inputs = make_inputs(head, dtype=torch.float64)
    inputs = replace(inputs, negative_patch=inputs.patch.flip(0))
    prepared = head.prepared(inputs)
    assert not torch.equal(prepared.patch, inputs.patch)
    assert torch.equal(prepared.negative_patch, prepared.patch.flip(0))


def test_without_it_nothing_is_kept():
    head = heads.build("avst")
    assert head.standard is None
    assert not [name for name in head.state_dict() if name.startswith("standard")]
    standardise(head, None, ["a"], lambda: None)  # nothing is read
