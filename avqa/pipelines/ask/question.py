"""A question that somebody types, as the head's training questions were."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from avqa.datasets import Vocabulary
from avqa.datasets._parts.question import Keys, Question, normalise
from avqa.errors import ConfigError, DatasetError
from avqa.heads import Head
from avqa.training.data.splits import read_splits
from avqa.training.run import Member

SLOT = re.compile(r"<[A-Za-z]+>")


@dataclass(frozen=True)
class Kind:
    """What a training question's template says of a question of that form."""

    modality: str = ""
    kind: str = ""
    template: str = ""
    slots: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """A question and what must be said about how it is read."""

    question: Question
    notes: list[str] = field(default_factory=list)


def asked_question(
    text: str, choices: Sequence[str], video_id: str, member: Member, head: Head
) -> Asked:
    """A `Question` of the form the head reads.

    Raises:
        ConfigError: there are no words, no known word, or not the options that the head needs.
    """
    text = normalise(text)
    if not text:
        raise ConfigError("the question is empty; expected words; type a question in quotes")
    _check_choices(choices, head)
    words = tuple(text.split(" "))
    notes = _word_notes(words, member.config.words) if "tokens" in head.needs else []
    found = Kind()
    if "type_tokens" in head.needs:
        found, note = _kind(text, member)
        notes.append(note)
    question = Question(
        key=Keys("ask", "test").make(None, video_id, text),
        question_id=None,
        video_id=video_id,
        split="test",
        text=text,
        words=words,
        modality=found.modality,
        kind=found.kind,
        template=found.template or text,
        slots=found.slots,
        answer=None,
        choices=tuple(choices),
    )
    return Asked(question, notes)


def _check_choices(choices: Sequence[str], head: Head) -> None:
    if head.options.answer == "choices":
        if len(choices) < 2 or not all(normalise(choice) for choice in choices):
            raise ConfigError(
                f"choices={list(choices)}; expected at least two: this head chooses among"
                " options; give each with --choice"
            )
    elif choices:
        raise ConfigError(
            f"choices={list(choices)}; expected none: this head answers from its own"
            f" {head.options.num_answers} answers; leave --choice out"
        )


def _word_notes(words: Sequence[str], vocabulary: Vocabulary) -> list[str]:
    """What a head of these words cannot read of a question.

    Raises:
        ConfigError: it can read none of it.
    """
    known, most = vocabulary.is_known, vocabulary.max_words
    unknown = [
        f"{word!r}{_nearest(word, vocabulary)}" for word in dict.fromkeys(words) if not known(word)
    ]
    if not any(known(word) for word in words[:most]):
        raise ConfigError(
            f"no word of the question is known to this head: {', '.join(unknown)}; expected some"
            f" of its {vocabulary.num_known} words; ask in the words of its training questions"
        )
    notes = []
    if unknown:
        read = "<unk>" if vocabulary.built else "nothing"
        notes.append(f"unknown words, read as {read}: {', '.join(unknown)}")
    if len(words) > most:
        notes.append(f"{len(words)} words; this head reads the first {most}")
    return notes


def _nearest(word: str, vocabulary: Vocabulary) -> str:
    words = vocabulary.words[-vocabulary.num_known :]
    known = {part: name for name in words for part in name.split("_")}  # guitar
    known |= {name.lower(): name for name in words}
    near = difflib.get_close_matches(word.lower(), known, n=1)
    return f" (nearest: {known[near[0]]!r})" if near else ""


def _kind(text: str, member: Member) -> tuple[Kind, str]:
    """The type of a question by its form, and how it was found."""
    config = member.config
    try:
        training = read_splits(config.dataset, config.annotations, config.settings.split).train
    except DatasetError as error:
        return Kind(), f"type of the question: left empty, the training questions are gone: {error}"
    found = kind_of(text, training)
    if found is None:
        return Kind(), "type of the question: left empty, no training question has its form"
    types = " ".join(filter(None, (found.modality, found.kind))) or "none"
    return found, (
        f"type of the question: {types}, as training questions {normalise(found.template)!r}"
    )


def kind_of(text: str, training: Iterable[Question]) -> Kind | None:
    """The type most frequent among training questions whose template fits the text exactly.

    A slot takes one word, of those that fill a slot of that name in training.
    """
    types: dict[str, Counter[tuple[str, str]]] = {}
    values: dict[str, set[str]] = {}
    for question in training:
        types.setdefault(question.template, Counter())[question.modality, question.kind] += 1
        for name, value in zip(SLOT.findall(question.template), question.slots, strict=False):
            values.setdefault(name, set()).add(value)
    for template, counted in types.items():
        pieces = SLOT.split(normalise(template))
        match = re.fullmatch(r"(\S+)".join(map(re.escape, pieces)), text)
        names = SLOT.findall(template)
        if match and all(v in values[n] for n, v in zip(names, match.groups(), strict=True)):
            (modality, kind), _ = counted.most_common(1)[0]
            return Kind(modality, kind, template, match.groups())
    return None
