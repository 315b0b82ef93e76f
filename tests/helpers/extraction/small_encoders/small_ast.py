"""AST of two narrow layers."""

from avqa.extract.encoders.ast import config

AST = config.Ast(
    name="small_ast",
    model="small",
    width=48,
    layers=2,
    heads=4,
    address="https://example.org/small.safetensors",
    licence="none",
    batch={"cpu": 4, "cuda": 4},
)

WEIGHTS, INPUTS, TAPS = AST.weights(), AST.inputs(), AST.taps()
BATCH, OPTIONS = AST.batch, config.OPTIONS
recipe, prepare, build = AST.recipe, AST.prepare, AST.build
