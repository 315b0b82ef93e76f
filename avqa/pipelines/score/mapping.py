"""What a model says, as one of the answers that may be given.

In this order, and what none of it finds is not mapped:

1. The text is an answer. Case, marks, articles and underscores do not count.
2. It is a whole number and the question asks for one: 2 is "two"; above ten, "more than ten".
3. Its first word is "yes" or "no", of a question that is answered so.
4. Exactly one of the answers that fit the question occurs in it as words, or its plural.

Which answers fit: to "How many" the numbers; to questions that begin with a verb (Is, Are, Did, …)
yes and no; to all others the rest. Of multiple choice: the options, by text, letter (A is the
first) or number (0 is the first).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from avqa.datasets import Question

NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    "more than ten",
)
YES_NO = ("yes", "no")
_VERBS = ("is", "are", "was", "were", "do", "does", "did", "has", "have", "can", "could")
_ARTICLES = ("a", "an", "the")
_LETTER = re.compile(r"\(?([A-Za-z])(?:[).:].*)?", re.DOTALL)


def plain(text: str) -> str:
    """Without case, marks, articles and underscores; numbers up to ten as words."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("_", " ")
    text = re.sub(r"(?<!\S)-(?=\d)", "minus", text)
    words = re.sub(r"[^\w\s]", " ", text).split()
    return " ".join(map(_number, (word for word in words if word not in _ARTICLES)))


def _number(word: str) -> str:
    """2 as "two", up to ten: data sets write either."""
    small = word.isdecimal() and int(word) < len(NUMBERS) - 1
    return NUMBERS[int(word)] if small else word


class Answers:
    """The answers that a data set's questions may have."""

    def __init__(self, answers: Iterable[str]) -> None:
        """``answers``: as the files have them."""
        self._written = frozenset(answers)
        self._by_plain = {plain(answer): answer for answer in sorted(self._written)}

    def of(self, text: str, question: Question) -> str | None:
        """The answer that a text stands for; None if it is not clear."""
        if question.choices:
            return _option(text, question.choices)
        said, fitting = plain(text), self._fitting(question)
        if text.strip() in self._written:
            return text.strip()
        if text.strip().isdecimal():
            return fitting.get(NUMBERS[min(int(text), len(NUMBERS) - 1)])
        if said in self._by_plain:
            return self._by_plain[said]
        first = said.partition(" ")[0]
        if first in YES_NO and first in fitting:
            return fitting[first]
        found = {answer for name, answer in fitting.items() if _occurs(name, said)}
        longest = {a for a in found if not any(a != b and plain(a) in plain(b) for b in found)}
        return longest.pop() if len(longest) == 1 else None

    def _fitting(self, question: Question) -> dict[str, str]:
        """Plain text → answer, of those that fit the question's first words."""
        words = [word.casefold() for word in question.words[:2]]
        kinds: Sequence[str] | None = None
        if words == ["how", "many"]:
            kinds = NUMBERS
        elif words and words[0] in _VERBS:
            kinds = YES_NO
        fitting = {n: a for n, a in self._by_plain.items() if kinds is not None and n in kinds}
        if fitting:
            return fitting
        others = {*NUMBERS, *YES_NO}
        return {n: a for n, a in self._by_plain.items() if n not in others}


def _occurs(name: str, said: str) -> bool:
    return re.search(rf"\b{re.escape(name)}(?:s|es)?\b", said) is not None


def _option(text: str, options: Sequence[str | None]) -> str | None:
    """The option that a text names."""
    texts = {plain(option): option for option in options if option is not None}
    if (said := plain(text)) in texts:
        return texts[said]
    if re.fullmatch(r"\d+", text.strip()):
        place = int(text)
    elif letter := _LETTER.fullmatch(text.strip()):
        place = ord(letter[1].upper()) - ord("A")
    else:
        found = {option for name, option in texts.items() if name and _occurs(name, said)}
        return found.pop() if len(found) == 1 else None
    return options[place] if place < len(options) else None
