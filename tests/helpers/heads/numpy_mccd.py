"""MCCD's losses in loops, from the equations alone."""

import math

import numpy as np


def softmax(row):
    powers = [math.exp(x - max(row)) for x in row]
    return [x / sum(powers) for x in powers]


def divergence(p_row, q_row):
    """KL(softmax(p_row) ‖ softmax(q_row))."""
    return sum(
        p * math.log(p / q) for p, q in zip(softmax(p_row), softmax(q_row), strict=True) if p > 0
    )


def apart(fusion, biased, kind):
    if kind == "kl":
        return divergence(fusion, biased)
    return math.sqrt(sum((m - k + 1e-6) ** 2 for m, k in zip(fusion, biased, strict=True)))


def rows(logits, there, b):
    """The logits of sample b that are there, as a list."""
    return [x for x, shown in zip(logits[b].tolist(), there[b], strict=True) if shown]


def mean_apart(fusion, biased, there, seen, kind):
    """d_k; None where no sample counts."""
    found = [
        apart(rows(fusion, there, b), rows(biased, there, b), kind)
        for b in range(len(fusion))
        if seen[b]
    ]
    return float(np.mean(found)) if found else None


def distance_loss(fusion, learners, there, seen, kind):
    """Of learners {name: logits}; ``seen`` {name: [B]}."""
    total, share = 0.0, 3 / len(learners)
    for name, biased in learners.items():
        d = mean_apart(fusion, biased, there, seen[name], kind)
        if d is not None and kind == "l2":
            total += 0.01 * 0.333 * share / (d + 1e-5)
        elif d is not None:
            total += 0.001 * share / (d + 1e-8)
    return total


def cycle_loss(learners, there, seen):
    pairs = [p for p in (("q", "a"), ("v", "q"), ("a", "v")) if set(p) <= set(learners)]
    total = 0.0
    for x, y in pairs:
        found = [
            divergence(rows(learners[x], there, b), rows(learners[y], there, b))
            for b in range(len(there))
            if seen[x][b] and seen[y][b]
        ]
        total += 0.333 * (0.333 * 3 / len(pairs)) * (np.mean(found) if found else 0.0)
    return float(total)


def cross_entropy(learners, right, there, seen):
    """Σ_k CE(y_k)."""
    total = 0.0
    for name, biased in learners.items():
        losses = []
        for b in range(len(right)):
            place = int(np.sum(there[b][: right[b]]))
            if seen[name][b]:
                losses.append(-math.log(softmax(rows(biased, there, b))[place]))
        total += float(np.mean(losses)) if losses else 0.0
    return total
