"""A bar in a notebook: one display that changes, by IPython alone, without ipywidgets."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable
from html import escape
from typing import Any

from avqa.telling import Shown

SECONDS = 0.5
"""Between two changes."""


def there() -> bool:
    """Whether this process is a notebook's kernel."""
    # Nobody but a kernel, or who works in IPython's shell, has loaded it.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def draw(shown: Callable[[], Shown]) -> Callable[[], None]:
    """Show below the cell what ``shown`` gives, again and again; what takes it away."""
    handle = _display(_pictured(shown()))
    ended = threading.Event()

    def redraw() -> None:
        with contextlib.suppress(Exception):  # no result depends on what is shown
            while not ended.wait(SECONDS):
                handle.update(_pictured(shown()), raw=True)

    thread = threading.Thread(target=redraw, name="avqa-notebook", daemon=True)
    thread.start()

    def end() -> None:
        ended.set()
        thread.join()
        with contextlib.suppress(Exception):
            handle.update({"text/plain": "", "text/html": ""}, raw=True)

    return end


def _display(picture: dict[str, str]) -> Any:
    from IPython.display import display

    return display(picture, raw=True, display_id=True)


def _pictured(shown: Shown) -> dict[str, str]:
    """For a page, and for who converts the notebook to text."""
    bar = "" if shown.share is None else f'<progress value="{shown.share:.4f}" max="1"></progress> '
    share = "" if shown.share is None else f"{shown.share:4.0%} | "
    return {"text/html": bar + escape(shown.line()), "text/plain": share + shown.line()}
