"""MCD once more, one sample at a time, as loops in numpy float64 written from its equations.

``p`` holds the head's parameters and buffers by name; ``o`` its options; ``s`` one sample as
arrays. In evaluation mode, so that the batch norm is an affine map of its running statistics.
"""

from fractions import Fraction

import numpy as np
from helpers.heads.numpy_blocks import (
    at,
    feed_forward,
    layer_norm,
    linear,
    lstm,
    lstm_question,
    mean,
    relu,
    softmax,
    unit,
)


def plain_weights(p, query, keys):
    size = len(query)
    q = p["query.weight"] @ query
    return softmax(np.array([q @ (p["key.weight"] @ k) / np.sqrt(size) for k in keys]))


def plain_attention(p, query, keys):
    """Eq. 1 for one query: query [D], keys [N, D] (all to be attended) → [D]."""
    weights = plain_weights(p, query, keys)
    return sum(w * (p["value.weight"] @ k) for w, k in zip(weights, keys, strict=True)), weights


def norm(p, x):
    if "norm.running_mean" not in p:
        return layer_norm(at(p, "norm."), x)
    spread = np.sqrt(p["norm.running_var"] + 1e-5)
    return (x - p["norm.running_mean"]) / spread * p["norm.weight"] + p["norm.bias"]


def mean_of(x):
    """Mean of rows [N, D]; zeros without any."""
    return mean(x, np.ones(len(x), bool))


def compress(p, x, seconds, o):
    if o.compress == "mean":
        return x.mean(0)
    weights = p["compress.layer.weight"][0]
    return sum(weights[t] * row for t, row in zip(seconds, x, strict=True)) + float(
        p["compress.layer.bias"][0]
    )


def branch(p, f, other, seconds, o):
    """One modality of a block: f [T, D], other [N, D] of these seconds → out, cross [T, D].

    Both hold the rows that are there; a modality without any asks for nothing.
    """
    size = f.shape[1]
    if len(f) == 0:
        return f, f
    own = [name for name in p if name.startswith("own.")]
    crosses = any(name.startswith(("gate.", "channel.")) for name in p)
    cross = np.zeros(f.shape) if crosses else None
    if len(other) and any(name.startswith("gate.") for name in p):
        vector, _ = plain_attention(at(p, "gate."), compress(p, other, seconds, o), f)
        cross = np.array([row * vector for row in f])
    if len(other) and any(name.startswith("channel.") for name in p):
        q = p["channel.query.weight"] @ compress(p, other, seconds, o)
        k = p["channel.key.weight"] @ f.mean(0)
        mixing = np.array([softmax(q[i] * k / np.sqrt(size)) for i in range(size)])
        cross = np.array([row @ mixing for row in f])
    if not own and cross is None:
        return f, None
    mixed = np.zeros(f.shape) if cross is None else cross.copy()
    if own:
        mixed = mixed + np.array([plain_attention(at(p, "own."), row, f)[0] for row in f])
    y = f + norm(at(p, "norm1."), mixed)  # Eq. 4
    return y + norm(at(p, "norm2."), feed_forward(at(p, "feed_forward."), y)), cross  # Eq. 5


def spread_frames(n, k):
    """Ranks of k of n seconds as evenly as can be (ties to the even one), the last repeated."""
    if n < k:
        return [min(i, n - 1) for i in range(k)]
    return [round(Fraction(i * (n - 1), k - 1)) for i in range(k)]


def aggregate(p, level, own, seconds, q, words, o):
    """level [N, D] at ``own``, some of the valid seconds → vector, the kept ones of those, their
    scores, weights over the k sampled, words."""
    sampled = [seconds[rank] for rank in spread_frames(len(seconds), o.num_frames)]
    there = [i for i, t in enumerate(sampled) if t in own]
    frames = level[[list(own).index(sampled[i]) for i in there]]
    k, every = len(there), np.zeros(o.num_frames)
    if o.aggregator == "literal":
        h = [relu(p["value.weight"] @ f) for f in frames]
        w = word_weights = None
    else:
        context, word_weights = plain_attention(at(p, "words."), mean_of(level), words)
        w = plain_weights(at(p, "frames."), q + context, frames) if k else np.zeros(0)
        every[there] = w
        h = [relu(k * w[i] * (p["frames.value.weight"] @ frames[i])) for i in range(k)]
    scores = [x.mean() for x in h]
    kept = sorted(sorted(range(k), key=lambda i: -scores[i])[: o.num_frames // 2])
    vector = sum((q + h[i] * q for i in kept), np.zeros(len(q)))
    chosen = [sampled[there[i]] for i in kept]
    return vector, chosen, [scores[i] for i in kept], None if w is None else every, word_weights


def two_way_question(p, tokens):
    """A Bi-LSTM as two LSTMs, the second from the end."""
    x = np.tanh(p["embedding.weight"][tokens])
    backward = {k.removesuffix("_reverse"): v for k, v in p.items() if k.endswith("_reverse")}
    there, h1, c1 = lstm(at(p, "lstm."), x)
    back, h2, c2 = lstm(at(backward, "lstm."), x[::-1])
    q = linear(at(p, "project."), np.tanh(np.concatenate([h1, h2, c1, c2])))
    return q, np.concatenate([there, back[::-1]], 1)


def encode(p, tokens, o):
    if o.text_encoder == "bilstm":
        return two_way_question(p, tokens)
    return lstm_question(p, tokens, o.pack)[:2]


def question(p, s, o):
    """q [D] and the real words [N, D]."""
    if o.question == "lstm":
        q, words = encode(at(p, "question."), s["tokens"], o)
        return q, words[s["tokens"] != 0]
    q = linear(at(p, "question.sentence."), s["sentence"])
    if "question.words.weight" not in p:
        return q, None
    return q, linear(at(p, "question.words."), s["words"][1 : s["eot"] + 1])


def text_object(p, s, q, o):
    if not o.text_objects:
        return q
    encoder = at(p, "question.") if o.question == "lstm" else at(p, "text.labels.")
    groups = ["type_tokens", "keyword_tokens"]
    groups += ["choice_tokens"] if o.answer == "choices" else []
    parts = [q] + [encode(encoder, s[name], o)[0] for name in groups]
    return linear(at(p, "text.join."), np.concatenate(parts))


def text_fusion(p, text, visual, audio, parts):
    terms = {"no_text": text, "no_visual": visual, "no_audio": audio}
    total = sum(x for name, x in terms.items() if name != parts)
    return linear(at(p, "layer."), total if parts == "add" else text * total)  # Eq. 10


def answer(p, e, s, o):
    if o.answer == "vocabulary":
        return linear(at(p, "answer.layer."), e)
    scores = [e @ linear(at(p, "answer.layer."), unit(t)) for t in s["choices"]]
    return np.where(s["choice_valid"], scores, -np.inf)


def hears(s):
    """[T], which seconds have sound."""
    return s["valid"] & s.get("audio_valid", True)


def plain_network(p, s, o):
    parts = [question(p, s, o)[0]] if "q" in o.plain else []
    for letter, name in (("a", "audio"), ("v", "frame")):
        if letter in o.plain:
            seconds = hears(s) if name == "audio" else s["valid"]
            parts.append(mean_of(linear(at(p, f"features.{name}."), s[name][seconds])))
    return feed_forward(at(p, "layers."), np.concatenate(parts))


def sample(p, s, o):
    """One sample: logits and what the losses and explanations are made of, by name."""
    if o.plain != "none":
        return {"logits": answer(p, np.tanh(plain_network(at(p, "plain."), s, o)), s, o)}
    audio = linear(at(p, "audio."), s["audio"][hears(s)])
    visual = linear(at(p, "visual."), s["frame"][s["valid"]])
    heard, seconds = np.flatnonzero(hears(s)), np.flatnonzero(s["valid"])
    low = {"audio": audio, "visual": visual}
    q, words = question(p, s, o)
    found = {"cross_audio": 0.0, "cross_visual": 0.0}
    for block in range(o.num_blocks):
        b = at(p, f"blocks.{block}.")
        (audio, cross_a), (visual, cross_v) = (
            branch(at(b, "audio."), audio, visual, seconds, o),
            branch(at(b, "visual."), visual, audio, heard, o),
        )
        if cross_a is not None:
            found["cross_audio"] = found["cross_audio"] + mean_of(cross_a)
        if cross_v is not None:
            found["cross_visual"] = found["cross_visual"] + cross_v.mean(0)
    clues = {}
    for name, high, own in (("audio", audio, heard), ("visual", visual, seconds)):
        for level, x in (("low", low[name]), ("high", high)):
            part = at(p, "aggregator.")
            found[f"{level}_{name}"] = aggregate(part, x, own, seconds, q, words, o)
        clues[name] = (found[f"low_{name}"][0] + found[f"high_{name}"][0]) / 2
        found[f"pooled_{name}"] = mean_of(low[name])
    text = text_object(p, s, q, o)
    guided = text_fusion(
        at(p, "fusion."), text, found["pooled_visual"], found["pooled_audio"], o.lef
    )
    mixed = [p["mix.0.weight"] @ guided, p["mix.1.weight"] @ clues["visual"]]
    mixed.append(p["mix.2.weight"] @ clues["audio"])
    x = found["fused"] = linear(at(p, "combine."), np.concatenate(mixed))
    if o.late_fusion == "add":
        x = x + visual.mean(0) + mean_of(audio)
    if o.late_fusion == "concat":
        x = linear(at(p, "late."), np.concatenate([x, visual.mean(0), mean_of(audio)]))
    return found | {"logits": answer(p, np.tanh(x), s, o)}


def contrast(anchors, others, tau, videos, negatives="cross", there=None):
    """The contrastive loss of a batch, pairs of one video and samples not there left out."""
    if there is not None:
        left = [i for i in range(len(anchors)) if there[i]]
        anchors, others, videos = ([x[i] for i in left] for x in (anchors, others, videos))
    losses = []
    for i in range(len(anchors)):
        keep = [k for k in range(len(others)) if k == i or videos[k] != videos[i]]
        own = [k if negatives == "matched" else i for k in keep]
        pairs = zip(own, keep, strict=True)
        scores = np.array([unit(anchors[a]) @ unit(others[k]) / tau for a, k in pairs])
        losses.append(-np.log(softmax(scores)[keep.index(i)]))
    return float(np.mean(losses))
