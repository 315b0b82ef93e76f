"""CLIP against open_clip's own path, from the frame to the vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from helpers.extraction import networks
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from avqa.extract.encoders import clip_vit_b32
from avqa.extract.encoders._parts import clip

SHAPES = [(1280, 720), (640, 480), (360, 640), (224, 224), (227, 225), (200, 101), (1921, 1081)]


@pytest.fixture(scope="module")
def reference() -> Any:
    model = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None)
    model.load_state_dict(networks.state("clip_vit_b32"), assign=True)  # no second copy
    return model.eval()


def own_transform() -> Any:
    return image_transform_v2(PreprocessCfg(size=224), is_train=False)


@pytest.mark.parametrize(("width", "height"), SHAPES)
def test_center_crop_is_within_one_grey_level_of_open_clip(width: int, height: int) -> None:
    frame = networks.frame(width, height)
    ours = clip_vit_b32.prepare("frame", [frame], {"crop": "center"})[0]
    *steps, _to_tensor, _normalise = own_transform().transforms
    theirs = Image.fromarray(frame)
    for step in steps:
        theirs = step(theirs)
    difference = np.abs(ours.astype(int) - np.asarray(theirs))
    assert difference.max() <= 1
    assert difference.mean() < 0.02


@pytest.mark.parametrize(("width", "height"), SHAPES)
def test_squash_is_within_one_grey_level_of_pillow(width: int, height: int) -> None:
    frame = networks.frame(width, height)
    ours = clip_vit_b32.prepare("frame", [frame], {"crop": "squash"})[0]
    theirs = networks.squashed(frame, Image.Resampling.BICUBIC)
    assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (360, 640), (100, 100), (2000, 3)])
def test_pad_keeps_the_whole_picture_between_black(width: int, height: int) -> None:
    frame = np.full((height, width, 3), 200, np.uint8)
    ours = clip_vit_b32.prepare("frame", [frame], {"crop": "pad"})[0]
    scale = 224 / max(width, height)
    shown = max(1, round(width * scale)) * max(1, round(height * scale))
    assert set(np.unique(ours)) <= {0, 200}
    assert (ours[..., 0] == 200).sum() == shown
    assert np.array_equal(ours, ours[:, ::-1]) or (224 - round(width * scale)) % 2


def test_a_read_only_picture_is_taken() -> None:
    frame = networks.frame(320, 240)
    frame.flags.writeable = False
    assert clip_vit_b32.prepare("frame", [frame], {"crop": "center"}).shape == (1, 224, 224, 3)


def test_frame_is_what_encode_image_gives(reference: Any) -> None:
    batch = networks.full_batch("clip_vit_b32", "frame")
    ours = networks.output("clip_vit_b32", "frame")["frame"]
    normalise = own_transform().transforms[-1]
    with torch.no_grad():
        theirs = reference.encode_image(normalise(batch.permute(0, 3, 1, 2) / 255))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)


def test_patches_are_the_projected_tokens_in_reading_order(reference: Any) -> None:
    batch = networks.full_batch("clip_vit_b32", "frame")
    ours = networks.output("clip_vit_b32", "frame")["patch"]
    normalise = own_transform().transforms[-1]
    kept = []
    hook = reference.visual.ln_post.register_forward_hook(lambda _m, _i, out: kept.append(out))
    with torch.no_grad():
        reference.encode_image(normalise(batch.permute(0, 3, 1, 2) / 255))
        theirs = kept[0][:, 1:] @ reference.visual.proj
    hook.remove()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)


def test_patches_of_one_frame_differ() -> None:
    patches = networks.output("clip_vit_b32", "frame")["patch"][0]
    distances = torch.cdist(patches, patches) + torch.eye(49) * 1e9
    assert float(distances.min()) > 0.1 * float(patches.norm(dim=1).mean())


def test_a_picture_from_file_to_vector_stays_near_open_clip(reference: Any) -> None:
    frame = networks.frame(1280, 720, seed=3)
    rows = clip_vit_b32.prepare("frame", [frame], {"crop": "center"})
    batch = networks.padded(rows, "clip_vit_b32")
    ours = networks.network("clip_vit_b32").forward("frame", batch, ["frame"])["frame"][0]
    with torch.no_grad():
        theirs = reference.encode_image(own_transform()(Image.fromarray(frame))[None])[0]
    assert float(torch.cosine_similarity(ours, theirs, dim=0)) > 0.99999


def test_plain_gelu_is_refused() -> None:
    config = clip_vit_b32.CLIP.config() | {"quick_gelu": False}
    with torch.device("meta"), pytest.raises(AssertionError, match="without QuickGELU"):
        clip.check_activation(open_clip.CLIP(**config))
