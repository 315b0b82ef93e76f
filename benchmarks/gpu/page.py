"""The results in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.gpu.parts import PARTS

COSMOS = 428.0
"""Seconds of video per second on one H100 that NVIDIA gives for Cosmos-Embed1."""
COLLECTION_SECONDS, COLLECTION_MINUTES = 150 * 3600.0, 20.0
"""MUSIC-AVQA, and the minutes that it is to take."""


def page(results: Mapping[str, Any]) -> str:
    """All parts, those that were not reached too."""
    lines = [
        "# On a GPU",
        "",
        f"Written by `make gpu-check`; do not edit. {results['date']}; device:"
        f" {results['device']}.",
        "",
        *_summary(results),
        *_anchors(results["parts"]),
    ]
    for part in PARTS:
        if found := results["parts"].get(part.name):
            lines += _part(part.what, found)
    return "\n".join(lines)


def good(found: Mapping[str, Any]) -> bool:
    """Whether a part came to its end and found everything as expected."""
    return found["status"] == "done" and all(check["ok"] for check in found["checks"])


def _summary(results: Mapping[str, Any]) -> list[str]:
    lines = ["| part | how it ended | checks as expected | seconds |", "|---|---|---|---|"]
    for part in PARTS:
        found = results["parts"].get(part.name)
        if found is None:
            why = "not reached" if part.name in results["asked"] else "not asked for"
            lines.append(f"| {part.name} | {why} | | |")
            continue
        oks = [check["ok"] for check in found["checks"]]
        status = found["status"] if found["status"] == "done" else f"**{found['status']}**"
        shown = f"{sum(oks)} of {len(oks)}"
        shown = shown if all(oks) else f"**{shown}**"
        lines.append(
            f"| {part.name} | {status} | {shown} | {found['seconds']} of {found['budget']} |"
        )
    return [*lines, "", f"All in all {results['seconds']:.0f} s.", ""]


def _anchors(parts: Mapping[str, Any]) -> list[str]:
    tables = parts.get("whole", {}).get("tables", {})
    rows = [row for rows in tables.values() for row in rows]
    lines = [
        "## Beside what there is to beat",
        "",
        f"NVIDIA's Cosmos-Embed1: {COSMOS:.0f} seconds of video per second on one H100."
        f" MUSIC-AVQA's 150 hours in {COLLECTION_MINUTES:.0f} minutes:"
        f" {COLLECTION_SECONDS / COLLECTION_MINUTES / 60:.0f}.",
        "",
    ]
    if not rows:
        return [*lines, "Not measured.", ""]
    most = max(row["decoders"] for row in rows)
    cells = [
        {
            "videos": row["height"],
            "precision": row["precision"],
            "decoders": row["decoders"],
            "video s/s": f"{row['rate']:.0f}",
            "÷ Cosmos-Embed1": f"{row['rate'] / COSMOS:.2f}",
            "MUSIC-AVQA, minutes": f"{COLLECTION_SECONDS / row['rate'] / 60:.0f}",
        }
        for row in rows
        if row["decoders"] == most
    ]
    return [*lines, *table(cells), ""]


def _part(what: str, found: Mapping[str, Any]) -> list[str]:
    lines = [f"## {what}", ""]
    if found["status"] != "done":
        lines += [
            f"**{found['status']}**; its last words:",
            "",
            "```",
            found["output"].strip(),
            "```",
            "",
        ]
    if found["checks"]:
        lines += ["| check | found | expected | |", "|---|---|---|---|"]
        for check in found["checks"]:
            cells = (check["what"], check["found"], check["expected"])
            ok = "as expected" if check["ok"] else "**differs**"
            lines.append(f"| {' | '.join(map(_cell, cells))} | {ok} |")
        lines.append("")
    for title, rows in found["tables"].items():
        lines += [f"{title}:", "", *table(rows), ""]
    for note in found["notes"]:
        lines += [note, ""]
    return lines


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows as a table; a column for every key that a row has, in their order."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    return lines + [f"| {' | '.join(_cell(row.get(name, '')) for name in names)} |" for row in rows]


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
