"""Files of questions: in which of its readings was a question's text made into numbers?

The text tower encodes some of the questions in every reading that a published script is known to
have, and the files tell which one they are.
"""

from __future__ import annotations

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
from avqa.errors import ConfigError
from avqa.extract import weights
from avqa.extract.text import TextEncoder, TextSettings, encoder_of, text_tap, tokenise
from avqa.machine import choose_device
from avqa.pipelines.npy.compared.conventions import ALIKE, Rule
from avqa.pipelines.npy.compared.sides import Load
from avqa.pipelines.npy.compared.stream import StreamReport, compare_stream
from avqa.pipelines.npy.layouts import QuestionFolder
from avqa.pipelines.npy.npy_files import BadFile, fitted_shape, read_header
from avqa.pipelines.npy.questions import Annotations
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
    """Compare a folder of questions' files with what the store's text tower makes of them.

    Args:
        store: whose frames' weights the text tower has.
        folder: what the files are.
        path: where they are.
        annotations: which question an id belongs to.
        tolerance: smallest cosine of vectors that count as equal.
        say: gets warnings.

    Raises:
        ConfigError: no file is of a known question, or one cannot be read.
        RecipeMismatch, WeightsUnavailable: there are no weights for the text tower.
    """
    asked = _some(path, annotations.by_id())
    files = {name: _read(path / f"{name}.npy", folder.feature) for name in asked}
    reader = FeatureStore(store)
    source = choose_weights(reader, None, say, encoder_of(folder.feature))
    readings = OF_PROMPTS if folder.prompt else OF_QUESTIONS
    made = [
        _encode(folder.feature, [reading.text(q) for q in asked.values()], source)
        for reading in readings
    ]
    table = np.array([_cosines(values, list(files.values())) for values in made])
    fits = (table >= table.max(0) - SLACK).sum(1)
    found = int(fits.argmax())  # of equal ones the first
    ours: dict[str, Load] = {
        name: partial(np.asarray, made[found][row][None]) for row, name in enumerate(asked)
    }
    theirs: dict[str, Load] = {name: partial(np.asarray, v[None]) for name, v in files.items()}
    name = f"{folder.feature} of {path.resolve().name}"
    report = compare_stream(name, ours, theirs, tolerance, unit="question")
    for reading, count, row in zip(readings, fits.tolist(), table, strict=True):
        report.notes.append(
            f"read as {reading.name}: fits {count} of {len(files)} files best, cosine"
            f" median={np.median(row):.6f}"
        )
    if np.median(table[found]) > ALIKE:
        _name(report, readings[found], len(files) - int(fits[found]), _mark(reader, folder))
    return report


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
    tokens, ends = tokenise(texts)
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
