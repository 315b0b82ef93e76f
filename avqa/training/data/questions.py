"""Questions as tensors: what a head reads of their texts, their targets, and their videos' rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from avqa.datasets import Question, Vocabulary
from avqa.datasets._parts.labels import InstrumentLabels
from avqa.datasets._parts.prompts import prompt_of
from avqa.datasets._parts.question import choice_texts
from avqa.datasets._parts.vocabulary import MISSING, MUSIC_AVQA
from avqa.errors import ConfigError, DatasetError, FeatureMissing
from avqa.heads import Head
from avqa.store.format.texts import questions_command
from avqa.store.reader import TextReader
from avqa.training.data.batch import MEMORY, Batch, one_thread
from avqa.training.data.features import FeatureReader
from avqa.training.data.names import text_names

MAX_SLOTS = 4
MAX_TYPE_WORDS = 2
MAX_CHOICE_WORDS = 32
TEXTS_AT_ONCE = 4096
"""Texts whose words are read whole, before what lies behind their ends is cut off."""
UNKNOWN_WEIGHT = 0.1
"""Weight of an instrument that no question tells of, taken as absent (heads.md, section 9.6)."""


class QuestionSet(Dataset[Batch]):
    """Questions with their text tensors and targets; item i is question i, as a batch of one.

    Several items at once, ``__getitems__``, are one `Batch` in their order.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        video_ids: Sequence[str],
        features: FeatureReader,
        texts: TextReader | None,
        head: Head,
        labels: InstrumentLabels | None = None,
        *,
        vocabulary: Vocabulary = MUSIC_AVQA,
        text: str = "clip_vit_b32",
        training: bool = False,
    ) -> None:
        """Make the tensors that ``head`` needs.

        Args:
            questions: at least one.
            video_ids: for each question, its video as ``features`` names it.
            features: rows of the videos; read when a batch is made.
            texts: features of the texts; None if ``head`` needs none.
            head: decides which fields of `HeadInput` are made, and what an answer is.
            labels: instruments of the training videos, for heads that learn them.
            vocabulary: answers and words of ``head``.
            text: encoder of the texts.
            training: every question must have an answer that the head can give. Without, the
                target of an answer that is missing is −1, of one that the head cannot give −2.

        Raises:
            DatasetError: there is no question; one cannot be trained on, or has no word that the
                head knows; options are missing or not expected.
            ConfigError: the head's vocabulary is too small.
            FeatureMissing: the store lacks a text; says what to run.
        """
        if not questions:
            raise DatasetError(
                "no question is left; expected at least one; check --annotations, the splits, and"
                " which videos the store holds"
            )
        self.questions = list(questions)
        self.video_ids = list(video_ids)
        self.features = features
        self.vocabulary = vocabulary
        self.answers = torch.tensor([_target(q, head, vocabulary, training) for q in questions])
        self._texts = _texts(self.questions, texts, head, vocabulary, text)
        if labels is not None:
            self._texts |= _sources(self.questions, labels)

    def __len__(self) -> int:
        """Number of questions."""
        return len(self.questions)

    def __getitem__(self, row: int) -> Batch:
        """A batch of one question."""
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        """A batch of these questions; every video of theirs is read once."""
        places: dict[str, int] = {}
        of_video = [places.setdefault(self.video_ids[row], len(places)) for row in rows]
        with one_thread():
            lengths, lost, videos = _padded([self.features.read(video) for video in places])
        chosen = torch.tensor(rows)
        return Batch(
            answers=self.answers[chosen],
            rows=chosen,
            of_video=torch.tensor(of_video),
            lengths=lengths,
            lost=lost,
            videos=videos,
            texts={field: column.of(chosen) for field, column in self._texts.items()},
        )


@dataclass(frozen=True)
class _Column:
    """A field of every question: a row of its own, or ``number`` of a row that others share."""

    values: Tensor
    number: Tensor | None = None

    def of(self, rows: Tensor) -> Tensor:
        return self.values[rows if self.number is None else self.number[rows]]


def _padded(videos: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Lengths [V], lost rows [V, T], and field → [V, T, ...], 0 behind a video's end."""
    lengths = [max(map(len, rows.values()), default=1) for rows in videos]
    lost = torch.zeros(len(videos), max(lengths), dtype=torch.bool)
    for place, (seconds, rows) in enumerate(zip(lengths, videos, strict=True)):
        if "valid" in rows:
            lost[place, :seconds] = ~rows["valid"]
    padded = {}
    for field, first in videos[0].items():
        if field == "valid":
            continue
        padded[field] = MEMORY.empty((len(videos), max(lengths), *first.shape[1:]), first.dtype)
        for place, (seconds, rows) in enumerate(zip(lengths, videos, strict=True)):
            padded[field][place, :seconds] = rows[field]
            padded[field][place, seconds:] = 0
    return torch.tensor(lengths), lost, padded


def _target(question: Question, head: Head, vocabulary: Vocabulary, training: bool) -> int:
    if head.options.answer == "vocabulary":
        if question.choices:
            raise DatasetError(
                f"question_id={question.question_id!r} is multiple choice; expected one without"
                " options, since this head answers from a vocabulary; build it with answer=choices"
            )
        if training:
            return vocabulary.encode_answer(question)
        return vocabulary.target(question.answer)
    if not any(question.choices):
        raise DatasetError(
            f"question_id={question.question_id!r} has no options; expected multiple choice, since"
            " this head scores options; build it with answer=vocabulary"
        )
    if training and question.choice is None:
        raise DatasetError(
            f"question_id={question.question_id!r} has no right option; expected one of its"
            f" {len(question.choices)}; correct the row, or leave it out of training"
        )
    return MISSING if question.choice is None else question.choice


def _texts(
    questions: list[Question],
    store: TextReader | None,
    head: Head,
    vocabulary: Vocabulary,
    encoder: str,
) -> dict[str, _Column]:
    """The fields of texts that ``head`` needs."""
    rows, known = head.options.vocabulary, vocabulary.num_words()
    if rows < known:
        raise ConfigError(f"vocabulary={rows}; expected at least {known}, the words there are")
    typed = rows >= vocabulary.num_words(type_words=True)

    def encode(words: Callable[[Question], Sequence[str]], length: int) -> _Column:
        ids = [vocabulary.encode_words(words(q), length, typed) for q in questions]
        return _Column(torch.tensor(ids))

    needs = head.needs
    found = {}
    if "tokens" in needs:
        found["tokens"] = encode(lambda q: q.words, vocabulary.max_words)
        _check_known(found["tokens"].values, questions, known - 1)
    if "type_tokens" in needs:
        types = [(q.modality, q.kind) for q in questions]
        ids = [vocabulary.encode_types(pair, MAX_TYPE_WORDS, typed) for pair in types]
        found["type_tokens"] = _Column(torch.tensor(ids))
    if "keyword_tokens" in needs:
        found["keyword_tokens"] = encode(lambda q: q.slots, MAX_SLOTS)
    if "choice_tokens" in needs:
        found["choice_tokens"] = encode(
            lambda q: " ".join(filter(None, q.choices)).split(), MAX_CHOICE_WORDS
        )
    if names := text_names(head, encoder):
        if store is None:
            raise ValueError("texts=None; expected the store of the texts: the head needs them")
        found |= _encoded(questions, store, names, head)
    return found


def _check_known(tokens: Tensor, questions: list[Question], known: int) -> None:
    for row in (tokens == 0).all(1).nonzero().flatten().tolist():
        raise DatasetError(
            f"question_id={questions[row].question_id!r} {questions[row].text!r} has no word of"
            f" the {known} that the head knows; expected at least one; train with"
            " question=clip, which reads any words"
        )


def _encoded(
    questions: list[Question], store: TextReader, names: Mapping[str, str], head: Head
) -> dict[str, _Column]:
    """Features of texts, of the names that `text_names` gives: each distinct text is read once."""
    texts = {text: number for number, text in enumerate(dict.fromkeys(q.text for q in questions))}
    number = torch.tensor([texts[q.text] for q in questions])
    found = {}
    if "sentence" in names:
        found["sentence"] = _Column(_read(store, list(texts), names["sentence"]), number)
    if "words" in names:
        eot = torch.tensor([store.eot(text) for text in texts])
        # Positions behind the end of a text say nothing: hardly a head reads them.
        read = None if head.every_word else int(eot.max()) + 1
        words = _read(store, list(texts), names["words"])[:, :read]
        found |= {"words": _Column(words, number), "eot": _Column(eot, number)}
    if "prompt" in names:
        found["prompt"] = _prompts(questions, store, names, head)
    if "choices" in names:
        found |= _choices(questions, store, names, head)
    return found


def _prompts(
    questions: list[Question], store: TextReader, names: Mapping[str, str], head: Head
) -> _Column:
    """The vector of each question's prompt.

    Raises:
        FeatureMissing: the store lacks one; names the command that makes them.
    """
    texts = [prompt_of(question, released=head.released_prompts) for question in questions]
    distinct = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    for text in distinct:
        try:
            store.eot(text)
        except FeatureMissing as error:
            raise FeatureMissing(
                f"no prompt {text!r} among the texts of the store; expected the prompts of all"
                f" questions, which {head.name} reads; add with:"
                f" {questions_command(store.path, _distinct(names), ' --prompts')}"
            ) from error
    number = torch.tensor([distinct[text] for text in texts])
    return _Column(_read(store, list(distinct), names["prompt"]), number)


def _distinct(names: Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys(names.values()))


def _choices(
    questions: list[Question], store: TextReader, names: Mapping[str, str], head: Head
) -> dict[str, _Column]:
    """What the head reads of each option's text.

    Raises:
        FeatureMissing: the store lacks one; names the command that makes them.
    """
    of = [choice_texts(question, asked=head.ASKED_CHOICES) for question in questions]
    texts = list(dict.fromkeys(text for each in of for text in each if text is not None))
    number_of: dict[str | None, int] = {text: number for number, text in enumerate(texts)}
    most = max(map(len, of))
    number = torch.tensor(
        [[*(number_of.get(text, -1) for text in each), *[-1] * (most - len(each))] for each in of]
    )
    ends = _choice_ends(texts, store, names, head)

    def column(values: Tensor) -> _Column:  # a missing option (-1) reads the last row, which is 0
        return _Column(torch.cat([values, torch.zeros_like(values[:1])]), number)

    found = {"choices": column(_read(store, texts, names["choices"]))}
    if "choice_words" in names:
        read = None if head.every_word else int(ends.max()) + 1
        blocks = [
            _read(store, texts[start : start + TEXTS_AT_ONCE], names["choice_words"])[:, :read]
            for start in range(0, len(texts), TEXTS_AT_ONCE)
        ]
        found |= {"choice_words": column(torch.cat(blocks)), "choice_eot": column(ends)}
    return found | {"choice_valid": _Column(number >= 0)}


def _choice_ends(
    texts: list[str], store: TextReader, names: Mapping[str, str], head: Head
) -> Tensor:
    """End-of-text position of each option's text."""
    found = []
    for text in texts:
        try:
            found.append(store.eot(text))
        except FeatureMissing as error:
            if not head.ASKED_CHOICES:
                raise
            raise FeatureMissing(
                f"no text {text!r} among the texts of the store; expected each question with each"
                f" of its options behind it, which {head.name} reads; add with:"
                f" {questions_command(store.path, _distinct(names), ' --with-options')}"
            ) from error
    return torch.tensor(found)


def _read(store: TextReader, texts: Sequence[str], feature: str) -> Tensor:
    return torch.from_numpy(store.read_texts(texts, feature))


def _sources(questions: list[Question], labels: InstrumentLabels) -> dict[str, _Column]:
    """Instruments of the videos, and how much each counts; a video without labels counts 0.

    So does one that is heard with another's sound, of which its labels say nothing.
    """
    row_of = {video: row for row, video in enumerate(labels.videos)}
    unknown_row = len(row_of)
    number = torch.tensor(
        [
            row_of.get(q.video_id, unknown_row) if q.sound_id is None else unknown_row
            for q in questions
        ]
    )
    positive, unknown = torch.from_numpy(labels.positive), torch.from_numpy(labels.unknown)
    weight = torch.where(unknown, UNKNOWN_WEIGHT, 1.0)
    none = torch.zeros_like(weight[:1])
    return {
        "sources": _Column(torch.cat([positive.float(), none]), number),
        "source_weight": _Column(torch.cat([weight, none]), number),
    }
