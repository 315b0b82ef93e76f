"""What is known of CueSpace: its row, a recipe that is QA-TIGER's, its modules switched off."""

from __future__ import annotations

from avqa.heads._parts.paper import Ablation, Paper, Recipe
from avqa.heads._parts.printed import departures, printed, references
from avqa.heads.cuespace.released import RELEASED

_MAIN = printed("cuespace")["main"]["CueSpace"]
PAPER = Paper(
    title="CueSpace, released code for audio-visual question answering",
    venue="2026, released code",
    url="https://github.com/chelilia/Cuespace",
    recipe=Recipe(
        1e-4,
        batch_size=32,
        epochs=15,
        step_epochs=8,
        gamma=0.1,
        visual="clip_vit_l14_336/frame@tome",
        audio="ast",
        patch="clip_vit_l14_336/tome14",
        text="clip_vit_l14_336",
        beta1=0.95,
        note="ours, after QA-TIGER's: the release defines no training",
    ),
    figures=(_MAIN,),
    references=references("cuespace"),
    departures=departures("cuespace"),
    released=RELEASED,
    parameters_note="38,548,295 held, of which 36,442,438 are used: of each pair of norms behind"
    " cues one, no attention of mixtures without a question, no layer of scores",
)

_UNREAD = "no figure: none is printed"
ABLATIONS: dict[str, Ablation] = {
    "full": Ablation.of({}, _MAIN),
    "no_patches": Ablation({"patches": False}, note=_UNREAD),
    "no_question_fusion": Ablation({"question_fusion": False}, note=_UNREAD),
    "no_collaborative": Ablation({"collaborative": False}, note=_UNREAD),
    "uniform": Ablation({"routing": "uniform"}, note=_UNREAD),
    "all_words": Ablation({"mask_words": False}, note="as released"),
}
