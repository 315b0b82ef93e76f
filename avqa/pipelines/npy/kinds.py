"""What one file of the field's dumps holds, as data: .npy files and datasets of HDF5 files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from avqa.errors import UnknownName
from avqa.store.format.schema import FeatureSpec

Dtype = Literal["float16", "float32", "float64"]


@dataclass(frozen=True)
class Part:
    """One feature of a file: what the store has to know of it."""

    feature: str
    shape: tuple[int, ...]
    dims: tuple[str, ...] = ("channel",)
    sparse: bool = False

    def spec(self, dtype: Dtype) -> FeatureSpec:
        """The store's description of it."""
        return FeatureSpec(self.feature, self.shape, self.dims, self.sparse, dtype)


@dataclass(frozen=True)
class Kind:
    """What one video has in a kind of folder or dataset: ``[T, *row]``."""

    name: str
    folders: tuple[str, ...]
    """Paths that published repositories give the folder; shell patterns, part by part."""
    row: tuple[int, ...]
    parts: tuple[Part, ...]
    form: Literal["as_is", "channel_first", "class_and_patches"] = "as_is"
    stream: Literal["audio", "visual"] = "visual"
    """Whether rows are of sound: they are padded otherwise, and HDF5's recipe says so."""
    whole: bool = False
    """One vector, ``row``, describes the whole video: T is 1, and the dump has no axis for it."""

    def split(self, rows: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Rows of a file ``[n, *row]`` → rows of each part, in the order of ``parts``."""
        if self.form == "channel_first":
            return (np.moveaxis(rows, 1, -1),)
        if self.form == "class_and_patches":
            return rows[:, 0], rows[:, 1:]
        return (rows,)

    def join(self, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The inverse of `split`."""
        if self.form == "channel_first":
            return np.moveaxis(parts[0], -1, 1)
        if self.form == "class_and_patches":
            return np.concatenate([parts[0][:, None], parts[1]], axis=1)
        return parts[0]


CLASS_TOKEN = "clip_vit_b32/class"
"""Token 0 of an imported token file. It equals ``clip_vit_b32/frame`` in theory; files of the
two folders may come from different runs, so neither replaces the other."""
FRAME = "clip_vit_b32/frame"

KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "vggish",
            ("vggish", "vggish_audio"),
            (128,),
            (Part("vggish/audio", (128,), sparse=True),),
            stream="audio",
        ),
        Kind("res18", ("res18", "resnet18"), (512,), (Part("resnet18/pool", (512,)),)),
        Kind(
            "res18_14x14",
            ("res18_14x14", "visual_14x14"),
            (512, 14, 14),
            (Part("resnet18/map", (14, 14, 512), ("y", "x", "channel"), sparse=True),),
            "channel_first",
        ),
        Kind("r2plus1d_18", ("r2plus1d_18",), (512,), (Part("r2plus1d_18/pool", (512,)),)),
        Kind("clip_vit_b32", ("clip_vit_b32",), (512,), (Part(FRAME, (512,)),)),
        Kind(
            "clip_patch",
            ("clip_patch-level_vit_b32", "clip_patch_vit32"),
            (50, 512),
            (
                Part(CLASS_TOKEN, (512,)),
                Part("clip_vit_b32/patch", (49, 512), ("position", "channel")),
            ),
            "class_and_patches",
        ),
        Kind(
            "clip_vit_l14",
            ("*frame*ViT-L14@336px", "clip_feats/*frame*ViT-L14@336px", "clip_vit_l14_336px"),
            (768,),
            (Part("clip_vit_l14_336/frame", (768,)),),
        ),
        Kind("clip_l14_frame_tome", (), (768,), (Part("clip_vit_l14_336/frame@tome", (768,)),)),
        Kind(
            "clip_l14_tome14",
            (),
            (14, 1024),
            (Part("clip_vit_l14_336/tome14", (14, 1024), ("merged", "width")),),
        ),
        Kind(
            "vit_l16_tome14",
            (),
            (14, 1024),
            (Part("vit_l16_384/tome14", (14, 1024), ("merged", "width")),),
        ),
        Kind(
            "ast_class",
            ("ast/audio_ast_cls", "audio_ast_cls"),
            (768,),
            (Part("ast/class", (768,)),),
            stream="audio",
        ),
        Kind(
            "ast_band",
            ("ast/audio_ast_patch_last_pooled", "audio_ast_patch_last_pooled"),
            (12, 768),
            (Part("ast/band", (12, 768), ("frequency", "channel")),),
            stream="audio",
        ),
    )
}
"""Kinds whose files are named by video."""


DATASETS = {
    kind.name: kind
    for kind in (
        Kind(
            "resnet_features",
            (),
            (16, 2048),
            (Part("resnet101/pool", (16, 2048), ("frame", "channel")),),
        ),
        Kind("resnext_features", (), (2048,), (Part("resnext101/pool", (2048,)),)),
        Kind(
            "vlaudio_features",
            (),
            (2048,),
            (Part("panns_cnn14/clip", (2048,), sparse=True),),
            stream="audio",
            whole=True,
        ),
    )
}
"""Kinds that are datasets of the HDF5 files of the data set AVQA, by the dataset's name."""
CLIPS = 8
"""Rows of a video in these files, unless one vector describes the whole of it."""


def kind_named(name: str) -> Kind:
    """The kind of this name.

    Raises:
        UnknownName: if there is none.
    """
    if name not in KINDS:
        raise UnknownName("kind of .npy file", name, KINDS)
    return KINDS[name]
