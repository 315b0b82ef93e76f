"""Readers, one file each: the file name is the reader's public name.

A reader module defines ``READER``, an `avqa.extract.media.types.Reader`. All readers pass one
conformance suite, where they can; what each cannot do is in ``docs/decoders.md``. Files whose
name begins with an underscore are no readers.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from avqa.errors import UnknownName


def names() -> list[str]:
    """Names of all readers, without importing them."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def load(name: str) -> ModuleType:
    """Import one reader module.

    Raises:
        UnknownName: if there is no such reader.
        ImportError: if the library behind it is not installed.
    """
    if name not in names():
        raise UnknownName("decoder", name, names())
    return importlib.import_module(f"{__name__}.{name}")
