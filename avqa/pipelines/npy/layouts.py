"""The field's dumps as data: folders of .npy files, datasets of HDF5 files, and what they hold.

A *kind* is what one file or dataset holds; a *layout* is the set of folders that one repository
reads. Shapes and names: specification section 9.4 of the heads, steps: section 9.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from avqa.errors import ConfigError, UnknownName
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
    """Names that published repositories give the folder; shell patterns."""
    row: tuple[int, ...]
    parts: tuple[Part, ...]
    form: Literal["as_is", "channel_first", "class_and_patches"] = "as_is"
    stream: Literal["audio", "visual"] = "visual"
    """Of the recipe of what HDF5 files hold; folders of .npy are told by their encoder."""
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
        Kind("vggish", ("vggish",), (128,), (Part("vggish/audio", (128,), sparse=True),)),
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
            ("*frame*ViT-L14@336px",),
            (768,),
            (Part("clip_vit_l14_336/frame", (768,)),),
        ),
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


AMBIGUOUS = ("visual_tome14", "tome14")
"""Folders by whose name repositories have files of one shape and of different networks."""
TOKENS_OF = {
    "tspm": "vit_l16_tome14",
    "qa-tiger": "vit_l16_tome14",
    "cuespace": "clip_l14_tome14",
}
"""Repository → kind of what its `AMBIGUOUS` folder holds."""


def kind_of_folder(name: str, layout: str | None = None) -> str | None:
    """Name of the kind that a folder of this name holds in published repositories.

    Args:
        name: of the folder.
        layout: repository that it is from; needed for `AMBIGUOUS` names.

    Raises:
        UnknownName: no such repository is known.
        ConfigError: the name alone does not tell.
    """
    if layout is not None and layout not in TOKENS_OF:
        raise UnknownName("repository", layout, TOKENS_OF)
    if name in AMBIGUOUS:
        if layout is not None:
            return TOKENS_OF[layout]
        raise ConfigError(
            f"folder {name!r} may hold tokens of two networks, both [T,14,1024]; expected which;"
            " say --kind vit_l16_tome14 (of TSPM and QA-TIGER) or --kind clip_l14_tome14 (of"
            f" CueSpace), or to `avqa import` --from-layout {'|'.join(TOKENS_OF)}"
        )
    for kind in KINDS.values():
        if any(fnmatchcase(name, pattern) for pattern in kind.folders):
            return kind.name
    return None


@dataclass(frozen=True)
class Folder:
    """A folder of a layout."""

    name: str
    kind: str
    step: int = 1
    """Every step-th row is written …"""
    most: int | None = None
    """… and no more than this many."""
    needed: bool = True
    """The repository's own head cannot do without it."""

    def chosen(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The rows of a video that the folder's file holds; as they are if there are few."""
        if self.most is None or len(rows) <= self.most:
            return rows
        return rows[:: self.step][: self.most]


LAYOUTS = {
    "pstp": (
        Folder("vggish", "vggish"),
        Folder("clip_vit_b32", "clip_vit_b32"),
        Folder("clip_patch-level_vit_b32", "clip_patch"),
    ),
    "music-avqa": (
        Folder("vggish", "vggish"),
        Folder("res18_14x14", "res18_14x14"),
        Folder("res18", "res18", needed=False),
        Folder("r2plus1d_18", "r2plus1d_18", needed=False),
    ),
    "tjstg": (
        Folder("vggish", "vggish"),
        Folder("res18_14x14", "res18_14x14", step=6, most=10),
    ),
    "avaf": (
        Folder("vggish", "vggish"),
        Folder("clip_patch_vit32", "clip_patch"),
    ),
}
"""Layout → folders whose files are named by video."""


def layout_named(name: str) -> tuple[Folder, ...]:
    """The folders of a layout.

    Raises:
        UnknownName: if there is no such layout.
    """
    if name not in LAYOUTS:
        raise UnknownName("layout", name, LAYOUTS)
    return LAYOUTS[name]
