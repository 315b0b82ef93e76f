"""A run on a store, from its opening to the word on how it ended: every command that writes one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from avqa.errors import AvqaError
from avqa.store.commit import Store
from avqa.store.lock import Lock
from avqa.store.places.files import StorePath

DONE = "done"


def _reason(reason: str) -> Mapping[str, Any]:
    return {"reason": reason}


@contextmanager
def running(
    path: StorePath,
    lock: Lock,
    info: Mapping[str, Any],
    ended: Callable[[str], Mapping[str, Any]] = _reason,
    *,
    create: Callable[[], Store] | None = None,
) -> Iterator[Store]:
    """Open the store at ``path``, heal what a crash left, and keep the run's file.

    Args:
        path: the store directory.
        lock: of this run; it is given back by who took it.
        info: what was asked, for the run's file.
        ended: reason the run ended, ``done`` or what went wrong → summary for the run's file.
        create: makes the store where there is none.

    Raises:
        StoreNotFound: there is none, and no ``create``.
        StoreError: it has another schema.
        StoreLocked: another run took the lock.
        StorageFailure: the disk is full or read-only.
    """
    if create is not None and not Store.exists(path):
        store = create()
    else:
        store = Store.open(path, lock)
        store.recover()
    store.start_run(info)
    reason = DONE
    try:
        yield store
    except BaseException as error:
        told = isinstance(error, AvqaError)
        reason = str(error) if told else f"internal error: {type(error).__name__}"
        raise
    finally:
        store.finish_run(ended(reason))
