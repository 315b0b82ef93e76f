"""SaSR-Net once more, for one sample, as loops in numpy; both variants."""

import math

import numpy as np
from helpers.heads.numpy_avst import answer, cosines, mlp, picture, question, sound
from helpers.heads.numpy_blocks import (
    at,
    attention,
    layer_norm,
    linear,
    mean,
    question_block,
    sigmoid,
    softmax,
    unit,
)


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def dot_attention(queries, keys, values):
    """queries [M, D], keys and values [N, D] → [M, D], weights [M, N]."""
    size = math.sqrt(len(keys[0]))
    weights = [softmax(np.array([q @ k / size for k in keys])) for q in queries]
    return np.array([sum(w[n] * values[n] for n in range(len(values))) for w in weights]), weights


def feed_forward(p, x):
    return linear(at(p, "3."), gelu(linear(at(p, "0."), x)))


def pre_norm_block(p, x, mask=None):
    y = layer_norm(at(p, "norm1."), x)
    x = x + attention(at(p, "attention."), y, y, 8, mask)[0]
    return x + feed_forward(at(p, "feed_forward."), layer_norm(at(p, "norm2."), x))


def cross_attention(p, x, y):
    """Zeros without any ``y``."""
    if len(x) == 0 or len(y) == 0:
        return np.zeros(x.shape), np.zeros((len(x), len(y)))
    keys = linear(at(p, "key."), y)
    values = linear(at(p, "value."), y) if "value.weight" in p else keys
    mixed, weights = dot_attention(linear(at(p, "query."), x), keys, values)
    return linear(at(p, "out."), mixed), weights


def paper_branch(p, features, tokens, options, before=False):
    """features [T, D], tokens [G, D] → features, tokens, time attention [G, T]."""
    seconds, weights = len(features), None
    if options.slt:
        rows = np.concatenate([features, tokens])
        if options.slt_attn == "block":
            rows = pre_norm_block(at(p, "mix."), rows)
        else:
            rows, _ = dot_attention(rows, rows, rows)
        features, tokens = rows[:seconds], rows[seconds:]
    if options.sasr:
        gathered, weights = cross_attention(at(p, "gather."), tokens, features)
        updated = tokens + gathered
        given, _ = cross_attention(at(p, "scatter."), features, tokens if before else updated)
        tokens = updated
        features = given + features if options.residual else given
    return features, tokens, weights


def cross_block(p, x, y, mask=None, post=False):
    if post:
        x = x + attention(at(p, "attention."), x, y, 8, mask)[0]
    else:
        x_, y_ = layer_norm(at(p, "norm_x."), x), layer_norm(at(p, "norm_y."), y)
        x = x + attention(at(p, "attention."), x_, y_, 8, mask)[0]
    x = x + feed_forward(at(p, "feed_forward."), layer_norm(at(p, "norm."), x))
    return layer_norm(at(p, "norm_out."), x) if post else x


def grouping(p, x, tokens, valid, hard):
    """x [T, D], tokens [n, D] → [n, D], w [n, T]; soft: the tokens are seconds themselves."""
    x, z = layer_norm(at(p, "norm_x."), x), layer_norm(at(p, "norm_tokens."), tokens)
    open_ = [n for n in range(len(z)) if hard or valid[n]]
    for n in range(len(z)):
        z[n] = z[n] if n in open_ else 0
    mixed = np.zeros(z.shape)
    for d in range(z.shape[1]):
        mixed[:, d] = linear(at(p, "mix.2."), gelu(linear(at(p, "mix.0."), z[:, d])))
    z = cross_block(at(p, "cross."), layer_norm(at(p, "norm_mixed."), mixed), x, valid, post=True)
    queries, keys = linear(at(p, "query."), z), linear(at(p, "key."), x)
    w = np.zeros((len(z), len(x)))
    for t in range(len(x)):
        scores = np.array([queries[n] @ keys[t] / math.sqrt(x.shape[1]) for n in open_])
        if not valid[t]:
            continue
        if hard:
            w[open_[scores.argmax()], t] = 1
        else:
            w[open_, t] = softmax(scores)
    values = linear(at(p, "value."), x)
    for n in range(len(z)):
        total = sum(w[n, t] * values[t] for t in range(len(x))) / (w[n].sum() + 1)
        z[n] = z[n] + linear(at(p, "out."), total)
    return z + feed_forward(at(p, "feed_forward."), layer_norm(at(p, "norm."), z)), w


def official_branch(p, features, tokens, valid, seconds=None):
    count = len(features)
    rows = np.concatenate([features, tokens])
    mask = [*valid, *[True] * len(tokens)]
    for i in range(3):
        rows = pre_norm_block(at(p, f"blocks.{i}."), rows, mask)
    features, tokens = rows[:count], rows[count:]
    if seconds is not None:
        features, _ = grouping(at(p, "regroup."), features, seconds, valid, hard=False)
    tokens, w = grouping(at(p, "group."), features, tokens, valid, hard=True)
    return features + cross_block(at(p, "give_back."), features, tokens), tokens, w


def of_sound(p, a, tokens, heard, options):
    """The audio's branch over the seconds with sound, zeros at the others."""
    before = options.audio_tokens == "before"
    found, tokens, weights = paper_branch(at(p, "audio."), a[heard], tokens, options, before)
    features = np.zeros(a.shape)
    features[heard] = found
    if weights is not None:
        every = np.zeros((len(tokens), len(a)))
        every[:, heard] = weights
        weights = every
    return features, tokens, weights


def branches(p, s, visual, heard, options):
    """(features, tokens, time attention) of the audio and of the frames."""
    p, a = at(p, "sources."), np.array(sound(p, s["audio"], heard))
    if options.variant == "paper":
        tokens = p.get("tokens")
        if tokens is None:
            return (a, None, None), (visual, None, None)
        seen = paper_branch(at(p, "visual."), visual, tokens, options)
        return of_sound(p, a, tokens, heard, options), seen
    parts = [linear(at(p, f"project_visual.{i}."), visual) for i in range(2)]
    joined = linear(at(p, "join_visual."), np.concatenate(parts, -1))
    a = linear(at(p, "project_audio."), a)
    a, tokens, weights = official_branch(at(p, "audio."), a, p["tokens"], heard, joined)
    a = a * heard[:, None]
    return (a, tokens, weights), official_branch(at(p, "visual."), joined, p["tokens"], s["valid"])


def locate(p, maps, a, v, options):
    """v^sa [T, D], weights [T, P]."""
    if not options.sa:
        return v, None
    out, found = [], []
    for t, rows in enumerate(maps):
        scores = cosines(rows, a[t]) if options.sa_norm == "cosine" else rows @ a[t]
        rows = unit(rows) if options.sa_norm == "cosine" else rows
        w = softmax(scores / options.ground_temp)
        g = sum(w[i] * rows[i] for i in range(len(rows)))
        out.append(linear(at(p, "visual."), np.tanh(np.concatenate([v[t], g]))))
        found.append(w)
    return np.array(out), np.array(found)


def temporal(p, q, x, mask, options):
    if not options.ta:
        return mean(x, mask), None
    if options.temporal == "qblock" or options.variant == "official":
        return question_block(at(p, "block."), q, x, mask)
    weights = np.zeros(len(x))
    if not mask.any():
        return np.zeros(len(q)), weights
    out, (weights[mask],) = dot_attention([q], x[mask], x[mask])
    return out[0], weights


def sasr(p, s, options):
    """Everything SaSR-Net computes for one sample; ``s`` has its padded seconds in ``valid``."""
    q, valid = question(p, s, options)[0], s["valid"]
    heard = valid & s.get("audio_valid", True)
    maps = [picture(p, rows) for rows in s["patch"]]
    visual = np.array([rows.mean(0) for rows in maps])
    if options.variant == "paper":  # padded seconds are simply not there
        maps, visual = [m for m, v in zip(maps, valid, strict=True) if v], visual[valid]
        s = s | {name: s[name][valid] for name in ("audio", "negative_patch")}
        heard = heard[valid]
    (a, tokens_a, time_a), (v, tokens_v, time_v) = branches(p, s, visual, heard, options)
    v_sa, spatial = locate(p, maps, a, v, options)
    found = {"spatial_attn": spatial}
    if options.sa:
        others = [picture(p, rows) for rows in s["negative_patch"]]
        other = np.array([m.mean(0) for m in others])
        _, (v_other, _, _) = branches(p, s, other, heard, options)
        apart, _ = locate(p, others, a, v_other, options)
    if options.variant == "official":  # rows of padded seconds end here
        a, v, v_sa, apart = a[valid], v[valid], v_sa[valid], apart[valid]
        heard = heard[valid]
        found["spatial_attn"] = spatial[valid]
    if options.sa:
        for name, x in (("match", v_sa), ("apart", apart)):
            if options.match == "linear":
                found[name] = [softmax(linear(at(p, "match."), row))[1] for row in x[heard]]
                continue
            pairs = np.concatenate([a, x], -1)[heard]
            found[name] = [softmax(mlp(at(p, "match."), pair))[1] for pair in pairs]
    every = np.ones(len(v), bool)
    u_a, found["temporal_attn_audio"] = temporal(at(p, "temporal_audio."), q, a, heard, options)
    u_v, found["temporal_attn_visual"] = temporal(
        at(p, "temporal_visual."), q, v_sa, every, options
    )
    short = v_sa if options.shortcut == "vsa" or options.variant == "official" else v
    joined = np.concatenate([u_a + mean(a, heard), u_v + short.mean(0)])
    e = np.tanh(linear(at(p, "fuse."), np.tanh(joined)) * q)
    if options.has_tokens:
        for name, tokens in (("audio", tokens_a), ("visual", tokens_v)):
            logits = linear(at(p, f"source_{name}."), tokens)[:, 0]
            there = heard.any() or name == "visual"
            found[f"token_source_prob_{name}"] = sigmoid(logits) * there
        found |= {"token_time_attn_audio": time_a, "token_time_attn_visual": time_v}
    found = {name: x for name, x in found.items() if x is not None}
    return found | {"logits": answer(p, e, s, options)}
