"""Encoders that are dropped in: the one of the documentation, and broken ones."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avqa import plugins
from avqa.extract import encoders

PAGE = Path(__file__).resolve().parents[3] / "docs" / "plugins.md"
NAME = "coarse"


def source() -> str:
    """The complete example of the page on plug-ins."""
    (text,) = re.findall(
        r'```python\n("""Coarse.*?)```', PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    return str(text)


@contextmanager
def dropped_in(folder: Path, text: str, name: str = NAME) -> Iterator[None]:
    """Find an encoder in ``folder`` for a while, in this process."""
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    encoders.__path__.append(str(folder))
    plugins._load.cache_clear()
    try:
        yield
    finally:
        encoders.__path__.remove(str(folder))
        plugins._load.cache_clear()
        sys.modules.pop(f"{encoders.__name__}.{name}", None)
        vars(encoders).pop(name, None)
