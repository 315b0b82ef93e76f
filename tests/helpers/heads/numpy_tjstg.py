"""TJSTG's modules once more, for one sample, as loops in numpy written from its equations."""

import numpy as np
from helpers.heads.numpy_avst import (
    answer,
    cosines,
    fusion,
    hears,
    match_prob,
    picture,
    question,
    see,
    sound,
)
from helpers.heads.numpy_blocks import (
    at,
    attention,
    linear,
    lstm,
    mean,
    question_block,
    relu,
    softmax,
    unit,
)


def target(p, q, words, cell, options):
    """Target vector [D], and where a word was chosen its weights [N] and number."""
    found = {}
    if options.target == "hidden":
        vector = q
    elif options.target == "avg":
        vector = words.mean(0)
    elif options.target == "max":
        vector = words.max(0)
    else:
        query = q if options.ta_query == "question" else cell
        _, weights = attention(at(p, "target.attention."), query[None], words, 4)
        found = {"word_weights": weights[0], "target_index": int(weights[0].argmax())}
        vector = words[found["target_index"]]
    if options.target_mlp:
        vector = linear(at(p, "target.mlp.2."), relu(linear(at(p, "target.mlp.0."), vector)))
    return vector, found


def combine(s_a, s_q, how, threshold):
    """α [P] of one frame from its two maps [P]."""
    num, scale = len(s_a), 196 / len(s_a)
    if how == "sum":
        x = [s_a[i] + s_q[i] for i in range(num)]
        return softmax(np.array([v if v >= 0.01 * scale else 0.0 for v in x]))
    kept = [s_q[i] if s_q[i] >= threshold * scale else 0.0 for i in range(num)]
    product = np.array([s_a[i] * kept[i] for i in range(num)])
    if how == "softmax":
        return softmax(product)
    return product / product.sum() if product.sum() > 0 else s_a


def look(p, patch, a, vector, options):
    """v [T, D] and the maps [T, P] by name."""
    v, maps = [], {"attn_audio": [], "attn_target": [], "attn_joint": []}
    for t in range(len(patch)):
        rows = picture(p, patch[t])
        score = cosines if options.ground_score == "cosine" else lambda rows, x: rows @ x
        alpha = s_a = softmax(score(rows, a[t]) / options.ground_temp)
        maps["attn_audio"].append(s_a)
        if vector is not None:
            s_q = softmax(score(rows, vector) / options.ground_temp)
            alpha = combine(s_a, s_q, options.combine, options.threshold)
            maps["attn_target"].append(s_q)
        maps["attn_joint"].append(alpha)
        averaged = [unit(row) if options.ground_on == "norm" else row for row in rows]
        v.append(see(p, rows, sum(alpha[i] * averaged[i] for i in range(len(rows)))))
    return v, {name: value for name, value in maps.items() if value}


def both_ways(p, x):
    """BiLSTM: x [T, D] → [T, D]."""
    x = np.array(x)
    onward, _, _ = lstm(p, x)
    backward, _, _ = lstm(p, x[::-1], "l0_reverse")
    return np.concatenate([onward, backward[::-1]], -1)


def joint(p, q, a, v, heard, order):
    """r [D], weights [T] of the sounds and of the frames; seconds without sound are not there."""
    num = len(a)
    places = {
        "il_va": [x for t in range(num) for x in (("v", t), ("a", t))],
        "il_av": [x for t in range(num) for x in (("a", t), ("v", t))],
        "cat_va": [("v", t) for t in range(num)] + [("a", t) for t in range(num)],
        "cat_av": [("a", t) for t in range(num)] + [("v", t) for t in range(num)],
    }[order]
    places = [(kind, t) for kind, t in places if kind == "v" or heard[t]]
    rows = {"a": np.zeros((num, len(q))), "v": both_ways(at(p, "visual."), v)}
    if heard.any():
        rows["a"][heard] = both_ways(at(p, "audio."), np.array(a)[heard])
    stream = np.array([rows[kind][t] for kind, t in places])
    u, w = question_block(at(p, "ground."), q, stream)
    by_kind = {"a": np.zeros(num), "v": np.zeros(num)}
    for (kind, t), weight in zip(places, w, strict=True):
        by_kind[kind][t] = weight
    means = np.concatenate([mean(a, heard), np.mean(v, 0)])
    return u + linear(at(p, "fuse."), np.tanh(means)), by_kind["a"], by_kind["v"]


def synchrony(w_a, w_v, eps=1e-8):
    """Jensen–Shannon divergence of one sample."""
    p, q, total = w_a / w_a.sum(), w_v / w_v.sum(), 0.0
    for t in range(len(p)):
        m = (p[t] + q[t]) / 2
        total += 0.5 * p[t] * np.log((p[t] + eps) / (m + eps))
        total += 0.5 * q[t] * np.log((q[t] + eps) / (m + eps))
    return total


def tjstg(p, s, options):
    """Everything TJSTG computes for one sample."""
    q, words, cell = question(p, s, options)
    vector, found = None, {}
    if options.target_aware:
        vector, found = target(p, q, words, cell, options)
    heard = hears(s)
    a = sound(p, s["audio"], heard)
    v, maps = look(p, s["patch"], a, vector, options)
    apart, _ = look(p, s["negative_patch"], a, vector, options)
    if options.stream == "single":
        r, w_a, w_v = joint(at(p, "joint."), q, a, v, heard, options.order)
    else:
        r, weights = fusion(at(p, "fusion."), q, {"audio": a, "visual": v}, heard)
        w_a, w_v = weights["audio"], weights["visual"]
    return {
        "logits": answer(p, np.tanh(r * q), s, options),
        "csl": synchrony(w_a[heard], w_v[heard]) if heard.any() else None,
        "match": tuple(np.array(match_prob(p, a, x))[heard] for x in (v, apart)),
        "words": found,
        "timed": maps | {"temporal_attn_audio": w_a, "temporal_attn_visual": w_v},
    }
