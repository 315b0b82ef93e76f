"""The plain network that MCD's modality rows use instead of its modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import masked_mean
from avqa.heads._parts.head import HeadInput
from avqa.heads.mcd.options import Options
from avqa.heads.mcd.text import text_encoder

_FIELDS = {"a": "audio", "v": "frame"}


class PlainNetwork(nn.Module):
    """A two-layer network of the question, the mean audio, the mean frame, or some of them.

        out = FC(drop(ReLU(FC([q; mean_t FC(audio_t); mean_t FC(frame_t)]))))

    Chosen where the paper is silent: it says no more than a plain network, of two layers here.

    Shapes:
        audio [B, T, audio_width], frame [B, T, visual_width], the question → [B, D]
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        width = options.width
        self.question = text_encoder(options) if "q" in options.plain else None
        sizes = {"audio": options.audio_width, "frame": options.visual_width}
        self.features = nn.ModuleDict(
            {
                name: nn.Linear(sizes[name], width)
                for x, name in _FIELDS.items()
                if x in options.plain
            }
        )
        self.layers = nn.Sequential(
            *(nn.Linear(len(options.plain) * width, width), nn.ReLU()),
            *(nn.Dropout(options.dropout), nn.Linear(width, width)),
        )

    def forward(self, inputs: HeadInput) -> Tensor:
        """Join what there is."""
        parts = [] if self.question is None else [self.question(inputs).sentence]
        for name, layer in self.features.items():
            mask = inputs.heard if name == "audio" else inputs.valid
            parts.append(inputs.each(masked_mean(layer(getattr(inputs, name)), mask)))
        return self.layers(torch.cat(parts, -1))  # type: ignore[no-any-return]
