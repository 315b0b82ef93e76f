"""Types of questions and the columns of the field's result table."""

from __future__ import annotations

Pairs = frozenset[tuple[str, str]]
"""Type pairs (modality, kind) that one column counts together."""

NAMES = {
    "A-Count": ("Audio", "Counting"),
    "A-Comp": ("Audio", "Comparative"),
    "V-Count": ("Visual", "Counting"),
    "V-Local": ("Visual", "Location"),
    "AV-Exist": ("Audio-Visual", "Existential"),
    "AV-Count": ("Audio-Visual", "Counting"),
    "AV-Local": ("Audio-Visual", "Location"),
    "AV-Comp": ("Audio-Visual", "Comparative"),
    "AV-Temp": ("Audio-Visual", "Temporal"),
}
"""The nine types of MUSIC-AVQA, in the order in which the papers print them."""


def _columns() -> dict[str, Pairs]:
    columns: dict[str, Pairs] = {}
    for short in ("A", "V", "AV"):
        group = {name: pair for name, pair in NAMES.items() if name.split("-")[0] == short}
        columns |= {name: frozenset({pair}) for name, pair in group.items()}
        columns[f"{short}-Avg"] = frozenset(group.values())
    return columns | {"All": frozenset(NAMES.values())}


COLUMNS: dict[str, Pairs] = _columns()
"""Column → types it counts, in printing order: ``A-Count`` … ``A-Avg`` … ``AV-Avg``, ``All``."""
