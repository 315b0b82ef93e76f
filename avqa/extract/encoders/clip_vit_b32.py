"""CLIP ViT-B/32 with OpenAI weights: a vector per frame and one per 32×32 patch.

Both come from one forward: the class token and the 49 patch tokens, each through the tower's
last layer norm and its projection into the joint space. Not L2-normalised.
"""

from collections.abc import Mapping
from dataclasses import replace

from avqa.extract.encoders import Option
from avqa.extract.encoders._parts import clip

CLIP = clip.Clip(
    name="clip_vit_b32",
    model="ViT-B-32-quickgelu",
    size=224,
    patch=32,
    width=768,
    layers=12,
    heads=12,
    joint=512,
    text_width=512,
    text_layers=12,
    text_heads=8,
    digest="40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
    file="ViT-B-32.pt",
)

WEIGHTS, INPUTS, TAPS = CLIP.weights(), CLIP.inputs(), CLIP.all_taps()
BATCH, TEXT = CLIP.batch, CLIP.text()
OPTIONS: Mapping[str, Option] = {"crop": replace(clip.CROP, was="clip_crop")}
PRECISIONS = clip.PRECISIONS
recipe, prepare, build = CLIP.recipe, CLIP.prepare, CLIP.build
