"""`avqa ask`: questions about one video, answered by a trained head."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.datasets._parts.question import Question
from avqa.datasets.custom import normal_answer
from avqa.errors import ConfigError
from avqa.extract.decoder.process import DecoderProcess
from avqa.extract.settings import Settings
from avqa.heads import Evidence, Head
from avqa.pipelines.ask.cache import AskCache
from avqa.pipelines.ask.features import (
    VideoRows,
    VideoToExtract,
    no_file,
    recorded_recipe,
    video_recipe,
)
from avqa.pipelines.ask.merged import over_patches
from avqa.pipelines.ask.question import Asked, Reading, Typed
from avqa.pipelines.ask.stored import run_store, stored_video
from avqa.pipelines.ask.texts import Texts
from avqa.store.reader import TextReader
from avqa.telling import Say, html, objects, silent
from avqa.training.data.names import source_of
from avqa.training.data.questions import QuestionSet
from avqa.training.fitting.fit import infer
from avqa.training.run import DEFAULT, Member, Run
from avqa.training.scoring import answer_texts
from avqa.training.settings import WITHOUT_AUDIO

MOST_SECONDS = 4
"""Seconds named in the answer's lines."""
SHOWN = 5
"""Answers that `Answer` shows of itself."""
RANDOM = "RANDOM WEIGHTS: the features come from seeded random weights and mean nothing"
NEARLY_EVEN = 1.2
"""Largest weight, as multiple of an even share, up to which no second is named."""


@dataclass(frozen=True)
class AskOptions:
    """What one `avqa ask` was asked."""

    run: Path
    """A run's folder, or that of one of its members."""
    video: Path
    question: str
    choices: tuple[str, ...] = ()
    """Options of a multiple choice."""
    device: str = "auto"
    """Of the features: ``auto`` is the kind that made the run's, where it is there."""
    answer: str | None = None
    """The right answer, if it is known."""


@dataclass(frozen=True, repr=False)
class Answer:
    """What a head answered, and where it looked."""

    video: Path
    question: Question
    member: Member
    answers: tuple[tuple[str, float], ...]
    """All answers with their probabilities, the best first."""
    evidence: Mapping[str, NDArray[np.float64]]
    """Fields of `avqa.heads.Evidence` that this head has, without the batch axis."""
    words: tuple[str, ...]
    """What the weights of ``evidence["words"]`` are of."""
    num_rows: int | None
    """T, rows of the video that the head was given; None for a head that looks at no video."""
    settings: Settings
    """That the rows were extracted with."""
    crop: str | None
    """How frames are fitted into the square of the patches; None without patches."""
    notes: tuple[str, ...]
    made: tuple[str, ...]
    """Features that were extracted for this question, not kept from an earlier one."""
    wall_seconds: float
    stored: bool = False
    """Whether the features are those of the run's store."""

    @property
    def stride(self) -> int:
        """Seconds from one row to the next."""
        return self.member.config.settings.stride_seconds

    def lines(self, top: int) -> list[str]:
        """For people: video, question, the ``top`` best answers, where it looked, how long."""
        rows = "" if self.num_rows is None else f" ({_seconds(self.num_rows)} of it looked at"
        if rows:
            rows += f", one in {self.stride})" if self.stride > 1 else ")"
        width = max(len(name) for name, _ in self.answers[:top])
        shown = [f"{name:<{width}}  {100 * p:5.1f} %" for name, p in self.answers[:top]]
        return [
            f"video      {self.video}{rows}",
            f"question   {self.question.text}",
            f"answer     {shown[0]}",
            *(f"           {line}" for line in shown[1:]),
            *([f"right      {self._told_right()}"] if self.right is not None else []),
            f"looked at  {self.looked_at()}",
            *(f"note       {note}" for note in self.notes),
            f"time       {self.wall_seconds:.1f} s; {self.origin()}",
        ]

    def data(self, top: int) -> objects.Answered:
        """For programs."""
        names, seconds = [name for name, _ in self.answers], self.evidence.get("seconds")
        right, modality = self.right, self.evidence.get("modality")
        return {
            "question": self.question.text,
            "choices": list(self.question.choices),
            "answers": [{"answer": name, "probability": p} for name, p in self.answers[:top]],
            "right": right,
            "right_rank": names.index(right) + 1 if right in names else None,
            "rows": self.num_rows,
            "stride_seconds": self.stride,
            "seconds": None if seconds is None else seconds.tolist(),
            "modality": None if modality is None else modality.tolist(),
            "looked_at": self.looked_at(),
            "notes": list(self.notes),
            "extracted": list(self.made),
            "stored": self.stored,
            "wall_seconds": self.wall_seconds,
            "explained": None,
        }

    def __repr__(self) -> str:
        """What `lines` tells, with the best answers."""
        return "\n".join([*self._marks(), *self.lines(SHOWN)])

    def _repr_html_(self) -> str:
        """For a notebook: the best answers with their probabilities."""
        rows = [(name, f"{100 * p:.1f} %") for name, p in self.answers[:SHOWN]]
        return html.block(
            self.question.text,
            html.table(("answer", "probability"), rows),
            marks=self._marks(),
            notes=(f"video {self.video}; looked at {self.looked_at()}", *self.notes),
        )

    def _marks(self) -> list[str]:
        return [RANDOM] if self.random_weights else []

    @property
    def right(self) -> str | None:
        """The right answer in the head's words; as it was given if the head has no such one."""
        question = self.question
        if question.choice is not None:
            return question.choices[question.choice]
        if question.answer is None:
            return None
        wanted = normal_answer(question.answer)
        found = (name for name, _ in self.answers if normal_answer(name) == wanted)
        return next(found, question.answer)

    @property
    def random_weights(self) -> bool:
        """Whether the features mean nothing, see `MemberConfig.weights`."""
        return self.member.config.weights.startswith("random:")

    def _told_right(self) -> str:
        names = [name for name, _ in self.answers]
        if self.right not in names:
            return f"{self.right}, which is no answer of this head"
        place = names.index(self.right)
        return f"{self.right}, number {place + 1} with {100 * self.answers[place][1]:.1f} %"

    def origin(self) -> str:
        """Where the features come from."""
        if not self.member.config.features:
            return "no features needed"
        if self.stored:
            return "features from the store"
        return f"{', '.join(self.made)} extracted" if self.made else "features kept from before"

    def looked_at(self) -> str:
        """Seconds and modality in one line."""
        seconds, modality = self.evidence.get("seconds"), self.evidence.get("modality")
        if self.num_rows is None:
            return "the question alone"
        if seconds is None:
            return "this head does not tell which seconds"
        if seconds.max() * len(seconds) <= NEARLY_EVEN:
            line = f"{_seconds(len(seconds))}, nearly alike"
        else:
            best = [k for k in np.argsort(-seconds, kind="stable")[:MOST_SECONDS] if seconds[k] > 0]
            named = [f"{k * self.stride} ({100 * seconds[k]:.0f} %)" for k in best]
            line = f"second{'s' if len(named) > 1 else ''} {', '.join(named)}"
        if modality is not None:
            line += f"; frames {100 * modality[0]:.0f} %, audio {100 * modality[1]:.0f} %"
        return line


def _seconds(count: int) -> str:
    return f"{count} second{'s' if count > 1 else ''}"


class Session:
    """A head and a video, loaded once, for any number of questions.

    Raises:
        ConfigError: run, video or device cannot be used.
        RunDamaged: a file of the run is damaged, gone or another's.
        RecipeMismatch: features cannot be made here as the run's were.
        MediaError: the video cannot be read, or lacks the audio that the head needs.
        WeightsUnavailable: the run's weights are not at hand.
    """

    def __init__(
        self,
        run: Path,
        video: Path,
        device: str,
        say: Say,
        decoder: DecoderProcess | None = None,
    ) -> None:
        """Load the head and look at the file; features are made for the first question.

        ``decoder`` is one that was begun before.
        """
        self._video, self._say = video, say
        started = time.monotonic()
        self._member = member = chosen_member(run, say)
        if not video.is_file():
            raise no_file(video)
        cache = AskCache(say)
        store = run_store(member, say)
        self._stored = None if store is None else stored_video(video, member, store, say)
        if self._stored is None:
            self._recipe = video_recipe(member, device, say, decoder)
            settings = member.config.settings
            self._file = VideoToExtract(video, self._recipe, settings, cache, say, decoder)
        else:
            self._recipe = recorded_recipe(member, device)
        self._head = member.load_head()
        more = {"prompts": "prompt" in self._head.needs, "with_options": self._head.ASKED_CHOICES}
        self._texts = Texts(member, device, cache, store, say, **more)
        self._video_id = self._stored.video_id if self._stored else video.stem
        ids = store.video_ids if store and self._stored else ()
        self._reading = Reading(member, self._head, self._video_id, ids)
        self._rows: VideoRows | None = None
        self._loading = time.monotonic() - started

    def read(self, typed: Typed) -> Asked:
        """A question as the head reads it; nothing is made for it yet.

        Raises:
            ConfigError: it cannot be read, or its options are not those that the head needs.
        """
        return self._reading.read(typed)

    def answers(self, asked: Sequence[Asked]) -> Iterator[Answer]:
        """Answer questions, one after the other; the first one's time holds the loading."""
        started, self._loading = time.monotonic() - self._loading, 0.0
        made: tuple[str, ...] = ()
        first = self._rows is None
        with contextlib.ExitStack() as stack:
            if first and self._stored is None:
                stack.callback(self._file.close)
                self._file.begin()
            texts = self._texts.of([one.question for one in asked])
            if self._rows is None:
                self._rows = self._read_rows()
                made = self._rows.made
        if first and self._member.config.weights.startswith("random:"):
            self._say(RANDOM)
        for one in asked:
            answer = self._answer(one, texts, self._rows, made)
            yield replace(answer, wall_seconds=time.monotonic() - started)
            made, started = (), time.monotonic()

    def _read_rows(self) -> VideoRows:
        if self._stored is None:
            return self._file.rows()
        stored = self._stored
        return VideoRows(stored.fields, silent=stored.silent, source=stored.source)

    def _answer(
        self, asked: Asked, texts: TextReader | None, rows: VideoRows, made: tuple[str, ...]
    ) -> Answer:
        questions = QuestionSet(
            [asked.question],
            [self._video_id],
            rows,
            texts,
            self._head,
            vocabulary=self._member.config.words,
            text=self._member.config.settings.text,
            training=False,
        )
        answers, evidence = _run(self._head, questions, self._recipe.settings.device)
        if rows.source is not None and "patches" in evidence:
            evidence["patches"] = over_patches(evidence["patches"], rows.source)
        said = WITHOUT_AUDIO.get(self._member.config.settings.missing)
        silence = (f"no audio: {said}, as in training",) if rows.silent else ()
        return Answer(
            video=self._video,
            question=asked.question,
            member=self._member,
            answers=answers,
            evidence=evidence,
            words=_words(asked.question, self._head, answers[0][0]),
            num_rows=len(next(iter(rows.fields.values()))) if rows.fields else None,
            settings=self._recipe.settings,
            crop=self._crop(rows),
            notes=(*silence, *asked.notes),
            made=made,
            wall_seconds=0.0,
            stored=self._stored is not None,
        )

    def _crop(self, rows: VideoRows) -> str | None:
        """How frames were fitted; None of merged tokens of which nobody knows where they are."""
        patch = self._recipe.names.get("patch")
        merged = patch is not None and source_of(patch) is not None
        return None if merged and rows.source is None else self._recipe.crop


def ask(options: AskOptions, say: Say = silent) -> Answer:
    """Answer a question about a video with the features that the run's recipe makes of it.

    ``say`` gets progress and warnings.

    Raises:
        ConfigError, RunDamaged, RecipeMismatch, MediaError, WeightsUnavailable: as `Session`.
    """
    session = Session(options.run, options.video, options.device, say)
    asked = session.read(Typed(options.question, options.choices, options.answer))
    (answer,) = session.answers([asked])
    return answer


def chosen_member(path: Path, say: Say = silent) -> Member:
    """The member that a path names: the member itself, or the first seed of the default variant.

    Raises:
        ConfigError: there is no run, or nothing of it is finished.
    """
    run = Run.load(path)
    if gaps := run.gaps():
        say(gaps)
    return (run.of_variant(DEFAULT) or run.members)[0]


def _run(
    head: Head, questions: QuestionSet, device: str
) -> tuple[tuple[tuple[str, float], ...], dict[str, NDArray[np.float64]]]:
    """Answers with probabilities, the best first, and the evidence of the one question."""
    ((batch, output),) = infer(head, questions, batch_size=1, device=device, explain=True)
    logits = output.logits[0].float()
    if not bool(logits.isfinite().all()):
        raise ConfigError(
            "the head's logits are not finite; expected numbers; its weights or the features are"
            " damaged: train again"
        )
    texts = answer_texts(questions.questions[0], questions.vocabulary)
    named = zip(texts, logits.softmax(-1).tolist(), strict=True)
    best_first = sorted(((str(name), p) for name, p in named), key=lambda pair: -pair[1])
    evidence: Evidence = head.evidence(batch.inputs.apart(), output)
    arrays = {
        name: value[0].double().cpu().numpy()
        for name, value in vars(evidence).items()
        if value is not None
    }
    return tuple(best_first), arrays


def _words(question: Question, head: Head, answer: str) -> tuple[str, ...]:
    """What each weight of `Evidence.words` is of: words, or CLIP's pieces of words.

    They are of the question, or with the answer behind it where the head reads that in its place.
    """
    if head.options.question != "clip":
        return question.words
    import torch

    from avqa.extract.text import tokenise, tokeniser

    text = f"{question.text} {answer}" if "choice_words" in head.needs else question.text
    tokens, ends = tokenise([text])
    pieces: list[Any] = tokens[0, 1 : int(ends[0]) + 1].tolist()
    return tuple(tokeniser().decode(torch.tensor([piece])).strip() for piece in pieces)
