"""Weights of merged tokens, brought back to the patches of the frame that went into them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def over_patches(weights: NDArray[np.float64], source: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Each token's weight, spread evenly over its patches; without tokens of none, such as class.

    Args:
        weights: [T, M], at least 0, of each second's tokens.
        source: [T, P], which token each patch went into.

    Returns:
        [T, P], row by row of the frame as ``source`` is; sums to 1 over the patches of each second
        that has any weight on them.
    """
    share = np.zeros(source.shape)
    for second, (of_tokens, tokens) in enumerate(zip(weights, source, strict=True)):
        sizes = np.bincount(tokens, minlength=len(of_tokens))
        share[second] = of_tokens[tokens] / sizes[tokens]
    total = share.sum(1, keepdims=True)
    spread: NDArray[np.float64] = np.divide(share, total, out=np.zeros_like(share), where=total > 0)
    return spread
