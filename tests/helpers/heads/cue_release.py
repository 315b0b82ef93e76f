"""CueSpace's weights under its published names, written from the list of these names."""

from __future__ import annotations

import torch
from helpers.heads.tiger_release import ATTENTION, LAYER

PLAIN = {
    "audio_proj.proj": "audio",
    "video_proj.proj": "visual",
    "patch_proj.proj": "patch",
    "audio_patch_proj.proj": "bands",
    "words_proj.proj": "question.words",
    "quest_proj.proj": "question.sentence",
    "quest_norm": "question_norm",
    "ot_align_audio.norm": "align_audio.0",
    "ot_align_audio.align": "align_audio.1",
    "ot_align_video.norm": "align_visual.0",
    "ot_align_video.align": "align_visual.1",
    "crs_attn.linear1": "fusion.feed_forward.0",
    "crs_attn.linear2": "fusion.feed_forward.3",
    "crs_attn.norm1": "fusion.norm1",
    "crs_attn.norm2": "fusion.norm2",
    "shared_expert_proj_av.0": "together.inner",
    "shared_expert_proj_av.3": "together.outer",
    "ple_comp_mem_head.fusion_readout.norm": "readout.norm",
    "ple_comp_mem_head.fusion_readout.mlp.0": "readout.mlp.0",
    "ple_comp_mem_head.fusion_readout.mlp.2": "readout.mlp.2",
    "ple_comp_mem_head.mcq_score": "score",
}
ATTENDING = {
    "crs_attn.slf_attn": "fusion.own",
    "crs_attn.qst_attn": "fusion.words",
    "ple_comp_mem_head.fusion_readout.attn": "readout.attention",
}
LOOKING = {
    "patch_selecter": "own.visual",
    "patch_selecter_av": "crossed.visual",
    "audio_patch_selecter": "own.audio",
    "audio_patch_selecter_av": "crossed.audio",
}
MIXING = {
    "at_aggregator": "mixtures.audio",
    "vt_aggregator": "mixtures.visual",
    "at_aggregator_av": "cross_mixtures.audio",
    "vt_aggregator_av": "cross_mixtures.visual",
}
BESIDE = (
    *("quest_encoder.ln_final.weight", "head.weight", "head.bias", "shared_expert_proj.0.weight"),
    *("video_evidence_grounding.attn.in_proj_bias", "video_evidence_aux_head.weight"),
    "vt_aggregator_av.gauss_pred.0.bias",
)
"""What is in the file and in no network that answers."""


def exported(head, ours, theirs):
    """Their state dictionary of our head, as `tiger_release.exported`."""
    own = head.state_dict()
    state = {name: torch.ones(3) for name in BESIDE}

    def take(their, our, parts):
        state.update({f"{their}.{part}": own[f"{our}.{part}"].clone() for part in parts})

    for their, our in PLAIN.items():
        take(their, our, LAYER)
    for their, our in ATTENDING.items():
        take(their, our, ATTENTION)
    for their, our in LOOKING.items():
        take(f"{their}.slf_attn", f"{our}.own", ATTENTION)
        take(f"{their}.crs_attn", f"{our}.cross", ATTENTION)
        take(f"{their}.mlp.0", f"{our}.mlp.0", LAYER)
        take(f"{their}.mlp.2", f"{our}.mlp.2", LAYER)
        take(f"{their}.anorm", f"{our}.norm_audio", LAYER)
        take(f"{their}.vnorm", f"{our}.norm_visual", LAYER)
    for their, our in MIXING.items():
        take(f"{their}.qst_attn", f"{our}.attention", ATTENTION)
        take(f"{their}.router.0", f"{our}.router", LAYER)
        take(f"{their}.anorm", f"{our}.norm1", LAYER)
        take(f"{their}.vnorm", f"{our}.norm2", LAYER)
        for n in range(head.options.experts):
            take(f"{their}.experts.{n}.2", f"{our}.outer.{n}", LAYER)
            for part in LAYER:
                rows = own[f"{our}.inner.{part}"].chunk(head.options.experts)[n]
                state[f"{their}.experts.{n}.0.{part}"] = rows.clone()
    for group, steps in enumerate((2, 2, 3)):
        for step in range(steps):
            their, our = f"ple_comp_mem_head.groups.{group}", f"chains.{group}"
            take(f"{their}.cross_attns.{step}", f"{our}.reads.{step}", ATTENTION)
            take(f"{their}.norms.{step}", f"{our}.norms.{step}", LAYER)
    for part in LAYER:
        rows = own[f"answer.{part}"]
        ordered = [rows[ours.index(answer)] for answer in theirs]
        state[f"ple_comp_mem_head.head.{part}"] = torch.stack(ordered)
    return state
