"""A run on a store, from its opening to the word on how it ended: every command that writes one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from avqa.errors import AvqaError, ConfigError, Stopped, StoreError
from avqa.faults import traceback_kept_in
from avqa.signals import Ending
from avqa.store.commit import Store
from avqa.store.format.runs import DONE, FAILED, INTERRUPTED, REFUSED, RunState
from avqa.store.lock import Lock
from avqa.store.places.files import StorePath


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
    is_new = create is not None and not Store.exists(path)
    store = create() if create is not None and is_new else Store.open(path, lock)
    with told(store, lock, ended):
        if not is_new:
            store.recover()
        store.start_run(info)
        yield store


@contextmanager
def told(
    store: Store, lock: Lock, ended: Callable[[str], Mapping[str, Any]] = _reason
) -> Iterator[None]:
    """Write into the run's file how it ended, and beside it the traceback of a defect."""
    state: RunState = DONE
    reason: str = DONE
    file = store.path / "runs" / f"{lock.run_id}-traceback.txt"
    try:
        with traceback_kept_in(str(file), file.write):
            yield
    except BaseException as error:
        state, reason = _state(error), _why(error)
        raise
    finally:
        # Work that is done may have shards to seal, which a user may stop.
        with nullcontext() if state == DONE else Ending():
            store.finish_run(ended(reason), state)


def _why(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "stopped by Ctrl-C"
    return str(error) if isinstance(error, AvqaError) else f"internal error: {type(error).__name__}"


def _state(error: BaseException) -> RunState:
    if isinstance(error, Stopped | KeyboardInterrupt):
        return INTERRUPTED
    return REFUSED if isinstance(error, ConfigError | StoreError) else FAILED
