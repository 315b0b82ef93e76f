"""Question features in the field's layout: folders of ``<question_id>.npy``.

The store keys texts by their content, the dumps by question id, so an annotation file stands
between them: all questions with one text must have the same numbers.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from avqa import datasets
from avqa.datasets._parts.question import Question, normalise, text_key
from avqa.errors import AnnotationWarning, ConfigError, FeatureMissing
from avqa.extract.text import text_tap, tokenise
from avqa.pipelines.npy.layouts import Dtype, kind_of_folder
from avqa.pipelines.npy.npy_files import (
    BadFile,
    check_finite,
    file_bytes,
    fitted_shape,
    read_header,
)
from avqa.store.format.runs import new_run_id
from avqa.store.format.schema import FeatureSpec
from avqa.store.lock import Lock
from avqa.store.places.files import StorePath, storage_errors, write_atomic
from avqa.store.reader import FeatureStore
from avqa.store.running import running
from avqa.store.text_writer import NewText, Texts, check_text_recipes

FOLDERS = {
    "clip_qst": "clip_vit_b32/sentence",
    "clip_word": "clip_vit_b32/word",
    "clip_word_bert": "clip_vit_b32/word",
}
"""Folder → text feature its files hold, ``[1, *shape]``."""
OF_LAYOUT = {"pstp": ("clip_qst", "clip_word"), "avaf": ("clip_qst", "clip_word")}
"""Layout → folders of question files it reads."""


@dataclass(frozen=True)
class Annotations:
    """Where question ids and their texts come from."""

    dataset: str
    path: Path

    @classmethod
    def given(cls, dataset: str | None, path: Path | None) -> Annotations | None:
        """Both or neither.

        Raises:
            ConfigError: only one of the two was given.
        """
        if (dataset is None) != (path is None):
            raise ConfigError(
                f"dataset={dataset}, annotations={path}; expected both or neither: they say which"
                " question an id belongs to; give --dataset and --annotations"
            )
        return None if dataset is None or path is None else cls(dataset, path)

    def by_id(self) -> dict[str, Question]:
        """Question id → question; those without an id are left out, and a warning counts them.

        Raises:
            DatasetError, UnknownName: the questions cannot be read.
            ConfigError: an id cannot name a file, or belongs to two texts.
        """
        found: dict[str, Question] = {}
        questions = datasets.read(self.dataset, self.path)
        without = sum(question.question_id is None for question in questions)
        if without:
            warnings.warn(
                f"annotations={str(self.path)!r}: {without} of {len(questions)} questions have no"
                " question_id; expected one, since it names a question's file; they are left out",
                AnnotationWarning,
                stacklevel=2,
            )
        for question in questions:
            name = question.question_id
            if name is None:
                continue
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ConfigError(
                    f"question id {name!r} cannot name a file; expected letters, digits, - and _;"
                    " correct the annotation file"
                )
            other = found.setdefault(name, question)
            if text_key(other.text) != text_key(question.text):
                raise ConfigError(
                    f"question id {name!r} has two texts, {other.text!r} and {question.text!r};"
                    " expected one; give the annotation file of one split"
                )
        return found


@dataclass(frozen=True)
class _Files:
    """The files of one text feature, by text."""

    feature: str
    folder: Path
    of_text: Mapping[str, tuple[Path, ...]]
    """Normalised text → files of all its questions."""
    dtype: Dtype

    def read(self, text: str) -> NDArray[Any]:
        """``[*shape]``, the same in all files of the text.

        Raises:
            ConfigError: a file cannot be taken, or two of them differ.
        """
        paths = self.of_text[text]
        first = self._one(paths[0])
        for path in paths[1:]:
            if not np.array_equal(self._one(path), first):
                raise ConfigError(
                    f"files {paths[0].name!r} and {path.name!r} in {str(self.folder)!r} differ, but"
                    f" their questions have one text={text!r}; expected the same numbers; check"
                    " that --annotations belongs to these files"
                )
        return first

    def _one(self, path: Path) -> NDArray[Any]:
        try:
            header = read_header(path)
            shape = fitted_shape(header, text_tap(self.feature).shape)
            if shape[0] != 1 or header.dtype.name != self.dtype:
                raise BadFile(
                    "shape",
                    f"shape={shape}, dtype={header.dtype}; expected one question in {self.dtype}",
                )
            values: NDArray[Any] = np.asarray(header.memory(path).reshape(shape))
            check_finite(values, 0)
        except BadFile as error:
            raise ConfigError(f"file {str(path)!r}: {error}") from error
        only: NDArray[Any] = values[0]
        return only


def question_folders(source: Path) -> dict[str, Path]:
    """Text feature → folder of question files: ``source`` itself, or folders in it."""
    candidates = [source, *sorted(path for path in source.glob("*") if path.is_dir())]
    found: dict[str, Path] = {}
    for folder in candidates:
        feature = FOLDERS.get(folder.resolve().name)
        if feature is not None:
            found.setdefault(feature, folder)
    return found


def has_videos(source: Path, kind: str | None, layout: str | None = None) -> bool:
    """Whether ``source`` may hold folders of video files beside folders of question files.

    Raises:
        UnknownName, ConfigError: as `kind_of_folder`.
    """
    if kind is not None:
        return True
    folders = [source.resolve(), *source.glob("*")]
    known = any(kind_of_folder(path.name, layout) is not None for path in folders)
    return known or not question_folders(source)


def import_questions(
    source: Path,
    store: StorePath,
    annotations: Annotations,
    say: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Take in folders of question files; returns what was done, a line per folder.

    Texts that are there already are left alone, so a second run changes nothing.

    Raises:
        ConfigError: a folder holds no file of a known question, or a file cannot be taken.
        RecipeMismatch: the store's texts were encoded, or imported from other folders.
        StoreNotFound, StoreLocked, StorageFailure: the store cannot be written.
    """
    by_id = annotations.by_id()
    files = [_find(folder, name, by_id) for name, folder in question_folders(source).items()]
    common = set.intersection(*(set(f.of_text) for f in files))
    recipes = {f.feature: _recipe(f) for f in files}
    check_text_recipes(store, recipes, "give the folders that they came from, or another --store")
    wanted = sorted(common)
    asked = {"argv": sys.argv, "source": str(source)}
    with Lock.acquire(store, new_run_id()) as lock, running(store, lock, asked):
        specs = [FeatureSpec(f.feature, *_shape(f.feature), False, f.dtype) for f in files]
        texts = Texts.open(store, specs, recipes, lock=lock)
        _add(texts, wanted)
        new = texts.num_pending(text_key(text) for text in wanted)
        for rows, contents in texts.work():
            texts.write(rows, {f.feature: _stack(f, contents) for f in files})
            say(f"{rows[-1] + 1}/{len(texts)} texts")
    return [
        f"{f.folder.name}: {sum(map(len, f.of_text.values()))} files, {len(wanted)} distinct texts:"
        f" {new} imported, {len(wanted) - new} already there"
        for f in files
    ]


def _find(folder: Path, feature: str, by_id: Mapping[str, Question]) -> _Files:
    of_text: dict[str, tuple[Path, ...]] = {}
    for name, question in by_id.items():
        path = folder / f"{name}.npy"
        if path.is_file():
            text = normalise(question.text)
            of_text[text] = (*of_text.get(text, ()), path)
    if not of_text:
        raise ConfigError(
            f"folder {str(folder)!r} holds no file of the {len(by_id)} questions with an id;"
            " expected <question_id>.npy; check --annotations"
        )
    first = next(iter(of_text.values()))[0]
    try:
        dtype = read_header(first).dtype.name
    except BadFile as error:
        raise ConfigError(f"file {str(first)!r}: {error}") from error
    return _Files(feature, folder, of_text, cast(Dtype, dtype))


def _shape(feature: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    tap = text_tap(feature)
    return tap.shape, tap.dims


def _recipe(files: _Files) -> dict[str, Any]:
    return {
        "feature": files.feature,
        "imported": {"kind": files.folder.resolve().name, "convention": "unknown"},
        "text": {"mark": ""},
        "weights": {"clip_vit_b32": {"source": "imported"}},
        "storage": {"dtype": files.dtype},
    }


def _add(texts: Texts, contents: Sequence[str]) -> None:
    new = [text for text in contents if text_key(text) not in texts]
    if new:
        _, ends = tokenise(new)
        pairs = zip(new, ends.tolist(), strict=True)
        texts.add([NewText(text_key(text), text, end) for text, end in pairs])


def _stack(files: _Files, contents: Sequence[str]) -> NDArray[Any]:
    missing = [text for text in contents if text not in files.of_text]
    if missing:
        raise ConfigError(
            f"text {missing[0]!r} of an earlier import is unfinished and has no file in"
            f" {str(files.folder)!r}; expected its file; give the same folders and annotations"
        )
    return np.stack([files.read(text) for text in contents])


def export_questions(
    store: StorePath,
    out: Path,
    layout: str,
    annotations: Annotations,
    *,
    folders: Sequence[str] = (),
    overwrite: bool = False,
) -> list[str]:
    """Write ``<question_id>.npy`` for every question with an id; a line per folder.

    Features that were encoded here are written as float32, imported ones in their own dtype.

    Raises:
        ConfigError: the layout has no such folder, or a file is there and holds something else.
        FeatureMissing: the store has no such feature, or not of a question's text.
    """
    by_id = annotations.by_id()
    reader = FeatureStore(store)
    chosen = [name for name in OF_LAYOUT.get(layout, ()) if not folders or name in folders]
    lines = []
    for name in chosen:
        feature = FOLDERS[name]
        if feature not in reader.text_features:
            raise FeatureMissing(
                f"store {str(store)!r} has no {feature}, which folder {name!r} of layout={layout}"
                " holds; expected it; run `avqa questions` or `avqa import npy` first"
            )
        written = 0
        for path, data in _question_files(reader, feature, out / name, by_id):
            written += _write(path, data, overwrite)
        lines.append(f"{name}: {written} written, {len(by_id) - written} already there")
    return lines


def _question_files(
    reader: FeatureStore, feature: str, folder: Path, by_id: Mapping[str, Question]
) -> Iterator[tuple[Path, bytes]]:
    ours = "imported" not in reader.recipe(feature)
    ids = sorted(by_id, key=lambda name: text_key(by_id[name].text))
    for start in range(0, len(ids), 256):
        some = ids[start : start + 256]
        values = reader.read_texts([by_id[name].text for name in some], feature)
        for name, value in zip(some, values, strict=True):
            row = value[None].astype(np.float32) if ours else value[None]
            yield folder / f"{name}.npy", file_bytes(row)


def _write(path: Path, data: bytes, overwrite: bool) -> int:
    with storage_errors(f"file {str(path)!r}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_bytes() == data:
            return 0
        if path.exists() and not overwrite:
            raise ConfigError(
                f"file {str(path)!r} is there and holds something else; expected a new folder;"
                " give another --out, or replace files with --overwrite"
            )
        write_atomic(path, data, durable=False)
    return 1
