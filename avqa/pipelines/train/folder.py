"""The folder that a training run holds alone, and whether another run may go on in it."""

from __future__ import annotations

import errno
import fcntl
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from avqa.caches import is_unfinished
from avqa.errors import ConfigError, StoreLocked
from avqa.store.format.recipe_diff import diff_recorded, require_same
from avqa.store.lock import LOCK as OWN_LOCK
from avqa.store.lock import Lock, read_holder
from avqa.store.places.files import storage_errors, store_path
from avqa.training.run import QUESTION_ONLY, RUN, Member, MemberConfig, read_about, refuse_lost
from avqa.training.settings import TrainSettings

LOCK = "lock"
_NO_FLOCK = frozenset(
    {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EREMOTE}
)
"""Of flock where there is none: Lustre without ``-o flock``, NFS without its lock service."""
_OF_LOCKS = {LOCK, OWN_LOCK, "runs"}
"""Names that locks leave in the folder."""
MAY_DIFFER = ("device", "workers")
"""Settings that a resumed run may have otherwise: they do not change what is trained."""


@contextmanager
def hold(out: Path, *, resume: bool) -> Iterator[dict[str, Any] | None]:
    """Hold the run's folder alone; gives the ``run.json`` that is there already.

    Raises:
        ConfigError: it holds a run and ``resume`` is not set, it holds something else, or another
            process trains in it.
        RunDamaged: its ``run.json`` is damaged or gone.
        StorageFailure: it cannot be made.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"out={str(out)!r} is a file; expected a folder; choose another --out")
    with storage_errors(f"{str(out)!r}"):
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / LOCK).open("w", encoding="utf-8")
    with lock, ExitStack() as held:
        with storage_errors(f"{str(out)!r}"):
            taken = _take(lock, out)
        if not taken:
            held.enter_context(_own_lock(out))
        is_run = (out / RUN).is_file()
        refuse_lost(out)
        # A kill at the first file leaves it unfinished.
        ours = {p.name for p in out.glob("*.partial") if is_unfinished(p.name)}
        if not is_run and (strange := sorted({p.name for p in out.iterdir()} - _OF_LOCKS - ours)):
            raise ConfigError(
                f"out={str(out)!r} holds {strange[0]!r} and no {RUN}; expected an empty folder or"
                " a run; choose another --out"
            )
        if is_run and not resume:
            raise ConfigError(
                f"out={str(out)!r} holds a run; expected an empty folder; go on with it by"
                " --resume, or choose another --out"
            )
        yield read_about(out, "a run") if is_run else None


def _take(lock: IO[str], out: Path) -> bool:
    """Lock an open file of the folder; False where the file system has no such locks.

    Raises:
        ConfigError: another process has it, or the lock that stands in for it.
    """
    try:
        # Given back by the system when this process ends, however it ends.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(
            f"out={str(out)!r}: another process trains in it; expected none; wait for it to"
            " end, or choose another --out"
        ) from error
    except OSError as error:
        if error.errno in _NO_FLOCK:
            return False
        raise
    # The folder may be mounted otherwise where another process trains in it.
    holder = read_holder(store_path(out))
    if holder is not None and not holder.is_gone():
        raise _in_use(out)
    return True


def _own_lock(out: Path) -> Lock:
    """The lock that stores have: a file of its own.

    Raises:
        ConfigError: another process has it.
    """
    try:
        return Lock.acquire(store_path(out), uuid.uuid4().hex)
    except StoreLocked as error:
        raise _in_use(out) from error


def _in_use(out: Path) -> ConfigError:
    file = str(out / OWN_LOCK)
    holder = read_holder(store_path(out))
    who = f" (host={holder.host}, pid={holder.pid}, since {holder.started})" if holder else ""
    return ConfigError(
        f"out={str(out)!r}: another process trains in it{who}; expected none; wait for it to end,"
        f" choose another --out, or, if it is known to be dead, remove {file!r}"
    )


def continued(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """``run.json`` of a resumed run: that of now, with the variants and seeds of before too.

    Raises:
        ConfigError: names what differs otherwise.
    """
    if absent := sorted(now.keys() - before.keys() - {"members"}):
        raise ConfigError(
            f"{str(out / RUN)!r} has no {', '.join(absent)}; expected a file of this version of"
            " avqa; choose another --out"
        )
    _require_same(out, before, now)
    return {
        **now,
        "variants": _in_order([*before["variants"], *now["variants"]]),
        "same_as": before["same_as"] | now["same_as"],
        "seeds": max(before["seeds"], now["seeds"]),
        # Runs of before do not tell.
        "members": [*dict.fromkeys([*before.get("members", ()), *now["members"]])],
    }


def _in_order(variants: Sequence[str]) -> list[str]:
    """Each once; ``question_only`` last."""
    return sorted(dict.fromkeys(variants), key=lambda name: name == QUESTION_ONLY)


def _require_same(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    differ = []
    for part in ("head", "dataset", "grounding"):
        if before[part] != now[part]:
            differ.append(f"{part} (run: {before[part]}, now: {now[part]})")
    if before["questions"] != now["questions"]:
        differ.append("questions (other files, answers or videos)")
    for part in ("settings", "options"):
        old, new = before[part], now[part]
        if part == "settings":  # runs of before have no such setting
            old = {"audio": TrainSettings.audio} | old
        differ += [
            f"{key} (run: {old.get(key)}, now: {new.get(key)})"
            for key in dict.fromkeys((*old, *new))
            if old.get(key) != new.get(key) and key not in MAY_DIFFER
        ]
    if differ:
        raise ConfigError(
            f"--resume {str(out)!r}: {', '.join(differ)}; expected what the run began with; give"
            " the same settings, or choose another --out"
        )


def require_recipes(before: Member, now: MemberConfig) -> None:
    """Refuse to go on with features of another recipe.

    Raises:
        RecipeMismatch: names every differing key with both values, and its features.
    """
    old, new = (
        {entry.get("name", key): entry for key, entry in {**of.features, **of.texts}.items()}
        for of in (before.config, now)
    )
    require_same(
        f"{str(before.path)!r} and store {now.store!r}",
        diff_recorded(old, new),
        "give the store of before, or choose another --out",
        sides=("run", "store"),
    )
