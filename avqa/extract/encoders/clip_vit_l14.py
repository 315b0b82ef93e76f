"""CLIP ViT-L/14 at 224 pixels with OpenAI weights: a vector per frame, tokens, and texts.

``frame`` and ``patch`` are in the space of texts, ``class`` and ``token`` are the same tokens
before the projection into it: 1,024 channels. A frame has 256 patches of 14×14 pixels.
"""

from avqa.extract.encoders._parts import clip

CLIP = clip.Clip(
    name="clip_vit_l14",
    model="ViT-L-14-quickgelu",
    size=224,
    patch=14,
    width=1024,
    layers=24,
    heads=16,
    joint=768,
    text_width=768,
    text_layers=12,
    text_heads=12,
    taps=("frame", "class", "patch", "token", "token_pre_ln"),
    text_taps=("sentence", "word", "word_state"),
    batch={"cpu": 1, "cuda": 32},
    digest="b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
    file="ViT-L-14.pt",
)

WEIGHTS, INPUTS, TAPS = CLIP.weights(), CLIP.inputs(), CLIP.all_taps()
BATCH, OPTIONS, TEXT = CLIP.batch, clip.OPTIONS, CLIP.text()
PRECISIONS = clip.PRECISIONS
recipe, prepare, build = CLIP.recipe, CLIP.prepare, CLIP.build
