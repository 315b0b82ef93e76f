"""`avqa export npy`: a store into the folders and files that published repositories read.

Extracted features are written as float32, as published. Imported ones keep their dtype, and a
file that was imported comes out with the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.errors import ConfigError, FeatureMissing, PartialFailure
from avqa.pipelines.npy.importing import imports
from avqa.pipelines.npy.kinds import CLASS_TOKEN, FRAME, KINDS
from avqa.pipelines.npy.layouts import (
    PLACEHOLDER_SHAPE,
    TEN_SECONDS,
    UNREAD,
    USUAL_ROWS,
    Folder,
    layout_named,
    ten_of,
)
from avqa.pipelines.npy.npy_files import file_bytes
from avqa.store.commit import Store
from avqa.store.format.records import Status
from avqa.store.places.files import StorePath, storage_errors, write_atomic
from avqa.store.reader import FeatureStore, has_random_weights

ABSENT = Status.ABSENT.name.lower()
NOT_IMPORTED = "not among the imported files"
FINISHED = frozenset({ABSENT, NOT_IMPORTED})
"""Reasons to leave a video out that no further run can mend."""


@dataclass
class FolderReport:
    """What was written into one folder."""

    name: str
    written: int = 0
    there_before: int = 0
    unusual: int = 0
    """Videos with another number of rows than the loaders count on, written as they are."""
    length: int | None = None
    """Rows of every file, where files are padded or cut to it."""
    padded: int = 0
    cut: int = 0
    unread: bool = False
    """Whether the files are placeholders."""
    too_short: list[str] = field(default_factory=list)
    """Ids of videos with fewer rows than the layout's files have, not written."""
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """Reason → ids of videos without this feature."""

    def lines(self) -> list[str]:
        """Counts and what a reader of the files has to know."""
        text = f"{self.name}: {self.written} written, {self.there_before} already there"
        if self.padded or self.cut:
            text += f"; length={self.length}: {self.padded} padded, {self.cut} cut"
        if self.unread:
            text += "; placeholders, which the layout's loader opens and nothing reads"
        lines = [text]
        if self.unusual:
            lines.append(
                f"{self.name}: {self.unusual} videos do not have {USUAL_ROWS} rows, which the"
                f" layout's loaders count on; pad or cut them with --length {USUAL_ROWS}"
            )
        if self.too_short:
            lines.append(
                f"{self.name}: {len(self.too_short)} videos left out, shorter than {USUAL_ROWS}"
                f" rows, which the layout's files have; the first is {self.too_short[0]!r}"
            )
        for status, names in self.left_out.items():
            lines.append(
                f"{self.name}: {len(names)} videos left out, the feature is {status}; the first is"
                f" {names[0]!r}"
            )
        return lines


@dataclass
class ExportReport:
    """What an export wrote."""

    layout: str
    out: Path
    length: int | None
    random_weights: bool = False
    bad_lines: int = 0
    """Of the ledger, which may have told of imported files with an unusual head."""
    folders: list[FolderReport] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    """One line on each folder of the layout that was not written."""

    def lines(self) -> list[str]:
        """For people, one fact per line."""
        lines = [line for folder in self.folders for line in folder.lines()]
        lines += self.without
        if self.length is not None:
            lines.append(
                f"length={self.length}: frames are padded with their last row, audio with zeros;"
                " nothing in the files tells padding from features"
            )
        if self.bad_lines:
            lines.append(
                f"damaged lines of the ledger={self.bad_lines}: the values are in order, files of"
                " their videos begin as `numpy.save` writes them; see: avqa verify"
            )
        if self.random_weights:
            lines.append("RANDOM WEIGHTS: the files are in order, but their numbers mean nothing")
        return lines

    def raise_if_failed(self) -> None:
        """Turn videos that should be there and are not into exit code 3.

        Raises:
            PartialFailure: a feature of a video is pending or failed, or has too few rows.
        """
        short = {folder.name: len(folder.too_short) for folder in self.folders if folder.too_short}
        if short:
            told = ", ".join(f"{name}={count}" for name, count in short.items())
            raise PartialFailure(
                f"files missing in {told}: the videos have fewer rows than files of"
                f" layout={self.layout}; expected {USUAL_ROWS}; pad them with --length {USUAL_ROWS}"
            )
        missing = Counter[str]()
        for folder in self.folders:
            for why, names in folder.left_out.items():
                missing[folder.name] += 0 if why in FINISHED else len(names)
        if missing.total():
            told = ", ".join(f"{name}={n}" for name, n in missing.items() if n)
            raise PartialFailure(
                f"files missing in {told}: the store has no such features of these videos;"
                " expected all to be ok; finish the store, then run the same command again"
            )


def export_npy(
    store: StorePath,
    out: Path,
    layout: str,
    *,
    folders: Sequence[str] = (),
    length: int | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> ExportReport:
    """Write a store's features into folders of ``<video>.npy`` below ``out``.

    Files that are there with the same bytes are left alone, so a second run writes nothing.

    Args:
        store: the store.
        out: gets the layout's folders.
        layout: a name of `LAYOUTS`.
        folders: those of the layout to write; all by default.
        length: rows of every file: pad (frames: last row repeated, audio: zeros) or cut.
        overwrite: replace files that hold something else.
        say: gets progress lines.

    Raises:
        UnknownName, ConfigError: a name or file cannot be used.
        StoreNotFound: there is no store.
        FeatureMissing: the store lacks a feature that the layout cannot do without.
        StorageFailure: the files cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"out {str(out)!r} is a file; expected a folder; check --out")
    reader = FeatureStore(store)
    chosen = _chosen(layout, folders)
    names = file_names(reader.video_ids)
    report = ExportReport(layout, out, length)
    sources = _sources(reader, chosen, report, asked=bool(folders))
    used = {name for _, features in sources for name in features}
    report.random_weights = any(has_random_weights(reader.recipe(name)) for name in used)
    imported = any("imported" in reader.recipe(name) for name in used)
    heads = _heads(store) if imported else {}
    report.bad_lines = len(Store.open(store).ledger.bad_lines()) if imported else 0
    for folder, features in sources:
        exporter = _Exporter(reader, out / folder.name, folder, features, length, overwrite)
        report.folders.append(exporter.report)
        say(f"writing {str(out / folder.name)!r} for {len(names)} videos")
        exporter.run(names, heads)
    unread = UNREAD.get(layout)
    if unread is not None and (not folders or unread in folders):
        report.folders.append(_write_unread(out, unread, names, overwrite))
    return report


def _sources(
    reader: FeatureStore, chosen: Sequence[Folder], report: ExportReport, *, asked: bool
) -> list[tuple[Folder, tuple[str, ...]]]:
    """Folders and the features that their files hold; what is not needed may be missing.

    Args:
        reader: of the store.
        chosen: folders of the layout.
        report: gets a line on each folder that is left out.
        asked: whether the user named the folders, so that none may be missing.

    Raises:
        FeatureMissing: the store lacks a feature that the layout cannot do without.
        ConfigError: rows of ten seconds cannot be what the layout has.
    """
    sources: list[tuple[Folder, tuple[str, ...]]] = []
    for folder in chosen:
        features = _features(reader, folder.kind)
        missing = [name for name in features if name not in reader.features]
        if missing and not (folder.needed or asked):
            report.without.append(f"{folder.name}: not written, the store has no {missing[0]}")
            continue
        if missing:
            raise FeatureMissing(
                f"store {str(reader.path)!r} has no {missing[0]}, which folder {folder.name!r} of"
                f" layout={report.layout} holds; expected it; extract or import it, or name other"
                " folders with --folders"
            )
        if folder.pick is not ten_of and any(_is_ten(reader, name) for name in features):
            raise ConfigError(
                f"store {str(reader.path)!r} has {features[0]} of ten seconds of a video; expected"
                f" {folder.rows or 'all'} rows for folder {folder.name!r} of"
                f" layout={report.layout}; they are TSPM's files: use --layout tspm, or leave the"
                " folder out with --folders"
            )
        sources.append((folder, features))
    return sources


def _is_ten(reader: FeatureStore, feature: str) -> bool:
    return bool(reader.recipe(feature).get("imported", {}).get("rows") == TEN_SECONDS)


def _write_unread(out: Path, name: str, names: Mapping[str, str], overwrite: bool) -> FolderReport:
    """Files that a loader opens and nothing reads."""
    report = FolderReport(name, unread=True)
    data = file_bytes(np.zeros(PLACEHOLDER_SHAPE, np.float32))
    for file in names.values():
        write_file(report, out / name / file, data, overwrite)
    return report


def _chosen(layout: str, folders: Sequence[str]) -> list[Folder]:
    known = {folder.name: folder for folder in layout_named(layout)}
    every = [*known, *([UNREAD[layout]] if layout in UNREAD else [])]
    unknown = [name for name in folders if name not in every]
    if unknown:
        raise ConfigError(
            f"folders={unknown[0]!r} is none of layout={layout}; expected {', '.join(every)};"
            " check --folders"
        )
    return [folder for name, folder in known.items() if not folders or name in folders]


def file_names(ids: Iterable[str]) -> dict[str, str]:
    """Video id → name of its file: the last part of an id with slashes.

    Raises:
        ConfigError: two videos would share a file.
    """
    owners: dict[str, str] = {}
    for video_id in ids:
        name = video_id.rpartition("/")[2] + ".npy"
        if name in owners:
            raise ConfigError(
                f"videos {owners[name]!r} and {video_id!r} would share the file {name!r}; expected"
                " ids whose last parts differ; export stores of one folder of videos each"
            )
        owners[name] = video_id
    return {video_id: name for name, video_id in owners.items()}


def _features(reader: FeatureStore, kind: str) -> tuple[str, ...]:
    """Features that make a file of this kind. An extracted class token is the frame feature."""
    names = [part.feature for part in KINDS[kind].parts]
    stand_in = FRAME if CLASS_TOKEN not in reader.features else CLASS_TOKEN
    return tuple(stand_in if name == CLASS_TOKEN else name for name in names)


def _heads(path: StorePath) -> dict[tuple[str, str], bytes]:
    """(video id, kind) → head of the imported file, where it was an unusual one."""
    store = Store.open(path)
    ids = {row: name for name, row in store.rows().items()}
    return {(ids[i.row], i.kind): i.header for i in imports(store) if i.header and i.row in ids}


class _Exporter:
    """Writes one folder."""

    def __init__(
        self,
        reader: FeatureStore,
        out: Path,
        folder: Folder,
        features: tuple[str, ...],
        length: int | None,
        overwrite: bool,
    ) -> None:
        self._reader = reader
        self._out = out
        self._folder = folder
        self._features = features
        self._length = length
        self._overwrite = overwrite
        self._is_sound = KINDS[folder.kind].stream == "audio"
        self._keep_dtype = all("imported" in reader.recipe(name) for name in features)
        self._is_picked = any(_is_ten(reader, name) for name in features)
        self.report = FolderReport(folder.name, length=self._rows_wanted())

    def run(self, names: dict[str, str], heads: dict[tuple[str, str], bytes]) -> None:
        """Write every video's file."""
        with storage_errors(f"folder {str(self._out)!r}"):
            self._out.mkdir(parents=True, exist_ok=True)
        for video_id, name in names.items():
            why = self._why_not(video_id)
            if why:
                self.report.left_out.setdefault(why, []).append(video_id)
                continue
            parts = [self._reader.read(video_id, feature) for feature in self._features]
            rows = KINDS[self._folder.kind].join(parts)
            if not self._keep_dtype:
                rows = rows.astype(np.float32)
            written = self._chosen(self._fitted(rows))
            if self._length is None and not self._folder.fits(len(written)):
                self.report.too_short.append(video_id)
                continue
            head = heads.get((video_id, self._folder.kind))
            whole = written is rows and head is not None
            data = file_bytes(written, head if whole else None)
            write_file(self.report, self._out / name, data, self._overwrite)

    def _why_not(self, video_id: str) -> str:
        """State of a video that has no file to write; empty if it has."""
        states = {self._reader.status(video_id, feature) for feature in self._features}
        states.discard(Status.OK)
        if not states:
            return ""
        never_there = self._keep_dtype and states == {Status.PENDING}
        return NOT_IMPORTED if never_there else min(states).name.lower()

    def _rows_wanted(self) -> int | None:
        """Rows of every file; None: those of the video, or those picked of them."""
        folder = self._folder
        cuts = folder.strict and not folder.longer and folder.pick is None
        return folder.rows if self._length is None and cuts else self._length

    def _chosen(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The rows of a video that the folder's file holds; ``rows`` itself if it holds all."""
        if self._folder.pick is None or self._is_picked:
            return rows
        picked = self._folder.pick(len(rows))
        return rows if picked == list(range(len(rows))) else rows[picked]

    def _fitted(self, rows: NDArray[Any]) -> NDArray[Any]:
        """``[length, *row]``: cut, or padded with the last row, audio with zeros."""
        wanted, folder = self._rows_wanted(), self._folder
        if self._is_picked:
            return rows
        if wanted is None or len(rows) == wanted:
            usual = len(rows) == folder.rows or folder.strict or not folder.rows
            self.report.unusual += wanted is None and not usual
            return rows
        if len(rows) > wanted:
            self.report.cut += 1
            return rows[:wanted]
        if self._length is None:
            return rows  # too short, and nobody asked to pad
        self.report.padded += 1
        last = np.zeros_like(rows[-1:]) if self._is_sound else rows[-1:]
        return np.concatenate([rows, np.repeat(last, self._length - len(rows), axis=0)])


def write_file(report: FolderReport, path: Path, data: bytes, overwrite: bool) -> None:
    """Write one file of a folder, and count it; one with the same bytes is left alone.

    Raises:
        ConfigError: it is there and holds something else.
        StorageFailure: it cannot be written.
    """
    with storage_errors(f"file {str(path)!r}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            if path.stat().st_size == len(data) and path.read_bytes() == data:
                report.there_before += 1
                return
            if not overwrite:
                raise ConfigError(
                    f"file {str(path)!r} is there and holds something else; expected a new"
                    " folder; give another --out, or replace files with --overwrite"
                )
        write_atomic(path, data, durable=False)
    report.written += 1
