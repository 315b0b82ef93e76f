"""What a notebook shows of a result: plain HTML, every text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def block(title: str, *parts: str, marks: Iterable[str] = (), notes: Iterable[str] = ()) -> str:
    """A title, loud ``marks`` below it, HTML ``parts``, and small ``notes``."""
    lines = [f"<strong>{escape(title)}</strong>"]
    lines += [f'<div style="color: #b00; font-weight: bold">{escape(mark)}</div>' for mark in marks]
    lines += parts
    lines += [f"<div><small>{escape(note)}</small></div>" for note in notes]
    return "<div>" + "\n".join(lines) + "</div>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells below their heads, the first column to the left."""
    lines = [_line("th", head), *(_line("td", row) for row in rows)]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _line(tag: str, texts: Sequence[str]) -> str:
    sides = ["left", *["right"] * (len(texts) - 1)]
    cells = (
        f'<{tag} style="text-align: {side}">{escape(text)}</{tag}>'
        for side, text in zip(sides, texts, strict=True)
    )
    return f"<tr>{''.join(cells)}</tr>"
