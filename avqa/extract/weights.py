"""Network weights: a pinned registry, a cache of verified files, and seeded random ones."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from avqa.errors import WeightsUnavailable
from avqa.extract import encoders

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class WeightsSource:
    """Where a run's weights come from, and what they are; plain data that travels."""

    kind: str
    """``pretrained``, ``directory`` or ``random``."""
    source: str
    """As the user said it."""
    seed: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    """Weights name → path of its safetensors file."""
    digests: Mapping[str, str] = field(default_factory=dict)

    def describe(self, name: str) -> dict[str, str]:
        """What the recipe says of the weights ``name``."""
        if self.kind == "random":
            return {"source": self.source}
        return {"source": self.kind, "sha256": self.digests[name]}


def resolve(source: str) -> WeightsSource:
    """``pretrained``, a directory, or ``random:SEED`` → what it stands for."""
    match = re.fullmatch(r"random:(\d+)", source)
    if match is None:
        raise WeightsUnavailable(f"weights {source!r} are not available yet; use random:0")
    return WeightsSource("random", source, seed=int(match[1]))


def load_state(encoder: str, source: WeightsSource) -> dict[str, Tensor]:
    """The weights of one encoder as named CPU tensors."""
    return _random_state(encoder, source.seed)


def _random_state(encoder: str, seed: int) -> dict[str, Tensor]:
    """Each library's own initialisation, from a generator of this encoder's own.

    The libraries draw from the global generator: it is forked, seeded and put back.
    """
    import torch

    digest = hashlib.sha256(f"{seed}:{encoder}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(int.from_bytes(digest[:8], "little"))
        state: dict[str, Tensor] = encoders.load(encoder).architecture().state_dict()
        if encoder == "vggish":
            state["pca.eigen_vectors"] = torch.linalg.qr(torch.randn(128, 128))[0]
            state["pca.means"] = torch.rand(128)
    return state
