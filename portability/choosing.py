"""Which of several named things a command line asks for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable


def asked_for(description: str | None, known: Iterable[str]) -> list[str]:
    """The names given, all if none are; a name that is not known ends the program with code 2."""
    names = list(known)
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all")
    chosen: list[str] = parser.parse_args().names or names
    if unknown := [name for name in chosen if name not in names]:
        expected = ", ".join(names)
        print(f"ONLY={' '.join(unknown)}; expected of {expected}; correct it", file=sys.stderr)
        sys.exit(2)
    return chosen
