"""The shared blocks once more, as loops in numpy float64 written from their equations.

``p`` is a dict of parameters by name (``parameters(module)``); ``at(p, "norm.")`` takes those
below a prefix.
"""

import numpy as np


def parameters(module):
    """State of a torch module as float64 arrays by name."""
    return {k: v.detach().double().numpy() for k, v in module.state_dict().items()}


def at(p, prefix):
    return {k.removeprefix(prefix): v for k, v in p.items() if k.startswith(prefix)}


def mean(x, mask):
    """Mean of the rows of x [N, D] whose mask is true; zeros without any."""
    rows = [row for row, there in zip(x, mask, strict=True) if there]
    return np.mean(rows, 0) if rows else np.zeros(np.shape(x)[1:])


def linear(p, x):
    return x @ p["weight"].T + p.get("bias", 0.0)


def relu(x):
    return np.maximum(x, 0.0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def layer_norm(p, x):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5) * p["weight"] + p["bias"]


def unit(x):
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def attention(p, query, keys, heads, mask=None, values=None):
    """One set: query [M, D], keys [N, D], mask [N] → out [M, D], weights [M, N]."""
    values = keys if values is None else values
    (wq, wk, wv), (bq, bk, bv) = np.split(p["in_proj_weight"], 3), np.split(p["in_proj_bias"], 3)
    size = query.shape[-1] // heads
    open_ = [n for n in range(len(keys)) if mask is None or mask[n]]
    out, average = np.zeros(query.shape), np.zeros((len(query), len(keys)))
    if not open_:
        return out, average
    for m in range(len(query)):
        parts = []
        for h in range(heads):
            rows = slice(h * size, (h + 1) * size)
            q = wq[rows] @ query[m] + bq[rows]
            scores = [q @ (wk[rows] @ keys[n] + bk[rows]) / np.sqrt(size) for n in open_]
            w = softmax(np.array(scores))
            average[m, open_] += w / heads
            parts.append(sum(w[i] * (wv[rows] @ values[n] + bv[rows]) for i, n in enumerate(open_)))
        out[m] = linear(at(p, "out_proj."), np.concatenate(parts))
    return out, average


def feed_forward(p, x):
    return linear(at(p, "3."), relu(linear(at(p, "0."), x)))


def question_block(p, query, keys, mask=None, heads=4):
    """query [D], keys [N, D] → out [D], weights [N]; zeros without any key."""
    if len(keys) == 0 or (mask is not None and not any(mask)):
        return np.zeros(query.shape), np.zeros(len(keys))
    u, w = attention(at(p, "attention."), query[None], keys, heads, mask)
    out = layer_norm(at(p, "norm."), u + feed_forward(at(p, "feed_forward."), u))
    return out[0], w[0]


def hybrid_layer(p, x, y, mask=None, other=None):
    """x [M, D], y [N, D], the masks of each → [M, D]."""
    cross, _ = attention(at(p, "cross_attention."), x, y, 1, other)
    own, _ = attention(at(p, "self_attention."), x, x, 1, mask)
    x = layer_norm(at(p, "norm1."), x + cross + own)
    return layer_norm(at(p, "norm2."), x + feed_forward(at(p, "feed_forward."), x))


def lstm(p, x, suffix="l0"):
    """x [N, D] → outputs [N, H], last hidden [H], last cell [H]."""
    hidden = np.zeros(p[f"weight_hh_{suffix}"].shape[1])
    cell, outputs = hidden.copy(), []
    for step in x:
        gates = p[f"weight_ih_{suffix}"] @ step + p[f"bias_ih_{suffix}"]
        gates = gates + p[f"weight_hh_{suffix}"] @ hidden + p[f"bias_hh_{suffix}"]
        i, f, g, o = np.split(gates, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(cell)
        outputs.append(hidden)
    return np.array(outputs), hidden, cell


def lstm_question(p, tokens, pack=False):
    """tokens [N] → q [D], words [N, H], cell [H]; words past the end are 0 when packed."""
    length = max(n + 1 for n, t in enumerate(tokens) if t) if pack else len(tokens)
    x = np.tanh(p["embedding.weight"][tokens[:length]])
    words, hidden, cell = lstm(at(p, "lstm."), x)
    q = hidden
    if "project.weight" in p:
        q = linear(at(p, "project."), np.tanh(np.concatenate([hidden, cell])))
    return q, np.vstack([words, np.zeros((len(tokens) - length, words.shape[1]))]), cell
