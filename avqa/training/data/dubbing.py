"""Questions about one video's pictures with another's sound: `avqa.datasets.Question.sound_id`.

Their features are read under a name of their own, of both videos. What questions about one video
share, its rows and all that a head makes of them, goes by that name: those that hear its own sound
never share it with those that hear another's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from avqa.datasets import Question
from avqa.datasets._parts.matching import match_rows
from avqa.errors import FeatureMissing, StoreError
from avqa.training.settings import Dub, Missing

_BETWEEN = "\0"
"""Of the two ids in a name; no id has it, since no file's name has."""


def dubbed(video: str, sound: str | None) -> str:
    """The name under which a video's rows are read with another's sound; its id with its own."""
    return video if sound in (None, video) else f"{video}{_BETWEEN}{sound}"


def is_dubbed(name: str) -> bool:
    """Whether a name is of two videos."""
    return _BETWEEN in name


def picture_of(name: str) -> str:
    """The video whose pictures are seen."""
    return name.partition(_BETWEEN)[0]


def sound_of(name: str) -> str:
    """The video whose sound is heard."""
    return name.rpartition(_BETWEEN)[2]


def shown_name(name: str) -> str:
    """For a message."""
    sound = f" with the sound of {sound_of(name)!r}" if is_dubbed(name) else ""
    return f"{picture_of(name)!r}{sound}"


def as_heard(
    questions: Iterable[Question], dub: Dub, fields: Collection[str]
) -> tuple[Question, ...]:
    """The questions as heads hear them.

    Args:
        questions: as their file has them.
        dub: with ``ignore`` each is heard with its video's own sound.
        fields: of `HeadInput` that are read; without audio the sound plays no role either.
    """
    if dub == "honour" and "audio" in fields:
        return tuple(questions)
    return tuple(q if q.sound_id is None else replace(q, sound_id=None) for q in questions)


def dub_note(questions: Mapping[str, Sequence[Question]], dub: Dub) -> list[str]:
    """What is told of questions that name another video's sound; nothing without any.

    Args:
        questions: split → as their file has them.
        dub: how they are heard.
    """
    counts = {
        split: sum(q.sound_id is not None for q in these) for split, these in questions.items()
    }
    if not any(counts.values()):
        return []
    told = ", ".join(f"{split} {count}" for split, count in counts.items())
    if dub == "honour":
        return [f"dub=honour: questions heard with the sound of another video: {told}"]
    return [
        f"dub=ignore: questions that name another video's sound: {told}; they are heard with their"
        " own, which their answers contradict"
    ]


def in_store(
    questions: Sequence[Question],
    store_ids: Sequence[str],
    *,
    held: str = "the store",
    option: str = "--store",
) -> dict[str, str]:
    """Id of a question's video, or of its sound → the store's id, of those that the store has.

    Args:
        questions: as heard.
        store_ids: of the store's videos.
        held: what holds the videos, for messages.
        option: which names it.

    Raises:
        DatasetError: an id fits two of the store's.
        StoreError: no question's video is in the store.
    """
    ids = _matched(questions, store_ids, held, option)
    heard = [replace(q, video_id=q.sound_id) for q in questions if q.sound_id is not None]
    try:
        return ids | _matched(heard, store_ids, held, option)
    except StoreError:  # the store has none of the sounds
        return ids


def _matched(
    questions: Sequence[Question], store_ids: Sequence[str], held: str, option: str
) -> dict[str, str]:
    rows = match_rows(questions, store_ids, held=held, option=option).rows
    found = zip(questions, rows, strict=True)
    return {q.video_id: store_ids[row] for q, row in found if row is not None}


def name_of(question: Question, ids: Mapping[str, str]) -> str | None:
    """The name under which a question's rows are read; None if the store lacks a video of it.

    Args:
        question: as heard.
        ids: of `in_store`.
    """
    video, sound = ids.get(question.video_id), ids.get(question.sound_id or question.video_id)
    return None if video is None or sound is None else dubbed(video, sound)


def require_sounds(
    questions: Iterable[Question], ids: Mapping[str, str], missing: Missing
) -> list[Question]:
    """The questions whose pictures the store has, but not their sound, which is another video's.

    Args:
        questions: as heard.
        ids: of `in_store`.
        missing: with ``skip`` they may be left out.

    Raises:
        FeatureMissing: there are some, and they may not.
    """
    lacking = [q for q in questions if q.video_id in ids and name_of(q, ids) is None]
    if lacking and missing != "skip":
        first = lacking[0]
        raise FeatureMissing(
            f"{len(lacking)} questions are heard with the sound of a video that the store has not,"
            f" the first is {first.text!r} about video {first.video_id!r} with the sound of"
            f" {first.sound_id!r}; expected that video in the store; extract these videos, too,"
            " leave the questions out with --set missing=skip, or give every video its own sound"
            " with --set dub=ignore"
        )
    return lacking
