"""`avqa import npy` and `avqa export npy`: folders of videos' files and folders of questions'."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from avqa.pipelines.npy.choice_files import export_choices, import_choices
from avqa.pipelines.npy.dumps import import_npy
from avqa.pipelines.npy.exporting import export_npy
from avqa.pipelines.npy.finding import look
from avqa.pipelines.npy.importing import ImportReport, raise_if_failed
from avqa.pipelines.npy.layouts import CHOICES, OF_LAYOUT
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
    if tree.videos or not (tree.questions or tree.choices):
        reports = import_npy(source, store, kind=kind, layout=layout, truncate=truncate, say=say)
        yield from (report.line() for report in reports)
    if annotations is not None and tree.questions:
        yield from import_questions(tree.questions, source, store, annotations, say)
    if annotations is not None and tree.choices is not None:
        yield from import_choices(tree.choices, store, annotations, say)
    if annotations is None and (tree.questions or tree.choices):
        names = [*tree.questions, *([tree.choices.name] if tree.choices else [])]
        say(f"{', '.join(names)}: not imported; {NEED}")
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
    of_questions = (*OF_LAYOUT.get(layout, ()), *([CHOICES[layout]] if layout in CHOICES else []))
    of_videos = tuple(name for name in folders if name not in of_questions)
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
        if CHOICES.get(layout) in (folders or of_questions):
            yield from export_choices(store, out, annotations, overwrite=overwrite)
    elif of_questions:
        say(f"{', '.join(of_questions)}: not written; {NEED}")
    if report is not None:
        report.raise_if_failed()
