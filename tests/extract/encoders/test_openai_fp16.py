"""CLIP in half precision as on OpenAI's GPUs, beside what open_clip has of the kind."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from helpers.extraction import networks, small
from open_clip.model import convert_weights_to_lp

from avqa.errors import ConfigError
from avqa.extract import encoders, weights
from avqa.extract.encoders._parts import blocks, frozen, packed
from avqa.extract.recipe import feature_recipe
from avqa.extract.settings import Settings, check_settings
from avqa.extract.text import TextEncoder, TextSettings, text_recipe, tokenise

OPENAI: Any = "openai-fp16"
TEXTS = ["Is the acoustic_guitar in the video always playing", "cello"]


def clip() -> Any:
    return encoders.load("small_clip").CLIP  # type: ignore[attr-defined]


@functools.cache
def state() -> dict[str, torch.Tensor]:
    """Whose norms and biases are not what they begin as, and none of which half precision has."""
    random = torch.Generator().manual_seed(3)
    with small.installed():
        found = dict(networks.state("small_clip"))
    for name, value in found.items():
        if value.ndim == 1:
            found[name] = value + 0.3 * torch.randn(value.shape, generator=random)
    return found


@functools.cache
def reference(precision: str) -> Any:
    dtype = torch.float16 if precision == OPENAI else None
    with small.installed():
        model = open_clip.CLIP(**clip().config(), cast_dtype=dtype)
    model.load_state_dict(state())
    if dtype:
        convert_weights_to_lp(model, dtype)
    return model.eval()


def theirs(precision: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames and sentences."""
    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073))
    std = torch.tensor((0.26862954, 0.26130258, 0.27577711))
    with small.installed(), torch.no_grad():
        batch = networks.full_batch("small_clip", "frame")
        frames = ((batch / 255 - mean) / std).permute(0, 3, 1, 2)
        model = reference(precision)
        made = model.encode_image(frames.half() if precision == OPENAI else frames)
        return made.float(), model.encode_text(open_clip.tokenize(TEXTS)).float()


def test_frames_and_texts_are_open_clips_of_that_precision() -> None:
    """As near as its own half precision is to its float32, which is a fifth of what bf16 is."""
    with small.installed():
        batch = networks.full_batch("small_clip", "frame")
        network = networks.built("small_clip", state(), OPENAI)
        frames = network.forward("frame", batch, ["frame", "tome14"])["frame"]
        reader = TextEncoder(TextSettings(("small_clip/sentence",), precision=OPENAI), state())
        texts = torch.from_numpy(reader.encode(*tokenise(TEXTS))["sentence"])
    assert torch.equal(frames, frames.half().float())
    for ours, half, exact in zip((frames, texts), theirs(OPENAI), theirs("fp32"), strict=True):
        own = float((half - exact).abs().max())
        assert 0 < float((ours - half).abs().max()) < 2 * own < 0.01
        assert float(torch.cosine_similarity(ours, half).min()) > 0.99999


def test_what_is_rounded_is_what_open_clip_rounds() -> None:
    with small.installed():
        for places, prefix in ((clip().visual_places, "visual."), (clip().text_places, "")):
            own = {k.removeprefix(prefix): v for k, v in state().items() if k.startswith(prefix)}
            if not prefix:
                own = {k: v for k, v in own.items() if not k.startswith("visual.")}
            frozen.freeze(tower := frozen.filled(places, own, "small_clip"), "cpu", OPENAI)
            for name, value in tower.state_dict().items():
                theirs = reference(OPENAI).state_dict()[prefix + name]
                if name.split(".")[0] in LATER:
                    theirs = theirs.half()
                assert value.dtype == theirs.dtype, name
                assert torch.equal(value, theirs), name
    assert state()["ln_final.weight"].dtype is torch.float32


LATER = {"class_embedding", "positional_embedding", "token_embedding", "logit_scale"}
"""What open_clip rounds when it is used; and a number that no forward uses."""


def test_weights_are_rounded_once_and_quick_gelu_is_computed_as_openai_does() -> None:
    tower = reference(OPENAI).visual
    random = torch.Generator().manual_seed(0)
    x = torch.randn(6, 64, generator=random).half()
    with torch.inference_mode():
        block: Any = blocks.of_clip(tower.transformer.resblocks[0], 6, folded=False)
        up = tower.transformer.resblocks[0].mlp.c_fc
        plain = packed.Linear(up.weight, up.bias, 6)(x)
        assert torch.equal(block.up(x, block.after), plain * torch.sigmoid(1.702 * plain))
        folded: Any = blocks.of_clip(tower.transformer.resblocks[0], 6)
        assert block.after == "quick_gelu"
        assert not torch.equal(folded.think(x[None]), block.think(x[None]))


def test_it_is_in_the_recipe_of_frames_and_of_texts() -> None:
    source = weights.resolve("random:0")
    for precision in (OPENAI, "fp16"):
        settings = check_settings(Settings(("clip_vit_l14_336/frame",), precision=precision))
        recipe = feature_recipe("clip_vit_l14_336/frame", settings, source, "1")
        assert recipe["compute"]["precision"] == precision
        of_texts = TextSettings(("clip_vit_l14_336/sentence",), precision=precision)
        found = text_recipe("clip_vit_l14_336/sentence", of_texts, source)
        assert found["compute"]["precision"] == precision


def test_other_encoders_have_none() -> None:
    features = ("clip_vit_b32/frame", "resnet18/pool", "resnet18/map", "vggish/audio")
    with pytest.raises(ConfigError) as caught:
        check_settings(Settings(features, precision=OPENAI))
    assert str(caught.value) == (
        "precision='openai-fp16' with resnet18, vggish; expected encoders that have it:"
        " clip_vit_b32, clip_vit_l14, clip_vit_l14_336; check --precision, or take others in a run"
        " of their own"
    )


def test_a_norm_in_float32_sees_half_values_as_they_are() -> None:
    with small.installed():
        norm = clip().visual_places().ln_post
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0)).half()
    with torch.no_grad():
        expected = torch.nn.functional.layer_norm(x.float(), (64,), norm.weight, norm.bias, 1e-5)
        assert torch.equal(norm(x), expected.half())
        assert np.isfinite(norm(x).numpy()).all()
