"""One video to arrays: readers, time grid, audio, encoders. Knows no Zarr and no Dask.

- ``readers``: one file for each library that opens videos; ``media``: what a video file is
- ``decoder``: the process that reads a video and prepares the encoders' inputs
- ``encoders``: one file for each frozen network; ``weights``: where their weights come from
- ``settings``, ``profiles``: what can be chosen; ``recipe``: everything that changes a number
- ``text``: CLIP's text tower
"""

import sys
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """`avqa.extract` is this package and, as the field would say it, the public function."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """See `avqa.api.extract`."""
        from avqa import api

        return api.extract(*arguments, **options)


sys.modules[__name__].__class__ = _Package
