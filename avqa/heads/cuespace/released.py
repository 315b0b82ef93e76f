"""CueSpace's published checkpoint: its names; the order of its answers is QA-TIGER's."""

from __future__ import annotations

from avqa.heads._parts.paper import Released
from avqa.heads.qa_tiger.released import ANSWERS

_CUES = {
    "own.visual": "patch_selecter",
    "own.audio": "audio_patch_selecter",
    "crossed.visual": "patch_selecter_av",
    "crossed.audio": "audio_patch_selecter_av",
}
_MIXTURES = {
    "mixtures.audio": "at_aggregator",
    "mixtures.visual": "vt_aggregator",
    "cross_mixtures.audio": "at_aggregator_av",
    "cross_mixtures.visual": "vt_aggregator_av",
}
_OF_CUES = {
    "own": "slf_attn",
    "cross": "crs_attn",
    "mlp": "mlp",
    "norm_audio": "anorm",
    "norm_visual": "vnorm",
}
_OF_MIXTURES = {
    "attention": "qst_attn",
    "router": "router.0",
    "inner": "experts.*.0",
    "outer.*": "experts.*.2",
    "norm1": "anorm",
    "norm2": "vnorm",
}

RELEASED = Released(
    modules={
        "audio": "audio_proj.proj",
        "visual": "video_proj.proj",
        "patch": "patch_proj.proj",
        "bands": "audio_patch_proj.proj",
        "question.words": "words_proj.proj",
        "question.sentence": "quest_proj.proj",
        "question_norm": "quest_norm",
        "align_audio.0": "ot_align_audio.norm",
        "align_audio.1": "ot_align_audio.align",
        "align_visual.0": "ot_align_video.norm",
        "align_visual.1": "ot_align_video.align",
        "fusion.own": "crs_attn.slf_attn",
        "fusion.words": "crs_attn.qst_attn",
        "fusion.feed_forward.0": "crs_attn.linear1",
        "fusion.feed_forward.3": "crs_attn.linear2",
        "fusion.norm1": "crs_attn.norm1",
        "fusion.norm2": "crs_attn.norm2",
        **{
            f"{ours}.{part}": f"{theirs}.{their_part}"
            for parts, modules in ((_OF_CUES, _CUES), (_OF_MIXTURES, _MIXTURES))
            for ours, theirs in modules.items()
            for part, their_part in parts.items()
        },
        "together.inner": "shared_expert_proj_av.0",
        "together.outer": "shared_expert_proj_av.3",
        **{
            f"chains.{chain}.{ours}.*": f"ple_comp_mem_head.groups.{chain}.{theirs}.*"
            for chain in range(3)
            for ours, theirs in (("reads", "cross_attns"), ("norms", "norms"))
        },
        "readout.attention": "ple_comp_mem_head.fusion_readout.attn",
        "readout.mlp": "ple_comp_mem_head.fusion_readout.mlp",
        "readout.norm": "ple_comp_mem_head.fusion_readout.norm",
        "answer": "ple_comp_mem_head.head",
        "score": "ple_comp_mem_head.mcq_score",
    },
    counted="experts",
    answer="answer",
    answers=ANSWERS,
    options={"mask_words": False},
    left_out=(
        *("quest_encoder", "head", "shared_expert_proj"),
        *("video_evidence_grounding", "video_evidence_aux_head"),
        *(f"{theirs}.gauss_pred" for theirs in _MIXTURES.values()),
    ),
    note="the questions' features are the store's: where the text tower in the file (quest_encoder)"
    " is not OpenAI's, and the released constructor draws its layers anew, they are not those that"
    " the weights were trained on",
)
