"""What PSTP-Net's paper reports: how it trained, its figures, its ablations."""

from __future__ import annotations

from avqa.heads._parts.paper import CLIPS, Ablation, OfDataset, Paper, Recipe
from avqa.heads._parts.printed import departures, printed, references

_TABLES = printed("pstp")
_OWN = "PSTP-Net [CLIP B/32]"
PAPER = Paper(
    title="Progressive Spatio-temporal Perception for Audio-Visual Question Answering (PSTP-Net)",
    venue="ACM MM 2023",
    url="https://arxiv.org/abs/2308.05421",
    recipe=Recipe(
        1e-4,
        batch_size=64,
        epochs=30,
        step_epochs=10,
        gamma=0.1,
        note="the released script steps every 8 epochs",
    ),
    datasets=dict.fromkeys(
        CLIPS,
        OfDataset(
            {"num_segments": 5, "top_k_segments": 3, "top_k_patches": 2},
            "the paper's, for clips of 10 s",
        ),
    ),
    figures=(
        _TABLES["main"][_OWN],
        printed("avaf")["main"]["PSTP-Net, run again"],
        _TABLES["avqa"]["PSTP-Net on AVQA"],
    ),
    references=references("pstp"),
    departures=departures("pstp"),
    parameters_millions=_TABLES["cost"][_OWN].parameters_millions,
    gflops=_TABLES["cost"][_OWN].gflops,
    parameters_note="as thop counts: attention weights left out, only what ran; of a network"
    " without AVF, with word tokens and self-attention, and (FLOPs) with K/k/m = 12/2/25;"
    " see docs/heads/pstp.md. This reading has 11,388,458",
)

_WORDS = {"fusion": "selfattn_words"}
_RELEASE = {"num_segments": 12, "top_k_segments": 2, "top_k_patches": 25}
_NOTHING = {"use_tssm": False, "use_srsm": False, "use_avam": False, "use_lgpm": False}
_MODULES = _TABLES["modules"]
ABLATIONS: dict[str, Ablation] = {
    "full": Ablation.of({}, _TABLES["main"][_OWN]),
    "no_all_resnet18": Ablation.of(
        _NOTHING,
        _MODULES["w/o all ResNet-18"],
        note="frame features of ResNet-18 instead of CLIP's",
        visual="resnet18",
    ),
    "no_all": Ablation.of(_NOTHING, _MODULES["w/o all"]),
    "no_tssm": Ablation.of({"use_tssm": False}, _MODULES["w/o TSSM"]),
    "no_srsm": Ablation.of({"use_srsm": False}, _MODULES["w/o SRSM"]),
    "no_avam": Ablation.of({"use_avam": False}, _MODULES["w/o AVAM"], _TABLES["text"]["w/o AVAM"]),
    "no_lgpm": Ablation.of({"use_lgpm": False}, _MODULES["w/o LGPM"]),
    "lgpm_layers_2": Ablation({"lgpm_layers": 2}, note="the sweeps are printed as curves only"),
    "avf_layers_2": Ablation({"avf_layers": 2}, note="Fig. 5(d), a curve: one layer is best"),
    "selfattn_words": Ablation(_WORDS),
    "k_12_2_25": Ablation(_RELEASE, note="12/2/25, which the FLOPs column fits"),
    "measured": Ablation(
        {**_WORDS, **_RELEASE, "avf": False}, note="what the cost table describes"
    ),
    "select_none": Ablation(
        {"select_grad": "none"}, note="as printed and released: nothing teaches the selectors"
    ),
    "select_weighted": Ablation({"select_grad": "weighted"}),
    "select_attended": Ablation({"select_grad": "attended"}),
    "select_raw": Ablation({"select_from": "raw"}, note="Eq. 7–8 as printed"),
    "no_avf": Ablation({"avf": False}),
    "pool_groups": Ablation({"pool": "groups"}),
    "avqa": Ablation.of(
        {"num_segments": 5, "top_k_segments": 3, "top_k_patches": 2},
        _TABLES["avqa"]["PSTP-Net on AVQA"],
        note="values for its 10 s clips",
    ),
}
