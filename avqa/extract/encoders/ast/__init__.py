"""AST: an Audio Spectrogram Transformer on each second of audio by itself.

The network sees ten seconds, of which nine are silence: 101 patches along time, of which 10 see
the second's sound. ``class`` and ``band`` are as CueSpace reads them, from the last layer before
its norm; ``band10`` leaves the silence out, after the norm. A band is one of 12 rows of patches
along frequency, the lowest first.
"""

from avqa.extract.encoders.ast import config

AST = config.Ast(
    name="ast",
    model="MIT/ast-finetuned-audioset-10-10-0.4593",
    width=768,
    layers=12,
    heads=12,
    address="https://huggingface.co/MIT/ast-finetuned-audioset-10-10-0.4593"
    "/resolve/main/model.safetensors",
    licence="see the model's page",
)

WEIGHTS, INPUTS, TAPS = AST.weights(), AST.inputs(), AST.taps()
BATCH, OPTIONS = AST.batch, config.OPTIONS
recipe, prepare, build = AST.recipe, AST.prepare, AST.build
