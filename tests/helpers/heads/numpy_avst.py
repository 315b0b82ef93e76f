"""AVST's modules once more, for one sample, as loops in numpy; TJSTG shares some of them."""

import numpy as np
from helpers.heads.numpy_blocks import (
    at,
    linear,
    lstm_question,
    mean,
    question_block,
    relu,
    softmax,
    unit,
)


def sample(inputs, b):
    """Sample ``b`` of a batch as arrays, its valid seconds only."""
    valid = inputs.valid[b].numpy()
    fields = {k: v[b].numpy() for k, v in vars(inputs).items() if v is not None}
    timed = ("audio", "audio_valid", "patch", "negative_patch")
    return {k: v[valid] if k in timed else v for k, v in fields.items()}


def question(p, s, options):
    """q [D], words [N, D] of the real words, cell [D]."""
    if options.question == "lstm":
        q, words, cell = lstm_question(at(p, "question."), s["tokens"], options.pack)
        return q, words[s["tokens"] != 0], cell
    q = linear(at(p, "question.sentence."), s["sentence"])
    if "question.words.weight" not in p:
        return q, None, None
    return q, linear(at(p, "question.words."), s["words"][1 : s["eot"] + 1]), None


def hears(s):
    """[T], which seconds have sound."""
    return s.get("audio_valid", np.ones(len(s["audio"]), bool))


def sound(p, audio, heard):
    """a [T, D], zeros where nothing is heard."""
    if "audio.weight" in p:
        found = [linear(at(p, "audio."), x) for x in audio]
    else:
        found = [linear(at(p, "audio.2."), relu(linear(at(p, "audio.0."), x))) for x in audio]
    return [a if there else 0 * a for a, there in zip(found, heard, strict=True)]


def picture(p, rows):
    return linear(at(p, "picture."), rows) if "picture.weight" in p else rows


def cosines(rows, vector):
    return np.array([unit(row) @ unit(vector) for row in rows])


def see(p, rows, grounded):
    return linear(at(p, "visual."), np.tanh(np.concatenate([rows.mean(0), grounded])))


def look(p, patch, a, temperature):
    """v [T, D], s [T, P]."""
    v, maps = [], []
    for t in range(len(patch)):
        rows = picture(p, patch[t])
        s = softmax(cosines(rows, a[t]) / temperature)
        v.append(see(p, rows, sum(s[i] * unit(rows[i]) for i in range(len(rows)))))
        maps.append(s)
    return v, maps


def mlp(p, x):
    for layer in ("0.", "2.", "4."):
        x = relu(linear(at(p, layer), x))
    return linear(at(p, "6."), x)


def match_prob(p, a, v):
    pairs = np.concatenate([a, v], -1)
    return [softmax(mlp(at(p, "match."), pair))[1] for pair in pairs]


def match_loss(probabilities, apart):
    """Mean over all pairs of all samples: each a list of lists of P(match)."""
    own = [-np.log(x) for sample in probabilities for x in sample]
    other = [-np.log(1 - x) for sample in apart for x in sample]
    return np.mean(own + other)


def fusion(p, q, streams, heard, temporal=True):
    """f [D], weights by stream."""
    parts, weights = [], {}
    for name, x in streams.items():
        mask = heard if name == "audio" else np.ones(len(x), bool)
        part = mean(x, mask)
        if temporal:
            u, weights[name] = question_block(at(p, f"ground.{name}."), q, np.array(x), mask)
            part = part + u
        parts.append(part)
    return linear(at(p, "fuse."), np.tanh(np.concatenate(parts))), weights


def answer(p, e, s, options):
    if options.answer == "vocabulary":
        return linear(at(p, "answer.layer."), e)
    scores = [e @ linear(at(p, "answer.layer."), unit(text)) for text in s["choices"]]
    return np.where(s["choice_valid"], scores, -np.inf)


def avst(p, s, options):
    """Everything AVST computes for one sample."""
    q, _, _ = question(p, s, options)
    if options.modalities == "q":
        e = np.tanh(linear(at(p, "hidden."), q))
        return {"logits": answer(p, e, s, options)}
    streams, found, heard = {}, {}, hears(s) if "audio" in s else None
    if "a" in options.modalities:
        streams["audio"] = sound(p, s["audio"], heard)
    if "v" in options.modalities and not options.spatial:
        means = [picture(p, rows).mean(0) for rows in s["patch"]]
        streams["visual"] = [linear(at(p, "visual."), np.tanh(x)) for x in means]
    elif options.spatial:
        a = streams["audio"]
        streams["visual"], found["spatial_attn"] = look(p, s["patch"], a, options.ground_temp)
        apart, _ = look(p, s["negative_patch"], a, options.ground_temp)
        own = np.array(match_prob(p, a, streams["visual"]))
        found["match_prob"] = own * heard
        found["match"] = own[heard], np.array(match_prob(p, a, apart))[heard]
    f, weights = fusion(at(p, "fusion."), q, streams, heard, options.temporal)
    found |= {f"temporal_attn_{name}": w for name, w in weights.items()}
    return found | {"logits": answer(p, np.tanh(f * q), s, options)}
