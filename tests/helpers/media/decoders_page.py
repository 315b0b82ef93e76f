"""Writes ``docs/decoders.md`` from what the readers do on the conformance clips.

Run ``PYTHONPATH=tests:. python tests/helpers/media/decoders_page.py`` after a change of a reader
or of its library, then bring the table in ``test_conformance.py`` in line with what it prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from helpers.media.cases import CASES, measure

from avqa.extract import readers as decode

PAGE = Path(__file__).parents[3] / "docs" / "decoders.md"
Failures = Mapping[str, Mapping[str, frozenset[str]]]
"""By reader and clip: what goes wrong; clips without a failure may be left out."""

MEANING = {
    "rows": "the number of rows is wrong",
    "pictures": "some row shows another second's picture",
    "missing": "some row has no picture",
    "times": "some row's time stamp is wrong",
    "shape": "rotation or pixel aspect is not applied",
    "levels": "grey levels or colours are off by more than 2.5 of 255",
    "sound": "the sound is shifted or cannot be placed",
    "report": "reading errors are reported, though the file is whole",
    "no_decoder": "refused: it cannot open the codec",
}
INTRO = """\
# Decoders

Every reader reads the same clips, whose pictures carry their own number and whose sound carries
its own second. This page is written by the test suite from what each reader does with them
(`tests/extract/decode/`); a clip it gets wrong is an expected failure there, and must fail.

- `pyav` (default): decodes only what the wanted pictures depend on, by time stamp.
- `ffmpeg`: the bundled ffmpeg program, its own time table, decodes everything twice. An
  independent check.
- `decord`: through decord's own seeking. Its sound, and the checks before opening, are PyAV's.

A reader that fails is never replaced by another: that would be another recipe.
"""


def render(failures: Failures) -> str:
    """Text of the page."""
    readers = sorted(failures, key=lambda name: (name != "pyav", name))
    lines = [INTRO, "## What each reader cannot do", ""]
    for reader in readers:
        wrong = {clip: what for clip, what in failures[reader].items() if what}
        lines.append(f"**{reader}**: {len(CASES) - len(wrong)} of {len(CASES)} clips right.")
        lines += ["", *_groups(wrong)]
    lines += ["## All clips", "", "| clip | " + " | ".join(readers) + " |"]
    lines.append("|---" * (1 + len(readers)) + "|")
    for clip in CASES:
        cells = [", ".join(sorted(failures[r].get(clip, ()))) or "right" for r in readers]
        lines.append(f"| {clip} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _groups(wrong: Mapping[str, frozenset[str]]) -> list[str]:
    lines = []
    for what in sorted(set().union(*wrong.values())) if wrong else []:
        clips = "; ".join(clip for clip in CASES if what in wrong.get(clip, ()))
        lines.append(f"- {MEANING.get(what, what)} (`{what}`): {clips}")
    return [*lines, ""] if lines else []


def main() -> None:
    """Measure, write the page, print the failures."""
    failures = {r: {clip: measure(r, CASES[clip]) for clip in CASES} for r in decode.names()}
    PAGE.write_text(render(failures), encoding="utf-8")
    for reader, found in failures.items():
        for clip, what in found.items():
            if what:
                print(f'    "{reader}", "{clip}": {sorted(what)}')


if __name__ == "__main__":
    main()
