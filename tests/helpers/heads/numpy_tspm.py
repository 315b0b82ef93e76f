"""TSPM once more: loops over seconds and patches, written from its equations.

Everything of one sample: rows [T, ...], masks [T]. ``p`` are the head's parameters by name.
"""

import numpy as np
from helpers.heads.numpy_blocks import (
    at,
    attention,
    feed_forward,
    hybrid_layer,
    layer_norm,
    linear,
    lstm_question,
    mean,
    question_block,
    softmax,
)


def selected(p, asks, v, valid, options):
    """Weights [T] of the prompt over the seconds."""
    selector = at(p, "selector.")
    if options.selector_grad == "none":
        return question_block(selector, asks, v, valid)[1]
    size = len(asks) // 4
    (wq, wk), (bq, bk) = (np.split(selector[f"in_proj_{n}"], 2) for n in ("weight", "bias"))
    query, key = wq @ asks + bq, v @ wk.T + bk
    weights = np.zeros(len(v))
    open_ = [t for t in range(len(v)) if valid[t]]
    for h in range(4):
        part = slice(h * size, (h + 1) * size)
        scores = np.array([query[part] @ key[t, part] / np.sqrt(size) for t in open_])
        weights[open_] += softmax(scores) / 4
    return weights


def kept_seconds(weights, valid, options):
    """Numbers of the kept seconds, in order."""
    real = [t for t in range(len(valid)) if valid[t]]
    if weights is not None:
        return sorted(sorted(real, key=lambda t: -weights[t])[: options.topk])
    if len(real) < options.topk:
        return real
    step = (len(real) - 1) / max(options.topk - 1, 1)
    return [real[round(i * step)] for i in range(options.topk)]


def spatial(p, a, patches):
    """One second: a [D], patches [P, D] → s [D], weights [P]."""
    z = layer_norm(at(p, "norm1."), patches + attention(at(p, "own."), patches, patches, 1)[0])
    z = layer_norm(at(p, "norm2."), z + feed_forward(at(p, "feed_forward."), z))
    return question_block(at(p, "sound."), a, z)


def tspm(p, sample, options):
    """Logits [C] and what the head explains, of one sample."""
    valid, heard = sample["valid"], sample["heard"]
    if options.question == "lstm":
        q = lstm_question(at(p, "question."), sample["tokens"])[0]
    else:
        q = linear(at(p, "question.sentence."), sample["sentence"])
    a = linear(at(p, "audio."), sample["audio"]) * heard[:, None]
    v = linear(at(p, "visual."), sample["frame"])
    weights = None
    if options.temporal:
        asks = linear(at(p, "prompt."), sample["prompt"]) if "prompt.weight" in p else q
        weights = selected(p, asks, v, valid, options)
    kept = kept_seconds(weights, valid, options)
    sound, seen, looked = [], [], []
    for i, t in enumerate(kept):
        factor = 1.0
        if weights is not None and options.selector_grad == "weighted":
            factor = len(kept) * weights[t] / sum(weights[k] for k in kept)
        sound.append(a[t] * factor)
        if not options.spatial:
            seen.append(v[t] * factor)
            continue
        row = i if options.patch_rows == "first" else t
        s, w = np.zeros_like(a[t]), np.zeros(len(sample["patch"][row]))
        if heard[t]:
            s, w = spatial(at(p, "spatial."), a[t], linear(at(p, "patch."), sample["patch"][row]))
        seen.append(s * factor)
        looked.append(w)
    there = np.array([heard[t] for t in kept])
    seeing = there if options.spatial else np.ones(len(kept), bool)
    sound, seen = np.array(sound), np.array(seen)
    g_a, w_a = question_block(at(p, "grounding."), q, sound, there)
    g_v, w_v = question_block(at(p, "grounding."), q, seen, seeing)
    parts = [g_a, mean(sound, there), g_v, mean(seen, seeing)]
    if options.av_attention:
        both = at(p, "both.")
        parts.insert(1, mean(hybrid_layer(both, a, v, heard, valid), heard))
        parts.insert(4, mean(hybrid_layer(both, v, a, valid, heard), valid))
    f = linear(at(p, "fuse."), np.tanh(np.concatenate(parts)))
    told = {"second_index": kept, "question_attn_audio": w_a, "question_attn_visual": w_v}
    told |= {"second_weight": weights, "token_attn": looked if options.spatial else None}
    return linear(at(p, "answer.layer."), np.tanh(f * q)), told
