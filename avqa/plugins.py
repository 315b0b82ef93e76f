"""Plug-ins: modules in one of the package's folders, and those that other packages bring.

Encoders, readers, data sets and heads are found in the same way. A module of the folder, whose
name begins with no underscore, is a plug-in; so is a module that an installed package names as an
entry point of the kind's group:

    [project.entry-points."avqa.encoders"]
    gray = "some_package.gray"

What a plug-in must define says the kind's contract, a `Protocol`; `docs/plugins.md` explains each.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Generic, TypeVar, cast

from avqa.errors import PluginError, UnknownName

T = TypeVar("T")

PAGE = "docs/plugins.md"
_TYPES: dict[str, type] = {
    "str": str,
    "tuple": tuple,
    "dict": dict,
    "Mapping": Mapping,
    "type": type,
}
"""First word of an annotation → what the value must be an instance of."""


@dataclass(frozen=True)
class Kind(Generic[T]):
    """One kind of plug-in, and the only way to find and load those there are."""

    word: str
    """What messages call one: ``encoder``."""
    folder: str
    """Package whose modules are plug-ins: ``avqa.extract.encoders``."""
    group: str
    """Entry-point group of other packages' plug-ins: ``avqa.encoders``."""
    contract: type
    """The `Protocol` that a plug-in's module follows."""
    complaints: Callable[[T], Iterable[str]] = lambda module: ()
    """What is wrong with the members of a module that has them all, as ``NAME …; expected …``."""
    hyphens: bool = False
    """Names are written with hyphens where their files have underscores."""

    def names(self) -> tuple[str, ...]:
        """Names of all plug-ins of this kind, sorted, without importing them."""
        package = importlib.import_module(self.folder)
        own = (m.name for m in pkgutil.iter_modules(package.__path__) if m.name[0] != "_")
        return tuple(sorted({*map(self._public, own), *_entry_points(self.group)}))

    def load(self, name: str) -> T:
        """Import one plug-in and hold it against its contract.

        Raises:
            UnknownName: there is no such plug-in.
            PluginError: it breaks its contract; names the file and the member.
            ImportError: a library that it needs is not installed.
        """
        return cast("T", _load(self, name))

    def _import(self, name: str) -> ModuleType:
        file = name.replace("-", "_") if self.hyphens else name
        found = file.isidentifier() and file[0] != "_"
        if found and importlib.util.find_spec(f"{self.folder}.{file}") is not None:
            return importlib.import_module(f"{self.folder}.{file}")
        entry = _entry_points(self.group).get(name)
        if entry is None:
            raise UnknownName(self.word, name, self.names())
        try:
            module = entry.load()
        except AttributeError as error:
            raise PluginError(
                f"{self.word} {name!r}: entry point {entry.value!r} cannot be loaded ({error});"
                f" expected the name of a module; see {PAGE}"
            ) from error
        if not isinstance(module, ModuleType):
            raise PluginError(
                f"{self.word} {name!r}: entry point {entry.value!r} is a {type(module).__name__};"
                f" expected the name of a module; see {PAGE}"
            )
        return module

    def _public(self, file: str) -> str:
        return file.replace("_", "-") if self.hyphens else file


@functools.cache
def _entry_points(group: str) -> dict[str, EntryPoint]:
    """Of all installed packages; read once, since it looks into every one of them."""
    return {entry.name: entry for entry in entry_points(group=group)}


@functools.cache
def _load(kind: Kind[Any], name: str) -> ModuleType:
    module = kind._import(name)
    problems = [*_missing_or_wrong(module, kind.contract)]
    problems = problems or [*kind.complaints(module)]
    if problems:
        raise PluginError(
            f"{kind.word} {name!r} ({module.__file__}): {'; '.join(problems)}; see {PAGE}"
        )
    return module


def _missing_or_wrong(module: ModuleType, contract: type) -> Iterator[str]:
    """Members that a module lacks, or has as something else than its contract says."""
    for name, hint in inspect.get_annotations(contract).items():
        expected = _TYPES.get(str(hint).partition("[")[0])
        if not hasattr(module, name):
            yield f"{name} is missing; expected {name}: {hint}"
        elif expected is not None and not isinstance(getattr(module, name), expected):
            found = type(getattr(module, name)).__name__
            yield f"{name} is a {found}; expected {name}: {hint}"
    for name, method in vars(contract).items():
        if name.startswith("_") or not inspect.isfunction(method):
            continue
        wanted = list(inspect.signature(method).parameters)[1:]  # without self
        call = f"{name}({', '.join(wanted)})"
        function = getattr(module, name, None)
        if not callable(function):
            yield f"{name} is missing; expected {call}"
        elif (taken := _parameters(function))[: len(wanted)] != wanted:
            yield f"{name}({', '.join(taken)}) takes other arguments; expected {call}"


def _parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)
