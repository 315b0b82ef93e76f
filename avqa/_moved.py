"""Modules that the documentation of version 0.1 named, under their old names: for one release."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "avqa.pipelines.explain": "avqa.pipelines.ask.explain",
    "avqa.pipelines.evaluate": "avqa.pipelines.train.evaluate",
    "avqa.pipelines.show_questions": "avqa.pipelines.questions.show",
    **{
        f"avqa.datasets.{name}": f"avqa.datasets._parts.{name}"
        for name in ("labels", "question", "splits", "vocabulary")
    },
}
"""Old name → where it is now."""


class Finder(MetaPathFinder, Loader):
    """Finds a module of an old name where it stands now, and says so."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Only asked where no file of that name is found."""
        return ModuleSpec(name, self) if name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module itself: what is set in one is set in the other."""
        new = MOVED[spec.name]
        warnings.warn(f"{spec.name} is now {new}", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(new)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has run; the import system has just taken the old name for its own."""
        module.__spec__ = self._spec


def install() -> None:
    """Let old names be imported; called once, by the package."""
    sys.meta_path.append(Finder())
