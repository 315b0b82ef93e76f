"""Texts through a frozen tower, in this process and on one thread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from avqa.extract.text import TextEncoder, TextSettings, encoder_of
from avqa.pipelines.engine.batching import Batch, Segment
from avqa.pipelines.engine.small import SmallBatches


def encode_texts(
    encoder: TextEncoder, settings: TextSettings, texts: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """Text feature → [n, *shape] float32."""
    tokens, ends = encoder.tokenise(texts)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as `avqa questions`: numbers do not depend on the cores
    name = encoder_of(settings.features[0])
    try:
        small = SmallBatches(settings.device, settings.precision)
        parts = []
        for start in range(0, len(tokens), encoder.batch):
            rows = tokens[start : start + encoder.batch]
            batch = Batch(f"{name}/text", encoder.batch, [Segment(None, 0, rows)])
            out = small.forward(encoder, batch, encoder.rows)
            found = {tap: values.numpy()[: len(rows)] for tap, values in out.items()}
            parts.append(encoder.finished(found, ends[start : start + len(rows)]))
    finally:
        torch.set_num_threads(before)
    return {f"{name}/{tap}": np.concatenate([part[tap] for part in parts]) for tap in parts[0]}
