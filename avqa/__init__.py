"""avqa: audio-visual question answering, from a folder of videos to trained, evaluated heads.

import avqa
avqa.extract("videos", "features")
avqa.questions("music-avqa", "annotations", "features")
table = avqa.train("pstp", "features", "music-avqa", "annotations", "run")
answer = avqa.ask("run", "clip.mp4", "Where is the first sounding instrument?")

Every error is an `avqa.AvqaError`; `avqa.errors` has the tree of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from avqa import _moved, caches, errors, surroundings
from avqa.errors import (
    Aborted,
    AvqaError,
    ConfigError,
    DatasetError,
    DifferenceFound,
    EnvironmentFailure,
    FeatureMissing,
    LibraryMissing,
    MediaError,
    PartialFailure,
    PluginError,
    RecipeMismatch,
    RootMismatch,
    RunDamaged,
    Stopped,
    StorageFailure,
    StoreError,
    StoreLocked,
    StoreNotFound,
    UnknownName,
    UnknownVideo,
    VideoLeft,
    WeightsUnavailable,
)

__version__ = "0.1.0"

if TYPE_CHECKING:
    from avqa.api import (
        ask,
        compare,
        evaluate,
        explain,
        extract,
        extract_video,
        open_store,
        predict,
        questions,
        say,
        train,
    )

__all__ = [
    "Aborted",
    "AvqaError",
    "ConfigError",
    "DatasetError",
    "DifferenceFound",
    "EnvironmentFailure",
    "FeatureMissing",
    "LibraryMissing",
    "MediaError",
    "PartialFailure",
    "PluginError",
    "RecipeMismatch",
    "RootMismatch",
    "RunDamaged",
    "Stopped",
    "StorageFailure",
    "StoreError",
    "StoreLocked",
    "StoreNotFound",
    "UnknownName",
    "UnknownVideo",
    "VideoLeft",
    "WeightsUnavailable",
    "__version__",
    "ask",
    "compare",
    "errors",
    "evaluate",
    "explain",
    "extract",
    "extract_video",
    "open_store",
    "predict",
    "questions",
    "say",
    "train",
]


_moved.install()
caches.settle()
surroundings.settle()
surroundings.let_threads_sleep()


def __getattr__(name: str) -> object:
    """Import on first use: `import avqa` alone loads neither torch nor zarr."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "extract":  # the package of that name, which may be called
        import avqa.extract

        return avqa.extract
    from avqa import api

    return getattr(api, name)


def __dir__() -> list[str]:
    """For completion in a notebook."""
    return __all__
