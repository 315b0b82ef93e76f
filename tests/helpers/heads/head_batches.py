"""Seeded batches for the heads' tests, small and in any size."""

from dataclasses import fields, replace

import numpy as np
import torch

from avqa.heads import Head, HeadInput, build, load
from avqa.heads._parts.rows import plain_width

BANDS = 5


def make_inputs(
    head: Head,
    *,
    batch: int = 3,
    seconds: int = 4,
    patches: int = 9,
    num_words: int = 8,
    num_choices: int = 4,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> HeadInput:
    """Everything any head may need, in the widths of ``head``; every sample another video.

    The last sample's last second is padding (if there are two), questions have 3 words or more.
    """
    options = head.options
    audio, visual, patch, band = (
        plain_width(options.width_of(name), options.time_code)
        for name in ("audio", "frame", "patch", "bands")
    )
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=dtype)

    def tokens(least: int) -> torch.Tensor:
        ids = torch.randint(1, options.vocabulary, (batch, num_words), generator=g)
        lengths = torch.randint(least, num_words + 1, (batch, 1), generator=g)
        return ids * (torch.arange(num_words) < lengths)

    valid = torch.ones(batch, seconds, dtype=torch.bool)
    if seconds > 1:
        valid[-1, -1] = False
    choice_valid = torch.ones(batch, num_choices, dtype=torch.bool)
    choice_valid[0, -1] = False
    return HeadInput(
        valid=valid,
        audio=normal(batch, seconds, audio).relu(),
        frame=normal(batch, seconds, visual),
        patch=normal(batch, seconds, patches, patch),
        tokens=tokens(3),
        sentence=normal(batch, options.text_width),
        words=normal(batch, 77, options.width_of("words")),
        eot=torch.randint(3, 12, (batch,), generator=g),
        choices=normal(batch, num_choices, options.text_width),
        prompt=normal(batch, options.text_width),
        choice_valid=choice_valid,
        choice_tokens=tokens(3),
        video=torch.arange(batch),
        sources=torch.randint(0, 2, (batch, 22), generator=g).to(dtype),
        source_weight=torch.ones(batch, 22, dtype=dtype),
        type_tokens=tokens(1)[:, :2],
        keyword_tokens=tokens(1)[:, :3],
        bands=normal(batch, seconds, BANDS, band),
        choice_words=normal(batch, num_choices, 77, options.width_of("choice_words")),
        choice_eot=torch.randint(5, 14, (batch, num_choices), generator=g),
    )


def own_widths(name: str, patch: int, words: int = 16) -> dict[str, int]:
    """Options for patches (and bands) and words of these widths, of a head that has such."""
    known = load(name).Options.__dataclass_fields__
    own = {"patch_width": patch, "band_width": patch, "word_width": words}
    return {name: width for name, width in own.items() if name in known}


def partly_silent(inputs: HeadInput) -> HeadInput:
    """The same batch: the first sample without sound, the second's first second without."""
    heard = torch.ones_like(inputs.valid)
    heard[0] = False
    heard[1, 0] = False
    return replace(inputs, audio_valid=heard)


def select(inputs: HeadInput, index: torch.Tensor | slice) -> HeadInput:
    """The samples ``index`` of a batch."""
    values = {f.name: getattr(inputs, f.name) for f in fields(inputs)}
    return HeadInput(**{n: v if v is None else v[index] for n, v in values.items()})


def pad_seconds(inputs: HeadInput, extra: int, seed: int = 9) -> HeadInput:
    """The same batch with ``extra`` padded seconds of noise behind."""
    g = torch.Generator().manual_seed(seed)

    def longer(x: torch.Tensor | None) -> torch.Tensor | None:
        if x is None:
            return None
        noise = 10 * torch.randn(len(x), extra, *x.shape[2:], generator=g).to(x.dtype)
        return torch.cat([x, noise], 1)

    hidden = torch.zeros(len(inputs.valid), extra, dtype=torch.bool)
    return replace(
        inputs,
        valid=torch.cat([inputs.valid, hidden], 1),
        audio_valid=None
        if inputs.audio_valid is None
        else torch.cat([inputs.audio_valid, ~hidden], 1),
        audio=longer(inputs.audio),
        frame=longer(inputs.frame),
        patch=longer(inputs.patch),
        bands=longer(inputs.bands),
        negative_patch=longer(inputs.negative_patch),
    )


def make_head(name: str, seed: int, **options) -> Head:
    """A head in float64 without a zero parameter: zero biases would hide a missing one."""
    torch.manual_seed(seed)
    head = build(name, **options).double()
    for p in head.parameters():
        torch.nn.init.normal_(p, std=0.4)
    return head


def with_negatives(head: Head, **sizes) -> HeadInput:
    """A float64 batch with frames of other videos, as the match loss wants them."""
    inputs = make_inputs(head, dtype=torch.float64, patches=5, **sizes)
    g = torch.Generator().manual_seed(3)
    negative = torch.randn(inputs.patch.shape, generator=g, dtype=torch.float64)
    return replace(inputs, negative_patch=negative)


def padded(value: object, length: int) -> np.ndarray:
    """A reference's entries with zeros behind, as a head shows them."""
    value = np.array(value)
    return np.concatenate([value, np.zeros((length - len(value), *value.shape[1:]))])
