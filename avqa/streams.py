"""Standard input, output and error where a caller has closed them.

A file that is opened later would get the number of the one that is missing: a decoder process
would lose it to its own standard streams, and what is printed would land in it.
"""

from __future__ import annotations

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
            stream = open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
