"""Frozen towers of open_clip, as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from avqa.extract.encoders._parts.frozen import Normalise


class Frames:
    """A tower of frames: what `encode_image` gives, and the tokens it was made of."""

    def __init__(self, tower: Any, normalise: Normalise, dtype: torch.dtype) -> None:
        """``normalise``: as the weights were trained."""
        self.tower, self.dtype = tower, dtype
        self.normalise = normalise.to(next(tower.parameters()).device)

    def forward(self, name: str, batch: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Frames uint8 [B, size, size, 3] → frame [B, joint], patch or token [B, patches, …]."""
        with torch.inference_mode():
            x = self.normalise(batch, self.dtype)
            if "patch" in taps:
                out = self._with_patches(x)
            elif "token" in taps:
                out = self._with_tokens(x)
            else:
                made = self.tower(x)
                out = {"frame": made[0] if isinstance(made, tuple) else made}
            return {tap: out[tap].float().cpu().contiguous() for tap in taps}

    def _with_patches(self, x: Tensor) -> dict[str, Tensor]:
        """Of open_clip's vision transformer."""
        tower = self.tower
        before, tower.output_tokens = tower.output_tokens, True
        try:
            frame, tokens = tower(x)
        finally:
            tower.output_tokens = before
        if tower.final_ln_after_pool:
            tokens = tower.ln_post(tokens)
        tokens = tokens[:, -tower.grid_size[0] * tower.grid_size[1] :]
        return {"frame": frame, "patch": tokens if tower.proj is None else tokens @ tower.proj}

    def _with_tokens(self, x: Tensor) -> dict[str, Tensor]:
        """Of a vision transformer of timm."""
        trunk = self.tower.trunk
        tokens = trunk.forward_features(x)
        return {
            "frame": self.tower.head(trunk.forward_head(tokens)),
            "token": tokens[:, trunk.num_prefix_tokens :],
        }


class Words:
    """CLIP's tower of texts: all positions of a text."""

    def __init__(self, tower: Any) -> None:
        """``tower``: open_clip's text transformer."""
        self.tower = tower

    def forward(self, name: str, batch: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Tokens [B, 77] → ``word`` and ``word_state``, of those asked for, [B, 77, …] float32."""
        tower = self.tower
        with torch.inference_mode():
            x, mask = tower._embeds(batch.to(tower.positional_embedding.device))
            state = tower.ln_final(tower.transformer(x, attn_mask=mask))
            out = {"word_state": state}
            if "word" in taps:
                last = tower.text_projection
                out["word"] = last(state) if isinstance(last, nn.Module) else state @ last
            return {tap: out[tap].float().cpu() for tap in taps}


class Sentences:
    """A tower of texts with an end of its own: what `encode_text` gives."""

    def __init__(self, tower: Any) -> None:
        """``tower``: one of open_clip's."""
        self.tower = tower

    def forward(self, name: str, batch: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Tokens [B, tokens] → ``sentence`` [B, joint] float32."""
        with torch.inference_mode():
            made = self.tower(batch.to(next(self.tower.parameters()).device))
            made = made[0] if isinstance(made, tuple) else made
            return {"sentence": made.float().cpu().contiguous()}
