"""CLIP ViT-L/14 at 336 pixels with OpenAI weights: a vector per frame, tokens, and texts.

``frame`` and ``patch`` are in the space of texts, ``class`` and ``token`` are the same tokens
before the projection into it: 1,024 channels. A frame has 576 patches of 14×14 pixels.
``tome14``, its sources and ``frame@tome`` come from another pass, in which 25 tokens merge in every
block: 14 are left, the class token first. Merged tokens count once in attention.
"""

from avqa.extract.encoders._parts import clip

CLIP = clip.Clip(
    name="clip_vit_l14_336",
    model="ViT-L-14-336-quickgelu",
    size=336,
    patch=14,
    width=1024,
    layers=24,
    heads=16,
    joint=768,
    text_width=768,
    text_layers=12,
    text_heads=12,
    taps=(
        *("frame", "class", "patch", "token", "token_pre_ln"),
        *("tome14", "tome14_source", "frame@tome"),
    ),
    text_taps=("sentence", "word", "word_state"),
    merged=25,
    batch={"cpu": 1, "cuda": 32},
    digest="3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
    file="ViT-L-14-336px.pt",
)

WEIGHTS, INPUTS, TAPS = CLIP.weights(), CLIP.inputs(), CLIP.all_taps()
BATCH, OPTIONS, TEXT = CLIP.batch, clip.OPTIONS, CLIP.text()
PRECISIONS = clip.PRECISIONS
recipe, prepare, build = CLIP.recipe, CLIP.prepare, CLIP.build
