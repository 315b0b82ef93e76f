"""Values that a file has in another form than it was released in: restored, counted, said once."""

from __future__ import annotations

import warnings
from pathlib import Path

from avqa.datasets._parts.fields import BadField, given, shown, text_field, video_field, whole
from avqa.datasets._parts.rows import Row
from avqa.errors import AnnotationWarning


class Mended:
    """What was restored in one file, by field."""

    def __init__(self) -> None:
        """Start a file."""
        self._first: dict[str, str] = {}
        self._rows: dict[str, int] = {}

    def add(self, why: str, change: str) -> None:
        """Count a row; ``change`` is of this row, ``why`` says what to do."""
        self._first.setdefault(why, change)
        self._rows[why] = self._rows.get(why, 0) + 1

    def tell(self, file: Path) -> None:
        """Warn with `AnnotationWarning`, a line for everything that was done."""
        for why, change in self._first.items():
            warnings.warn(
                f"file={str(file)!r}: {self._rows[why]} rows have {change}; {why}",
                AnnotationWarning,
                stacklevel=2,
            )


def answer_field(row: Row, name: str, mended: Mended) -> str | None:
    """An answer in words, which may be missing; a number becomes its digits."""
    value = given(row, name)
    if value is None:
        return None
    number = whole(value)
    if number is None and not isinstance(value, str):
        raise BadField(
            f"{name}={shown(value)}; expected a text such as 'yes', 'two' or 'violin'; correct or"
            " remove the row"
        )
    if number is None:
        return text_field(row, name).strip()
    mended.add(
        "expected words such as 'two', the only ones that heads answer; correct them",
        f"a number for {name}, such as {shown(value)}, read as {str(number)!r}",
    )
    return str(number)


def numbered_video(row: Row, name: str, digits: int, mended: Mended) -> str:
    """A video's id; a number is one of so many digits, whose leading zeros were lost."""
    value = row.get(name)
    number = whole(value)
    if number is None and not isinstance(value, (int, float)):
        return video_field(row, name)
    if number is None or not 0 <= number < 10**digits:
        raise BadField(
            f"{name}={shown(value)}; expected a text, or a number of at most {digits} digits;"
            " correct or remove the row"
        )
    restored = f"{number:0{digits}d}"
    if len(str(number)) < digits:
        mended.add(
            "expected texts; keep the zeros with dtype=str where pandas reads the file",
            f"a number for {name}, such as {shown(value)}, whose leading zeros are restored:"
            f" {restored!r}",
        )
    return restored
