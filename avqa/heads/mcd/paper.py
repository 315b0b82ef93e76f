"""What MCD's paper reports: how it trained, its figures, its ablations."""

from __future__ import annotations

from avqa.heads._parts.paper import CLIPS, Ablation, Figures, OfDataset, Paper, Recipe
from avqa.heads._parts.printed import departures, printed, references

_TABLES = printed("mcd")
_COST = _TABLES["cost"]
PAPER = Paper(
    title="Answering Diverse Questions via Text Attached with Key Audio-Visual Clues (MCD)",
    venue="arXiv 2024",
    url="https://arxiv.org/abs/2403.06679",
    recipe=Recipe(
        1e-3,
        batch_size=64,
        epochs=30,
        step_epochs=8,
        gamma=0.1,
        note="MUSIC-AVQA and AVQA alike; the frames are drawn anew at every step",
    ),
    datasets=dict.fromkeys(
        CLIPS, OfDataset({"num_frames": 10}, "k is not printed: all rows of a clip of 10 s")
    ),
    figures=(
        _TABLES["main"]["MCD [Swin-V2-L]"],
        *(row for name, row in _TABLES["encoders"].items() if name.startswith("MCD")),
        Figures(
            name="MCD on AVQA",
            source=_TABLES["losses"]["MCD"].source,
            values={"AVQA": _TABLES["losses"]["MCD"].values["AVQA"]},
            note="90.8 where rounded",
        ),
    ),
    references=references("mcd"),
    departures=departures("mcd"),
    parameters_millions=_COST["AB (N=2)"].parameters_millions,
    gflops=_COST["AB (N=2)"].gflops,
    parameters_note="very likely without attention matrices (about 7.7 M here); all trainable:"
    " 16,408,618 with 93 words, 16,412,714 with the 8 type words",
)

_ATTENTION, _FUSION, _LOSSES = _TABLES["attention"], _TABLES["fusion"], _TABLES["losses"]
_ENCODERS, _TEXT = _TABLES["encoders"], _TABLES["text"]
_NO_SELF, _NO_CROSS = {"self_attention": "none"}, {"cross_query": "none"}
_INPUTS = {"q": "Q", "a": "A", "v": "V", "qa": "Q+A", "qv": "Q+V", "qav": "Q+A+V"}
_WHICH = {"audio": "A", "visual": "V", "both": "A+V"}

ABLATIONS = {
    "full": Ablation.of({}, _TABLES["main"]["MCD [Swin-V2-L]"], _LOSSES["MCD"]),
    "resnet18": Ablation.of({}, _ENCODERS["MCD [ResNet-18]"], visual="resnet18"),
    "clip": Ablation.of({}, _ENCODERS["MCD [CLIP ViT-B/32]"], visual="clip_vit_b32"),
    **{
        name: Ablation.of(
            {"plain": name},
            _TABLES["modalities"][row],
            note="equals the template floor" if name == "q" else "",
        )
        for name, row in _INPUTS.items()
    },
    "no_attention": Ablation.of({**_NO_SELF, **_NO_CROSS}, _ATTENTION["w/o attention"]),
    **{
        f"self_{which}": Ablation.of(
            {"self_attention": which, **_NO_CROSS}, _ATTENTION[f"Self-attention {row}"]
        )
        for which, row in _WHICH.items()
    },
    **{
        f"cross_{which}": Ablation.of(
            {**_NO_SELF, "cross_query": which}, _ATTENTION[f"Cross-attention {row}-query"]
        )
        for which, row in _WHICH.items()
    },
    **{
        f"inter_{which}": Ablation.of(
            {"cross_query": which}, _ATTENTION[f"Inter-attention {row}-query"]
        )
        for which, row in _WHICH.items()
    },
    **{f"blocks_{n}": Ablation.of({"num_blocks": n}, _COST[f"AB (N={n})"]) for n in (1, 2, 3)},
    "lef_no_visual": Ablation.of({"lef": "no_visual"}, _FUSION["w/o F_v"]),
    "lef_no_audio": Ablation.of({"lef": "no_audio"}, _FUSION["w/o F_a"]),
    "lef_no_text": Ablation.of({"lef": "no_text"}, _FUSION["w/o f̃_t"]),
    "lef_add": Ablation.of({"lef": "add"}, _FUSION["Only element-wise add"]),
    "no_loss_qv": Ablation.of({"loss_qv": False}, _LOSSES["w/o L_c^{q̃v}"]),
    "no_loss_qa": Ablation.of({"loss_qa": False}, _LOSSES["w/o L_c^{q̃a}"]),
    "no_loss_av": Ablation.of({"loss_av": False}, _LOSSES["w/o L_c^{av}"]),
    "no_sa": Ablation.of(
        {"loss_qv": False, "loss_qa": False, "loss_av": False},
        _TABLES["avqa"]["MCD w/o SA on AVQA"],
        note="without semantic approximation: all three losses off",
    ),
    "question_only_text": Ablation.of({"text_objects": False}, _TEXT["LSTM alone"]),
    "bilstm": Ablation.of({"text_encoder": "bilstm"}, _TEXT["Bi-LSTM with T"]),
    "bilstm_question_only_text": Ablation.of(
        {"text_encoder": "bilstm", "text_objects": False}, _TEXT["Bi-LSTM alone"]
    ),
}
