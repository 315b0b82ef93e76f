"""Models of open_clip by name and tag: what each would use, and small ones of every kind."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from helpers.extraction import networks
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file

from avqa.errors import UnknownName, WeightsUnavailable
from avqa.extract import encoders, published, weights
from avqa.extract.encoders._parts.by_tag import ByTag
from avqa.extract.recipe import feature_recipe, settings_from
from avqa.extract.settings import Settings, check_settings
from avqa.extract.text import TextEncoder, TextSettings, tokenise

CLIP_MEAN, HALF = (0.48145466, 0.4578275, 0.40821073), (0.5, 0.5, 0.5)
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
VIT = {"image_size": 64, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16}
TIMM = {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_pool": "avg"}
LAST = {"final_ln_after_pool": True}
KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "transformer": (VIT, "patch"),
    "average": (VIT | {"pool_type": "avg", "no_ln_pre": True} | LAST, "patch"),
    "resnet": ({"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16}, ""),
    "coca": (VIT | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}, ""),
    "timm": (TIMM | {"timm_proj": "linear"}, "token"),
    "convnext": ({"image_size": 64, "timm_model_name": "convnext_atto", "timm_proj": "linear"}, ""),
}  # fmt: skip


@functools.cache
def small(kind: str) -> ByTag:
    config = {"embed_dim": 24, "quick_gelu": False, "vision_cfg": KINDS[kind][0], "text_cfg": TEXT}
    tag = {"quick_gelu": kind == "transformer", "mean": HALF, "resize_mode": "squash"}
    return ByTag(f"open_clip/{kind}/small", config, tag)


@functools.cache
def state_of(kind: str) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return dict(small(kind).WEIGHTS[small(kind).name].random())


@functools.cache
def reference(kind: str) -> Any:
    """open_clip's whole model, with texts beside frames."""
    config = dict(small(kind).config) | {"quick_gelu": small(kind).quick_gelu}
    model = open_clip.CustomTextCLIP(**config)
    model.load_state_dict(state_of(kind), strict=False)
    return model.eval()


def frames_of(kind: str) -> torch.Tensor:
    shape = (2, *small(kind).INPUTS["frame"].shape)
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_frame_is_what_encode_image_gives(kind: str) -> None:
    module, batch = small(kind), frames_of(kind)
    out = module.build(state_of(kind), {}, "cpu", "fp32").forward("frame", batch, [*module.TAPS])
    mean, std = torch.tensor(module.how.mean), torch.tensor(module.how.std)
    with torch.no_grad():
        theirs = reference(kind).visual(((batch / 255 - mean) / std).permute(0, 3, 1, 2))
    theirs = theirs[0] if isinstance(theirs, tuple) else theirs
    torch.testing.assert_close(out["frame"], theirs, rtol=1e-5, atol=1e-5)
    assert {tap: values.shape[1:] for tap, values in out.items()} == {
        tap: spec.shape for tap, spec in module.TAPS.items()
    }
    assert [*out][1:] == ([KINDS[kind][1]] if KINDS[kind][1] else [])


@pytest.mark.parametrize("kind", ["transformer", "average"])
def test_patches_go_through_the_last_norm_and_the_projection(kind: str) -> None:
    """Also where the tower takes the norm of their mean alone."""
    module, batch = small(kind), frames_of(kind)
    network = module.build(state_of(kind), {}, "cpu", "fp32")
    patch = network.forward("frame", batch, ["patch"])["patch"]
    tower = reference(kind).visual
    kept: list[torch.Tensor] = []
    hook = tower.transformer.register_forward_hook(lambda _m, _i, made: kept.append(made))
    with torch.no_grad():
        tower(((batch / 255 - 0.5) / torch.tensor(module.how.std)).permute(0, 3, 1, 2))
        expected = tower.ln_post(kept[0])[:, 1:] @ tower.proj
    hook.remove()
    torch.testing.assert_close(patch, expected, rtol=1e-5, atol=1e-5)


def test_texts_are_what_encode_text_gives() -> None:
    module, texts = small("transformer"), ["Where is the loudest instrument", "cello"]
    assert module.TEXT is not None
    network = module.TEXT.build(state_of("transformer"), "cpu", "fp32", 2)
    tokens, ends = tokenise(texts)
    out = network.forward("text", torch.from_numpy(tokens), ["word", "word_state"])
    with torch.no_grad():
        theirs = reference("transformer").encode_text(open_clip.tokenize(texts))
    torch.testing.assert_close(out["word"][torch.arange(2), ends], theirs, rtol=1e-5, atol=1e-5)
    shapes = {tap: spec.shape for tap, spec in module.TEXT.taps.items() if tap != "sentence"}
    assert {tap: tuple(values.shape[1:]) for tap, values in out.items()} == shapes


TAGS = open_clip.list_pretrained()


@functools.cache
def table() -> dict[tuple[str, str], ByTag]:
    return {
        (model, tag): encoders.load(f"open_clip/{model}/{tag}")  # type: ignore[misc]
        for model, tag in TAGS
    }


def test_every_tag_has_its_own_preprocessing_and_activation() -> None:
    """As open_clip's own transform and its own tables have them."""
    for (model, tag), module in table().items():
        config = open_clip.get_pretrained_cfg(model, tag)
        recipe = module.recipe("frame")
        assert recipe["mean"] == list(config["mean"]), (model, tag)
        assert recipe["std"] == list(config["std"]), (model, tag)
        assert recipe["resize"].split()[1] == config["interpolation"], (model, tag)
        assert module.how.resize_mode == config["resize_mode"], (model, tag)
        assert recipe["quick_gelu"] == config.get("quick_gelu", False), (model, tag)
        assert module.joint == open_clip.get_model_config(model)["embed_dim"]
    ways = Counter((m.how.mean[0], *m.how.std[:1], m.how.interpolation, m.how.resize_mode)
                   for m in table().values())  # fmt: skip
    differing = [
        key for key, module in table().items()
        if module.quick_gelu != open_clip.get_model_config(key[0]).get("quick_gelu", False)
    ]  # fmt: skip
    # Of open_clip 3.3; another version may have more tags.
    assert len(table()) >= 196
    assert len(differing) >= 28
    assert len(ways) >= 8
    assert ways[CLIP_MEAN[0], 0.26862954, "bicubic", "shortest"] >= 138
    assert ways[0.5, 0.5, "bicubic", "squash"] >= 30
    for key in (("ViT-B-32", "openai"), ("ViT-L-14", "metaclip_400m"), ("RN50", "openai")):
        assert key in differing
    assert table()["ViT-L-14", "laion2b_s32b_b82k"].how.mean == HALF
    assert tuple(table()["ViT-L-14", "datacomp_xl_s13b_b90k"].how.mean) == CLIP_MEAN


def test_every_tag_has_an_address_and_the_digest_that_it_tells() -> None:
    for module in table().values():
        entry = module.WEIGHTS[module.name]
        assert entry.address.startswith("https://")
        assert not entry.digest or set(entry.digest) <= set("0123456789abcdef")
    openai = table()["ViT-B-32", "openai"]
    own = published.published("clip_vit_b32")
    assert openai.WEIGHTS[openai.name].digest == own.digest


@pytest.mark.parametrize(
    "key", [("ViT-B-32", "openai"), ("ViT-B-16-SigLIP", "webli"), ("ViT-L-14-CLIPA", "datacomp1b")]
)
def test_frames_are_prepared_as_open_clip_prepares_them(key: tuple[str, str]) -> None:
    module, frame = table()[key], networks.frame(640, 360)
    config = open_clip.get_pretrained_cfg(*key)
    chosen = {k: config[k] for k in ("mean", "std", "interpolation", "resize_mode")}
    transform = image_transform_v2(PreprocessCfg(size=module.size, **chosen), is_train=False)
    theirs: Any = Image.fromarray(frame)
    for step in transform.transforms[:-2]:
        theirs = step(theirs)
    ours = module.prepare("frame", [frame], {})[0]
    # A squash may begin with the other side in newer versions of Pillow.
    most = 1 if module.how.resize_mode == "shortest" else 4
    assert np.abs(ours.astype(int) - np.asarray(theirs.convert("RGB"))).max() <= most


def test_a_name_is_written_with_colons_and_stored_as_a_path() -> None:
    assert (
        encoders.full_name("open_clip:ViT-B-32:openai/frame") == "open_clip/ViT-B-32/openai/frame"
    )
    assert encoders.full_name("open_clip:ViT-B-32:openai") == "open_clip/ViT-B-32/openai"
    assert encoders.full_name("open_clip:ViT-S-32-alt/frame") == "open_clip/ViT-S-32-alt/none/frame"
    assert encoders.full_name("clip_vit_b32/frame") == "clip_vit_b32/frame"
    chosen = check_settings(Settings(features=("open_clip:ViT-B-32:openai",), weights="random:0"))
    assert chosen.features == ("open_clip/ViT-B-32/openai/frame",)
    recipe = feature_recipe(chosen.features[0], chosen, weights.resolve("random:0"), "1")
    assert settings_from({chosen.features[0]: recipe}) == chosen


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (
            "open_clip:ViT-B-23:openai/frame",
            "no model of open_clip 'ViT-B-23'; did you mean 'ViT-B-32'? nearest of 144: ViT-B-32",
        ),
        ("open_clip:ViT-B-32:opnai/frame", "no tag of open_clip:ViT-B-32 'opnai'; did you mean"),
        ("open_clip:ViT-B-32:openai/patches", "open_clip/ViT-B-32/openai/patch"),
    ],
)
def test_what_there_is_not_is_told_with_the_nearest(written: str, told: str) -> None:
    with pytest.raises(UnknownName) as caught:
        encoders.tap_of(encoders.full_name(written))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_of_several_tags_asks_for_one() -> None:
    with pytest.raises(WeightsUnavailable) as caught:
        encoders.full_name("open_clip:RN50/frame")
    assert str(caught.value) == (
        "open_clip:RN50 has 3 tags; expected one; name it as open_clip:RN50:TAG with TAG one of"
        " openai, yfcc15m, cc12m"
    )


def test_a_checkpoint_is_imported_and_another_models_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As open_clip writes one: CLIP's texts without a prefix, whole model, any file name."""
    monkeypatch.setattr(encoders, "load", lambda name: small(name.split("/")[1]))
    for kind, names in (("transformer", "right"), ("average", "wrong")):
        model = {k.removeprefix("text."): v.half() for k, v in state_of(kind).items()}
        save_file(model | {"logit_scale": torch.ones(1)}, tmp_path / names)
    name = "open_clip/transformer/small"
    path = weights.import_file(name, tmp_path / "right", cache=tmp_path)
    assert path == tmp_path / "open_clip/transformer/small.safetensors"
    assert weights.verify([name], cache=tmp_path)[0].startswith(f"{name}: ok")
    source = weights.resolve(str(tmp_path), [name])
    loaded = weights.load_state(name, source)
    assert loaded.keys() == state_of("transformer").keys()
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.items()}}, tmp_path / "torch")
    with pytest.raises(WeightsUnavailable, match=r"weights open_clip/\S+ do not fit: .*; expected"):
        weights.import_file(name, tmp_path / "torch", cache=tmp_path)


def test_weights_that_nobody_published_cannot_be_fetched(tmp_path: Path) -> None:
    name = "open_clip/ViT-S-32-alt/none"
    advice = "nobody has published any: use --weights random:0, or choose another model"
    with pytest.raises(WeightsUnavailable) as caught:
        weights.fetch("open_clip:ViT-S-32-alt", cache=tmp_path)
    assert str(caught.value) == (
        f"weights {name} cannot be downloaded; expected an address; {advice}"
    )
    with pytest.raises(WeightsUnavailable) as caught:
        weights.resolve("pretrained", [name], cache=tmp_path)
    assert str(caught.value) == (
        f"weights {name} are missing; expected {name}.safetensors; {advice}"
    )


def test_texts_of_a_model_by_name() -> None:
    features = ("open_clip/ViT-S-32-alt/none/sentence",)
    state = networks.state("open_clip/ViT-S-32-alt/none")
    out = TextEncoder(TextSettings(features), state).encode(*tokenise(["cello", "a violin"]))
    assert out["sentence"].shape == (2, 256)
    networks.keep_only("")
