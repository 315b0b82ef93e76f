"""Swin V2 of narrow stages."""

from avqa.extract.encoders._parts import swin

SWIN = swin.Swin(
    name="small_swin",
    model="small",
    size=64,
    short_side=71,
    window=4,
    width=16,
    depths=(2, 1, 2, 1),
    heads=(1, 2, 4, 8),
    address="https://example.org/small.pth",
    licence="none",
    batch={"cpu": 4, "cuda": 4},
)

WEIGHTS, INPUTS, TAPS = SWIN.weights(), SWIN.inputs(), SWIN.taps()
BATCH, OPTIONS = SWIN.batch, swin.OPTIONS
recipe, prepare, build = SWIN.recipe, SWIN.prepare, SWIN.build
