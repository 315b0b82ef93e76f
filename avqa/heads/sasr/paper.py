"""What SaSR-Net's paper reports: how it trained, its figures, its ablations."""

from __future__ import annotations

from avqa.heads._parts.paper import EVERY_SECOND, Ablation, Paper, Recipe
from avqa.heads._parts.printed import departures, printed, references

_TABLES = printed("sasr")
PAPER = Paper(
    title="SaSR-Net: Source-Aware Semantic Representation Network for Enhancing "
    "Audio-Visual Question Answering",
    venue="Findings of EMNLP 2024",
    url="https://arxiv.org/abs/2411.04933",
    recipe=Recipe(
        1e-4,
        batch_size=16,
        epochs=80,
        step_epochs=16,
        gamma=0.3,
        stride_seconds=6,
        visual="resnet18",
        note="the released loop leaves each epoch after its first batch",
    ),
    datasets=EVERY_SECOND,
    figures=(_TABLES["main"]["SaSR-Net"], _TABLES["avqa"]["SaSR-Net, AVQA"]),
    references=references("sasr"),
    departures=departures("sasr"),
    parameters_millions=65.117283,
    parameters_note="53,424,635 of the released network (variant=official; 1,537 of them unused) "
    "and 11,692,648 of a ResNet-18 that is built, counted and never run; the printed equations "
    "make 8,988,868 (slt_attn=plain)",
)

_AS_PRINTED = {
    "slt_attn": "plain",
    "residual": False,
    "sa_norm": "dot",
    "sound": "linear",
    "audio_tokens": "before",
    "key_value": "shared",
    "question_state": "hidden",
    "match": "linear",
}
"""The equations letter by letter; `full` is between them and the authors' code."""

_TEXT = _TABLES["text"]
ABLATIONS = {
    "full": Ablation.of({}, _TABLES["main"]["SaSR-Net"]),
    "as_printed": Ablation.of(_AS_PRINTED, _TABLES["main"]["SaSR-Net"]),
    "official": Ablation.of({"variant": "official"}, _TABLES["main"]["SaSR-Net"]),
    "w/o slt and sasr": Ablation.of({"slt": False, "sasr": False}, _TEXT["neither SLT nor SaSR"]),
    "w/o sasr": Ablation.of({"sasr": False}, _TEXT["SLT"]),
    "w/o slt": Ablation.of({"slt": False}, _TEXT["SaSR"]),
    "no_sa": Ablation({"sa": False}),
    "no_ta": Ablation({"ta": False}),
    "w/o sa and ta": Ablation.of({"sa": False, "ta": False}, _TEXT["neither SA nor TA"]),
}
