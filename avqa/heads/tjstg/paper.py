"""TJSTG as published: figures, recipe, ablations."""

from __future__ import annotations

from avqa.heads._parts.paper import EVERY_SECOND, Ablation, Paper, Recipe
from avqa.heads._parts.printed import departures, printed, references

_TABLES = printed("tjstg")
PAPER = Paper(
    title="Target-Aware Spatio-Temporal Reasoning via Answering Questions in Dynamic Audio-Visual"
    " Scenarios",
    venue="Findings of EMNLP 2023",
    url="https://arxiv.org/abs/2305.12397",
    recipe=Recipe(
        learning_rate=2e-4,
        batch_size=64,
        epochs=30,
        step_epochs=10,
        gamma=0.1,
        stride_seconds=6,
        visual="resnet18",
        note="authors' code: a step every 12 epochs; starts from AVST's grounding pre-training",
    ),
    datasets=EVERY_SECOND,
    figures=(
        _TABLES["main"]["TJSTG"],
        _TABLES["code"]["TJSTG, updated code"],
        _TABLES["streams"]["TJSTG, dual stream"],
    ),
    references=references("tjstg"),
    departures=departures("tjstg"),
    parameters_millions=_TABLES["streams"]["Single-stream Net"].parameters_millions,
    parameters_note="11,069,612 with target_mlp, the layers of the authors' code; 10,544,300 as"
    " the text reads; the authors' module holds 11,792,300",
)

_JOINT, _TARGETS, _TAUS = _TABLES["joint"], _TABLES["targets"], _TABLES["thresholds"]
_ORDERS, _DUAL = _TABLES["orders"], {"stream": "dual"}
_COSINES = {"ground_score": "cosine", "ground_on": "norm"}
ABLATIONS = {
    "full": Ablation.of({}, _TABLES["main"]["TJSTG"]),
    "w/o t-a": Ablation.of({"target_aware": False}, _JOINT["w/o T-A"]),
    "w/o csl": Ablation.of({"csl": False}, _JOINT["w/o L_csl"]),
    "w/o t-a and csl": Ablation.of(
        {"target_aware": False, "csl": False}, _JOINT["w/o T-A and L_csl"]
    ),
    "target=avg": Ablation.of({"target": "avg"}, _TARGETS["TSG w/ Avg"]),
    "target=max": Ablation.of({"target": "max"}, _TARGETS["TSG w/ Max"]),
    "target=hidden": Ablation.of({"target": "hidden"}, _TARGETS["TSG w/ hidden"]),
    "target=argmax": Ablation.of({"target": "argmax"}, _TARGETS["TSG w/ TA"]),
    "threshold=0": Ablation.of({"threshold": 0.0}, _TAUS["τ = 0.000"]),
    "threshold=0.002": Ablation.of({"threshold": 0.002}, _TAUS["τ = 0.002"]),
    "threshold=0.005": Ablation.of({"threshold": 0.005}, _TAUS["τ = 0.005"]),
    "threshold=0.01": Ablation.of({"threshold": 0.01}, _TAUS["τ = 0.010"]),
    "cat(a;v)": Ablation.of({"order": "cat_av"}, _ORDERS["Cat(A;V) w/ L_csl"]),
    "cat(v;a)": Ablation.of({"order": "cat_va"}, _ORDERS["Cat(V;A) w/ L_csl"]),
    "il(a;v)": Ablation.of({"order": "il_av"}, _ORDERS["IL(A;V) w/ L_csl"]),
    "il(v;a)": Ablation.of({"order": "il_va"}, _ORDERS["IL(V;A) w/ L_csl"]),
    "avst + t-a": Ablation.of({**_DUAL, "csl": False, **_COSINES}, _TABLES["avst"]["AVST w/ T-A"]),
    "avst + csl": Ablation.of(
        {**_DUAL, "target_aware": False, **_COSINES}, _TABLES["avst"]["AVST w/ L_csl"]
    ),
    "updated code": Ablation.of(
        {"combine": "sum", "target_mlp": True, "ta_query": "cell", **_COSINES},
        _TABLES["code"]["TJSTG, updated code"],
        note="the options nearest to the released code",
    ),
}
