"""CLIP with all its taps, of four narrow blocks."""

from avqa.extract.encoders._parts import clip

CLIP = clip.Clip(
    name="small_clip",
    model="small",
    size=112,
    patch=14,
    width=64,
    layers=4,
    heads=4,
    joint=32,
    text_width=48,
    text_layers=2,
    text_heads=4,
    taps=(
        *("frame", "class", "patch", "token", "token_pre_ln"),
        *("tome14", "tome14_source", "frame@tome"),
    ),
    text_taps=("sentence", "word", "word_state"),
    merged=8,
    batch={"cpu": 4, "cuda": 4},
    digest="0123abcd",
    file="small.pt",
)

WEIGHTS, INPUTS, TAPS = CLIP.weights(), CLIP.inputs(), CLIP.all_taps()
BATCH, OPTIONS, TEXT = CLIP.batch, clip.OPTIONS, CLIP.text()
PRECISIONS = clip.PRECISIONS
recipe, prepare, build = CLIP.recipe, CLIP.prepare, CLIP.build
