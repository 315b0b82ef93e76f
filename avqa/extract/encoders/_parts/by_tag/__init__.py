"""One of open_clip's models with one of its tags, as an encoder."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avqa.errors import ConfigError
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
from avqa.extract.encoders._parts.by_tag import tokenisers
from avqa.extract.encoders._parts.weights import read_any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from avqa.extract.encoders._contract import Device, Network, Precision

NO_TAG = "none"
HUB = "https://huggingface.co"
HUB_FILE = "open_clip_model.safetensors"
CONTEXT = 77
VISUAL, TEXT = "visual.", "text."
"""Prefixes of the towers' tensors."""
RESIZES = {"shortest": "center", "squash": "squash", "longest": "pad"}
"""What open_clip calls what becomes of a frame → what encoders call it."""


class ByTag:
    """A model with a tag. Its members are those of `EncoderModule`."""

    BATCH: Mapping[str, int] = {"cpu": 1, "cuda": 32}
    OPTIONS: Mapping[str, Option] = {}

    def __init__(self, name: str, config: Mapping[str, Any], tag: Mapping[str, Any]) -> None:
        """Take what open_clip's tables say.

        Args:
            name: of the encoder, ``open_clip/NAME/TAG``.
            config: of the model.
            tag: of the weights; empty for a model without any.

        Raises:
            ConfigError: frames of the model are no squares.
        """
        from open_clip.transform import PreprocessCfg, merge_preprocess_dict

        self.name, self.config, self.tag = name, config, tag
        self.vision: Mapping[str, Any] = config["vision_cfg"]
        self.joint = int(config["embed_dim"])
        self.quick_gelu = bool((tag or config).get("quick_gelu", False))
        self.how = PreprocessCfg(**merge_preprocess_dict(PreprocessCfg(), dict(tag)))
        size = self.vision.get("image_size", 224)
        self.size = int(size) if isinstance(size, int) else int(size[0])
        if not isinstance(size, int) and len(set(size)) > 1:
            raise ConfigError(f"{name} sees {size}; expected a square; choose another model")
        self.INPUTS = {"frame": Input("frame", (self.size, self.size, 3), "uint8")}
        self.WEIGHTS = {name: self._weights()}

    @functools.cached_property
    def TAPS(self) -> Mapping[str, Tap]:  # noqa: N802 - the contract's name
        """``frame``, and tokens where the tower has them."""
        taps = {"frame": Tap("frame", (self.joint,), ("channel",), sparse=False)}
        if self._is_own_transformer:
            count = (self.size // int(self.vision.get("patch_size", 16))) ** 2
            shape = (count, self.joint)
            taps["patch"] = Tap("frame", shape, ("position", "channel"), sparse=False)
        elif (tokens := self._tokens_of_timm()) is not None:
            taps["token"] = Tap("frame", tokens, ("position", "width"), sparse=False)
        return taps

    @property
    def _is_own_transformer(self) -> bool:
        """Whether the tower is open_clip's vision transformer, whose tokens are projected."""
        layers = self.vision.get("layers", 12)
        pooled = self.vision.get("attentional_pool", False)
        return isinstance(layers, int) and not self.vision.get("timm_model_name") and not pooled

    def _tokens_of_timm(self) -> tuple[int, int] | None:
        """Patches and width of a tower that is a vision transformer of timm."""
        if not self.vision.get("timm_model_name"):
            return None
        import torch

        with torch.device("meta"):
            trunk: Any = self.tower().trunk
        if not hasattr(trunk, "num_prefix_tokens") or not hasattr(trunk, "blocks"):
            return None
        count = getattr(trunk.patch_embed, "num_patches", None)
        return None if count is None else (int(count), int(trunk.embed_dim))

    def recipe(self, tap: str) -> dict[str, Any]:
        """Everything of this encoder that changes a number of ``tap``."""
        return {
            "network": self.name.replace("/", " ") + ", visual tower",
            "tap": {
                "frame": "encode_image, not normalised",
                "patch": "patch tokens row-major, ln_post, proj",
                "token": "patch tokens row-major, last norm",
            }[tap],
            "quick_gelu": self.quick_gelu,
            "crop": RESIZES[self.how.resize_mode],
            "resize": f"uint8 {self.how.interpolation} antialias {self.size}",
            "mean": list(self.how.mean),
            "std": list(self.how.std),
        }

    def prepare(
        self, name: str, seconds: Sequence[NDArray[np.uint8]], options: Options
    ) -> NDArray[np.uint8]:
        """RGB frames [H, W, 3] of any size → uint8 [rows, size, size, 3]."""
        size, kind = self.size, self.how.interpolation
        crop = RESIZES[self.how.resize_mode]
        if crop == "squash":
            return np.stack([images.squash(frame, size, kind) for frame in seconds])
        if crop == "pad":
            return np.stack([images.pad(frame, size, kind) for frame in seconds])
        return np.stack([images.center(frame, size, size, kind) for frame in seconds])

    def tower(self) -> nn.Module:
        """open_clip's tower of frames, with its own initialisation.

        Raises:
            AssertionError: it has another activation than the tag says.
        """
        from open_clip.model import _build_vision_tower
        from open_clip.transformer import QuickGELU

        tower: Any = _build_vision_tower(self.joint, dict(self.vision), self.quick_gelu)
        if self._is_own_transformer:
            gelu = tower.transformer.resblocks[0].mlp.gelu
            assert isinstance(gelu, QuickGELU) == self.quick_gelu, f"{self.name}: {type(gelu)}"
        found: nn.Module = tower
        return found

    def text_tower(self) -> nn.Module:
        """open_clip's tower of texts, with its own initialisation."""
        from open_clip.model import _build_text_tower

        tower: nn.Module = _build_text_tower(
            self.joint, dict(self.config["text_cfg"]), self.quick_gelu
        )
        return tower

    @property
    def NO_TEXT(self) -> str:  # noqa: N802 - the contract's name
        """Why it has no tower of texts here; empty if it has one."""
        config = self.config["text_cfg"]
        unknown = sorted(set(config.get("tokenizer_kwargs", {})) - tokenisers.OPTIONS)
        if model := config.get("hf_model_name"):
            why = f"texts are read by transformers' {model}, which avqa does not run"
        elif unknown:
            why = f"texts are tokenised with {', '.join(unknown)}, which avqa does not know"
        else:
            return ""
        return f"{why}; expected a tower of open_clip's own; take its frames alone"

    @property
    def _is_clips(self) -> bool:
        """Whether the text tower is CLIP's: its tokens, and the sentence at the end of a text."""
        config = self.config["text_cfg"]
        other = ("hf_tokenizer_name", "tokenizer_kwargs", "embed_cls", "proj_bias")
        usual = {"context_length": CONTEXT, "pool_type": "argmax", "proj_type": "linear"}
        return not any(config.get(key) for key in other) and all(
            config.get(key, value) == value for key, value in usual.items()
        )

    @functools.cached_property
    def TEXT(self) -> TextTower | None:  # noqa: N802 - the contract's name
        """The tower of texts, of sentences alone where it is not CLIP's."""
        config = self.config["text_cfg"]
        network = self.name.replace("/", " ") + ", text tower"
        if self.NO_TEXT:
            return None
        if not self._is_clips:
            what = "encode_text, not normalised"
            taps = {"sentence": TextTap((self.joint,), ("channel",), what)}
            reader = tokenisers.of_text_config(self.name, config)
            return TextTower(taps, reader.length, network, self.name, self.build_text, reader)
        every, width = f"all {CONTEXT} positions, ln_final", int(config["width"])
        taps = {
            "sentence": TextTap(
                (self.joint,), ("channel",), "end of text, ln_final, text_projection"
            ),
            "word": TextTap(
                (CONTEXT, self.joint), ("place", "channel"), f"{every}, text_projection"
            ),
            "word_state": TextTap((CONTEXT, width), ("place", "text_width"), every),
        }
        return TextTower(taps, CONTEXT, network, self.name, self.build_text)

    def _random(self) -> Mapping[str, Tensor]:
        state = {VISUAL + key: value for key, value in self.tower().state_dict().items()}
        if not self.NO_TEXT:
            state |= {TEXT + key: value for key, value in self.text_tower().state_dict().items()}
        return state

    def _weights(self) -> Weights:
        address, digest = _published(self.tag)
        return Weights(
            random=self._random,
            address=address,
            digest=digest,
            licence="see the model's page",
            convert=_converted,
        )

    def build(
        self, state: Mapping[str, Tensor], options: Options, device: Device, precision: Precision
    ) -> Network:
        """The frozen tower of frames.

        Raises:
            WeightsUnavailable: if names or shapes are not this architecture's.
        """
        import torch

        from avqa.extract.encoders._parts import frozen
        from avqa.extract.encoders._parts.by_tag import networks

        own = {k.removeprefix(VISUAL): v for k, v in state.items() if k.startswith(VISUAL)}
        tower = frozen.filled(self.tower, own, self.name)
        frozen.freeze(tower, device, precision)
        with torch.inference_mode():
            normalise = frozen.Normalise(self.how.mean, self.how.std)
            return networks.Frames(tower, normalise, frozen.DTYPES[precision])

    def build_text(
        self, state: Mapping[str, Tensor], device: Device, precision: Precision, batch: int
    ) -> Network:
        """The frozen tower of texts.

        Raises:
            WeightsUnavailable: if names or shapes are not this architecture's.
        """
        from avqa.extract.encoders._parts import frozen
        from avqa.extract.encoders._parts.by_tag import networks

        own = {k.removeprefix(TEXT): v for k, v in state.items() if k.startswith(TEXT)}
        tower = frozen.filled(self.text_tower, own, self.name)
        frozen.freeze(tower, device, precision)
        return networks.Words(tower) if self._is_clips else networks.Sentences(tower)


def _published(tag: Mapping[str, Any]) -> tuple[str, str]:
    """Address of a tag's weights, and what of their SHA-256 the address tells."""
    url, hub = tag.get("url", ""), tag.get("hf_hub", "")
    if url:
        parts = url.split("/")
        if "openaipublic" in url:
            return url, parts[-2]
        return url, Path(url).stem.rpartition("-")[2] if "mlfoundations" in url else ""
    if hub:
        model, _, file = hub.rpartition("/")
        return f"{HUB}/{model}/resolve/main/{file or HUB_FILE}", ""
    return "", ""


def _converted(path: Path) -> Mapping[str, Any]:
    """A checkpoint of open_clip's, or of those that it takes, under the names of the towers."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    state = read_any(path)
    state = state.get("state_dict", state)
    state = {name.removeprefix("module."): value for name, value in state.items()}
    found: Mapping[str, Any] = convert_to_custom_text_state_dict(convert_state_dict(None, state))
    return found
