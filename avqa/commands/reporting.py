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
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import typer

from avqa.addresses import ISSUES
from avqa.caches import cache_dir
from avqa.errors import AvqaError, EnvironmentFailure
from avqa.faults import of_machine, traceback_of, traceback_text
from avqa.machine import check_interpreter

F = TypeVar("F", bound=Callable[..., Any])


def reports_errors(command: F) -> F:
    """Turn an `AvqaError` into one line on stderr and its exit code; others are defects, 1."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            check_interpreter()
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except BrokenPipeError:
            # The reader of our output (head, less) has gone: nobody is left to tell.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except AvqaError as error:
            _show(error, str(error))
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            if not _threads_start():
                # OpenBLAS, where it gets none, sends its own process what Ctrl-C sends.
                failure = of_machine(RuntimeError("can't start new thread"))
                _show(error, str(failure))
                raise typer.Exit(EnvironmentFailure.exit_code) from error
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


def say(line: str) -> None:
    """A line of progress or advice: to stderr, so that stdout holds the result alone.

    Where it cannot be written, as on a full disk, the work goes on: no result depends on it.
    """
    with contextlib.suppress(OSError):
        typer.echo(line, err=True)


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
