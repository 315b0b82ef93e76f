"""QA-TIGER once more: loops over seconds, patches and experts, written from its equations.

Everything of one sample: rows [T, ...], masks [T]. ``p`` are the head's parameters by name.
"""

import numpy as np
from helpers.heads.numpy_blocks import (
    at,
    attention,
    feed_forward,
    layer_norm,
    linear,
    lstm_question,
    relu,
    sigmoid,
    softmax,
)


def half(p, x):
    return linear(at(p, "2."), relu(linear(at(p, "0."), x)))


def question(p, sample, options):
    """q [D], words [N, D], mask [N]."""
    if options.question == "lstm":
        q, words, _ = lstm_question(p, sample["tokens"])
        return q, words, sample["tokens"] != 0
    q = linear(at(p, "sentence."), sample["sentence"])
    if not options.question_fusion:
        return q, None, None
    mask = np.arange(77) <= (sample["eot"] if options.mask_words else 76)
    return q, linear(at(p, "words."), sample["words"]), mask


def fused(p, x, y, mask, other, words, word_mask):
    total = x + attention(at(p, "own."), x, x, 8, mask)[0]
    total = total + attention(at(p, "cross."), x, y, 8, other)[0]
    weights = None
    if words is not None:
        found, weights = attention(at(p, "words."), x, words, 8, word_mask)
        total = total + found
    x = layer_norm(at(p, "norm1."), total)
    return layer_norm(at(p, "norm2."), x + feed_forward(at(p, "feed_forward."), x)), weights


def looked(p, v, a, patches):
    """One second: v, a [D], patches [P, D] → p_v, p_a [D], weights [2, P]."""
    z = patches + attention(at(p, "own."), patches, patches, 8)[0]
    found, weights = attention(at(p, "cross."), np.stack([v, a]), z, 8)
    o = half(at(p, "mlp."), found)
    seen = layer_norm(at(p, "norm_visual."), o[0])
    return seen, layer_norm(at(p, "norm_audio."), o[1]), weights


def gaussian(shift, spread, experts, valid, mask):
    """μ, σ [E], g [E, T], of one sample."""
    last = max(t for t, there in enumerate(valid) if there)
    margin = 1 / (2 * experts)
    center, width, weight = [], [], np.zeros((experts, len(valid)))
    for e in range(experts):
        base = margin + e * (1 - 2 * margin) / max(experts - 1, 1)
        mu = min(max(base + margin * np.tanh(shift[e]), 0), 1)
        sigma = max(sigmoid(spread[e]), 0.09) / 9
        center.append(mu)
        width.append(sigma)
        logs = {
            t: -(((t / last if last else 0) - mu) ** 2) / (2 * sigma**2)
            for t, there in enumerate(mask)
            if there
        }
        for t, value in logs.items():
            weight[e, t] = np.exp(value - max(logs.values()))
    return np.array(center), np.array(width), weight


def asked(p, q, x, valid, mask, options, time=None):
    """r [E], (μ, σ), g [E, T] of one stream."""
    experts = options.experts
    u = (
        attention(at(p, "attention."), q[None], x, 8, mask)[0][0]
        if "attention.out_proj.weight" in p
        else q
    )
    route = np.full(experts, 1 / experts)
    if options.routing == "softmax":
        share = softmax(linear(at(p, "router."), u))
        best = np.argsort(-share)[: options.topk]
        route = np.array([share[e] if e in best else 0 for e in range(experts)])
        route = route / route.sum()
    if not options.gaussian:
        return route, None, np.tile(mask / max(mask.sum(), 1), (experts, 1))
    if time is None:
        predicted = linear(at(p, "predictor."), u).reshape(experts, 2)
        *time, weight = gaussian(predicted[:, 0], predicted[:, 1], experts, valid, mask)
        return route, time, weight
    center, width, weight = time
    return route, (center, width), weight * mask


def said(p, route, weight, x, mask, norm):
    if not mask.any():
        return np.zeros(x.shape[1])
    inner, size = at(p, "inner."), x.shape[1] // 2
    total = np.zeros(x.shape[1])
    for e in range(len(route)):
        rows = slice(e * size, (e + 1) * size)
        for t in range(len(x)):
            hidden = relu(inner["weight"][rows] @ x[t] + inner["bias"][rows])
            total += route[e] * weight[e, t] * linear(at(p, f"outer.{e}."), hidden)
    return layer_norm(at(p, f"norms.{norm}."), total)


def reasoned(p, q, vectors):
    x = np.stack(vectors)
    found, _ = attention(at(p, "attention."), q[None], x, 8)
    return layer_norm(at(p, "norm."), x.mean(0) + half(at(p, "mlp."), found[0]))


def tiger(p, sample, options):
    """Logits [C] and what the head explains, of one sample."""
    valid, heard = sample["valid"], sample["heard"]
    q, words, word_mask = question(at(p, "question."), sample, options)
    a = np.array(
        [
            row * there
            for row, there in zip(linear(at(p, "audio."), sample["audio"]), heard, strict=True)
        ]
    )
    v = linear(at(p, "visual."), sample["frame"])
    fusion = at(p, "fusion.")
    a_q, words_a = fused(fusion, a, v, heard, valid, words, word_mask)
    v_q, words_v = fused(fusion, v, a, valid, heard, words, word_mask)
    told = {"word_attn_audio": words_a, "word_attn_visual": words_v}
    audio, visual = at(p, "audio_experts."), at(p, "visual_experts.")
    seen = asked(visual, q, v_q, valid, valid, options)
    shared = (*seen[1], seen[2]) if options.shared_time and options.gaussian else None
    listened = asked(audio, q, a_q, valid, heard, options, shared)
    for name, (route, time, weight) in (("audio", listened), ("visual", seen)):
        mixed = (route[:, None] * weight).sum(0)
        told[f"expert_route_{name}"] = route
        told[f"second_weight_{name}"] = mixed / mixed.sum() if mixed.any() else mixed
        if time is not None:
            told[f"gauss_center_{name}"], told[f"gauss_width_{name}"] = time[:2]
            told[f"gauss_weight_{name}"] = weight
    sound = said(audio, listened[0], listened[2], a_q, heard, 0)
    if options.patches:
        p_v, p_a, found = np.zeros_like(v_q), np.zeros_like(v_q), []
        for t in range(len(valid)):
            tokens = linear(at(p, "patch."), sample["patch"][t])
            p_v[t], p_a[t], weights = looked(at(p, "looking."), v_q[t], a_q[t], tokens)
            p_a[t] *= heard[t]
            found.append(weights * valid[t])
        told["patch_attn"] = np.array(found)
        of_audio = said(visual, seen[0], seen[2], v_q + p_a, valid, 0)
        pictures = [of_audio, said(visual, seen[0], seen[2], v_q + p_v, valid, 1)]
    else:
        pictures = [said(visual, seen[0], seen[2], v_q, valid, 0)]
    picture = reasoned(at(p, "reasoning."), q, pictures)
    both = [picture, sound] if heard.any() else [picture]
    e = relu(reasoned(at(p, "reasoning."), q, both))
    return linear(at(p, "answer.layer."), e), told
