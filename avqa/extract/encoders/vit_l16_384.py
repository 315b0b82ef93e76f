"""ViT-L/16 at 384 pixels, whose 577 tokens are merged to 14 a frame.

Token 0 is the class token; the place of the others means nothing, and ``tome14_source`` says
which of them each of the 24 × 24 patches went into. Merged tokens weigh in attention by their
sizes. QA-TIGER and TSPM read such tokens, each of frames prepared in its own way: see `OPTIONS`.
"""

from avqa.extract.encoders._parts import vit

VIT = vit.Vit(
    name="vit_l16_384",
    model="vit_large_patch16_384",
    size=384,
    short_side=438,
    patch=16,
    width=1024,
    layers=24,
    heads=16,
    merged=25,
    address="https://huggingface.co/timm/vit_large_patch16_384.augreg_in21k_ft_in1k"
    "/resolve/main/model.safetensors",
    licence="Apache-2.0",
)

WEIGHTS, INPUTS, TAPS = VIT.weights(), VIT.inputs(), VIT.taps()
BATCH, OPTIONS = VIT.batch, vit.OPTIONS
recipe, prepare, build = VIT.recipe, VIT.prepare, VIT.build
