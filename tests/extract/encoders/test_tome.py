"""Token merging against the rule as it is written: token by token, in loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.extraction import networks, small
from hypothesis import given, settings
from hypothesis import strategies as st

from avqa.extract import encoders
from avqa.extract.encoders._parts import schedule, tome


def merged_by_hand(x: Any, sizes: Any, keys: Any, count: int) -> tuple[Any, Any, list[int]]:
    """Tokens [t, D], sizes [t] and new place of each token, for keys [heads, t, d]."""
    metric = keys.mean(0)
    metric = metric / np.sqrt((metric**2).sum(1, keepdims=True))
    even, odd = list(range(0, len(x), 2)), list(range(1, len(x), 2))
    scored = []
    for a in even[1:]:  # the class token never
        scores = [float(metric[a] @ metric[b]) for b in odd]
        best = max(range(len(odd)), key=lambda j: (scores[j], -j))
        scored.append((-scores[best], a, odd[best]))
    goes = {a: b for _, a, b in sorted(scored)[:count]}
    total = {b: sizes[b] + sum(sizes[a] for a in goes if goes[a] == b) for b in odd}
    mean = {
        b: (sizes[b] * x[b] + sum(sizes[a] * x[a] for a in goes if goes[a] == b)) / total[b]
        for b in odd
    }
    kept = [a for a in even if a not in goes]
    place = {token: number for number, token in enumerate([*kept, *odd])}
    values = np.stack([*(x[a] for a in kept), *(mean[b] for b in odd)])
    new_sizes = np.array([*(sizes[a] for a in kept), *(total[b] for b in odd)])
    return values, new_sizes, [place[goes.get(token, token)] for token in range(len(x))]


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(2, 24), asked=st.integers(1, 9), alike=st.booleans(), seed=st.integers(0, 999)
)
def test_merging_is_what_the_rule_says(count: int, asked: int, alike: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, keys = random.normal(size=(2, count, 5)), random.normal(size=(2, 3, count, 4))
    if alike:  # scores that are exact, most of which tie: the index decides
        keys = random.choice([-1.0, 1.0], (2, 1, count, 4))
    sizes = random.integers(1, 5, (2, count)).astype(float)
    some = min(asked, (count - 1) // 2)
    if not some:
        return
    source = torch.arange(count).expand(2, count)
    tokens = tome.Tokens(torch.from_numpy(x).float(), torch.from_numpy(sizes).float(), source)
    ours = tome.merge(tokens, tome.match(torch.from_numpy(keys), some))
    for row in range(2):
        one = np.float32(keys[row])
        values, new_sizes, places = merged_by_hand(x[row], sizes[row], one, some)
        assert ours.source[row].tolist() == places
        assert ours.sizes[row].tolist() == new_sizes.tolist()
        np.testing.assert_allclose(ours.x[row].numpy(), values, rtol=1e-5, atol=1e-5)


def test_of_equal_scores_the_lower_index_goes_first_and_into_the_first() -> None:
    keys = torch.ones(1, 1, 9, 4)
    pairs = tome.match(keys, 2)
    assert pairs.merged.tolist() == [[1, 2]]  # tokens 2 and 4; 0 is the class token
    assert pairs.into.tolist() == [[0, 0]]  # token 1
    assert pairs.kept.tolist() == [[0, 3, 4]]


def test_large_networks_end_with_fourteen_tokens() -> None:
    assert schedule.remaining(577, 25, 24) == 14
    assert schedule.remaining(50, 2, 12 + 1) == 26  # QA-TIGER's B/32, all 12 blocks of which merge
    for name, features in (("clip_vit_l14_336", 768), ("vit_l16_384", None)):
        taps = encoders.load(name).TAPS
        assert taps["tome14"].shape == (14, 1024)
        assert (taps["tome14_source"].shape, taps["tome14_source"].dtype) == ((576,), "uint8")
        assert features is None or taps["frame@tome"].shape == (features,)
        assert encoders.load(name).recipe("tome14")["tome"] == {
            "r": 25,
            "blocks": 23,
            "prop_attn": int(name == "vit_l16_384"),
        }


def by_hand(blocks: Any, parts: Any, x: Any, count: int, proportional: bool) -> tuple[Any, Any]:
    """One frame's tokens [t, D] through a network whose block has the ``parts`` as functions."""
    sizes, source = np.ones(len(x)), list(range(len(x)))
    for number, block in enumerate(blocks):
        norm1, qkv, out, heads, norm2, mlp = parts(block)
        with torch.no_grad():
            query, key, value = (
                part.reshape(len(x), heads, -1).transpose(0, 1)
                for part in qkv(norm1(torch.from_numpy(x).float())).chunk(3, -1)
            )
            logits = query @ key.transpose(1, 2) / key.shape[-1] ** 0.5
            if proportional:
                logits = logits + torch.from_numpy(np.log(sizes)).float()
            mixed = (logits.softmax(-1) @ value).transpose(0, 1).reshape(len(x), -1)
            x = x + out(mixed).numpy()
        some = min(count, (len(x) - 1) // 2) if number < len(blocks) - 1 else 0
        if some:
            x, sizes, places = merged_by_hand(x, sizes, key.numpy(), some)
            source = [places[token] for token in source]
        with torch.no_grad():
            tokens = torch.from_numpy(x).float()
            x = x + mlp(norm2(tokens)).numpy()
    return x, source[1:]


def of_timm(block: Any) -> tuple[Any, ...]:
    attention = block.attn
    return block.norm1, attention.qkv, attention.proj, attention.num_heads, block.norm2, block.mlp


def of_open_clip(block: Any) -> tuple[Any, ...]:
    attention = block.attn

    def qkv(x: torch.Tensor) -> torch.Tensor:
        return x @ attention.in_proj_weight.T + attention.in_proj_bias

    return block.ln_1, qkv, attention.out_proj, attention.num_heads, block.ln_2, block.mlp


@pytest.mark.parametrize("statistics", ["imagenet", "half"])
def test_a_vision_transformer_merges_as_by_hand(statistics: str) -> None:
    with small.installed():
        module: Any = encoders.load("small_vit")
        state = networks.state("small_vit")
        batch = networks.full_batch("small_vit", "frame")
        options = {"crop": "squash", "statistics": statistics}
        out = module.build(state, options, "cpu", "fp32").forward("frame", batch, [*module.TAPS])
    network = module.VIT.architecture().eval()
    network.load_state_dict(state)
    mean, std = ((0.5,) * 3, (0.5,) * 3) if statistics == "half" else (
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
    )  # fmt: skip
    normalised = (batch / 255 - torch.tensor(mean)) / torch.tensor(std)
    with torch.no_grad():
        first = network._pos_embed(network.patch_embed(normalised.permute(0, 3, 1, 2)))
    for row in range(2):
        x, source = by_hand(network.blocks, of_timm, first[row].double().numpy(), 6, True)
        with torch.no_grad():
            expected = network.norm(torch.from_numpy(x).float())
        assert out["tome14_source"][row].tolist() == source
        torch.testing.assert_close(out["tome14"][row], expected, rtol=1e-4, atol=1e-4)
    sizes = np.bincount(out["tome14_source"][0].int(), minlength=module.VIT.left)
    assert (sizes[0], sizes.sum()) == (0, module.VIT.patches)  # none goes into the class token


def test_clip_merges_without_weighing_by_sizes() -> None:
    with small.installed():
        module: Any = encoders.load("small_clip")
        state = networks.state("small_clip")
        batch = networks.full_batch("small_clip", "frame")
        taps = ["tome14", "tome14_source", "frame@tome", "frame"]
        out = networks.network("small_clip").forward("frame", batch, taps)
    model = module.CLIP.architecture().eval()
    model.load_state_dict(state)
    tower, clip = model.visual, module.CLIP
    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073))
    std = torch.tensor((0.26862954, 0.26130258, 0.27577711))
    with torch.no_grad():
        first = tower._embeds(((batch / 255 - mean) / std).permute(0, 3, 1, 2))
    for row in range(2):
        blocks = tower.transformer.resblocks
        x, source = by_hand(blocks, of_open_clip, first[row].double().numpy(), clip.merged, False)
        with torch.no_grad():
            expected = tower.ln_post(torch.from_numpy(x).float())
            frame = expected[0] @ tower.proj
        assert out["tome14_source"][row].tolist() == source
        torch.testing.assert_close(out["tome14"][row], expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(out["frame@tome"][row], frame, rtol=1e-4, atol=1e-4)
    # Merging changes the class token: another feature than the plain pass's.
    assert not torch.allclose(out["frame@tome"], out["frame"], atol=1e-3)
