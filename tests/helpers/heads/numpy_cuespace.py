"""CueSpace once more: loops over seconds, experts and slots, written from its equations.

Everything of one sample: rows [T, ...], masks [T]. ``p`` are the head's parameters by name.
"""

from dataclasses import replace

import numpy as np
from helpers.heads.numpy_blocks import (
    at,
    attention,
    feed_forward,
    layer_norm,
    linear,
    lstm_question,
    relu,
    softmax,
)


def question(p, sample, options):
    """Sentence [D] before its norm, words [N, D], mask [N]."""
    if options.question == "lstm":
        q, words, _ = lstm_question(p, sample["tokens"])
        return q, words, sample["tokens"] != 0
    number = len(sample["words"])
    mask = np.arange(number) <= (sample["eot"] if options.mask_words else number)
    q = linear(at(p, "sentence."), sample["sentence"])
    return q, linear(at(p, "words."), sample["words"]), mask


def half(p, x):
    return linear(at(p, "2."), relu(linear(at(p, "0."), x)))


def aligned(p, x):
    return linear(at(p, "1."), layer_norm(at(p, "0."), x))


def fused(p, x, mask, words, word_mask):
    total = x + attention(at(p, "own."), x, x, 8, mask)[0]
    if "words.out_proj.weight" in p:
        total = total + attention(at(p, "words."), x, words, 8, word_mask)[0]
    x = layer_norm(at(p, "norm1."), total)
    return layer_norm(at(p, "norm2."), x + feed_forward(at(p, "feed_forward."), x))


def found(p, rows, cues, norm):
    """FCR of every second: rows [T, D], cues [T, P, D] → [T, D], weights [T, P]."""
    out, weights = [], []
    for f, c in zip(rows, cues, strict=True):
        c = c + attention(at(p, "own."), c, c, 8)[0]
        o, w = attention(at(p, "cross."), f[None], c, 8)
        out.append(layer_norm(at(p, norm), half(at(p, "mlp."), o[0])))
        weights.append(w[0])
    return np.array(out), np.array(weights)


def mixed(p, q, x, cues, mask, options):
    """MoE: q [D] or None → [T, D], the weights of the experts."""
    experts, size = options.experts, x.shape[1] // 2
    share = np.full(experts, 1 / experts)
    if options.routing == "softmax":
        there = [row for row, is_there in zip(x, mask, strict=True) if is_there]
        u = np.mean(there, 0) if there else np.zeros(x.shape[1])
        if q is not None:
            u = attention(at(p, "attention."), q[None], x, 8, mask)[0][0]
        share = softmax(linear(at(p, "router."), u))
    inner, out = at(p, "inner."), []
    for t in range(len(x)):
        y = np.zeros(x.shape[1])
        for e in range(experts):
            rows = slice(e * size, (e + 1) * size)
            hidden = relu(inner["weight"][rows] @ (x[t] + cues[t]) + inner["bias"][rows])
            y += share[e] * linear(at(p, f"outer.{e}."), hidden)
        out.append((layer_norm(at(p, "norm1."), y) + layer_norm(at(p, "norm2."), y)) / 2 + x[t])
    return np.array(out), share


def by_option(p, sample, options):
    """The whole network once an option, as if its text were the question and it the only option."""
    scores, told = [], []
    for o in range(len(sample["choices"])):
        text = {"sentence": sample["choices"][o], "words": sample["choice_words"][o]}
        text |= {"eot": sample["choice_eot"][o], "choices": sample["choices"][o : o + 1]}
        one = sample | text | {"choice_valid": np.array([True])}
        score, of_option = cuespace(p, one, replace(options, options="shared"))
        scores.append(score[0] if sample["choice_valid"][o] else -np.inf)
        told.append(of_option)
    return np.array(scores), told[int(np.argmax(scores))]


def cuespace(p, sample, options):
    """Logits [C] or [O] and what the head explains, of one sample."""
    if options.answer == "choices" and options.options == "per_option":
        return by_option(p, sample, options)
    valid, heard = sample["valid"], sample["heard"]
    sentence, words, word_mask = question(at(p, "question."), sample, options)
    q = layer_norm(at(p, "question_norm."), sentence)
    a0 = aligned(at(p, "align_audio."), linear(at(p, "audio."), sample["audio"]))
    a0 = a0 * heard[:, None]
    v0 = aligned(at(p, "align_visual."), linear(at(p, "visual."), sample["frame"]))
    a = fused(at(p, "fusion."), a0, heard, words, word_mask)
    v = fused(at(p, "fusion."), v0, valid, words, word_mask)
    told, none = {}, np.zeros_like(v)
    of_sound = of_frames = cross_a = cross_v = none
    if options.patches:
        bands, tokens = (linear(at(p, f"{n}."), sample[n]) for n in ("bands", "patch"))
        of_sound, weights = found(at(p, "own.audio."), a, bands, "norm_audio.")
        told["band_attn"] = weights * heard[:, None]
        of_frames, weights = found(at(p, "own.visual."), v, tokens, "norm_visual.")
        told["patch_attn"] = weights * valid[:, None]
        if options.collaborative:
            cross_a = found(at(p, "crossed.visual."), v0, tokens, "norm_visual.")[0]
            cross_v = found(at(p, "crossed.audio."), a0, bands, "norm_audio.")[0] * heard[:, None]
    rows = {}
    for name, x, cues, mask in (("audio", a, of_sound, heard), ("visual", v, of_frames, valid)):
        rows[name], told[f"expert_route_{name}"] = mixed(
            at(p, f"mixtures.{name}."), q, x, cues, mask, options
        )
    masks = {"audio": heard, "visual": valid, "both": valid}
    chains = [["audio", "both"], ["both", "visual"], ["audio", "visual", "both"]]
    if options.collaborative:
        x, _ = mixed(at(p, "cross_mixtures.audio."), None, a0, cross_a, heard, options)
        y, _ = mixed(at(p, "cross_mixtures.visual."), None, v0, cross_v, valid, options)
        joined = np.concatenate([x * heard[:, None], y], 1)
        rows["both"] = linear(
            at(p, "together.outer."), relu(linear(at(p, "together.inner."), joined))
        )
    slots, reads = [], []
    for number, names in enumerate(chains):
        z, steps = words, [name for name in names if name in rows]
        for step, name in enumerate(steps):
            chain = at(p, f"chains.{number}.")
            o, weights = attention(at(chain, f"reads.{step}."), z, rows[name], 8, masks[name])
            z = layer_norm(at(chain, f"norms.{step}."), z + o)
            reads.append((number, name, weights))
        slots.append(z)
    memory, readout = np.concatenate(slots), at(p, "readout.")
    queries = q[None]
    if options.answer == "choices":
        layer = "option." if options.question != "clip" else "question.sentence."
        queries = layer_norm(at(p, "question_norm."), linear(at(p, layer), sample["choices"]))
    o, weights = attention(at(readout, "attention."), queries, memory, 8, np.tile(word_mask, 3))
    h = relu(layer_norm(at(readout, "norm."), queries + half(at(readout, "mlp."), o)))
    if options.answer == "choices":
        weights = weights[sample["choice_valid"]]
    by_slot = weights.mean(0).reshape(3, -1)
    told["word_attn"] = by_slot.sum(0)
    for name in rows:
        told[f"second_weight_{name}"] = sum(
            by_slot[n] @ w for n, other, w in reads if other == name
        )
    if options.answer == "choices":
        scores = linear(at(p, "score."), h)[:, 0]
        return np.where(sample["choice_valid"], scores, -np.inf), told
    return linear(at(p, "answer."), h[0]), told
