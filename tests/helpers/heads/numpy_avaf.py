"""AVAF-Net once more, one sample at a time, as loops in numpy float64 written from its equations.

``p`` holds the head's parameters by name; ``o`` its options; ``s`` one sample as arrays.
"""

import numpy as np
from helpers.heads.numpy_blocks import (
    at,
    attention,
    feed_forward,
    layer_norm,
    linear,
    lstm_question,
    softmax,
    unit,
)


def cross_layer(p, query, keys, mask, heads=4, positions=None):
    """query [M, D], keys [N, D], mask [N] → out [M, D], weights [M, N]."""
    if positions is None:
        mixed, weights = attention(at(p, "attention."), query, keys, heads, mask)
    else:
        q, k = query + positions, keys + positions
        mixed, weights = attention(at(p, "attention."), q, k, heads, mask, values=keys)
    if "norm1.weight" not in p:
        return mixed, weights
    x = layer_norm(at(p, "norm1."), query + mixed)
    return layer_norm(at(p, "norm2."), x + feed_forward(at(p, "feed_forward."), x)), weights


def question(p, s, o):
    """Sentence [D], words [N, D], mask [N]."""
    if o.question == "lstm":
        q, words, _ = lstm_question(at(p, "question."), s["tokens"], o.pack)
        return q, words, s["tokens"] != 0

    def through(name, x):
        layer = at(p, f"question.{name}.")
        return linear(layer, x) if layer else x

    source = s["words"][0] if o.q_pool == "sot" else s["sentence"]
    mask = np.array([n + 1 <= s["eot"] for n in range(76)])
    return through("sentence", source), through("words", s["words"][1:]), mask


def hears(s):
    """[T], which seconds have sound."""
    return s["valid"] & s.get("audio_valid", True)


def mine(p, s, words, mask, o):
    """a, Z, a', Z' of one sample and the weights of the audio over the words."""
    there = hears(s)[:, None]
    audio = linear(at(p, "audio."), s["audio"]) * there
    patches = linear(at(p, "visual."), s["patch"])
    if o.audio_encoder:
        positions = p["audio_encoder.positions"][: len(audio)]
        layer = at(p, "audio_encoder.layer.")
        audio = cross_layer(layer, audio, audio, hears(s), 1, positions)[0] * there
    if not o.avcm:
        return audio, patches, audio, patches, None
    heard, weights = cross_layer(at(p, "mine_audio."), audio, words, mask)
    seen = [cross_layer(at(p, "mine_visual."), z, words, mask)[0] for z in patches]
    return audio, patches, heard * there, np.array(seen), weights


def sample(p, s, o):
    """Logits, and what losses and explanations are made of, by name."""
    q, words, mask = question(p, s, o)
    audio, patches, heard, seen, word_attn = mine(p, s, words, mask, o)
    shown = np.repeat(s["valid"], patches.shape[1])
    about_sound, audio_attn = cross_layer(at(p, "fusion.audio."), words, heard, hears(s))
    flat = seen.reshape(-1, seen.shape[-1])
    about_sight, patch_attn = cross_layer(at(p, "fusion.visual."), words, flat, shown)
    delta = np.ones(2)
    if o.qoaf:
        scores = linear(at(p, "fusion.weigh."), q)
        delta = softmax(np.maximum(scores, 0) if o.weight_relu else scores)
    about_sight, about_sound = delta[0] * about_sight, delta[1] * about_sound
    fused = about_sight + about_sound
    if o.fuse == "concat":
        joined = np.concatenate([about_sight, about_sound], 1)
        fused = linear(at(p, "fusion.join."), joined)  # Eq. 13
    pool = np.zeros(len(words))
    pool[mask] = softmax(feed_forward(at(p, "pool.score."), fused)[mask, 0])
    e = sum(w * f for w, f in zip(pool, fused, strict=True))
    if o.answer == "vocabulary":
        logits = linear(at(p, "answer.layer."), e)
    else:
        scores = [e @ linear(at(p, "answer.layer."), unit(t)) for t in s["choices"]]
        logits = np.where(s["choice_valid"], scores, -np.inf)
    found = {"logits": logits, "q": q, "a": audio, "Z": patches, "a'": heard, "Z'": seen}
    found |= {"audio_attn": audio_attn, "patch_attn": patch_attn}
    return found | {"delta": delta, "pool": pool, "word_attn": word_attn}


def sim(x, y):
    return unit(x) @ unit(y)


def temporal_loss(a, patches, valid, sounding="weighted"):
    """Eq. 1–3 of one sample."""
    seconds, size = np.flatnonzero(valid), a.shape[1]
    v = {t: patches[t].mean(0) for t in seconds}
    s = {t: np.mean([z @ a[t] / np.sqrt(size) * z for z in patches[t]], 0) for t in seconds}
    if sounding == "product":
        s = {t: np.mean([z * a[t] for z in patches[t]], 0) for t in seconds}
    total = 0.0
    for i in seconds:
        for j in seconds:
            total += abs(sim(a[i], v[j]) - sim(a[i], a[j]))
            total += abs(sim(a[i], v[j]) - sim(v[i], v[j]))
            total += abs(sim(a[i], a[j]) - sim(s[i], s[j]))
    return total / len(seconds) ** 2


def fnac_loss(audios, maps, valids):
    """The authors' form, over all valid seconds of a batch (lists of samples)."""
    a = [x[t] for x, ok in zip(audios, valids, strict=True) for t in np.flatnonzero(ok)]
    z = [x[t] for x, ok in zip(maps, valids, strict=True) for t in np.flatnonzero(ok)]
    v, s = [], []
    for sound, picture in zip(a, z, strict=True):
        v.append(picture.max(0))
        c = picture @ sound
        scaled = (c - c.min()) / (c.max() - c.min())
        s.append(picture[scaled >= 0.6].mean(0))

    def matrix(x, y):
        return softmax(np.array([[sim(i, j) for j in y] for i in x]) / 0.03)

    av, aa, vv, ss = matrix(a, v), matrix(a, a), matrix(v, v), matrix(s, s)
    return np.mean(abs(av - aa) + abs(av - vv) + abs(aa - ss))


def spatial_losses(query, patches, valid, phi, tau, temperature, foreign=()):
    """Eq. 6–9 for one query of one sample: the loss of every second that counts.

    query [D] or [T, D]; ``foreign``: unit patches of other videos.
    """
    losses = []
    for t in np.flatnonzero(valid):
        q = query if query.ndim == 1 else query[t]
        p = softmax(np.array([sim(q, z) for z in patches[t]]) / temperature)
        extra = np.mean([unit(q) @ z for z in foreign]) if len(foreign) else 0.0
        if (p > phi).any():
            total = sum(np.exp(x / tau) for x in p) + extra
            losses.append(-np.log(sum(np.exp(x / tau) for x in p if x > phi) / total))
    return losses
