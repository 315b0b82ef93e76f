"""How long a head takes for a question, from two steps on seeded noise."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from avqa import heads

BATCH, STEPS = 16, 2
WORDS = 16
"""Positions of CLIP's words that are in use."""


def seconds_per_question(head: str, *, bf16: bool) -> tuple[float, float]:
    """Of training and of answering, with one thread, at 10 seconds of 49 patches."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    built = heads.build(head)
    inputs = heads.random_input(built, batch=BATCH, seconds=10, patches=49)
    assert inputs.words is not None
    inputs = replace(inputs, words=inputs.words[:, :WORDS])
    answers = torch.zeros(BATCH, dtype=torch.long)
    optimizer = torch.optim.Adam(built.parameters())

    def train() -> None:
        optimizer.zero_grad()
        heads.total_loss(built, built.train()(inputs), answers).backward()
        optimizer.step()

    def answer() -> None:
        with torch.no_grad():
            built.eval()(inputs)

    found = []
    for step in (train, answer):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            step()
            started = time.perf_counter()
            for _ in range(STEPS):
                step()
        found.append((time.perf_counter() - started) / STEPS / BATCH)
    torch.set_num_threads(threads)
    return found[0], found[1]
