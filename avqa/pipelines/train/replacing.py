"""`--overwrite`: what a run wrote is removed; nothing else is, and nothing that a link leads to."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from avqa.errors import ConfigError, StoreLocked
from avqa.pipelines.train.members import take_member
from avqa.store.places.files import storage_errors
from avqa.training.fitting.history import METRICS
from avqa.training.run import CHECKPOINTS, CONFIG, MODEL, PREDICTIONS, PROBABILITIES, RESULT
from avqa.training.table.confusions import CONFUSIONS

_TABLES = ("table.txt", "table.csv", "table.md", CONFUSIONS)
_FILES = (
    *(RESULT, CONFIG, MODEL, PREDICTIONS, PROBABILITIES, METRICS),
    *("environment.json", "curves.png"),
)
_FOLDERS = (CHECKPOINTS, "logs")


@contextmanager
def emptied(out: Path, before: Mapping[str, Any]) -> Iterator[None]:
    """Remove a run's tables and members, not its ``run.json``, which the block replaces.

    No other process can begin one of these members before the block ends. Killed in between, the
    old run is there still, with fewer members.

    Raises:
        ConfigError: another process trains one of them, or a folder of theirs is a link.
        StorageFailure: something cannot be removed.
    """
    paths = _members(out, before)
    with ExitStack() as held, storage_errors(f"{str(out)!r}"):
        for path in paths:
            try:
                held.enter_context(take_member(path))
            except StoreLocked as error:
                raise ConfigError(f"--overwrite: {error}") from error
        for path in paths:
            _clear(path)
        for name in _TABLES:
            (out / name).unlink(missing_ok=True)
        yield
    for path in paths:
        for folder in (path, path.parent):
            with contextlib.suppress(OSError):  # something of somebody else is in it
                folder.rmdir()


def _members(out: Path, before: Mapping[str, Any]) -> list[Path]:
    """Folders of all members, those of the run that were not begun as well."""
    there = {path.parent for name in (CONFIG, RESULT) for path in out.glob(f"*/seed-*/{name}")}
    asked = {out / name for name in before.get("members", ())}
    paths = sorted(p for p in there | asked if _is_member(p.relative_to(out)))
    for path in paths:
        for folder in (path.parent, path):
            if folder.is_symlink():
                raise ConfigError(
                    f"--overwrite: {str(folder)!r} is a link; expected a folder of the run;"
                    " remove it, or choose another --out"
                )
    return paths


def _is_member(path: Path) -> bool:
    variant, *seed = path.parts
    return variant != ".." and len(seed) == 1 and re.fullmatch(r"seed-\d+", seed[0]) is not None


def _clear(path: Path) -> None:
    for name in _FILES:
        (path / name).unlink(missing_ok=True)
    for name in _FOLDERS:
        folder = path / name
        if folder.is_symlink():
            folder.unlink()
        elif folder.is_dir():
            shutil.rmtree(folder)
