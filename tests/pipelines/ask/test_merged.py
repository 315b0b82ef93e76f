"""Weights of merged tokens on the patches that went into them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from avqa.pipelines.ask.merged import over_patches


def test_a_token_gives_each_of_its_patches_an_equal_part():
    weights = np.array([[0.2, 0.6, 0.2], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    source = np.array([[1, 1, 2, 1], [2, 1, 1, 1], [1, 1, 2, 2], [1, 2, 1, 2]], np.uint8)
    # Token 0 is of class: no patch went into it, and its weight is left out.
    expected = [[0.25, 0.25, 0.25, 0.25], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(over_patches(weights, source), expected)


@given(st.integers(0, 10_000))
def test_shares_follow_the_tokens(seed):
    rng = np.random.default_rng(seed)
    source = rng.integers(1, 14, (2, 576)).astype(np.uint8)
    weights = rng.dirichlet(np.ones(14), 2)
    found = over_patches(weights, source)
    np.testing.assert_allclose(found.sum(1), 1)
    for second in range(2):
        seen = [t for t in range(1, 14) if (source[second] == t).any()]
        total = sum(weights[second, t] for t in seen)
        for token in seen:
            there = source[second] == token
            np.testing.assert_allclose(found[second][there].sum(), weights[second, token] / total)
            assert np.ptp(found[second][there]) == 0
