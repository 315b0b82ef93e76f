"""What a head costs: parameters and floating-point operations."""

from __future__ import annotations

import copy

import torch

from avqa.heads._parts.head import VIDEO_FEATURES, Head, HeadInput
from avqa.heads._parts.rows import plain_width

WORDS = 14
TOKENS = 77
BANDS = 12


def random_input(head: Head, *, batch: int, seconds: int, patches: int, seed: int = 0) -> HeadInput:
    """A batch of seeded noise with everything any head may need; nothing is padded."""
    options = head.options
    sound, picture, patch, band = (
        plain_width(options.width_of(name), options.time_code) for name in VIDEO_FEATURES
    )
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(batch, *shape, generator=g)

    def tokens(number: int) -> torch.Tensor:
        return torch.randint(1, options.vocabulary, (batch, number), generator=g)

    return HeadInput(
        valid=torch.ones(batch, seconds, dtype=torch.bool),
        audio=normal(seconds, sound).relu_(),
        frame=normal(seconds, picture),
        patch=normal(seconds, patches, patch),
        tokens=tokens(WORDS),
        sentence=normal(options.text_width),
        words=normal(TOKENS, options.width_of("words")),
        eot=torch.full((batch,), WORDS),
        prompt=normal(options.text_width),
        choices=normal(4, options.text_width),
        video=torch.arange(batch),
        sources=torch.randint(0, 2, (batch, 22), generator=g).float(),
        type_tokens=tokens(2),
        keyword_tokens=tokens(2),
        choice_tokens=tokens(8),
        bands=normal(seconds, BANDS, band),
        choice_words=normal(4, TOKENS, options.width_of("choice_words")),
        choice_eot=torch.full((batch, 4), WORDS),
    )


def count_parameters(head: Head) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in head.parameters() if p.requires_grad)


def count_flops(head: Head, *, seconds: int, patches: int) -> int:
    """Operations of one question's forward pass, as torch's own counter counts them.

    A multiplication and an addition are two; element-wise operations and LSTMs are not counted.
    """
    from torch.utils.flop_counter import FlopCounterMode  # a third of a second

    inputs = random_input(head, batch=1, seconds=seconds, patches=patches)
    # The counter asks what needs a gradient how it was made, and a view of a parameter cannot say.
    frozen = copy.deepcopy(head).requires_grad_(False).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        frozen(inputs)
    return int(counter.get_total_flops())
