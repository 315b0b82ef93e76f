"""The folder that a training run holds alone, and whether another run may go on in it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from avqa.errors import ConfigError
from avqa.store.format.recipe_diff import diff_recorded, require_same
from avqa.store.places.files import storage_errors
from avqa.training.run import QUESTION_ONLY, RUN, Member, MemberConfig, read_object
from avqa.training.settings import TrainSettings

LOCK = "lock"
MAY_DIFFER = ("device", "workers")
"""Settings that a resumed run may have otherwise: they do not change what is trained."""


@contextmanager
def hold(out: Path, *, resume: bool) -> Iterator[dict[str, Any] | None]:
    """Hold the run's folder alone; gives the ``run.json`` that is there already.

    Raises:
        ConfigError: it holds a run and ``resume`` is not set, it holds something else, or another
            process trains in it.
        StorageFailure: it cannot be made.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"out={str(out)!r} is a file; expected a folder; choose another --out")
    with storage_errors(f"{str(out)!r}"):
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / LOCK).open("w", encoding="utf-8")
    with lock:
        try:
            # Given back by the system when this process ends, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"out={str(out)!r}: another process trains in it; expected none; wait for it to"
                " end, or choose another --out"
            ) from error
        is_run = (out / RUN).is_file()
        if not is_run and (strange := sorted({p.name for p in out.iterdir()} - {LOCK})):
            raise ConfigError(
                f"out={str(out)!r} holds {strange[0]!r} and no {RUN}; expected an empty folder or"
                " a run; choose another --out"
            )
        if is_run and not resume:
            raise ConfigError(
                f"out={str(out)!r} holds a run; expected an empty folder; go on with it by"
                " --resume, or choose another --out"
            )
        yield read_object(out / RUN, "a run") if is_run else None


def continued(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """``run.json`` of a resumed run: that of now, with the variants and seeds of before too.

    Raises:
        ConfigError: names what differs otherwise.
    """
    if absent := sorted(now.keys() - before.keys()):
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
