"""What is known of TSPM's paper: how its release trains, its row, its modules switched off."""

from __future__ import annotations

from avqa.heads._parts.paper import Ablation, Paper, Recipe
from avqa.heads._parts.printed import departures, printed, references

_TABLES = printed("tspm")
PAPER = Paper(
    title="Boosting Audio Visual Question Answering via Key Semantic-Aware Cues (TSPM)",
    venue="ACM MM 2024",
    url="https://arxiv.org/abs/2407.20693",
    recipe=Recipe(
        1e-4,
        batch_size=64,
        epochs=30,
        step_epochs=8,
        gamma=0.1,
        visual="clip_vit_l14_336",
        patch="vit_l16_384",
        text="clip_vit_l14_336",
        note="as released, whose validation accuracy is best in epoch 10 and flat from 12 on",
    ),
    figures=(_TABLES["main"]["TSPM"], _TABLES["again"]["TSPM, run again"]),
    references=references("tspm"),
    departures=departures("tspm"),
    parameters_note="12,304,426 with selector_grad=none, as released, whose module holds two"
    " unused norms beside them; 11,252,778 where the selection learns",
)

_UNREAD = "no figure: the paper's ablations were not read"
ABLATIONS: dict[str, Ablation] = {
    "full": Ablation.of({}, _TABLES["main"]["TSPM"]),
    "released": Ablation(
        {"selector_grad": "none", "prompt": "released", "patch_rows": "first"},
        note="as its code reads; patches are those of the first rows",
    ),
    "select_none": Ablation({"selector_grad": "none"}, note="as released: nothing teaches it"),
    "patch_first": Ablation({"patch_rows": "first"}, note="as released"),
    "prompt_question": Ablation({"prompt": "question"}, note=_UNREAD),
    "no_temporal": Ablation({"temporal": False}, note=_UNREAD),
    "no_spatial": Ablation({"spatial": False}, note=_UNREAD),
    "no_av_attention": Ablation({"av_attention": False}, note=_UNREAD),
}
