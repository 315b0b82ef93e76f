"""`avqa ask`: one question about one video, answered by a trained head."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.datasets._parts.question import Question
from avqa.errors import ConfigError
from avqa.extract.settings import Settings
from avqa.heads import Evidence, Head
from avqa.pipelines.ask.cache import AskCache
from avqa.pipelines.ask.features import asked_texts, video_recipe, video_rows
from avqa.pipelines.ask.question import asked_question
from avqa.telling import html
from avqa.training.data.questions import QuestionSet
from avqa.training.fitting.fit import infer
from avqa.training.run import DEFAULT, Member, Run
from avqa.training.scoring import answer_texts

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
        kept = f"{', '.join(self.made)} extracted" if self.made else "features kept from before"
        if not self.member.config.features:
            kept = "no features needed"
        return [
            f"video      {self.video}{rows}",
            f"question   {self.question.text}",
            f"answer     {shown[0]}",
            *(f"           {line}" for line in shown[1:]),
            f"looked at  {self.looked_at()}",
            *(f"note       {note}" for note in self.notes),
            f"time       {self.wall_seconds:.1f} s; {kept}",
        ]

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
        return [RANDOM] if self.member.config.weights.startswith("random:") else []

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


def ask(options: AskOptions, say: Callable[[str], None] = lambda line: None) -> Answer:
    """Answer a question about a video with the features that the run's recipe makes of it.

    ``say`` gets progress and warnings.

    Raises:
        ConfigError: run, video or question cannot be used.
        RunDamaged: a file of the run is damaged, gone or another's.
        RecipeMismatch: features cannot be made here as the run's were.
        MediaError: the video cannot be read, or lacks the audio that the head needs.
        WeightsUnavailable: the run's weights are not at hand.
    """
    started = time.monotonic()
    member = chosen_member(options.run, say)
    if not options.video.is_file():
        raise ConfigError(f"no such file: video={str(options.video)!r}; expected one video file")
    head = member.load_head()
    video_id = options.video.stem
    asked = asked_question(options.question, options.choices, video_id, member, head)
    cache = AskCache(say)
    recipe = video_recipe(member, options.device, say)
    texts = asked_texts(member, asked.question, options.device, cache, say)
    rows = video_rows(options.video, recipe, member.config.settings, cache, say)
    questions = QuestionSet(
        [asked.question],
        [video_id],
        rows,
        texts,
        head,
        vocabulary=member.config.words,
        training=False,
    )
    if member.config.weights.startswith("random:"):
        say(RANDOM)
    answers, evidence = _run(head, questions, recipe.settings.device)
    return Answer(
        video=options.video,
        question=asked.question,
        member=member,
        answers=answers,
        evidence=evidence,
        words=_words(asked.question, head),
        num_rows=len(next(iter(rows.fields.values()))) if rows.fields else None,
        settings=recipe.settings,
        crop=recipe.crop,
        notes=tuple(asked.notes),
        made=rows.made,
        wall_seconds=time.monotonic() - started,
    )


def chosen_member(path: Path, say: Callable[[str], None] = lambda line: None) -> Member:
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
    evidence: Evidence = head.evidence(batch.inputs, output)
    arrays = {
        name: value[0].double().cpu().numpy()
        for name, value in vars(evidence).items()
        if value is not None
    }
    return tuple(best_first), arrays


def _words(question: Question, head: Head) -> tuple[str, ...]:
    """What each weight of `Evidence.words` is of: words, or CLIP's pieces of words."""
    if head.options.question == "lstm":
        return question.words
    import torch
    from open_clip import tokenizer

    from avqa.extract.text import tokenise

    tokens, ends = tokenise([question.text])
    pieces: list[Any] = tokens[0, 1 : int(ends[0]) + 1].tolist()
    return tuple(tokenizer.decode(torch.tensor([piece])).strip() for piece in pieces)
