"""For mypy alone: the built-in plug-ins, each held against its kind's contract.

Nothing imports this file. A plug-in that is not named here is held against its contract as well,
when it is loaded (`avqa.plugins`); here a missing or wrong member is found before it runs.
"""

from __future__ import annotations

from avqa.datasets import DatasetModule, avqa, music_avqa, music_avqa_r, music_avqa_v2
from avqa.extract.encoders import EncoderModule, clip_vit_b32, resnet18, vggish
from avqa.extract.readers import ReaderModule, decord, ffmpeg, pyav
from avqa.heads import (
    HeadModule,
    avaf,
    avst,
    bilinear,
    late_fusion,
    mcd,
    pstp,
    question_only,
    sasr,
    tjstg,
)

ENCODERS: list[EncoderModule] = [clip_vit_b32, resnet18, vggish]
READERS: list[ReaderModule] = [decord, ffmpeg, pyav]
DATASETS: list[DatasetModule] = [avqa, music_avqa, music_avqa_r, music_avqa_v2]
HEADS: list[HeadModule] = [avaf, avst, bilinear, late_fusion, mcd, pstp, question_only, sasr, tjstg]
