"""ViT whose tokens merge, of four narrow blocks."""

from avqa.extract.encoders._parts import vit

VIT = vit.Vit(
    name="small_vit",
    model="small",
    size=96,
    short_side=110,
    patch=16,
    width=64,
    layers=4,
    heads=4,
    merged=6,
    address="https://example.org/small.safetensors",
    licence="none",
    batch={"cpu": 4, "cuda": 4},
)

WEIGHTS, INPUTS, TAPS = VIT.weights(), VIT.inputs(), VIT.taps()
BATCH, OPTIONS = VIT.batch, vit.OPTIONS
recipe, prepare, build = VIT.recipe, VIT.prepare, VIT.build
