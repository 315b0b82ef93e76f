"""OpenAI's CLIPs with a vision transformer: all that the file of one needs, but its numbers.

A frame's tokens are its class token and one for every patch. All of them go through the tower's
last layer norm; the projection takes them into the space that frames and texts share. Nothing is
L2-normalised. What ends in ``tome`` comes from another pass, in which tokens that are alike merge
in every block (`tome`): merging changes the class token, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avqa.extract import builds
from avqa.extract.encoders._contract import (
    Input,
    Option,
    Options,
    Tap,
    TextTap,
    TextTower,
    Weights,
)
from avqa.extract.encoders._parts import images
from avqa.extract.encoders._parts.schedule import remaining
from avqa.extract.encoders._parts.weights import read_torchscript

if TYPE_CHECKING:
    from torch import Tensor, nn

    from avqa.extract.encoders._contract import Device, Network, Precision

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
TEXT_TOKENS = 77
PUBLISHED = "https://openaipublic.azureedge.net/clip/models"
CROP = Option("center", ("center", "squash", "pad"), "how a frame becomes a square")
OPTIONS: Mapping[str, Option] = {"crop": CROP}
PRECISIONS: tuple[Precision, ...] = ("openai-fp16",)
"""As OpenAI's package computes on a GPU: layer norms in float32, all else in half precision."""
PLAIN = frozenset({"frame", "patch", "class", "token", "token_pre_ln"})
"""Taps of the pass without merging."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One CLIP. Its members are those of `EncoderModule`."""

    name: str
    """Of the encoder and of its weights."""
    model: str
    """What open_clip calls it."""
    size: int
    """Of the square that it sees, in pixels."""
    patch: int
    width: int
    layers: int
    heads: int
    joint: int
    """Channels of the space that frames and texts share."""
    text_width: int
    text_layers: int
    text_heads: int
    taps: tuple[str, ...] = ("frame", "patch")
    text_taps: tuple[str, ...] = ("sentence", "word")
    merged: int = 0
    """Tokens that merge in a block, in the pass with merging."""
    batch: Mapping[str, int] = field(default_factory=lambda: {"cpu": 16, "cuda": 128})
    digest: str = ""
    file: str = ""

    @property
    def patches(self) -> int:
        """Of a frame."""
        return (self.size // self.patch) ** 2

    @property
    def left(self) -> int:
        """Tokens that merging leaves."""
        return remaining(1 + self.patches, self.merged, self.layers)

    def inputs(self) -> Mapping[str, Input]:
        """The square, uint8."""
        return {"frame": Input("frame", (self.size, self.size, 3), "uint8")}

    def all_taps(self) -> Mapping[str, Tap]:
        """Those that this one has."""
        return {tap: self._tap(tap) for tap in self.taps}

    def _tap(self, tap: str) -> Tap:
        joint, width = (self.joint, "channel"), (self.width, "width")
        patches = (self.patches, "position")
        axes = {
            "frame": (joint,),
            "frame@tome": (joint,),
            "class": (width,),
            "patch": (patches, joint),
            "token": (patches, width),
            "token_pre_ln": (patches, width),
            "tome14": ((self.left, "merged"), width),
            "tome14_source": (patches,),
        }[tap]
        shape, dims = zip(*axes, strict=True)
        return Tap("frame", shape, dims, sparse=False, dtype="uint8" if "source" in tap else None)

    def recipe(self, tap: str) -> dict[str, Any]:
        """Everything of this encoder that changes a number of ``tap``, but its options."""
        merging = {"tome": self._merging()} if tap not in PLAIN else {}
        return {
            "network": f"open_clip {self.model}, visual tower",
            "tap": {
                "frame": "class token, ln_post, proj",
                "frame@tome": "class token among merged ones, ln_post, proj",
                "class": "class token, ln_post",
                "patch": f"{self.patches} patch tokens row-major, ln_post, proj",
                "token": f"{self.patches} patch tokens row-major, ln_post",
                "token_pre_ln": f"{self.patches} patch tokens row-major, of the last block",
                "tome14": f"class token and {self.left - 1} merged ones, ln_post",
                "tome14_source": "merged token that each patch went into, patches row-major",
            }[tap],
            "resize": f"uint8 bicubic antialias {self.size}",
            "mean": list(MEAN),
            "std": list(STD),
            **merging,
        }

    def _merging(self) -> dict[str, Any]:
        return {"r": self.merged, "blocks": self.layers - 1, "prop_attn": 0}

    def prepare(
        self, name: str, seconds: Sequence[NDArray[np.uint8]], options: Options
    ) -> NDArray[np.uint8]:
        """RGB frames [H, W, 3] of any size → uint8 [rows, size, size, 3]."""
        size = self.size
        if options["crop"] == "squash":
            cropped = [images.squash(frame, size, "bicubic") for frame in seconds]
        elif options["crop"] == "pad":
            cropped = [images.pad(frame, size, "bicubic") for frame in seconds]
        else:
            cropped = [images.center(frame, size, size, "bicubic") for frame in seconds]
        return np.stack(cropped)

    def config(self) -> dict[str, Any]:
        """As open_clip's configuration of the model says it."""
        return {
            "embed_dim": self.joint,
            "quick_gelu": True,
            "vision_cfg": {
                "image_size": self.size,
                "layers": self.layers,
                "width": self.width,
                "head_width": self.width // self.heads,
                "patch_size": self.patch,
            },
            "text_cfg": {
                "context_length": TEXT_TOKENS,
                "vocab_size": 49408,
                "width": self.text_width,
                "heads": self.text_heads,
                "layers": self.text_layers,
            },
        }

    def architecture(self) -> nn.Module:
        """open_clip's whole model, both towers, with its own initialisation."""
        builds.load()  # open_clip imports it
        import open_clip

        model: nn.Module = open_clip.CLIP(**self.config())
        check_activation(model)
        return model

    def weights(self) -> Mapping[str, Weights]:
        """Those of both towers."""
        return {
            self.name: Weights(
                random=lambda: self.architecture().state_dict(),
                address=f"{PUBLISHED}/{self.digest}/{self.file}",
                digest=self.digest,
                licence="MIT",
                convert=read_torchscript,  # half of it in half precision
            )
        }

    def visual_places(self) -> nn.Module:
        """Where the weights of the tower of frames go."""
        from avqa.extract.encoders._parts import clip_towers

        return clip_towers.Visual(
            self.width,
            self.joint,
            patch=self.patch,
            tokens=1 + self.patches,
            heads=self.heads,
            layers=self.layers,
        )

    def build(
        self, state: Mapping[str, Tensor], options: Options, device: Device, precision: Precision
    ) -> Network:
        """The frozen visual tower; entries of ``state`` outside ``visual.`` are not needed.

        Raises:
            WeightsUnavailable: if names or shapes are not this architecture's.
        """
        import torch

        from avqa.extract.encoders._parts import frozen

        visual = {k.removeprefix("visual."): v for k, v in state.items() if k.startswith("visual.")}
        tower = frozen.filled(self.visual_places, visual, self.name)
        frozen.freeze(tower, device, precision)
        with torch.inference_mode():
            return _Frames(tower, precision, self.batch[device], self.merged)

    def text(self) -> TextTower:
        """The tower of texts."""
        # A dimension of an encoder may not be called like one of its taps.
        joint, tokens = (self.joint, "channel"), (TEXT_TOKENS, "place")
        if "token" not in self.taps:
            tokens = (TEXT_TOKENS, "token")
        every = f"all {TEXT_TOKENS} positions, ln_final"
        known = {
            "sentence": ((joint,), "end of text, ln_final, text_projection"),
            "word": ((tokens, joint), f"{every}, text_projection"),
            "word_state": ((tokens, (self.text_width, "text_width")), every),
        }
        taps = {}
        for tap in self.text_taps:
            axes, what = known[tap]
            shape, dims = zip(*axes, strict=True)
            taps[tap] = TextTap(shape, dims, what)
        network = f"open_clip {self.model}, text tower"
        return TextTower(taps, TEXT_TOKENS, network, self.name, self.build_text)

    def text_places(self) -> nn.Module:
        """Where the weights of the tower of texts go."""
        from avqa.extract.encoders._parts import clip_towers

        return clip_towers.Text(
            self.text_width,
            self.joint,
            tokens=TEXT_TOKENS,
            heads=self.text_heads,
            layers=self.text_layers,
        )

    def build_text(
        self, state: Mapping[str, Tensor], device: Device, precision: Precision, batch: int
    ) -> Network:
        """The frozen text tower; the visual tower's part of ``state`` is not needed.

        Raises:
            WeightsUnavailable: if names or shapes are not this architecture's.
            ConfigError: if the device is not there.
        """
        import torch

        from avqa.extract.encoders._parts import frozen

        wanted = {k: v for k, v in state.items() if not k.startswith("visual.")}
        tower = frozen.filled(self.text_places, wanted, self.name)
        frozen.freeze(tower, device, precision)
        with torch.inference_mode():
            return _Words(tower, precision, batch)


def check_activation(model: Any) -> None:
    """Make sure that open_clip built both towers with QuickGELU.

    Raises:
        AssertionError: it did not: numbers would be wrong, silently.
    """
    from open_clip.transformer import QuickGELU

    for tower in (model.visual.transformer, model.transformer):
        gelu = tower.resblocks[0].mlp.gelu
        assert isinstance(gelu, QuickGELU), "open_clip built CLIP without QuickGELU"


class _Frames:
    """The tower's own embedding and end, with the blocks between packed."""

    def __init__(self, tower: Any, precision: Precision, batch: int, merged: int) -> None:
        from avqa.extract.encoders._parts import blocks, frozen

        self.tower, self.dtype, self.merged = tower, frozen.DTYPES[precision], merged
        self.normalise = frozen.Normalise(MEAN, STD).to(tower.proj.device)
        rows, folded = batch * tower.positional_embedding.shape[0], precision != frozen.OPENAI
        self.blocks = [
            blocks.of_clip(block, rows, folded=folded) for block in tower.transformer.resblocks
        ]
        tower.transformer = None  # its weights live on in the blocks, in another layout
        frozen.leave_file(tower)

    def forward(self, name: str, batch: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Frames uint8 [B, size, size, 3] → the taps asked for, each [B, *shape]."""
        import torch

        with torch.inference_mode():
            x = self.tower.embed(self.normalise(batch, self.dtype))  # [B, tokens, width]
            out: dict[str, Tensor] = {}
            if PLAIN & set(taps):
                out |= self._plain(x)
            if set(taps) - PLAIN:
                out |= self._merged(x)
            return {tap: out[tap].float().cpu().contiguous() for tap in taps}

    def _plain(self, x: Tensor) -> dict[str, Tensor]:
        for block in self.blocks:
            x = block(x)
        last, x = x, self.tower.ln_post(x)
        joint = x @ self.tower.proj
        return {
            "frame": joint[:, 0],
            "patch": joint[:, 1:],
            "class": x[:, 0],
            "token": x[:, 1:],
            "token_pre_ln": last[:, 1:],
        }

    def _merged(self, x: Tensor) -> dict[str, Tensor]:
        from avqa.extract.encoders._parts import tome

        tokens = tome.through(self.blocks, x, self.merged, proportional=False)
        x = self.tower.ln_post(tokens.x)
        return {
            "tome14": x,
            "tome14_source": tokens.source[:, 1:],
            "frame@tome": x[:, 0] @ self.tower.proj,
        }


class _Words:
    """The text tower: all positions of a text."""

    def __init__(self, tower: Any, precision: Precision, batch: int) -> None:
        from avqa.extract.encoders._parts import blocks, frozen

        self.tower = tower
        rows, folded = batch * TEXT_TOKENS, precision != frozen.OPENAI
        self.blocks = [
            blocks.of_clip(block, rows, causal=True, folded=folded)
            for block in tower.transformer.resblocks
        ]
        tower.transformer = None  # its weights live on in the blocks, in another layout
        frozen.leave_file(tower)

    def forward(self, name: str, batch: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Tokens [B, 77] → ``word`` and ``word_state``, of those asked for, [B, 77, …] float32."""
        import torch

        with torch.inference_mode():
            x = self.tower.token_embedding(batch.to(self.tower.positional_embedding.device))
            x = x + self.tower.positional_embedding  # [B, 77, width]
            for block in self.blocks:
                x = block(x)
            state = self.tower.ln_final(x)
            out = {"word_state": state}
            if "word" in taps:
                out["word"] = state @ self.tower.text_projection
            return {tap: out[tap].float().cpu() for tap in taps}
