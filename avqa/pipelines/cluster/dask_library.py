"""Dask and distributed, loaded and used with a configuration of ours alone.

A user's files (``~/.config/dask``) and variables (``DASK_…``) may end workers after a minute, ask
for encryption, run code in every worker: what they mean for other work would stop or hang a run.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from avqa.errors import ConfigError

try:
    import dask
    import dask.config
except (ValueError, TypeError, AttributeError, LookupError) as error:  # no YAML, or another form
    raise ConfigError(
        f"Dask's configuration cannot be read: {' '.join(str(error).split())}; expected YAML;"
        " correct or remove the file, or use --scheduler sync"
    ) from error

CREDENTIALS = (
    "distributed.comm.tls",
    "distributed.comm.require-encryption",
    "distributed.client.security-loader",
)
"""Keys of the user's that hold for a scheduler that is there already."""
_INHERITED = "DASK_INTERNAL_INHERIT_CONFIG"
"""Variable whose configuration Dask puts above that of files."""


def without_users() -> Callable[[], None]:
    """Give Dask its own defaults; the function puts back what was set before."""
    before = copy.deepcopy(dask.config.config)
    dask.config.refresh(paths=[], env={})

    def put_back() -> None:
        dask.config.config.clear()
        dask.config.config.update(before)
        for added in dask.config.defaults:  # by libraries that were loaded meanwhile
            dask.config.update(dask.config.config, added, priority="old")

    return put_back


@contextmanager
def own_defaults() -> Iterator[None]:
    """Dask's own defaults hold within."""
    put_back = without_users()
    try:
        yield
    finally:
        put_back()


with own_defaults():  # some values are read while it is imported
    import distributed


def configure(ours: Mapping[str, Any], *, credentials: bool = False) -> Callable[[], None]:
    """Let Dask's own defaults and ``ours`` hold; the function puts back what was set before.

    Args:
        ours: dotted key → value.
        credentials: keep the user's `CREDENTIALS`.
    """
    kept = {key: dask.config.get(key, None) for key in CREDENTIALS} if credentials else {}
    put_back = without_users()
    dask.config.set({**kept, **ours})
    # Worker processes read the user's files, too, while they import Dask.
    os.environ[_INHERITED] = dask.config.serialize(dask.config.config)

    def undo() -> None:
        os.environ.pop(_INHERITED, None)
        put_back()

    return undo


def changed_by_user(section: str) -> dict[str, Any]:
    """Dotted key → Dask's own default, of all keys of ``section`` to which the user gives others.

    Keys that Dask does not know are left out.
    """
    defaults: dict[str, Any] = {}
    dask.config.refresh(config=defaults, paths=[], env={})
    users = copy.deepcopy(defaults)
    dask.config.update(users, dask.config.collect())
    found = dict(_leaves(dask.config.get(section, config=users), section))
    own = dict(_leaves(dask.config.get(section, config=defaults), section))
    return {key: value for key, value in own.items() if found.get(key) != value}


def variable(key: str) -> str:
    """The variable of the shell that sets a dotted key."""
    return "DASK_" + key.upper().replace(".", "__").replace("-", "_")


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}")
    else:
        yield key, value


__all__ = ["changed_by_user", "configure", "dask", "distributed", "own_defaults", "variable"]
