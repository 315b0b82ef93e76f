"""zarr, with its own defaults: what a store's files hold follows from avqa alone.

zarr reads ``~/.config/zarr`` and ``ZARR_…``, which can name other codecs, orders and time limits.
What a program sets by ``zarr.config.set`` afterwards holds.
"""

from __future__ import annotations

from avqa.errors import ConfigError

try:
    import zarr

    if zarr.config.collect():
        zarr.config.refresh(paths=[], env={})
except (ValueError, TypeError, AttributeError, LookupError) as error:  # no YAML, or other keys
    raise ConfigError(
        f"zarr's configuration cannot be read: {' '.join(str(error).split())}; expected YAML with"
        " the keys of zarr.config; correct or remove it"
    ) from error

__all__ = ["zarr"]
