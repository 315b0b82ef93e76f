"""PSTP-Net once more, one sample at a time, as loops in numpy written from its equations.

Also its cost by hand: the multiply-adds that the paper's table counts.
"""

import math

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
    relu,
)


def pstp(p, sample, o):
    """Logits [C] and explanations of one sample (dict of arrays) under options ``o``."""
    q, words = encode_question(p, sample, o)
    valid = sample["valid"]
    heard = valid & sample.get("audio_valid", True)
    a = linear(at(p, "audio."), sample["audio"])
    v = linear(at(p, "visual."), sample["frame"])
    z = linear(at(p, "patch."), sample["patch"]) if o.use_srsm or o.use_avam else None
    tokens, seen = {}, {}
    kept = [(t, a[t] if heard[t] else None) for t in range(len(valid)) if valid[t]]
    if o.use_tssm:
        kept = select_segments(p, a, v, valid, heard, q, o, tokens, seen)
    look_closely(p, kept, z, q, o, tokens, seen)
    if o.use_lgpm:
        x, y = a[heard], v[valid]
        for n in range(o.lgpm_layers):
            layer = at(p, f"lgpm.{n}.")
            x, y = hybrid_layer(layer, x, y), hybrid_layer(layer, y, x)
        tokens["global audio"], tokens["global visual"] = list(x), list(y)
    nothing = not (o.use_tssm or o.use_srsm or o.use_avam or o.use_lgpm)
    if nothing or o.fusion == "selfattn_words":
        tokens["audio"], tokens["visual"] = list(a[heard]), list(v[valid])
    if o.fusion == "selfattn_words":
        tokens["words"] = list(words)
    e = np.tanh(fuse(p, tokens, o) * q)
    return linear(at(p, "answer.layer."), e), seen


def encode_question(p, sample, o):
    if o.question == "lstm":
        q, words, _ = lstm_question(at(p, "question."), sample["tokens"], o.pack)
        return q, words[sample["tokens"] != 0]
    q = linear(at(p, "question.sentence."), sample["sentence"])
    if o.fusion == "mean":
        return q, None
    return q, linear(at(p, "question.words."), sample["words"][1 : sample["eot"] + 1])


def segments_of(valid, num_segments):
    """Lists of valid seconds, one for each segment up to the last valid second."""
    length = max(t + 1 for t in range(len(valid)) if valid[t])
    size = math.ceil(length / num_segments)
    return [
        [t for t in range(start, min(start + size, length)) if valid[t]]
        for start in range(0, length, size)
    ]


def select_segments(p, a, v, valid, heard, q, o, tokens, seen):
    segments = segments_of(valid, o.num_segments)
    fused_a, fused_v = a.copy(), v.copy()
    vectors = []
    real = [i for i, segment in enumerate(segments) if segment]
    for i in real:
        s = segments[i]
        sounding = [t for t in s if heard[t]]
        for layer in ["avf.", *(f"avf_deeper.{n}." for n in range(o.avf_layers - 1))] * o.avf:
            pair, weights = (fused_a[sounding].copy(), fused_v[s].copy()), at(p, layer)
            fused_a[sounding], fused_v[s] = (
                hybrid_layer(weights, *pair),
                hybrid_layer(weights, *pair[::-1]),
            )
        means = np.concatenate([mean(fused_a[s], heard[s]), fused_v[s].mean(0)])
        vectors.append(linear(at(p, "tssm.join."), np.tanh(means)))
    u, w = question_block(at(p, "tssm.block."), q, np.array(vectors))
    best = sorted(sorted(range(len(real)), key=lambda i: -w[i])[: o.top_k_segments])
    seen["segment_weights"] = np.zeros(len(segments))
    seen["segment_weights"][real] = w
    seen["segment_index"] = [real[i] for i in best]
    if o.select_from == "raw":
        fused_a, fused_v = a, v
    tokens["audio of segments"], tokens["visual of segments"], kept = [], [], []
    for i in best:
        factor = len(best) * w[i] / sum(w[j] for j in best)
        factor = factor if o.select_grad in ("weighted", "both") else 1.0
        for t in segments[real[i]]:
            if heard[t]:
                tokens["audio of segments"].append(factor * fused_a[t])
            tokens["visual of segments"].append(factor * fused_v[t])
            kept.append((t, fused_a[t] if heard[t] else None))
    if o.select_grad in ("attended", "both"):
        tokens["attended segments"] = [u]
    return kept


def look_closely(p, kept, z, q, o, tokens, seen):
    names = ("frame_seconds", "patch_weights", "patch_index", "audio_patch_attn")
    seen |= {name: [] for name in names}
    for second, query in kept:
        seen["frame_seconds"].append(second)
        if o.use_srsm or o.use_avam:
            keys = z[second]
        if o.use_srsm:
            u, w = question_block(at(p, "srsm.block."), q, keys)
            best = sorted(sorted(range(len(keys)), key=lambda i: -w[i])[: o.top_k_patches])
            seen["patch_weights"].append(w)
            seen["patch_index"].append(best)
            factor = len(best) * w[best] / w[best].sum()
            factor = factor if o.select_grad in ("weighted", "both") else np.ones(len(best))
            keys = keys[best] * factor[:, None]
            tokens.setdefault("patches", []).extend(keys)
            if o.select_grad in ("attended", "both"):
                tokens.setdefault("attended patches", []).append(u)
        if o.use_avam and query is None:  # what is not heard looks at nothing
            seen["audio_patch_attn"].append(np.zeros(len(keys)))
        elif o.use_avam:
            u, w = question_block(at(p, "avam."), query, keys)
            tokens.setdefault("sounding", []).append(u)
            seen["audio_patch_attn"].append(w)


def fuse(p, tokens, o):
    tokens = {name: group for name, group in tokens.items() if len(group)}
    if not tokens:
        return 0.0
    if o.fusion == "selfattn_words":
        layer = at(p, "self_attention.")
        x = np.concatenate([np.array(group) for group in tokens.values()])
        x = layer_norm(at(layer, "norm1."), x + attention(at(layer, "attention."), x, x, 1)[0])
        x = layer_norm(at(layer, "norm2."), x + feed_forward(at(layer, "feed_forward."), x))
        ends = np.cumsum([len(group) for group in tokens.values()])
        groups = np.split(x, ends[:-1])
    else:
        groups = [relu(np.array(group)) for group in tokens.values()]
    if o.pool == "groups":
        return np.mean([group.mean(0) for group in groups], 0)
    return np.concatenate(groups).mean(0)


def printed_flops(*, segments, k, m, tssm=True, srsm=True, avam=True, lgpm=True):
    """The cost table's FLOPs: multiply-adds of FC layers, 4 operations per number in a norm.

    60 s at width 512 with 49 patches and a class token through the patch layer, 77 words, no
    AVF, the words and the raw features in the fused sequence, attention not counted.
    """
    width, words = 512, 77
    fc, ffn, norm = width * width, 2 * width * width, 4 * width
    seconds = k * (60 // segments) if tssm else 60
    total = 60 * 128 * width + 60 * fc + fc + words * fc  # audio, frame, question, words
    tokens = 2 * 60 + words
    if tssm:
        total += segments * 2 * fc + ffn + norm
        tokens += 2 * seconds
    if srsm:
        total += 60 * 50 * fc + seconds * (ffn + norm)
        tokens += seconds * m
    if avam:
        total += seconds * (ffn + norm)
        tokens += seconds
    if lgpm:
        total += 120 * (ffn + 2 * norm)
        tokens += 120
    return total + tokens * (ffn + 2 * norm) + width * 42
