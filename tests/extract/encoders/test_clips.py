"""CLIPs of any width against open_clip's own path, and the large ones' shapes."""

from __future__ import annotations

import functools
from dataclasses import asdict
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from helpers.extraction import networks, small
from open_clip.model import CLIPTextCfg, CLIPVisionCfg

from avqa.extract import encoders
from avqa.extract.encoders import clip_vit_b32, clip_vit_l14, clip_vit_l14_336
from avqa.extract.text import TextEncoder, TextSettings, tokenise

LARGE = {"clip_vit_l14": (clip_vit_l14, 256), "clip_vit_l14_336": (clip_vit_l14_336, 576)}
TEXTS = ["Is the acoustic_guitar in the video always playing", "cello"]


@functools.cache
def reference() -> Any:
    with small.installed():
        model: Any = encoders.load("small_clip").CLIP.architecture()  # type: ignore[attr-defined]
        model.load_state_dict(networks.state("small_clip"))
    return model.eval()


def normalised(batch: torch.Tensor) -> torch.Tensor:
    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073))
    std = torch.tensor((0.26862954, 0.26130258, 0.27577711))
    return ((batch / 255 - mean) / std).permute(0, 3, 1, 2)


def test_every_tap_is_where_open_clip_has_it() -> None:
    with small.installed():
        batch = networks.full_batch("small_clip", "frame")
        out = networks.output("small_clip", "frame")
    tower, kept = reference().visual, []
    hook = tower.ln_post.register_forward_hook(lambda _m, i, made: kept.extend([made, i[0]]))
    with torch.no_grad():
        frame = reference().encode_image(normalised(batch))
        hook.remove()
        expected = {
            "frame": frame,
            "class": kept[0][:, 0],
            "patch": kept[0][:, 1:] @ tower.proj,
            "token": kept[0][:, 1:],
            "token_pre_ln": kept[1][:, 1:],
        }
    for tap, values in expected.items():
        torch.testing.assert_close(out[tap], values, rtol=1e-4, atol=2e-5)


def test_words_before_and_behind_the_projection() -> None:
    features = tuple(f"small_clip/{tap}" for tap in ("word_state", "sentence", "word"))
    with small.installed():
        encoder = TextEncoder(TextSettings(features), networks.state("small_clip"))
    tokens, ends = tokenise(TEXTS)
    out = encoder.encode(tokens, ends)
    model, kept = reference(), []
    hook = model.ln_final.register_forward_hook(lambda _m, _i, made: kept.append(made))
    with torch.no_grad():
        sentence = model.encode_text(open_clip.tokenize(TEXTS)).numpy()
        words = (kept[0] @ model.text_projection).numpy()
    hook.remove()
    assert list(out) == ["word_state", "sentence", "word"]
    np.testing.assert_allclose(out["sentence"], sentence, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(out["word"], words, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(out["word_state"], kept[0].numpy(), rtol=1e-4, atol=2e-5)
    assert out["word_state"].shape == (2, 77, 48)
    assert out["word"].shape == (2, 77, 32)


@pytest.mark.parametrize("module", [clip_vit_b32, clip_vit_l14, clip_vit_l14_336])
def test_a_clip_is_configured_as_open_clip_has_it(module: Any) -> None:
    ours, theirs = module.CLIP.config(), open_clip.get_model_config(module.CLIP.model)
    assert ours["embed_dim"] == theirs["embed_dim"]
    assert ours["quick_gelu"] == theirs["quick_gelu"]
    for key, kind in (("vision_cfg", CLIPVisionCfg), ("text_cfg", CLIPTextCfg)):
        assert asdict(kind(**ours[key])) == asdict(kind(**theirs[key]))
    tag = open_clip.get_pretrained_cfg(module.CLIP.model, "openai")
    weights = module.WEIGHTS[module.CLIP.name]
    assert (weights.address, weights.digest) == (tag["url"], tag["url"].split("/")[-2])


def test_the_large_one_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = clip_vit_l14_336.CLIP.architecture()
    counts = {name: part.numel() for name, part in model.named_parameters()}
    visual = sum(count for name, count in counts.items() if name.startswith("visual."))
    assert (sum(counts.values()), visual) == (427_944_193, 304_293_888)


@pytest.mark.parametrize("name", LARGE)
def test_golden_shapes(name: str) -> None:
    module, patches = LARGE[name]
    taps = {tap: spec.shape for tap, spec in module.TAPS.items()}
    assert {tap: taps[tap] for tap in ("frame", "class", "patch", "token", "token_pre_ln")} == {
        "frame": (768,),
        "class": (1024,),
        "patch": (patches, 768),
        "token": (patches, 1024),
        "token_pre_ln": (patches, 1024),
    }
    texts = {tap: spec.shape for tap, spec in module.TEXT.taps.items()}
    assert texts == {"sentence": (768,), "word": (77, 768), "word_state": (77, 768)}
    frame = networks.frame(640, 360)
    size = module.CLIP.size
    assert module.prepare("frame", [frame], {"crop": "center"}).shape == (1, size, size, 3)


def test_both_words_are_as_wide_and_told_apart_by_name_and_recipe() -> None:
    taps = clip_vit_l14_336.TEXT.taps
    assert taps["word"].what.endswith("ln_final, text_projection")
    assert taps["word_state"].what.endswith("ln_final")
