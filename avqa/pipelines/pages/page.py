"""A page is one HTML file: it holds all it needs, asks nobody for anything, and runs no text.

Texts of annotations reach a page in two ways: through templates that escape everything, and as
JSON in a block that is no script. Above that the page's own policy lets run the one script that was
put into it, by its digest, and lets nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avqa.errors import ConfigError
from avqa.store.places.files import storage_errors, write_atomic

TEMPLATES = Path(__file__).parent / "templates"
_BASE = "page"


def render(name: str, *, title: str, data: object, media: str = "'none'", **told: Any) -> bytes:
    """The page of ``templates/NAME.html``, with the styles and the script beside it.

    Args:
        name: of the template.
        title: of the page; text.
        data: what the script reads, see `as_json`.
        media: where videos may come from, as a Content-Security-Policy says it.
        told: what the template shows.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = _joined((_BASE, name), "js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data:; media-src {media}; style-src 'unsafe-inline';"
        f" script-src 'sha256-{digest}'"
    )
    text = environment.get_template(f"{name}.html").render(
        title=title,
        policy=policy,
        css=Markup(_joined((_BASE, name), "css")),
        script=Markup(script),
        data=Markup(as_json(data)),  # no letter of it means anything to HTML
        **told,
    )
    # Names of files that are no text have letters that no encoding has.
    return text.encode("utf-8", "replace")


def _joined(names: Sequence[str], kind: str) -> str:
    paths = (TEMPLATES / f"{name}.{kind}" for name in names)
    return "\n".join(path.read_text(encoding="utf-8") for path in paths if path.exists())


def as_json(value: object) -> str:
    """JSON that may stand in a ``<script>``: plain ASCII without ``<``, ``>`` and ``&``.

    Raises:
        ValueError: a number is NaN or infinite; see `finite`.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for letter in "<>&":  # they occur in texts alone, where this means the same
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def finite(value: float | None, digits: int = 4) -> float | None:
    """A number as JSON has it; None for none, NaN and infinity."""
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


def data_uri(content: bytes, kind: str) -> str:
    """A file within the page; ``kind`` is its media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def write_page(path: Path, content: bytes) -> None:
    """Replace a file by a page.

    Raises:
        ConfigError: it is a folder, or lies in none.
        StorageFailure: it cannot be written.
    """
    check_out(path)
    with storage_errors(repr(str(path))):
        write_atomic(path, content, durable=False)


def check_out(path: Path) -> None:
    """Refuse a path that no file can have, before the work is done.

    Raises:
        ConfigError: it is a folder, or lies in none.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        what = "is a folder" if path.is_dir() else "lies in a folder that does not exist"
        raise ConfigError(f"out={str(path)!r} {what}; expected a file to write; change --out")
