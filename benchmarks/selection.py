"""``python -m benchmarks.selection``: PSTP-Net's selections against a loop over frames.

The loop does the same with the same weights as the usual code does it: patches projected, then,
frame by frame, the stock attention and the rest of the block. Both read the same seconds and
gather in the same way; nothing but the loop, and what its removal allows, differs. Outputs and
gradients are compared first, then both are timed in turn, forward and backward.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import time
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from avqa import heads
from avqa.heads import HeadInput
from avqa.heads._parts.blocks import QuestionBlock
from avqa.heads.pstp.head import Head
from avqa.heads.pstp.modules import ChosenPatches, PatchSelection, cut, rows
from benchmarks.__main__ import machine

SECONDS, PATCHES = 60, 49
TOLERANCE = 1e-5
Step = Callable[[Head], tuple[Tensor, ...]]


def main() -> None:
    """Compare, time, print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    head = cast(Head, heads.build("pstp")).eval()  # dropout off: outputs are compared
    inputs = heads.random_input(head, batch=arguments.batch, seconds=SECONDS, patches=PATCHES)
    looped = with_loops(head)
    steps = {"segment and patch selection": selection(inputs, head), "whole head": whole(inputs)}
    print(f"{machine()}; batch {arguments.batch}, {SECONDS} s, {PATCHES} patches")
    print(f"load {os.getloadavg()[0]:.1f}; seconds of forward and backward, least and median")
    print(f"{'':28} {'loop':>13} {'avqa':>13} {'times':>6}  {'output':>7} {'gradient':>8}")
    for name, step in steps.items():
        errors = differences(step, head, looped)
        slow, fast = timed(step, (looped, head), arguments.rounds)
        ratio = statistics.median(s / f for s, f in zip(slow, fast, strict=True))
        print(f"{name:28} {spread(slow):>13} {spread(fast):>13} {ratio:6.1f}  {errors}")


class LoopedBlock(nn.Module):
    """A `QuestionBlock` that calls the stock attention for one frame after the other."""

    def __init__(self, block: QuestionBlock) -> None:
        super().__init__()
        ours = block.attention
        self.attention = nn.MultiheadAttention(
            ours.out_proj.in_features, ours.heads, batch_first=True
        )
        self.attention.load_state_dict(ours.state_dict())
        self.feed_forward, self.norm = copy.deepcopy((block.feed_forward, block.norm))

    def forward(
        self, query: Tensor, keys: Tensor, mask: Tensor, layer: None = None
    ) -> tuple[Tensor, Tensor]:
        """Every frame's query [B, Γ, D] to its keys [B, Γ, N, D]; or [B, D] to [B, N, D]."""
        if query.ndim == 2:
            return self.frame(query, keys)
        pairs = [self.frame(query[:, t], keys[:, t]) for t in range(keys.shape[1])]
        out, weights = zip(*pairs, strict=True)
        return torch.stack(out, 1), torch.stack(weights, 1)

    def frame(self, query: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """One frame of every sample: query [B, D], keys [B, N, D]."""
        mixed, weights = self.attention(query.unsqueeze(1), keys, keys)
        mixed = mixed.squeeze(1)
        return self.norm(mixed + self.feed_forward(mixed)), weights.squeeze(1)


class LoopedSelection(nn.Module):
    """A `PatchSelection` over projected patches, frame after frame."""

    def __init__(self, module: PatchSelection) -> None:
        super().__init__()
        self.top_m, self.block = module.top_m, LoopedBlock(module.block)

    def forward(
        self, question: Tensor, patches: Tensor, layer: nn.Linear, valid: Tensor
    ) -> ChosenPatches:
        """See `PatchSelection`."""
        z = layer(patches)
        query = question.unsqueeze(1).expand(-1, patches.shape[1], -1)
        attended, weights = self.block(query, z, valid)
        kept = weights.topk(self.top_m).indices.sort().values
        chosen = rows(z.flatten(0, 1), kept.flatten(0, 1)).view(*kept.shape, -1)
        share = weights.gather(-1, kept)
        factor = self.top_m * share / share.sum(-1, keepdim=True)
        return ChosenPatches(attended, weights, kept, chosen, factor)


def with_loops(head: Head) -> Head:
    """The same head, attention to frames in loops."""
    looped = copy.deepcopy(head)
    looped.tssm.block = LoopedBlock(head.tssm.block)  # type: ignore[assignment]
    looped.srsm = LoopedSelection(head.srsm)  # type: ignore[assignment]
    looped.avam = LoopedBlock(head.avam)  # type: ignore[assignment]
    return looped


def selection(inputs: HeadInput, head: Head) -> Step:
    """TSSM and SRSM alone, on the features of segments."""
    g = torch.Generator().manual_seed(1)
    second, real = cut(inputs.valid, head.options.num_segments)
    shape = (*second.shape, head.options.width)
    audio, visual = (torch.randn(shape, generator=g).requires_grad_() for _ in range(2))
    question = torch.randn(len(second), head.options.width, generator=g).requires_grad_()
    assert inputs.patch is not None
    patch = inputs.patch

    def run(head: Head) -> tuple[Tensor, ...]:
        chosen = head.tssm(audio, visual, real, question)
        seconds = rows(second, chosen.kept).flatten(1)
        valid = rows(real, chosen.kept).flatten(1)
        patches = head.srsm(question, rows(patch, seconds), head.patch, valid)
        kept = patches.patches * patches.factor.unsqueeze(-1)
        return chosen.attended, chosen.factor, patches.attended, kept

    return run


def whole(inputs: HeadInput) -> Step:
    """The head from features to logits."""
    return lambda head: (head(inputs).logits,)


def backward(head: Head, step: Step) -> tuple[Tensor, ...]:
    """Forward and backward; the outputs."""
    head.zero_grad()
    outputs = step(head)
    sum(x.square().mean() for x in outputs).backward()  # type: ignore[union-attr]
    return outputs


def differences(step: Step, head: Head, looped: Head) -> str:
    """Largest difference of outputs, and of gradients relative to each one's largest entry.

    Raises:
        SystemExit: outputs differ by more than 1e-5.
    """
    pairs = zip(backward(head, step), backward(looped, step), strict=True)
    output = max(float((a - b).detach().abs().max()) for a, b in pairs)
    if output > TOLERANCE:
        raise SystemExit(f"outputs differ by {output:.1e}; expected at most {TOLERANCE:.0e}")
    theirs = {n: p.grad for n, p in looped.named_parameters()}
    gradients = {n: p.grad for n, p in head.named_parameters()}
    gradient = max(
        float((ours - other).abs().max() / ours.abs().max())
        for ours, other in ((g, theirs[n]) for n, g in gradients.items())
        if ours is not None and other is not None
    )
    return f"{output:7.0e} {gradient:8.0e}"


def timed(step: Step, variants: tuple[Head, Head], rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each variant in every round, in turn."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for head, into in zip(variants, seconds, strict=True):
            start = time.perf_counter()
            backward(head, step)
            into.append(time.perf_counter() - start)
    return seconds


def spread(seconds: list[float]) -> str:
    """Least and median."""
    return f"{min(seconds):.2f}–{statistics.median(seconds):.2f}"


if __name__ == "__main__":
    main()
