"""zarr, with its own defaults: what a store's files hold follows from avqa alone.

zarr reads ``~/.config/zarr`` and ``ZARR_…``, which can name other codecs, orders and time limits.
What a program sets by ``zarr.config.set`` afterwards holds. It is loaded at its first use: that
takes a third of a second, and a run with nothing left to do does without.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from avqa.errors import ConfigError

if TYPE_CHECKING:
    import zarr
else:

    class _Zarr:
        def __getattr__(self, name: str) -> Any:
            return getattr(_loaded(), name)

    zarr = _Zarr()


@functools.cache
def _loaded() -> Any:
    """The library.

    Raises:
        ConfigError: its configuration cannot be read.
    """
    try:
        import zarr

        if zarr.config.collect():
            zarr.config.refresh(paths=[], env={})
    except (ValueError, TypeError, AttributeError, LookupError) as error:  # no YAML, or other keys
        raise ConfigError(
            f"zarr's configuration cannot be read: {' '.join(str(error).split())}; expected YAML"
            " with the keys of zarr.config; correct or remove it"
        ) from error
    return zarr


__all__ = ["zarr"]
