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
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Generic, NoReturn, TypeVar, cast

from avqa.addresses import page
from avqa.errors import LibraryMissing, PluginError, UnknownName

T = TypeVar("T")

PAGE = page("docs/plugins.md")
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
        return tuple(sorted({*self._own(), *_entry_points(self.group)}))

    def load(self, name: str) -> T:
        """Import one plug-in and hold it against its contract.

        Raises:
            UnknownName: there is no such plug-in.
            PluginError: it breaks its contract, cannot be imported, or its name is taken; names
                the file and the member, or both places.
            LibraryMissing: a library that it needs is not installed.
        """
        return cast("T", _load(self, name))

    def _own(self) -> dict[str, str]:
        """Name → module of every plug-in in the package's folder."""
        package = importlib.import_module(self.folder)
        files = [m.name for m in pkgutil.iter_modules(package.__path__) if m.name[0] != "_"]
        return {
            file.replace("_", "-") if self.hyphens else file: f"{self.folder}.{file}"
            for file in files
        }

    def _import(self, name: str) -> ModuleType:
        places = [f"module {own}" for own in [self._own().get(name)] if own is not None]
        entries = _entry_points(self.group).get(name, ())
        places += [f"{entry.value} of package {_package(entry)}" for entry in entries]
        if not places:
            raise UnknownName(self.word, name, self.names())
        if len(places) > 1:
            raise PluginError(
                f"{self.word} {name!r} is there {len(places)} times: {', '.join(places)}; expected"
                f" it once; uninstall a package, or rename its entry point; see {PAGE}"
            )
        if entries:
            return self._import_entry(name, entries[0])
        return self._import_module(name, self._own()[name], places[0])

    def _import_entry(self, name: str, entry: EntryPoint) -> ModuleType:
        if entry.attr:
            raise PluginError(
                f"{self.word} {name!r}: entry point {entry.value!r} of package {_package(entry)}"
                f" names more than a module; expected {entry.module!r}; see {PAGE}"
            )
        return self._import_module(
            name, entry.module, f"{entry.value} of package {_package(entry)}"
        )

    def _import_module(self, name: str, module: str, place: str) -> ModuleType:
        try:
            return importlib.import_module(module)
        except ImportError as error:
            top = str(error.name).partition(".")[0]
            if top in ("avqa", module.partition(".")[0]):
                self._broken(name, place, error)
            raise LibraryMissing(
                f"{self.word} {name!r} cannot be loaded: {error}; expected its library to be"
                f" installed; install it or choose another {self.word}"
            ) from error
        except Exception as error:  # whatever a foreign module does while it is imported
            self._broken(name, place, error)

    def _broken(self, name: str, place: str, error: Exception) -> NoReturn:
        raise PluginError(
            f"{self.word} {name!r} ({place}) cannot be imported: {type(error).__name__}: {error};"
            f" expected a module that can be; correct it; see {PAGE}"
        ) from error


@functools.cache
def _entry_points(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    """Those of all installed packages by name; read once, since it looks into every package."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for entry in entry_points(group=group):
        found.setdefault(entry.name, {}).setdefault(entry.value, entry)
    return {name: tuple(entries.values()) for name, entries in found.items()}


def _package(entry: EntryPoint) -> str:
    return "?" if entry.dist is None else entry.dist.name


@functools.cache
def _load(kind: Kind[Any], name: str) -> ModuleType:
    module = kind._import(name)
    cause = None
    problems = [*missing_or_wrong(module, kind.contract)]
    if not problems:
        try:
            problems = [*kind.complaints(module)]
        except Exception as error:  # values of other types than the contract's inside a member
            cause = error
            problems = [
                f"cannot be checked: {type(error).__name__}: {error}; expected other values"
            ]
    if problems:
        place = f"{kind.word} {name!r} ({module.__file__})"
        raise PluginError(f"{place}: {'; '.join(problems)}; see {PAGE}") from cause
    return module


def missing_or_wrong(thing: object, contract: type, prefix: str = "") -> Iterator[str]:
    """Members that a module or object lacks, or has as something else than its contract says.

    Yields:
        ``NAME …; expected …``, with ``prefix`` before each name.
    """
    hints = inspect.get_annotations(contract)
    # What is read only may be of a narrower type: a subclass of the class that is asked for.
    hints |= {
        name: inspect.get_annotations(member.fget)["return"]
        for name, member in vars(contract).items()
        if isinstance(member, property) and member.fget is not None
    }
    for name, hint in hints.items():
        expected = _TYPES.get(str(hint).partition("[")[0])
        if not hasattr(thing, name):
            yield f"{prefix}{name} is missing; expected {name}: {hint}"
        elif expected is not None and not isinstance(getattr(thing, name), expected):
            found = type(getattr(thing, name)).__name__
            yield f"{prefix}{name} is a {found}; expected {name}: {hint}"
    for name, method in vars(contract).items():
        if name.startswith("_") or not inspect.isfunction(method):
            continue
        wanted = list(inspect.signature(method).parameters)[1:]  # without self
        call = f"{name}({', '.join(wanted)})"
        function = getattr(thing, name, None)
        if not callable(function):
            yield f"{prefix}{name} is missing; expected {call}"
        elif (taken := list(inspect.signature(function).parameters))[: len(wanted)] != wanted:
            yield f"{prefix}{name}({', '.join(taken)}) takes other arguments; expected {call}"
