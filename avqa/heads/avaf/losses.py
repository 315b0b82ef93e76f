"""AVAF-Net's contrastive losses: alignment of audio and frame in time and in space."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from avqa.heads._parts.grounding import UnitMap, products

FNAC_TEMPERATURE = 0.03
FNAC_FOREGROUND = 0.6


def sounding(audio: Tensor, patches: Tensor, *, printed: bool) -> Tensor:
    """Patches weighted by their product with the second's audio ("vocalisation" features).

        c_tp = Z_tp · a_t / √D,  s_t = mean_p c_tp Z_tp

    Differs from the paper, which prints s_t = mean_p(Z_tp ∘ a_t), here with ``printed``.

    Shapes:
        audio [B, T, D], patches [B, T, P, D] → [B, T, D]
    """
    if printed:
        return patches.mean(2) * audio
    total = _product(audio, patches).unsqueeze(-2) @ patches
    return total.squeeze(-2) / patches.shape[2]  # [B, T, D]


def _product(audio: Tensor, patches: Tensor) -> Tensor:
    """c_tp [B, T, P]."""
    return products(patches, audio) / math.sqrt(audio.shape[-1])


def _foreground(audio: Tensor, patches: Tensor) -> Tensor:
    """Mean of the patches whose c_tp, scaled to 0–1 over the frame, is 0.6 or more."""
    c = _product(audio, patches).detach()
    low, high = c.amin(-1, keepdim=True), c.amax(-1, keepdim=True)
    inside = (c - low >= FNAC_FOREGROUND * (high - low)).to(patches.dtype)
    return (inside.unsqueeze(-2) @ patches).squeeze(-2) / inside.sum(-1, keepdim=True)


def _gaps(audio: Tensor, visual: Tensor, sound: Tensor, temperature: float | None) -> Tensor:
    """|AV − AA| + |AV − VV| + |AA − SS| of the cosines: three [..., T, D] → [..., T, T].

    With a ``temperature`` each matrix is first divided by it and put through a softmax over j.
    """
    a, v, s = (F.normalize(x, dim=-1) for x in (audio, visual, sound))
    av, aa, vv, ss = a @ v.mT, a @ a.mT, v @ v.mT, s @ s.mT
    if temperature is not None:
        av, aa, vv, ss = ((x / temperature).softmax(-1) for x in (av, aa, vv, ss))
    return (av - aa).abs() + (av - vv).abs() + (aa - ss).abs()


def temporal_loss(
    audio: Tensor,
    patches: Tensor,
    valid: Tensor,
    kind: str,
    asked: Tensor | None = None,
    *,
    printed: bool = False,
) -> Tensor:
    """L_temp (TACL): seconds that audio alike should look alike.

        Eq. 1–3   mean_ij |sim(a_i, v_j) − sim(a_i, a_j)| + |sim(a_i, v_j) − sim(v_i, v_j)|
                  + |sim(a_i, a_j) − sim(s_i, s_j)|,  sim = cosine, v_t = mean_p Z_tp

    ``paper``: over the pairs of valid seconds of a sample, then over the samples that have any,
    each counted as often as it is ``asked`` about (None: once).
    ``fnac``, after the authors' code: i, j over all valid seconds of the batch, each matrix through
    a softmax over j at temperature 0.03, v_t the maximum over patches, s_t the mean of the
    foreground ones. 0 where no second is valid.

    Differs from the authors' code: ``fnac`` normalises over channels, theirs over time.

    Shapes:
        audio [V, T, D], patches [V, T, P, D], valid [V, T]: seconds with sound, asked [V]
        → scalar
    """
    if kind == "fnac":
        visual, sound = patches.amax(2), _foreground(audio, patches)
        gaps = _gaps(audio[valid], visual[valid], sound[valid], FNAC_TEMPERATURE)
        return gaps.sum() / max(gaps.numel(), 1)
    gaps = _gaps(audio, patches.mean(2), sounding(audio, patches, printed=printed), None)
    pairs = valid.unsqueeze(1) & valid.unsqueeze(2)
    total, count = torch.where(pairs, gaps, 0.0).sum((1, 2)), pairs.sum((1, 2))
    weight = (count > 0) if asked is None else (count > 0) * asked
    means = weight * total / count.clamp(min=1)
    return means.sum() / weight.sum().clamp(min=1)  # Eq. 1–3, scalar


def spatial_loss(
    query: Tensor,
    patches: UnitMap,
    valid: Tensor,
    *,
    phi: float,
    tau: float,
    temperature: float,
    others: Tensor | None,
) -> Tensor:
    """One term of L_spat (SACL): patches near the query against the rest of the frame.

        Eq. 6–9   p_t = softmax_P(cos(query_t, Z'_tp) / temperature),  + = {p > phi}
                  l_t = −log(Σ_+ e^{p/τ} / Σ_all e^{p/τ}),  mean over valid seconds of the batch

    Seconds without a positive patch are skipped. ``others`` adds, in the denominator, the
    query's mean cosine with patches of other videos.

    Chosen where the paper is odd: the printed summation limit K is the number of positives.
    Differs from the authors' code: it takes 1e-3 as numerator where there is no positive.

    Shapes:
        query [B, T or 1, D], patches [B, T, P, D], valid [B, T], others [B, T or 1] → scalar
    """
    p = (patches.score(query) / temperature).softmax(-1)  # [B, T, P]
    scores = p / tau
    top = scores.detach().amax(-1)
    terms = (scores - top.unsqueeze(-1)).exp()
    positive = p > phi
    total = terms.sum(-1)
    if others is not None:
        total = total + others * (-top).exp()
    counted = valid & positive.any(-1)
    chosen = torch.where(counted, (terms * positive).sum(-1), total)  # log 1 = 0 where not
    return (total.log() - chosen.log()).sum() / counted.sum().clamp(min=1)  # Eq. 6–9, scalar


def foreign_cosine(query: Tensor, patches: UnitMap, valid: Tensor, video: Tensor | None) -> Tensor:
    """Mean cosine of a query with all patches of the batch's other videos; 0 if there are none.

    Shapes:
        query [B, T or 1, D], patches [B, T, P, D], valid [B, T] → [B, T or 1]
    """
    weights = valid.unsqueeze(-1).expand(patches.length.shape).to(query.dtype)
    sums = patches.average(weights).sum(1)  # [B, D]
    video = torch.arange(len(valid), device=valid.device) if video is None else video
    other = (video[:, None] != video).to(query.dtype)  # [B, B]
    count = (other @ weights.sum((1, 2))).clamp(min=1)
    mean = other @ sums / count.unsqueeze(-1)
    return (F.normalize(query, dim=-1) @ mean.unsqueeze(-1)).squeeze(-1)
