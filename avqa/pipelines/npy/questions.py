"""Question features in the field's layout: folders of ``<question_id>.npy``.

The store keys texts by their content, the dumps by question id, so an annotation file stands
between them: all questions with one text must have the same numbers.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from avqa import datasets
from avqa.datasets._parts.prompts import prompt_of
from avqa.datasets._parts.question import Question, normalise, text_key
from avqa.errors import AnnotationWarning, ConfigError, FeatureMissing
from avqa.extract.text import encoder_of, text_tap, tokenise
from avqa.pipelines.npy.kinds import Dtype
from avqa.pipelines.npy.layouts import OF_LAYOUT, QUESTIONS, QuestionFolder
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

READING = {False: "as they are meant", True: "as TSPM's released code made them"}


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
            if other.choices != question.choices:
                raise ConfigError(
                    f"question id {name!r} has options {list(other.choices)} and"
                    f" {list(question.choices)}; expected the same; give the annotation file of one"
                    " split"
                )
        return found


@dataclass(frozen=True)
class _Files:
    """The files of one text feature, by text."""

    feature: str
    folders: Mapping[str, int]
    """Name of each folder → how many of its files are read."""
    of_text: Mapping[str, tuple[Path, ...]]
    """What was tokenised → files of all its questions."""
    dtype: Dtype
    mark: str
    released: bool | None
    """Whether prompts are those of TSPM's released code; None: there are no prompts."""

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
                    f"files {paths[0].name!r} and {path.name!r} in {str(path.parent)!r} differ, but"
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


Found = Mapping[str, tuple[QuestionFolder, Path]]
"""Name of a folder → what it holds, and where it is."""


def import_questions(
    found: Found,
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
    files = _find(found, annotations.by_id(), say)
    common = set.intersection(*(set(f.of_text) for f in files))
    recipes = {f.feature: _recipe(f) for f in files}
    check_text_recipes(store, recipes, "give the folders that they came from, or another --store")
    wanted = sorted(common)
    asked = {"argv": sys.argv, "source": str(source)}
    with Lock.acquire(store, new_run_id()) as lock, running(store, lock, asked):
        specs = [FeatureSpec(f.feature, *_shape(f.feature), False, f.dtype) for f in files]
        texts = Texts.open(store, specs, recipes, lock=lock)
        add_texts(texts, wanted)
        new = texts.num_pending(text_key(text) for text in wanted)
        for rows, contents in texts.work():
            texts.write(rows, {f.feature: _stack(f, contents) for f in files})
            say(f"{rows[-1] + 1}/{len(texts)} texts")
    return [
        f"{' and '.join(f.folders)}: {sum(f.folders.values())} files, {len(wanted)} distinct texts:"
        f" {new} imported, {len(wanted) - new} already there"
        for f in files
    ]


def _find(found: Found, by_id: Mapping[str, Question], say: Callable[[str], None]) -> list[_Files]:
    """The files of every feature, of one folder or several."""
    marks = {folder.mark for folder, _ in found.values()}
    if len(marks) > 1:
        raise ConfigError(
            f"folders {', '.join(found)} hold questions with and without a mark; expected one kind"
            " in a store; give one repository's folders with --from-layout"
        )
    features = dict.fromkeys(folder.feature for folder, _ in found.values())
    return [
        _files(feature, [pair for pair in found.values() if pair[0].feature == feature], by_id, say)
        for feature in features
    ]


def _files(
    feature: str,
    folders: Sequence[tuple[QuestionFolder, Path]],
    by_id: Mapping[str, Question],
    say: Callable[[str], None],
) -> _Files:
    of_text: dict[str, tuple[Path, ...]] = {}
    counts: dict[str, int] = {}
    released = None
    for folder, path in folders:
        named = {name: path / f"{name}.npy" for name in by_id}
        there = {name: file for name, file in named.items() if file.is_file()}
        if not there:
            raise ConfigError(
                f"folder {str(path)!r} holds no file of the {len(by_id)} questions with an id;"
                " expected <question_id>.npy; check --annotations"
            )
        if folder.prompt:
            released = _is_released(folder, there, by_id)
            say(f"{folder.name}: prompts are read {READING[released]}")
        for text, files in _by_text(folder, there, by_id, released=bool(released)).items():
            of_text[text] = (*of_text.get(text, ()), *files)
        counts[path.resolve().name] = len(there)
    first = next(iter(of_text.values()))[0]
    try:
        dtype = read_header(first).dtype.name
    except BadFile as error:
        raise ConfigError(f"file {str(first)!r}: {error}") from error
    mark = folders[0][0].mark
    return _Files(feature, counts, of_text, cast(Dtype, dtype), mark, released)


def _by_text(
    folder: QuestionFolder,
    there: Mapping[str, Path],
    by_id: Mapping[str, Question],
    *,
    released: bool,
) -> dict[str, tuple[Path, ...]]:
    """What was tokenised → files of all its questions."""
    found: dict[str, tuple[Path, ...]] = {}
    for name, path in there.items():
        text = _content(folder, by_id[name], released=released)
        found[text] = (*found.get(text, ()), path)
    return found


def _content(folder: QuestionFolder, question: Question, *, released: bool) -> str:
    """What was tokenised for a question's file, with the mark where there is one."""
    text = text_of(folder, question, released=released)
    return text + folder.mark * (text == normalise(question.text))


def text_of(folder: QuestionFolder, question: Question, *, released: bool) -> str:
    """The normal form, by which the store knows it."""
    return normalise(prompt_of(question, released=released) if folder.prompt else question.text)


def _is_released(
    folder: QuestionFolder, there: Mapping[str, Path], by_id: Mapping[str, Question]
) -> bool:
    """Whether prompts were made with the defects of TSPM's code, which the numbers tell.

    Files of one prompt have the same numbers, and those of two prompts have others.
    """
    digests = {path: hashlib.sha256(path.read_bytes()).digest() for path in there.values()}
    for released in (False, True):
        groups = _by_text(folder, there, by_id, released=released).values()
        found = [{digests[path] for path in paths} for paths in groups]
        if all(len(same) == 1 for same in found) and len(set().union(*found)) == len(found):
            return released
    return False


def _shape(feature: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    tap = text_tap(feature)
    return tap.shape, tap.dims


def _recipe(files: _Files) -> dict[str, Any]:
    prompts = {} if files.released is None else {"prompts_as_released": files.released}
    return {
        "feature": files.feature,
        "imported": {"kind": "+".join(files.folders), "convention": "unknown", **prompts},
        "text": {"mark": files.mark},
        "weights": {encoder_of(files.feature): {"source": "imported"}},
        "storage": {"dtype": files.dtype},
    }


def add_texts(texts: Texts, contents: Sequence[str]) -> None:
    """Add those that are not there yet, all pending."""
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
            f" {' or '.join(files.folders)}; expected its file; give the same folders and"
            " annotations"
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
    lines = []
    for name in OF_LAYOUT.get(layout, ()):
        if folders and name not in folders:
            continue
        folder = QUESTIONS[name]
        if folder.feature not in reader.text_features:
            raise FeatureMissing(
                f"store {str(store)!r} has no {folder.feature}, which folder {name!r} of"
                f" layout={layout} holds; expected it; run `avqa questions --features"
                f" {folder.feature}{' --prompts' * folder.prompt}` or `avqa import npy` first"
            )
        written = 0
        for path, data in _question_files(reader, folder, out / name, by_id):
            written += write_once(path, data, overwrite)
        lines.append(f"{name}: {written} written, {len(by_id) - written} already there")
        mark = reader.recipe(folder.feature).get("text", {}).get("mark", "")
        if mark != folder.mark and not folder.prompt:
            how = "with --mark" if folder.mark else "without --mark"
            lines.append(
                f"{name}: questions were tokenised with mark={mark!r}, published files have"
                f" mark={folder.mark!r}: the numbers are others; `avqa questions --replace` {how}"
                " makes these"
            )
    return lines


def _question_files(
    reader: FeatureStore, folder: QuestionFolder, out: Path, by_id: Mapping[str, Question]
) -> Iterator[tuple[Path, bytes]]:
    imported = reader.recipe(folder.feature).get("imported")
    released = bool((imported or {}).get("prompts_as_released"))
    texts = {name: text_of(folder, q, released=released) for name, q in by_id.items()}
    ids = sorted(by_id, key=lambda name: text_key(texts[name]))
    for start in range(0, len(ids), 256):
        some = ids[start : start + 256]
        try:
            values = reader.read_texts([texts[name] for name in some], folder.feature)
        except FeatureMissing as error:
            if not folder.prompt:
                raise
            raise FeatureMissing(f"{error}; prompts: with --prompts") from error
        for name, value in zip(some, values, strict=True):
            row = value[None] if imported else value[None].astype(np.float32)
            yield out / f"{name}.npy", file_bytes(row)


def write_once(path: Path, data: bytes, overwrite: bool) -> int:
    """Write a file, unless it is there with these bytes; how many were written.

    Raises:
        ConfigError: it is there and holds something else.
    """
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
