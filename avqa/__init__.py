"""avqa: from a folder of videos to audio-visual question answering features.

import avqa
arrays = avqa.extract_video("clip.mp4", weights="random:0")
store = avqa.open_store("features")
rows = store.read("clip", "clip_vit_b32/frame")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from avqa.pipelines.extraction.single import extract_video
    from avqa.store.reader import open_store

__all__ = ["__version__", "extract_video", "open_store"]


def __getattr__(name: str) -> object:
    """Import on first use: `import avqa` alone loads neither torch nor zarr."""
    if name == "extract_video":
        from avqa.pipelines.extraction.single import extract_video

        return extract_video
    if name == "open_store":
        from avqa.store.reader import open_store

        return open_store
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
