"""QA-TIGER's weights under the names of its release, written from the list of these names."""

from __future__ import annotations

import torch

ATTENTION = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
LAYER = ("weight", "bias")
PLAIN = {
    "audio_proj.proj": "audio",
    "video_proj.proj": "visual",
    "patch_proj.proj": "patch",
    "words_proj.proj": "question.words",
    "quest_proj.proj": "question.sentence",
    "crs_attn.linear1": "fusion.feed_forward.0",
    "crs_attn.linear2": "fusion.feed_forward.3",
    "crs_attn.norm1": "fusion.norm1",
    "crs_attn.norm2": "fusion.norm2",
    "patch_selecter.mlp.0": "looking.mlp.0",
    "patch_selecter.mlp.2": "looking.mlp.2",
    "patch_selecter.anorm": "looking.norm_audio",
    "patch_selecter.vnorm": "looking.norm_visual",
    "at_aggregator.norm": "audio_experts.norms.0",
    "vt_aggregator.anorm": "visual_experts.norms.0",
    "vt_aggregator.vnorm": "visual_experts.norms.1",
    "quest_grounding.mlp.0": "reasoning.mlp.0",
    "quest_grounding.mlp.2": "reasoning.mlp.2",
    "quest_grounding.norm": "reasoning.norm",
}
ATTENDING = {
    "crs_attn.slf_attn": "fusion.own",
    "crs_attn.crs_attn": "fusion.cross",
    "crs_attn.qst_attn": "fusion.words",
    "patch_selecter.slf_attn": "looking.own",
    "patch_selecter.crs_attn": "looking.cross",
    "at_aggregator.qst_attn": "audio_experts.attention",
    "vt_aggregator.qst_attn": "visual_experts.attention",
    "quest_grounding.attn": "reasoning.attention",
}


def exported(head, ours, theirs):
    """Their state dictionary of our head, with a text tower beside it.

    Args:
        head: ours.
        ours: its answers, in the order of the rows of its last layer.
        theirs: the answers in the order that the file has.
    """
    own = head.state_dict()
    state = {
        "quest_encoder.ln_final.weight": torch.ones(3),
        "quest_encoder.positions": torch.ones(2),
    }
    for mapping, parts in ((PLAIN, LAYER), (ATTENDING, ATTENTION)):
        for their, our in mapping.items():
            state |= {f"{their}.{part}": own[f"{our}.{part}"].clone() for part in parts}
    count = head.options.experts
    for their, our in (("at_aggregator", "audio_experts"), ("vt_aggregator", "visual_experts")):
        for part in LAYER:
            state[f"{their}.router.0.{part}"] = own[f"{our}.router.{part}"].clone()
            state[f"{their}.gauss_pred.0.{part}"] = own[f"{our}.predictor.{part}"].clone()
            for n, rows in enumerate(own[f"{our}.inner.{part}"].chunk(count)):
                state[f"{their}.experts.{n}.0.{part}"] = rows.clone()
                state[f"{their}.experts.{n}.2.{part}"] = own[f"{our}.outer.{n}.{part}"].clone()
    for part in LAYER:
        rows = own[f"answer.layer.{part}"]
        state[f"head.{part}"] = torch.stack([rows[ours.index(answer)] for answer in theirs])
    return state
