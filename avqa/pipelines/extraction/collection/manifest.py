"""A list of videos, wherever their files lie: text, CSV, TSV, JSON or JSON lines.

Each row has ``path``, absolute or below the list's own folder, or ``s3://bucket/key``, and may have
``id``; without one the video's id is the file's name without its extension. Each line of a text is
such a path.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from avqa.errors import ConfigError
from avqa.pipelines.engine.files import in_bucket
from avqa.pipelines.extraction.collection.sources import Discovery, Source, printable

SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".json")
PATHS = ("path", "file", "url")
IDS = ("id", "video_id")
_EXPECTED = "expected rows with path, and id if it is not the file's name"


def is_list(videos: Path) -> bool:
    """Whether ``--videos`` names a list instead of a folder."""
    return videos.suffix.lower() in SUFFIXES and not videos.is_dir()


def listed(path: Path) -> Discovery:
    """The videos of a list, sorted by id.

    Raises:
        ConfigError: it cannot be read, a row has no path, two have one id, or a file is not there.
    """
    absolute = Path(os.path.abspath(path))
    found, missing = Discovery(), []
    for number, row in enumerate(_rows(absolute), start=1):
        file, video_id = _file_and_id(absolute, number, row)
        source = Source(video_id, file, "" if in_bucket(file) else str(absolute.parent))
        if not in_bucket(file) and not os.path.isfile(source.path):
            missing.append(file)
        found.sources.append(source)
    what = f"list of videos {printable(str(path))!r}"
    if not found.sources:
        raise ConfigError(f"{what} has no rows; {_EXPECTED}; check --videos")
    if missing:
        raise ConfigError(
            f"{what}: {len(missing)} of {len(found.sources)} files are not there, the first is"
            f" {printable(missing[0])!r}; expected absolute paths, or paths below"
            f" {printable(str(absolute.parent))!r}; correct the list"
        )
    found.sources.sort(key=lambda source: (source.video_id, source.relpath))
    for first, second in zip(found.sources, found.sources[1:], strict=False):
        if first.video_id == second.video_id:
            raise ConfigError(
                f"{what}: two rows have id={first.video_id!r}: {printable(first.relpath)!r} and"
                f" {printable(second.relpath)!r}; expected one row per id; give each its own id"
            )
    return found


def _file_and_id(path: Path, number: int, row: Mapping[str, Any]) -> tuple[str, str]:
    file = next((row[key] for key in PATHS if row.get(key)), None)
    name = next((row[key] for key in IDS if row.get(key) not in (None, "")), None)
    if not isinstance(file, str) or not isinstance(name, str | int | None):
        raise ConfigError(
            f"list of videos {printable(str(path))!r}: row {number} has path={file!r}"
            f" id={name!r}; {_EXPECTED}; correct the list"
        )
    video_id = str(name) if name is not None else os.path.splitext(os.path.basename(file))[0]
    return file, printable(video_id)


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    what = f"list of videos {printable(str(path))!r}"
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
        rows = list(_READERS.get(path.suffix.lower(), _json)(text))
    except OSError as error:
        raise ConfigError(
            f"{what} cannot be read: {error.strerror}; {_EXPECTED}; check --videos"
        ) from error
    except (ValueError, csv.Error) as error:
        raise ConfigError(f"{what}: {error}; {_EXPECTED}; correct the list") from error
    yield from rows


def _table(text: str) -> Iterator[Mapping[str, Any]]:
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = [name.strip().lower() for name in table.fieldnames or ()]
    if not set(names) & set(PATHS):
        raise ValueError(f"its first line has the columns {', '.join(map(repr, names)) or 'none'}")
    for row in table:
        values = (value.strip() if isinstance(value, str) else value for value in row.values())
        yield dict(zip(names, values, strict=False))


def _lines(text: str) -> Iterator[Mapping[str, Any]]:
    for line in text.split("\n"):
        if path := line.removesuffix("\r"):
            yield {"path": path}


def _json(text: str) -> Iterator[Mapping[str, Any]]:
    whole = text.lstrip().startswith("[")
    rows = json.loads(text) if whole else [json.loads(x) for x in text.splitlines() if x.strip()]
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise ValueError(f"row {number} is no JSON object")
        yield row


_READERS = {".txt": _lines, ".csv": _table, ".tsv": _table}
