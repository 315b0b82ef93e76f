"""Questions of each type in MUSIC-AVQA's test files, and whether printed averages follow from them.

A figure of so many questions is a whole number of right answers, so that the cells of a row tell
which file it is of, and its averages can be computed again: heads.md section 8.
"""

from __future__ import annotations

from collections.abc import Mapping

from avqa.heads._parts.paper import COLUMNS

TYPES = tuple(name for name in COLUMNS if name != "All" and not name.endswith("-Avg"))


def _counts(*counts: int) -> dict[str, int]:
    return dict(zip(TYPES, counts, strict=True))


REAL = "real videos only"
TYPE_COUNTS = {
    "u": _counts(1017, 594, 1197, 1225, 988, 1265, 920, 1101, 822),
    "o": _counts(1022, 601, 1199, 1228, 995, 1274, 927, 1115, 824),
    REAL: _counts(892, 244, 1070, 1021, 889, 943, 707, 961, 638),
}
"""Annotation → column of one type → its test questions: updated 9,129, original 9,185, and the
7,365 of the updated file whose video id is all digits."""

GROUPS = {"A-Avg": "A-", "V-Avg": "V-", "AV-Avg": "AV-", "All": ""}
"""Column of an average → how the columns of its types begin."""

ROUNDING = 0.01
"""Half a unit of the last digit in the parts, and half a one in the average."""


def total(column: str, annotation: str) -> int:
    """Test questions of a column: one type, a group or all."""
    counts = TYPE_COUNTS[annotation]
    if column in counts:
        return counts[column]
    return sum(n for name, n in counts.items() if name.startswith(GROUPS[column]))


def averages(values: Mapping[str, float], annotation: str) -> dict[str, float]:
    """The averages of a row as they follow from its types, or that of all from its groups.

    Args:
        values: column → percent.
        annotation: a key of `TYPE_COUNTS`.
    """
    found = {}
    for column, start in GROUPS.items():
        types = [name for name in TYPE_COUNTS[annotation] if name.startswith(start)]
        for parts in (types, list(GROUPS)[:-1] if column == "All" else types):
            if column in values and all(part in values for part in parts):
                sizes = {part: total(part, annotation) for part in parts}
                weighed = sum(values[part] * size for part, size in sizes.items())
                found[column] = weighed / sum(sizes.values())
                break
    return found


def follow(values: Mapping[str, float], annotation: str) -> bool:
    """Whether the printed averages follow from their parts, as far as those are printed.

    Args:
        values: column → percent.
        annotation: as in `Figures`; of a mixture, or where it is not known, either file will do.
    """
    known = [REAL] if annotation.endswith(REAL) else [annotation]
    files = known if known[0] in TYPE_COUNTS else ["u", "o"]
    return any(
        all(
            abs(average - values[column]) <= ROUNDING + 1e-9
            for column, average in averages(values, file).items()
        )
        for file in files
    )
