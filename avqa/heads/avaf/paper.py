"""What AVAF-Net's paper reports: how it trained, its figures, its ablations."""

from __future__ import annotations

from avqa.heads._parts.paper import Ablation, Paper, Recipe
from avqa.heads._parts.printed import departures, printed, references

_TABLES = printed("avaf")
PAPER = Paper(
    title="Audio-Visual Adaptive Fusion Network for Question Answering Based on Contrastive "
    "Learning (AVAF-Net)",
    venue="AAAI 2025",
    url="https://doi.org/10.1609/aaai.v39i10.33138",
    recipe=Recipe(
        1e-4,
        batch_size=32,
        epochs=30,
        step_epochs=8,
        gamma=0.1,
        note="authors' code: batch 64, seed 42, and the checkpoint chosen on the test file",
    ),
    figures=(
        _TABLES["main"]["AVAF-Net [CLIP ViT-B/32]"],
        _TABLES["real"]["AVAF-Net on MUSIC-AVQA-Real"],
    ),
    references=references("avaf"),
    departures=departures("avaf"),
    parameters_note="the paper gives none; 16,931,885 here, 16,407,085 with fuse='sum' as in the"
    " authors' modules, 13,748,781 without the audio encoder",
)

_MODULES, _PHI, _BETA = _TABLES["modules"], _TABLES["thresholds"], _TABLES["factors"]
_PHIS = (0.017, 0.019, 0.021, 0.023, 0.025, 0.027)
_BETAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)

ABLATIONS = {
    "full": Ablation.of({}, _TABLES["main"]["AVAF-Net [CLIP ViT-B/32]"]),
    "no_tacl": Ablation.of({"tacl": False}, _MODULES["w/o TACL"]),
    "no_avcm": Ablation.of({"avcm": False}, _MODULES["w/o AVCM"]),
    "no_sacl": Ablation.of({"sacl": False}, _MODULES["w/o SACL"]),
    "no_qoaf": Ablation.of({"qoaf": False}, _MODULES["w/o QOAF"]),
    "no_all": Ablation.of(
        {"tacl": False, "avcm": False, "sacl": False, "qoaf": False},
        _MODULES["w/o all"],
        note="half a point from always answering yes (26.15): a collapsed classifier, not a target",
    ),
    "no_audio_encoder": Ablation(
        {"audio_encoder": False}, note="the paper's text, which has no encoder; no figure"
    ),
    "as_printed": Ablation.of(
        {"audio_encoder": False, "attention": "alone", "sounding": "product"},
        _TABLES["main"]["AVAF-Net [CLIP ViT-B/32]"],
        note="the equations letter by letter; `full` is between them and the authors' code",
    ),
    # Every patch is positive, and the loss the logarithm of 1, unless other videos' patches count.
    "phi_0.000": Ablation.of(
        {"phi": 0.0, "spat_batch_neg": False}, _PHI["φ = 0.000"], same_as="no_sacl"
    ),
    **{f"phi_{phi:.3f}": Ablation.of({"phi": phi}, _PHI[f"φ = {phi:.3f}"]) for phi in _PHIS},
    **{f"beta_{beta}": Ablation.of({"beta": beta}, _BETA[f"β = {beta}"]) for beta in _BETAS},
}
