"""CLIP's text tower against open_clip's own path, from the text to the vector."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from helpers.extraction import networks

from avqa.errors import WeightsUnavailable
from avqa.extract import weights
from avqa.extract.text import (
    BATCH,
    FEATURES,
    TOKENS,
    TextEncoder,
    TextSettings,
    text_recipe,
    tokenise,
)

TEXTS = [
    "Is the acoustic_guitar in the video always playing",
    "How many instruments are sounding in the video",
    "Where is the loudest instrument",
    "cello",
]
LONG = "how many instruments " * 60


@functools.cache
def encoder(precision: str = "fp32") -> TextEncoder:
    return TextEncoder(
        TextSettings(precision=precision),  # type: ignore[arg-type]
        networks.state("clip_vit_b32"),
    )


@functools.cache
def output() -> dict[str, Any]:
    """Of all texts and a long one."""
    return dict(encoder().encode(*tokenise([*TEXTS, LONG])))


@functools.cache
def reference() -> Any:
    with torch.device("meta"):
        model = open_clip.CLIP(**open_clip.get_model_config("ViT-B-32-quickgelu"))
    model.visual = None
    model.attn_mask = torch.full((TOKENS, TOKENS), float("-inf")).triu_(1)
    state = networks.state("clip_vit_b32")
    model.load_state_dict(
        {k: v for k, v in state.items() if not k.startswith("visual.")}, assign=True
    )
    return model.eval()


def test_tokens_are_clips_between_start_and_end() -> None:
    tokens, eot = tokenise(["a diagram", "Cello", ""])
    assert tokens.shape == (3, TOKENS)
    assert tokens[0, :5].tolist() == [49406, 320, 22697, 49407, 0]
    assert eot.tolist() == [3, 2, 1]
    assert tokens[np.arange(3), eot].tolist() == [49407] * 3
    assert not tokens[0, 4:].any()


def test_a_mark_is_a_token_and_letter_case_is_none() -> None:
    plain, marked, capital = tokenise(["is it", "is it?", "Is  It"])[0]
    assert plain.tolist() == capital.tolist()
    assert (plain != marked).sum() == 2  # the mark, and the end that moved


def test_a_long_text_keeps_its_end() -> None:
    tokens, eot = tokenise([LONG])
    assert eot.tolist() == [TOKENS - 1]
    assert tokens[0, -1] == 49407
    assert tokens[0, 1:4].tolist() == tokenise(["how many instruments"])[0][0, 1:4].tolist()


def test_the_sentence_is_what_encode_text_gives() -> None:
    ours = output()["sentence"]
    with torch.inference_mode():
        theirs = reference().encode_text(open_clip.tokenize([*TEXTS, LONG])).numpy()
    assert ours.shape == (5, 512)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)


def test_words_are_all_positions_through_norm_and_projection() -> None:
    ours = output()["word"][:2]
    model, kept = reference(), []
    hook = model.ln_final.register_forward_hook(lambda _m, _i, out: kept.append(out))
    with torch.inference_mode():
        model.encode_text(open_clip.tokenize(TEXTS[:2]))
        theirs = (kept[0] @ model.text_projection).numpy()
    hook.remove()
    assert ours.shape == (2, TOKENS, 512)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)


def test_the_sentence_is_the_word_at_the_end_and_never_the_first() -> None:
    out = output()
    for number, end in enumerate(tokenise([*TEXTS, LONG])[1]):
        assert np.array_equal(out["sentence"][number], out["word"][number, end])
    # Causal: the first position is the same vector for every text, so it can tell nothing.
    assert (out["word"][:, 0] == out["word"][0, 0]).all()
    distances = np.linalg.norm(out["sentence"][:, None] - out["sentence"], axis=2)
    assert distances[~np.eye(5, dtype=bool)].min() > 0.1 * np.linalg.norm(out["sentence"][0])


def test_numbers_do_not_depend_on_company_or_place() -> None:
    others = [f"what is instrument {number}" for number in range(BATCH["cpu"] - 1)]
    shapes = []
    norm = encoder()._network.tower.ln_final
    hook = norm.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape)))
    alone = encoder().encode(*tokenise(TEXTS[:1]))
    hook.remove()
    assert shapes == [(BATCH["cpu"], TOKENS, 512)]  # the last batch is filled up
    last = encoder().encode(*tokenise([*others, TEXTS[0]]))
    for tap in ("sentence", "word"):
        assert np.array_equal(alone[tap][0], last[tap][-1]), tap
        assert np.array_equal(alone[tap][0], output()[tap][0]), tap


def test_bf16_is_near_fp32() -> None:
    exact = output()["sentence"][0]
    fast = encoder("bf16").encode(*tokenise(TEXTS[:1]))["sentence"][0]
    cosine = exact @ fast / np.linalg.norm(exact) / np.linalg.norm(fast)
    assert 0.999 < cosine < 1
    assert not np.array_equal(exact, fast)


def test_weights_of_another_shape_are_refused() -> None:
    state = networks.state("clip_vit_b32") | {"ln_final.weight": torch.zeros(3)}
    with pytest.raises(WeightsUnavailable, match=r"ln_final\.weight=\(3,\); expected \(512,\)"):
        TextEncoder(TextSettings(), state)


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"mark": "?"}, "text"),
        ({"precision": "bf16"}, "compute"),
        ({"device": "cuda"}, "compute"),
        ({"dtype": "float32"}, "storage"),
    ],
)
def test_every_choice_is_in_the_recipe(changed: dict[str, Any], key: str) -> None:
    source = weights.resolve("random:3")
    plain = text_recipe(FEATURES[0], TextSettings(), source)
    other = text_recipe(FEATURES[0], TextSettings(**changed), source)
    assert [name for name in plain if plain[name] != other[name]] == [key]
    assert plain["weights"] == {"clip_vit_b32": {"source": "random:3"}}
    assert text_recipe(FEATURES[1], TextSettings(), source)["encoder"] != plain["encoder"]
