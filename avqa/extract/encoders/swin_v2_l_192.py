"""Swin-V2-L at 192 pixels, ImageNet-22k: the last map and its mean.

Works that name "Swin-V2-L" read this network; whether they cut the frame's middle or squash it,
not all say: see `OPTIONS`.
"""

from avqa.extract.encoders._parts import swin

SWIN = swin.Swin(
    name="swin_v2_l_192",
    model="swinv2_large_window12_192",
    size=192,
    short_side=213,
    window=12,
    width=192,
    depths=(2, 2, 18, 2),
    heads=(6, 12, 24, 48),
    address="https://github.com/SwinTransformer/storage/releases/download/v2.0.0"
    "/swinv2_large_patch4_window12_192_22k.pth",
    licence="MIT; ImageNet terms",
)

WEIGHTS, INPUTS, TAPS = SWIN.weights(), SWIN.inputs(), SWIN.taps()
BATCH, OPTIONS = SWIN.batch, swin.OPTIONS
recipe, prepare, build = SWIN.recipe, SWIN.prepare, SWIN.build
