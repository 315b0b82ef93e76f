"""Single files of libraries whose packages import far more than what is needed of them."""

from __future__ import annotations

import functools
import importlib.util
from types import ModuleType


@functools.cache
def module_alone(package: str, name: str) -> ModuleType:
    """One module of an installed package without the package itself; it imports no sibling.

    Raises:
        ModuleNotFoundError: the package is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    path = f"{found.submodule_search_locations[0]}/{name}.py"
    spec = importlib.util.spec_from_file_location(f"_avqa_{package}_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded
