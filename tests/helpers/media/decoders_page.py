"""Writes ``docs/decoders.md`` from what the readers do on the conformance clips, and reads it.

The page is the record of what each reader cannot do. Run ``PYTHONPATH=tests:. python
tests/helpers/media/decoders_page.py`` after a change of a reader or of its library, and look at
what has changed.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from pathlib import Path

from helpers.media.cases import CASES, measure

from avqa.extract import readers
from avqa.extract.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "decoders.md"
Failures = Mapping[str, Mapping[str, frozenset[str]]]
"""By reader and clip: what goes wrong; clips without a failure may be left out."""

MEANING = {
    "rows": "the number of rows is wrong",
    "pictures": "some row shows another second's frame",
    "missing": "some row has no frame",
    "times": "some row's time stamp is wrong",
    "shape": "rotation or pixel aspect is not applied",
    "levels": "grey levels or colours are off by more than 2.5 of 255",
    "sound": "the audio is shifted or cannot be placed",
    "report": "reading errors are reported, though the file is whole",
    "no_decoder": "refused: it has no decoder, or shows wrong frames",
}
DEFAULT = Settings.__dataclass_fields__["decoder"].default
INTRO = """\
# Decoders

Every reader reads the same clips, whose frames carry their own number and whose audio carries
its own second. This page is written by the test suite from what each reader does with them
(`tests/extract/readers/`); a clip it gets wrong is an expected failure there, and must fail.

{readers}

A reader that fails is never replaced by another: that would be another recipe.
"""


def render(failures: Failures) -> str:
    """Text of the page."""
    names = sorted(failures, key=lambda name: (name != DEFAULT, name))
    lines = [INTRO.format(readers="\n".join(map(_described, names)))]
    lines += ["## What each reader cannot do", ""]
    for reader in names:
        wrong = {clip: what for clip, what in failures[reader].items() if what}
        lines.append(f"**{reader}**: {len(CASES) - len(wrong)} of {len(CASES)} clips right.")
        lines += ["", *_groups(wrong)]
    lines += ["## All clips", "", "| clip | " + " | ".join(names) + " |"]
    lines.append("|---" * (1 + len(names)) + "|")
    for clip in CASES:
        cells = [", ".join(sorted(failures[r].get(clip, ()))) or "right" for r in names]
        lines.append(f"| {clip} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def recorded() -> dict[str, dict[str, frozenset[str]]]:
    """What the page's table says: by reader and clip, what goes wrong."""
    table = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    (_, *names), _, *rows = table
    return {
        name: {
            row[0]: frozenset() if row[place] == "right" else frozenset(row[place].split(", "))
            for row in rows
        }
        for place, name in enumerate(names, start=1)
    }


def _described(name: str) -> str:
    """The reader, and its file's docstring as a list's item.

    Ours is read and not imported, since its library may not be here.
    """
    file = Path(readers.__file__).parent / f"{name}.py"
    if file.exists():
        about = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    else:
        about = inspect.getdoc(readers.load(name))
    lines = f"`{name}`{' (default)' * (name == DEFAULT)}: {about or ''}".split("\n")
    return "- " + "\n".join(f"  {line}" if line else "" for line in lines).strip()


def _groups(wrong: Mapping[str, frozenset[str]]) -> list[str]:
    lines = []
    for what in sorted(set().union(*wrong.values())) if wrong else []:
        clips = "; ".join(clip for clip in CASES if what in wrong.get(clip, ()))
        lines.append(f"- {MEANING.get(what, what)} (`{what}`): {clips}")
    return [*lines, ""] if lines else []


def main() -> None:
    """Measure and write the page."""
    failures = {
        name: {clip: measure(readers.load(name).READER, CASES[clip]) for clip in CASES}
        for name in readers.names()
    }
    PAGE.write_text(render(failures), encoding="utf-8")


if __name__ == "__main__":
    main()
