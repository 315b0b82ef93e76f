"""One line of the ledger: a record as JSON, and the checksum of its bytes.

Every line is judged alone. Lines of older versions have no checksum; of them every value is
checked for its kind. Keys that are not known are left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from avqa.store.format.decoding import crc32c
from avqa.store.format.records import Status, VideoRecord

_END = re.compile(rb',"crc32c":"([0-9a-f]{8})"}$')
_STATUSES = {int(status) for status in Status}


def to_line(record: VideoRecord) -> bytes:
    """A record as its line, without the line's end: ASCII, its checksum at the end."""
    body = record.to_json()[:-1].encode("ascii")
    return body + b',"crc32c":"%08x"}' % crc32c(body)


def from_line(line: bytes) -> dict[str, Any]:
    """The plain JSON values of a line, of which `video_from` makes a record.

    Raises:
        ValueError: says what is wrong with the line.
    """
    end = _END.search(line)
    if end is not None and int(end[1], 16) != crc32c(line[: end.start()]):
        raise ValueError("its checksum does not fit")
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON: {error}") from error
    if end is None:
        _check(plain)
    plain.pop("crc32c", None)
    return dict(plain)


def _check(plain: Any) -> None:
    """Make sure that a line without a checksum has what a record needs, each of its kind."""
    if not isinstance(plain, dict):
        raise ValueError("no JSON object")
    _check_keys(plain, _RECORD)
    _check_keys(plain["fingerprint"], _FINGERPRINT)
    for feature in plain["features"]:
        _check_keys(feature, _FEATURE)
        if feature["status"] not in _STATUSES:
            raise ValueError(f"status={feature['status']} of a feature; expected 0 to 4")


def _check_keys(values: Any, kinds: dict[str, Callable[[Any], bool]]) -> None:
    if not isinstance(values, dict):
        raise ValueError("no JSON object where one is expected")
    for key, fits in kinds.items():
        if key not in values:
            raise ValueError(f"no key {key!r}")
        if not fits(values[key]):
            raise ValueError(f"{key}={str(values[key])[:40]!r} is not of its kind")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_whole(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_number_or_null(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_number, value))


def _is_chunks(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(chunk, list) and len(chunk) == 2 and all(map(_is_count, chunk))
        for chunk in value
    )


_RECORD: dict[str, Callable[[Any], bool]] = {
    "video_id": lambda value: _is_text(value) and bool(value),
    "row": _is_count,
    "relpath": _is_text,
    "fingerprint": lambda value: isinstance(value, dict),
    "duration": _is_number_or_null,
    "pts": _is_numbers,
    "audio_start": _is_number_or_null,
    "audio_end": _is_number_or_null,
    "row_flags": _is_count,
    "features": lambda value: isinstance(value, list),
}
_FINGERPRINT: dict[str, Callable[[Any], bool]] = {
    "size": _is_whole,
    "mtime_ns": _is_whole,
    "quick_hash": _is_text,
}
_FEATURE: dict[str, Callable[[Any], bool]] = {
    "feature": _is_text,
    "status": _is_whole,
    "length": _is_count,
    "chunks": _is_chunks,
}
