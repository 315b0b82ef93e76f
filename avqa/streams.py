"""Standard input, output and error where a caller has closed them.

A file that is opened later would get the number of the one that is missing: a decoder process
would lose it to its own standard streams, and what is printed would land in it.
"""

from __future__ import annotations

import codecs
import io
import os
import sys


def settle() -> None:
    """Put ``/dev/null`` in the place of each that is closed."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))


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
