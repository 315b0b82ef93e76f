"""Standard error as people see it: lines, and on a terminal one bar below them.

In a notebook lines stand below the cell, and a bar is one line of it that changes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import typer

from avqa.telling import Shown, notebook

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

REDRAWN_PER_SECOND = 4
_BAR_WIDTH = 20


class Terminal:
    """Prints lines to standard error, so that standard output holds the result alone; draws a bar.

        avqa.extract("videos", "features", say=avqa.say)

    Where they cannot be written, as on a full disk, the work goes on: no result depends on them.
    """

    def __init__(self) -> None:
        """Nothing is drawn yet."""
        self._live: Any = None

    def __call__(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        with contextlib.suppress(OSError):
            if notebook.there():
                print(line, flush=True)  # what is told on standard error looks like a failure there
            elif self._live is not None:
                self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)
            else:
                typer.echo(line, err=True)

    def draw(self, shown: Callable[[], Shown]) -> Callable[[], None] | None:
        """Draw what ``shown`` gives; what takes it away again, None where nothing is drawn."""
        if notebook.there():
            return notebook.draw(shown)
        if self._live is not None or not _draws():
            return None
        from rich.console import Console
        from rich.live import Live

        self._live = Live(
            _Renderable(shown),
            console=Console(stderr=True),
            transient=True,
            refresh_per_second=REDRAWN_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()
        return self._end

    def _end(self) -> None:
        live, self._live = self._live, None
        with contextlib.suppress(OSError):
            live.stop()


def _draws() -> bool:
    """Whether standard error is a terminal that can go back in a line."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return sys.stderr.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}
    return False


def output_width() -> int | None:
    """Characters in a line of the terminal that standard output is; None if it is none."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if sys.stdout.isatty():
            return shutil.get_terminal_size().columns
    return None


def wants_colour() -> bool:
    """Whether standard output is a terminal, and nobody asked for none (https://no-color.org)."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "") in {"", "dumb"}
    return output_width() is not None and not plain


def is_typed() -> bool:
    """Whether a person types what comes through standard input."""
    return sys.stdin is not None and sys.stdin.isatty()


def typed_lines(prompt: str, say: Callable[[str], None], *, shown: bool = True) -> Iterator[str]:
    """Lines of standard input that are not empty; where they are typed, the first empty one ends.

    The prompt does not get into a result that goes to a file, nor anywhere into standard output
    unless it may be ``shown`` there.
    """
    if not is_typed():
        yield from (line for line in sys.stdin or () if line.strip())
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (lines can be edited, and had back)
    say("an empty line ends")
    shown = shown and sys.stdout.isatty()
    with contextlib.suppress(EOFError):
        while True:
            if not shown:
                typer.echo(prompt, err=True, nl=False)
            line = input(prompt if shown else "").strip()
            if not line:
                return
            yield line


class _Renderable:
    """A bar and its words, in one line of whatever width the terminal has now."""

    def __init__(self, shown: Callable[[], Shown]) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._line(options.max_width)

    def _line(self, width: int) -> Iterable[Any]:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        shown = self._shown()
        bar = min(_BAR_WIDTH, width // 4)
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=bar)
        grid.add_column(no_wrap=True)
        grid.add_row(
            ProgressBar(total=1.0, completed=shown.share or 0.0, width=bar),
            Text(shown.fitted(width - bar - 1), no_wrap=True, overflow="crop"),
        )
        yield grid


say = Terminal()
"""What commands tell with."""
