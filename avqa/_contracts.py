"""For mypy alone: the built-in plug-ins, each held against its kind's contract.

Nothing imports this file. A plug-in that is not named here is held against its contract as well,
when it is loaded (`avqa.plugins`); here a missing or wrong member is found before it runs.
"""

from __future__ import annotations

from avqa.datasets import (
    DatasetModule,
    avqa,
    fortisavqa,
    music_avqa,
    music_avqa_r,
    music_avqa_v2,
    valor32k,
)
from avqa.extract.encoders import (
    EncoderFamily,
    EncoderModule,
    ast,
    clip_vit_b32,
    clip_vit_l14,
    clip_vit_l14_336,
    r2plus1d_18,
    resnet18,
    swin_v2_l_192,
    vggish,
    vit_l16_384,
)
from avqa.extract.encoders._families import open_clip
from avqa.extract.readers import ReaderModule, decord, ffmpeg, pyav
from avqa.heads import (
    HeadModule,
    avaf,
    avst,
    bilinear,
    cuespace,
    late_fusion,
    mcd,
    pstp,
    qa_tiger,
    question_only,
    sasr,
    tjstg,
    tspm,
)

ENCODERS: list[EncoderModule] = [
    ast,
    clip_vit_b32,
    clip_vit_l14,
    clip_vit_l14_336,
    r2plus1d_18,
    resnet18,
    swin_v2_l_192,
    vggish,
    vit_l16_384,
]
FAMILIES: list[EncoderFamily] = [open_clip]
READERS: list[ReaderModule] = [decord, ffmpeg, pyav]
DATASETS: list[DatasetModule] = [
    avqa,
    fortisavqa,
    music_avqa,
    music_avqa_r,
    music_avqa_v2,
    valor32k,
]
HEADS: list[HeadModule] = [
    avaf,
    avst,
    bilinear,
    cuespace,
    late_fusion,
    mcd,
    pstp,
    qa_tiger,
    question_only,
    sasr,
    tjstg,
    tspm,
]
