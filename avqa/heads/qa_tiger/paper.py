"""What is known of QA-TIGER's paper: how its release trains, its row, its modules switched off."""

from __future__ import annotations

from avqa.heads._parts.paper import Ablation, Paper, Recipe
from avqa.heads._parts.printed import departures, printed, references
from avqa.heads.qa_tiger.released import RELEASED

_MAIN = printed("qa_tiger")["main"]["QA-TIGER"]
PAPER = Paper(
    title="Question-Aware Gaussian Experts for Audio-Visual Question Answering (QA-TIGER)",
    venue="CVPR 2025",
    url="https://arxiv.org/abs/2503.04459",
    recipe=Recipe(
        1e-4,
        batch_size=32,
        epochs=15,
        step_epochs=8,
        gamma=0.1,
        visual="clip_vit_l14_336",
        patch="vit_l16_384",
        text="clip_vit_l14_336",
        beta1=0.95,
        note="as released; of epochs that are equally good the release keeps the last",
    ),
    figures=(_MAIN,),
    references=references("qa_tiger"),
    departures=departures("qa_tiger"),
    parameters_note="14,960,212 trainable, without the text tower, which the release runs and"
    " holds beside them: 138,610,517",
    released=RELEASED,
)

_UNREAD = "no figure: the paper's ablations were not read"
ABLATIONS: dict[str, Ablation] = {
    "full": Ablation.of({}, _MAIN),
    "experts_5": Ablation({"experts": 5, "topk": 5}, note=_UNREAD),
    "experts_10": Ablation({"experts": 10, "topk": 10}, note=_UNREAD),
    "topk_3": Ablation({"topk": 3}, note=_UNREAD),
    "no_patches": Ablation({"patches": False}, note=_UNREAD),
    "no_question_fusion": Ablation({"question_fusion": False}, note=_UNREAD),
    "no_gaussian": Ablation({"gaussian": False}, note=_UNREAD),
    "uniform": Ablation({"routing": "uniform"}, note=_UNREAD),
    "shared_time": Ablation({"shared_time": True}, note="ours, of no paper"),
    "all_words": Ablation({"mask_words": False}, note="as released"),
}
