"""`avqa import npy` and `avqa export npy`: folders of videos' files and folders of questions'."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from avqa.pipelines.npy.dumps import import_npy
from avqa.pipelines.npy.exporting import export_npy
from avqa.pipelines.npy.finding import look
from avqa.pipelines.npy.importing import ImportReport, raise_if_failed
from avqa.pipelines.npy.layouts import OF_LAYOUT
from avqa.pipelines.npy.questions import Annotations, export_questions, import_questions
from avqa.store.places.files import StorePath

NEED = "files of questions need --dataset and --annotations"


def import_folders(
    source: Path,
    store: StorePath,
    annotations: Annotations | None,
    *,
    kind: str | None,
    layout: str | None = None,
    truncate: int | None,
    say: Callable[[str], None],
) -> Iterator[str]:
    """Take in what ``source`` holds; a line on every folder as it is done.

    Raises:
        PartialFailure: at the end, if files were refused.
        ConfigError, RecipeMismatch, StoreLocked, StorageFailure, Stopped: as `import_npy` and
            `import_questions`.
    """
    tree = look(source, kind, layout)
    for line in tree.lines():
        say(line)
    reports: list[ImportReport] = []
    if tree.videos or not tree.questions:
        reports = import_npy(source, store, kind=kind, layout=layout, truncate=truncate, say=say)
        yield from (report.line() for report in reports)
    if annotations is not None and tree.questions:
        yield from import_questions(tree.questions, source, store, annotations, say)
    elif tree.questions:
        say(f"{', '.join(tree.questions)}: not imported; {NEED}")
    raise_if_failed(reports)


def export_folders(
    store: StorePath,
    out: Path,
    layout: str,
    annotations: Annotations | None,
    *,
    folders: tuple[str, ...],
    length: int | None,
    overwrite: bool,
    say: Callable[[str], None],
) -> Iterator[str]:
    """Write the folders of a layout, or those named; a line on every folder as it is done.

    Raises:
        PartialFailure: at the end, if videos lack a feature.
        ConfigError, FeatureMissing, StorageFailure: as `export_npy` and `export_questions`.
    """
    of_videos = tuple(name for name in folders if name not in OF_LAYOUT.get(layout, ()))
    report = None
    if of_videos or not folders:
        report = export_npy(
            store, out, layout, folders=of_videos, length=length, overwrite=overwrite, say=say
        )
        yield from report.lines()
    if annotations is not None:
        yield from export_questions(
            store, out, layout, annotations, folders=folders, overwrite=overwrite
        )
    elif layout in OF_LAYOUT:
        say(f"{', '.join(OF_LAYOUT[layout])}: not written; {NEED}")
    if report is not None:
        report.raise_if_failed()
