"""QA-TIGER's published checkpoint: its names, and the order of its answers."""

from __future__ import annotations

from avqa.heads._parts.paper import Released

_MUSIC_AVQA = (
    "two, cello, congas, zero, no, pipa, six, yes, one, four, three, seven, five, ukulele, right,"
    " piano, left, accordion, clarinet, guzheng, more than ten, nine, indoor, saxophone, drum,"
    " violin, middle, outdoor, bagpipe, bassoon, acoustic_guitar, banjo, electric_bass, ten,"
    " eight, flute, simultaneously, trumpet, erhu, xylophone, tuba, suona"
)
_MUSIC_AVQA_V2 = (
    "three, no, two, yes, xylophone, piano, indoor, zero, saxophone, flute, cello, trumpet, left,"
    " six, congas, simultaneously, drum, four, guzheng, right, middle, bassoon, one, outdoor,"
    " seven, electric_bass, ukulele, banjo, violin, suona, tuba, acoustic_guitar, more than ten,"
    " accordion, erhu, clarinet, pipa, ten, five, nine, bagpipe, eight"
)

_ORDER, _ORDER_V2 = (tuple(text.split(", ")) for text in (_MUSIC_AVQA, _MUSIC_AVQA_V2))
ANSWERS = {
    "music-avqa": _ORDER,
    # Trained on MUSIC-AVQA's file.
    "music-avqa-r": _ORDER,
    "fortisavqa": _ORDER,
    "music-avqa-v2": _ORDER_V2,
}
"""Data set → its answers in the order of their training file."""

RELEASED = Released(
    modules={
        "audio": "audio_proj.proj",
        "visual": "video_proj.proj",
        "patch": "patch_proj.proj",
        "question.words": "words_proj.proj",
        "question.sentence": "quest_proj.proj",
        "fusion.own": "crs_attn.slf_attn",
        "fusion.cross": "crs_attn.crs_attn",
        "fusion.words": "crs_attn.qst_attn",
        "fusion.feed_forward.0": "crs_attn.linear1",
        "fusion.feed_forward.3": "crs_attn.linear2",
        "fusion.norm1": "crs_attn.norm1",
        "fusion.norm2": "crs_attn.norm2",
        "looking.own": "patch_selecter.slf_attn",
        "looking.cross": "patch_selecter.crs_attn",
        "looking.mlp": "patch_selecter.mlp",
        "looking.norm_audio": "patch_selecter.anorm",
        "looking.norm_visual": "patch_selecter.vnorm",
        "audio_experts.attention": "at_aggregator.qst_attn",
        "audio_experts.router": "at_aggregator.router.0",
        "audio_experts.predictor": "at_aggregator.gauss_pred.0",
        "audio_experts.inner": "at_aggregator.experts.*.0",
        "audio_experts.outer.*": "at_aggregator.experts.*.2",
        "audio_experts.norms.0": "at_aggregator.norm",
        "visual_experts.attention": "vt_aggregator.qst_attn",
        "visual_experts.router": "vt_aggregator.router.0",
        "visual_experts.predictor": "vt_aggregator.gauss_pred.0",
        "visual_experts.inner": "vt_aggregator.experts.*.0",
        "visual_experts.outer.*": "vt_aggregator.experts.*.2",
        "visual_experts.norms.0": "vt_aggregator.anorm",
        "visual_experts.norms.1": "vt_aggregator.vnorm",
        "reasoning.attention": "quest_grounding.attn",
        "reasoning.mlp": "quest_grounding.mlp",
        "reasoning.norm": "quest_grounding.norm",
        "answer.layer": "head",
    },
    counted="experts",
    answer="answer.layer",
    answers=ANSWERS,
    options={"mask_words": False},
    left_out=("quest_encoder",),
    note="each question is routed by itself; the released network mixes the samples of a batch,"
    " so that its printed figures are of another network at batch 32",
)
