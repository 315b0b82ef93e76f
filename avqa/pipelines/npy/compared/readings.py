"""Files of questions: in which of its readings was a question's text made into numbers?

The text tower encodes some of the questions in every reading that a published script is known to
have, and the files tell which one they are.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.datasets._parts.fields import fill
from avqa.datasets._parts.prompts import prompt_of
from avqa.datasets._parts.question import Question, text_key
from avqa.errors import (
    ConfigError,
    FeatureMissing,
    RecipeMismatch,
    UnknownName,
    WeightsUnavailable,
)
from avqa.extract import weights
from avqa.extract.text import TextEncoder, TextSettings, encoder_of, text_tap
from avqa.machine import choose_device
from avqa.pipelines.npy.compared.conventions import ALIKE, Rule
from avqa.pipelines.npy.compared.sides import Load
from avqa.pipelines.npy.compared.stream import StreamReport, compare_stream
from avqa.pipelines.npy.layouts import QuestionFolder
from avqa.pipelines.npy.npy_files import BadFile, fitted_shape, read_header
from avqa.pipelines.npy.questions import Annotations, text_of
from avqa.pipelines.questions.encode import choose_weights
from avqa.store.places.files import StorePath
from avqa.store.reader import FeatureStore

MOST_TEXTS = 64
"""Texts that are encoded, in every reading: enough to tell, and a minute on a CPU."""
SLACK = 1e-6
"""Cosines that differ by less are of one text: batches are rounded in their own ways."""


@dataclass(frozen=True)
class Reading:
    """One way to make a question's text."""

    name: str
    text: Callable[[Question], str]
    recipe: str
    mark: str = "?"


def broken(question: Question) -> str:
    """The question as a script fills it that takes the list of values for a string.

    Slot p gets its p-th character: ``[``, then ``"``.
    """
    values = json.dumps(list(question.slots))
    return fill(question.template, tuple(values[: len(question.slots)]))


OF_QUESTIONS = (
    Reading(
        "the question with its mark, as TSPM",
        lambda q: q.text + "?",
        "avqa questions --mark",
    ),
    Reading(
        "the question without a mark, as PSTP-Net, QA-TIGER and CueSpace",
        lambda q: q.text,
        "avqa questions",
        mark="",
    ),
    Reading(
        "slots filled with the characters of their list, as TSPM's script does by mistake",
        lambda q: broken(q) + "?",
        "avqa questions --mark is what the script meant; no recipe repeats its fault",
    ),
)
OF_PROMPTS = (
    Reading("the prompt as it is meant", prompt_of, "avqa questions --prompts"),
    Reading(
        "the prompt as TSPM's released code makes it",
        partial(prompt_of, released=True),
        "avqa questions --prompts, which stores these, too",
    ),
    Reading("the question with its mark", lambda q: q.text + "?", "avqa questions --mark"),
)


def compare_questions(
    store: StorePath,
    folder: QuestionFolder,
    path: Path,
    annotations: Annotations,
    tolerance: float,
    say: Callable[[str], None],
) -> StreamReport:
    """Compare a folder of questions' files with the store's texts, and say how theirs were read.

    Where the store has no such texts, its text tower makes them; where they differ, it makes
    all readings, and the one that fits is named.

    Args:
        store: with these texts, or frames whose weights the text tower has.
        folder: what the files are.
        path: where they are.
        annotations: which question an id belongs to.
        tolerance: smallest cosine of vectors that count as equal.
        say: gets warnings.

    Raises:
        ConfigError: no file is of a known question, or one cannot be read.
        RecipeMismatch, WeightsUnavailable: there are no such texts, and no weights either.
    """
    asked = _some(path, annotations.by_id())
    files = {name: _read(path / f"{name}.npy", folder.feature) for name in asked}
    reader = FeatureStore(store)
    theirs = list(files.values())
    ours, tried, why = _ours(reader, folder, list(asked.values()), theirs, tolerance, say)
    report = compare_stream(
        f"{folder.feature} of {path.resolve().name}",
        _loads(dict(zip(asked, ours, strict=True))),
        _loads(files),
        tolerance,
        unit="question",
    )
    report.notes += [why] * bool(why)
    if tried is not None:
        tried.tell(report, _mark(reader, folder))
    return report


def _ours(
    reader: FeatureStore,
    folder: QuestionFolder,
    questions: Sequence[Question],
    theirs: Sequence[NDArray[Any]],
    tolerance: float,
    say: Callable[[str], None],
) -> tuple[NDArray[Any], _Tried | None, str]:
    """Our vectors, ``[n, *shape]``; the readings, where they were tried; why not, where not.

    Raises:
        RecipeMismatch, WeightsUnavailable: as `compare_questions`.
    """
    stored = _stored(reader, folder, questions, theirs)
    if stored is None:
        tried = _make(reader, folder, questions, theirs, say)
        return tried.values, tried, ""
    if _cosines(stored, theirs).min() >= tolerance:
        return stored, None, ""
    try:
        return stored, _make(reader, folder, questions, theirs, say), ""
    except (RecipeMismatch, WeightsUnavailable) as error:
        return stored, None, f"how theirs were read was not tried: {error}"


def _loads(values: Mapping[str, NDArray[Any]]) -> dict[str, Load]:
    return {name: partial(np.asarray, value[None]) for name, value in values.items()}


def _stored(
    reader: FeatureStore,
    folder: QuestionFolder,
    questions: Sequence[Question],
    theirs: Sequence[NDArray[Any]],
) -> NDArray[Any] | None:
    """What the store has of these texts, ``[n, *shape]``; None if one is missing.

    Of the two readings of prompts it is the one that theirs are more like.
    """
    found = []
    for released in (False, True)[: 1 + folder.prompt]:
        texts = [text_of(folder, question, released=released) for question in questions]
        with contextlib.suppress(FeatureMissing, UnknownName):
            found.append(reader.read_texts(texts, folder.feature))
    return max(found, key=lambda values: float(_cosines(values, theirs).mean()), default=None)


def _make(
    reader: FeatureStore,
    folder: QuestionFolder,
    questions: Sequence[Question],
    theirs: Sequence[NDArray[Any]],
    say: Callable[[str], None],
) -> _Tried:
    """The texts' vectors in every reading, ``[n, *shape]`` each, beside theirs."""
    source = choose_weights(reader, None, say, encoder_of(folder.feature))
    made = [
        (reading, _encode(folder.feature, [reading.text(q) for q in questions], source))
        for reading in (OF_PROMPTS if folder.prompt else OF_QUESTIONS)
    ]
    return _Tried(made, theirs)


class _Tried:
    """Readings, and how well each fits the files."""

    def __init__(
        self,
        made: Sequence[tuple[Reading, NDArray[np.float32]]],
        theirs: Sequence[NDArray[Any]],
    ) -> None:
        self._readings = [reading for reading, _ in made]
        self._table = np.array([_cosines(values, theirs) for _, values in made])
        self._fits = (self._table >= self._table.max(0) - SLACK).sum(1)
        self._best = int(self._fits.argmax())  # of equal ones the first
        self.values = made[self._best][1]

    def tell(self, report: StreamReport, mark: str | None) -> None:
        """Add what each reading fits, and name the one that fits best."""
        count = self._table.shape[1]
        for reading, fits, row in zip(
            self._readings, self._fits.tolist(), self._table, strict=True
        ):
            report.notes.append(
                f"read as {reading.name}: fits {fits} of {count} files best, cosine"
                f" median={np.median(row):.6f}"
            )
        if np.median(self._table[self._best]) > ALIKE:
            others = count - int(self._fits[self._best])
            _name(report, self._readings[self._best], others, mark)


def _name(report: StreamReport, reading: Reading, others: int, mark: str | None) -> None:
    """Say which reading it is, and what does not agree with it."""
    report.likely = Rule(lambda facts: True, reading.name, reading.recipe)
    if others:
        report.reasons.append(f"{others} files are of another reading than most")
    if mark is not None and mark != reading.mark:
        report.reasons.append(
            f"the store's questions have mark={mark!r}, theirs mark={reading.mark!r}"
        )


def _mark(reader: FeatureStore, folder: QuestionFolder) -> str | None:
    """Of the store's own questions; None where it has none, or prompts are compared."""
    if folder.prompt or folder.feature not in reader.text_features:
        return None
    return str(reader.recipe(folder.feature).get("text", {}).get("mark", ""))


def _some(path: Path, by_id: Mapping[str, Question]) -> dict[str, Question]:
    """Questions of different texts that have a file, those with slots before others."""
    there = {name: q for name, q in by_id.items() if (path / f"{name}.npy").is_file()}
    if not there:
        raise ConfigError(
            f"folder {str(path)!r} holds no file of the {len(by_id)} questions with an id;"
            " expected <question_id>.npy; check --annotations"
        )
    distinct = {text_key(q.text): name for name, q in reversed(there.items())}
    names = sorted(distinct.values(), key=lambda name: not there[name].slots)
    slotted = sum(bool(there[name].slots) for name in names) or len(names)
    places = np.linspace(0, slotted - 1, min(MOST_TEXTS, slotted)).round().astype(int)
    return {names[place]: there[names[place]] for place in places.tolist()}


def _read(path: Path, feature: str) -> NDArray[Any]:
    try:
        header = read_header(path)
        shape = fitted_shape(header, text_tap(feature).shape)
        if shape[0] != 1:
            raise BadFile("shape", f"shape={header.shape}; expected one question")
        values: NDArray[Any] = np.asarray(header.memory(path).reshape(shape))[0]
    except BadFile as error:
        raise ConfigError(f"file {str(path)!r}: {error}") from error
    return values


def _encode(
    feature: str, texts: Sequence[str], source: weights.WeightsSource
) -> NDArray[np.float32]:
    """What the text tower makes of these texts: ``[n, *shape]``."""
    settings = TextSettings((feature,), dtype="float32", device=choose_device("auto"))
    encoder = TextEncoder(settings, weights.load_state(encoder_of(feature), source))
    tap = feature.rpartition("/")[2]
    tokens, ends = encoder.tokenise(texts)
    parts = [
        encoder.encode(tokens[i : i + encoder.batch], ends[i : i + encoder.batch])[tap]
        for i in range(0, len(texts), encoder.batch)
    ]
    return np.concatenate(parts)


def _cosines(ours: NDArray[Any], theirs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    left = ours.reshape(len(ours), -1).astype(np.float64)
    right = np.stack(theirs).reshape(len(theirs), -1).astype(np.float64)
    sizes = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    values: NDArray[np.float64] = (left * right).sum(1) / np.where(sizes == 0, 1, sizes)
    return values
