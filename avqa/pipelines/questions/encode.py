"""`avqa questions`: CLIP features of each distinct text of a data set's questions and options."""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals as Signal
from typing import cast

import numpy as np
from numpy.typing import NDArray

import avqa
from avqa import datasets
from avqa.datasets._parts.matching import Matches, match_rows
from avqa.datasets._parts.prompts import has_prompt, prompt_of
from avqa.datasets._parts.question import Question, choice_texts, normalise, text_key
from avqa.errors import (
    ConfigError,
    PartialFailure,
    RecipeMismatch,
    Stopped,
    StorageFailure,
)
from avqa.extract import weights
from avqa.extract.encoders import Precision
from avqa.extract.recipe import OPTIONS
from avqa.extract.settings import Dtype, Settings, check_settings
from avqa.extract.text import (
    FEATURES,
    TextEncoder,
    TextSettings,
    check_features,
    encoder_of,
    text_recipe,
    text_tap,
    tokenise,
)
from avqa.machine import choose_device, give_memory_back, num_cores
from avqa.signals import Signals
from avqa.store.format.runs import new_run_id, plain
from avqa.store.format.schema import FeatureSpec
from avqa.store.lock import Lock
from avqa.store.places.files import StorePath, free_bytes, store_path
from avqa.store.reader import FeatureStore
from avqa.store.running import running
from avqa.store.text_writer import NewText, Texts, check_text_recipes, drop_texts
from avqa.telling import counting
from avqa.units import clock, size

MOST_SHOWN = 5
IMPORTED = "imported"
"""Source of weights that nobody knows."""


@dataclass(frozen=True)
class QuestionOptions:
    """What one `avqa questions` was asked to do."""

    dataset: str
    annotations: Path
    store: StorePath
    settings: TextSettings = field(default_factory=TextSettings)
    weights: str | None = None
    """None: those that the store's CLIP frames were made with."""
    prompts: bool = False
    """Whether TSPM's prompts of the questions are encoded too, also as released."""
    with_options: bool = False
    """Whether each question is encoded with each of its options behind it, too (CueSpace)."""
    replace: bool = False
    steal_lock: bool = False
    choices: Mapping[str, str] = field(default_factory=dict)
    """The data set's own, as far as they are given; see `avqa.datasets.chosen`."""


@dataclass(repr=False)
class QuestionReport:
    """What a run found and did."""

    run_id: str
    store: StorePath
    questions: int
    texts: int
    """Distinct texts of the questions."""
    options: int
    """Distinct texts of multiple choice that are no question's."""
    matches: Matches
    prompts: int = 0
    """Distinct prompts that are no question's or option's text."""
    without_prompt: int | None = None
    """Questions that are their own prompt; None where prompts were not asked for."""
    with_options: int | None = None
    """Distinct texts of questions with an option behind; None where they were not asked for."""
    unmatched_path: StorePath | None = None
    already: int = 0
    """Texts of these questions that were finished before."""
    encoded: int = 0
    failed: int = 0
    """Texts of the store that cannot be stored, from this run or an earlier one."""
    n_bytes: int = 0
    wall_seconds: float = 0.0

    def __repr__(self) -> str:
        """The `lines`."""
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Counts for people; the last line says how the run ended."""
        options = f", {self.options} of options" if self.options else ""
        clips = f", {self.matches.num_clips} by the id of a clip" * bool(self.matches.num_clips)
        zeros = f", {self.matches.num_zeros} but for leading zeros" * bool(self.matches.num_zeros)
        lines = [
            f"questions: {self.questions}, distinct texts: {self.texts}{options}",
            *self._more(),
            f"videos: {self.matches.num_full_id} questions matched by full id,"
            f" {self.matches.num_last_part} by last part of the id{zeros}{clips},"
            f" {len(self.matches.unmatched)} unmatched",
        ]
        if self.unmatched_path is not None:
            ids = list(dict.fromkeys(q.video_id for q in self.matches.unmatched))
            more = ", …" if len(ids) > MOST_SHOWN else ""
            shown = ", ".join(ids[:MOST_SHOWN])
            lines.append(
                f"not in the store: {len(ids)} videos: {shown}{more}; see {self.unmatched_path}"
            )
        failed = f", {self.failed} failed" if self.failed else ""
        lines.append(
            f"texts: {self.already} already there, {self.encoded} encoded{failed};"
            f" {size(self.n_bytes)} in {clock(self.wall_seconds)}; done"
        )
        return lines

    def _more(self) -> list[str]:
        lines = []
        if self.without_prompt is not None:
            lines.append(
                f"prompts: {self.prompts} distinct; {self.without_prompt} questions are of no"
                " template and are their own prompt"
            )
        if self.with_options is not None:
            lines.append(f"questions with each option behind: {self.with_options} distinct texts")
        return lines

    def raise_if_failed(self) -> None:
        """Turn texts that cannot be stored into exit code 3.

        Raises:
            PartialFailure: there are some.
        """
        if self.failed:
            raise PartialFailure(
                f"{self.failed} texts have a value that is not finite or beyond the stored type;"
                " expected none; encode again with --replace and --dtype float32 or --precision"
                " fp32"
            )


def text_settings(
    *,
    mark: bool = False,
    precision: str = "fp32",
    dtype: str = "float16",
    device: str = "auto",
    features: Sequence[str] = FEATURES,
) -> TextSettings:
    """The user's choices, checked.

    Raises:
        ConfigError: a value is not allowed, or there is no such device.
        UnknownName: there is no such feature of texts.
    """
    chosen = check_features(features)
    checked = check_settings(
        Settings(
            chosen,
            precision=cast(Precision, precision),
            dtype=cast(Dtype, dtype),
            device=choose_device(device),
        )
    )
    return TextSettings(
        chosen,
        "?" if mark else "",
        checked.precision,
        checked.dtype,
        checked.device,
    )


def needed_store(store: str | None, *, as_json: bool = False) -> StorePath:
    """Where the texts' features go.

    Raises:
        ConfigError: no store was named; JSON was asked for, which there is only of what is shown.
    """
    if as_json:
        raise ConfigError("--json without --show; expected both; add --show N, or leave --json out")
    if store is None:
        raise ConfigError(
            "no --store; expected the store of the videos' features; give it with --store, or print"
            " what the questions are with --show 5"
        )
    return store_path(store)


def distinct_texts(questions: Sequence[Question], mark: str) -> tuple[dict[str, str], int]:
    """Key → what is tokenised, each once, questions first; and how many are questions'."""
    found: dict[str, str] = {}
    for question in questions:
        found.setdefault(text_key(question.text), normalise(question.text) + mark)
    num_questions = len(found)
    for question in questions:
        for option in question.choices:
            if option is not None:
                found.setdefault(text_key(option), normalise(option))
    return found, num_questions


def add_prompts(contents: dict[str, str], questions: Sequence[Question]) -> int:
    """Add the questions' prompts, no mark after them; returns how many are new to ``contents``.

    Those of the released code too: they are four texts more at most.

    Raises:
        DatasetError: a question has another number of values than its template has slots.
    """
    before = len(contents)
    for question in questions:
        for released in (False, True):
            prompt = prompt_of(question, released=released)
            contents.setdefault(text_key(prompt), normalise(prompt))
    return len(contents) - before


def add_options(contents: dict[str, str], questions: Sequence[Question]) -> int:
    """Add each question with each of its options behind it, no mark between; how many are new."""
    before = len(contents)
    for question in questions:
        for text in choice_texts(question, asked=True):
            if text is not None:
                contents.setdefault(text_key(text), normalise(text))
    return len(contents) - before


def encode_questions(
    options: QuestionOptions, say: Callable[[str], None] = lambda line: None
) -> QuestionReport:
    """Encode the texts that a store lacks; finished ones are left as they are.

    ``say`` gets progress and warnings. Pending texts of earlier runs are encoded too.

    Raises:
        DatasetError, UnknownName: the questions cannot be read.
        StoreError: no question has its video in the store; nothing was written.
        StoreLocked, RecipeMismatch: the store refuses.
        WeightsUnavailable, StorageFailure: the machine is at fault.
        Stopped: a signal came; what was finished is stored.
    """
    started = time.monotonic()
    questions = datasets.read(options.dataset, options.annotations, **options.choices)
    reader = FeatureStore(options.store)
    matches = match_rows(questions, reader.video_ids)
    settings = options.settings
    source = choose_weights(reader, options.weights, say, encoder_of(settings.features[0]))
    recipes = {feature: text_recipe(feature, settings, source) for feature in settings.features}
    if not options.replace:
        _check_recipes(options.store, recipes)
    contents, num_questions = distinct_texts(questions, options.settings.mark)
    run_id = new_run_id()
    report = QuestionReport(
        run_id,
        options.store,
        len(questions),
        texts=num_questions,
        options=len(contents) - num_questions,
        matches=matches,
    )
    if options.prompts:
        report.prompts = add_prompts(contents, questions)
        report.without_prompt = sum(not has_prompt(question) for question in questions)
    if options.with_options:
        report.with_options = add_options(contents, questions)
    asked = {"argv": sys.argv, "avqa": avqa.__version__, "questions": plain(options)}
    with (
        Lock.acquire(options.store, run_id, steal=options.steal_lock) as lock,
        running(
            options.store,
            lock,
            asked,
            lambda reason: {"reason": reason, "encoded": report.encoded},
        ),
    ):
        if matches.unmatched:
            report.unmatched_path = _write_unmatched(options.store, run_id, matches.unmatched)
        if options.replace:
            drop_texts(options.store, lock)
        texts = Texts.open(options.store, _specs(options.settings), recipes, lock=lock)
        _add(texts, contents)
        report.already = len(contents) - texts.num_pending(contents)
        if texts.num_pending():
            _check_space(options, texts.num_pending())
            _encode(texts, options.settings, source, report, say)
            give_memory_back()
        report.failed = texts.num_failed()
    report.wall_seconds = time.monotonic() - started
    return report


def choose_weights(
    store: FeatureStore, asked: str | None, say: Callable[[str], None], encoder: str
) -> weights.WeightsSource:
    """The weights of the text tower: those of the store's CLIP frames unless others are asked.

    Sentence and frame vectors can be compared only if both towers come from one training.

    Raises:
        RecipeMismatch: those of the frames are not at hand, or frames have several.
        ConfigError, WeightsUnavailable: as `weights.resolve`.
    """
    made = {}
    for feature in store.features:
        of_frames = store.recipe(feature).get("weights", {}).get(encoder)
        if of_frames is None:
            continue
        if of_frames["source"] == IMPORTED:
            say(f"warning: {feature} is imported: nobody knows whether texts have its weights")
        else:
            made[_named(of_frames)] = of_frames["source"]
    frames = " and ".join(sorted(made))
    if asked is None and len(made) > 1:
        raise RecipeMismatch(
            f"store {str(store.path)!r}: CLIP frames have weights {frames}; expected one;"
            " choose those of the texts with --weights"
        )
    default = next((source for source in made.values() if source != "file"), "pretrained")
    source = weights.resolve(asked or default, [encoder])
    mine = _named(source.describe(encoder))
    if source.seed is not None:
        say(f"RANDOM WEIGHTS: the texts' features come from {source.source} and mean nothing")
    if made and set(made) != {mine}:
        differ = f"texts would have weights {mine}, the store's CLIP frames have {frames}"
        if asked is None:
            raise RecipeMismatch(
                f"{differ}; expected the same; give the folder of the latter with --weights, or"
                " --weights pretrained if they need not agree"
            )
        say(f"warning: {differ}: frames and texts cannot be compared")
    return source


def _named(described: dict[str, str]) -> str:
    digest = described.get("sha256")
    return f"sha256={digest[:12]}" if digest else described["source"]


def _check_recipes(store: StorePath, recipes: dict[str, dict[str, object]]) -> None:
    try:
        check_text_recipes(store, recipes)
    except RecipeMismatch as error:
        known = {"text.mark": "--mark"} | OPTIONS
        named = [o for key, o in known.items() if any(k.startswith(key) for k in error.keys)]
        advice = f"set {', '.join(named)} as the store has it, or " if named else ""
        raise RecipeMismatch(
            f"{error}; {advice}encode all of these questions' texts anew with --replace", error.keys
        ) from error


def _specs(settings: TextSettings) -> list[FeatureSpec]:
    return [
        FeatureSpec(feature, tap.shape, tap.dims, False, settings.dtype)
        for feature, tap in ((name, text_tap(name)) for name in settings.features)
    ]


def _add(texts: Texts, contents: dict[str, str]) -> None:
    new = {key: content for key, content in contents.items() if key not in texts}
    if new:
        _, eot = tokenise(list(new.values()))
        added = zip(new.items(), eot.tolist(), strict=True)
        texts.add([NewText(key, content, end) for (key, content), end in added])


def _check_space(options: QuestionOptions, num_texts: int) -> None:
    itemsize = np.dtype(options.settings.dtype).itemsize
    needed = (
        num_texts
        * itemsize
        * sum(int(np.prod(text_tap(feature).shape)) for feature in options.settings.features)
    )
    free = free_bytes(options.store)
    if free is not None and free < needed:
        raise StorageFailure(
            f"store {str(options.store)!r}: {size(free)} free; expected {size(needed)} for"
            f" {num_texts} texts; free space and run the same command again"
        )


def _encode(
    texts: Texts,
    settings: TextSettings,
    source: weights.WeightsSource,
    report: QuestionReport,
    say: Callable[[str], None],
) -> None:
    """Encode all pending texts, chunk by chunk; a signal ends it after the forwards under way."""
    name = encoder_of(settings.features[0])
    encoder = TextEncoder(settings, weights.load_state(name, source))
    threads = num_cores() if settings.device == "cpu" else 1
    with (
        counting(say, "questions", texts.num_pending(), "texts") as count,
        Signals(lambda: say("draining; once more to abort")) as signals,
        ThreadPoolExecutor(threads, initializer=_use_one_core) as pool,
    ):
        for rows, contents in texts.work():
            outputs = _forwards(encoder, contents, pool, signals)
            if outputs:
                values = {
                    f"{name}/{tap}": np.concatenate([output[tap] for output in outputs])
                    for tap in outputs[0]
                }
                done = rows[: len(values[settings.features[0]])]
                report.n_bytes += texts.write(done, values)
                report.encoded += len(done)
                count.step(len(done))
            if signals.check():
                raise Stopped(
                    signals.received or Signal.SIGINT,
                    f"stopped by {Signal(signals.received or 2).name}: {report.encoded} texts"
                    f" encoded, {texts.num_pending()} left; resume with the same command",
                )


def _use_one_core() -> None:
    # As in extraction: a forward per core takes less processor time than one over all cores,
    # and numbers do not depend on how many there are.
    import torch

    torch.set_num_threads(1)


def _forwards(
    encoder: TextEncoder, contents: list[str], pool: ThreadPoolExecutor, signals: Signals
) -> list[dict[str, NDArray[np.float32]]]:
    """Outputs of the batches of these texts, in order; of the first ones only after a signal."""
    tokens, eot = encoder.tokenise(contents)
    futures = [
        pool.submit(
            encoder.encode,
            tokens[start : start + encoder.batch],
            eot[start : start + encoder.batch],
        )
        for start in range(0, len(tokens), encoder.batch)
    ]
    outputs = []
    try:
        for future in futures:
            if signals.check():
                break
            outputs.append(future.result())
    finally:
        for future in futures:
            future.cancel()
    return outputs


def _write_unmatched(store: StorePath, run_id: str, unmatched: Sequence[Question]) -> StorePath:
    path = store_path(store) / "runs" / f"{run_id}-unmatched.csv"
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(("video_id", "split", "question_id", "text"))
    table.writerows((q.video_id, q.split, q.question_id, q.text) for q in unmatched)
    path.write(text.getvalue().encode("utf-8"))
    return path
