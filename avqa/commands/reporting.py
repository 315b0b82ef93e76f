"""How commands report: an error is one line on stderr and an exit code."""

from __future__ import annotations

import codecs
import contextlib
import datetime
import functools
import io
import os
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO, TypeVar

import typer

from avqa.addresses import ISSUES
from avqa.caches import cache_dir
from avqa.errors import AnnotationWarning, AvqaError, EnvironmentFailure
from avqa.faults import of_machine, traceback_of, traceback_text
from avqa.machine import check_current_folder, check_interpreter, keep_freed_memory
from avqa.signals import end_at_once
from avqa.telling.found import Found, to_json
from avqa.telling.terminal import output_width, wants_colour
from avqa.telling.terminal import say as say

if TYPE_CHECKING:
    from avqa.training.table.layout import ResultTable

F = TypeVar("F", bound=Callable[..., Any])


def reports_errors(command: F) -> F:
    """Turn an `AvqaError` into one line on stderr and its exit code; others are defects, 1."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            check_interpreter()
            check_current_folder()
            keep_freed_memory()
            with _notes():
                command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:
            # The reader of our output (head, less) has gone: nobody is left to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except AvqaError as error:
            end_at_once(error.exit_code)
            _show(error, str(error))
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            if not _threads_start():
                # OpenBLAS, where it gets none, sends its own process what Ctrl-C sends.
                failure = of_machine(RuntimeError("can't start new thread"))
                _show(error, str(failure))
                raise typer.Exit(EnvironmentFailure.exit_code) from error
            end_at_once(130)
            _show(error, "stopped by Ctrl-C")
            raise typer.Exit(130) from error
        except Exception as error:
            if failure := of_machine(error):
                _show(error, str(failure))
                raise typer.Exit(failure.exit_code) from error
            file = traceback_of(error) or _keep(error)
            again = "run again as `avqa --debug ...`, and report the traceback"
            _show(
                error,
                f"internal error: {type(error).__name__}: {error}; expected no such thing;"
                f" {f'report the traceback in {file!r}' if file else again} with what `avqa info`"
                f" prints: {ISSUES}",
            )
            raise typer.Exit(1) from error

    return wrapped  # type: ignore[return-value]


def _keep(error: BaseException) -> str | None:
    """Keep the traceback in our cache, or with temporary files: nothing nearer has kept it.

    Returns:
        The file; None if it can be written in neither.
    """
    name = f"{datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}.txt"
    for in_cache in (True, False):
        with contextlib.suppress(OSError):
            folder = cache_dir() if in_cache else Path(tempfile.mkdtemp(prefix="avqa-"))
            path = folder / "tracebacks" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(traceback_text(error))
            return str(path)
    return None


def _show(error: BaseException, line: str) -> None:
    with contextlib.suppress(OSError):
        if os.environ.get("AVQA_DEBUG"):
            traceback.print_exception(error)
    say("avqa: " + line.replace("\n", " "))


@contextlib.contextmanager
def _notes() -> Iterator[None]:
    """Show what was made of a question file, each line once, whatever PYTHONWARNINGS says."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", AnnotationWarning)
        show, shown = warnings.showwarning, set[str]()

        def note(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, AnnotationWarning):
                show(message, category, filename, lineno, file, line)
            elif str(message) not in shown:
                shown.add(str(message))
                say(f"note: {message}".replace("\n", " "))

        warnings.showwarning = note
        yield


def show(found: Found, *, as_json: bool) -> None:
    """Print what a command found: lines, or one JSON object."""
    typer.echo(to_json(found.data()) if as_json else "\n".join(found.lines()))


class InTurn:
    """Prints what is found one after the other: lines at once, JSON as one object at the end."""

    def __init__(self, whole: Callable[[list[Any]], Mapping[str, Any]], *, as_json: bool) -> None:
        """``whole`` makes the object of all that was found."""
        self._whole = whole
        self._kept: list[Any] | None = [] if as_json else None

    def __enter__(self) -> Self:
        """Nothing was found yet."""
        return self

    def __exit__(self, *ended: object) -> None:
        """Print the object, whatever ended the work, if anything was found."""
        if self._kept:
            typer.echo(to_json(self._whole(self._kept)))

    def tell(self, found: Found) -> None:
        """The next one; what is changed in it later is in the object."""
        if self._kept is not None:
            self._kept.append(found)
        else:
            self.more(*found.lines())

    def more(self, *lines: str) -> None:
        """Lines for people alone."""
        if self._kept is None:
            typer.echo("\n".join(lines))
            sys.stdout.flush()


def show_table(
    table: ResultTable,
    form: str = "text",
    *,
    cells: bool = False,
    more: Found | None = None,
    as_json: bool = False,
) -> None:
    """Print a result table: on a terminal as wide as that is, unless all ``cells`` are wanted.

    Args:
        table: what to print.
        form: text, csv or markdown.
        cells: all columns, also where they do not fit.
        more: its lines stand below the text, its object is that of the table with more in it.
        as_json: that object instead.
    """
    if as_json:
        typer.echo(to_json((more or table).data()))
    elif form == "text":
        width = None if cells else output_width()
        typer.echo(table.text(width, colour=wants_colour()), nl=False, color=wants_colour())
        if more is not None and (lines := more.lines()):
            typer.echo("\n".join(["", *lines]))
    else:
        typer.echo(getattr(table, form)(), nl=False)


def _threads_start() -> bool:
    try:
        threading.Thread(target=int).start()
    except RuntimeError:
        return False
    return True


def show_anything() -> None:
    """Let standard output take text that its encoding lacks, as in a terminal of Latin-1.

    What it lacks is shown as ``?``; a file name that is no text, with its own bytes.
    """
    codecs.register_error("avqa.shown", _shown)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="avqa.shown")


def _shown(error: UnicodeError) -> tuple[bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    shown = (
        bytes([ord(letter) - 0xDC00]) if "\udc80" <= letter <= "\udcff" else b"?"
        for letter in lacking
    )
    return b"".join(shown), error.end
