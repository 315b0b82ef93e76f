"""TSPM's declarative prompts: a sentence per question, made from its template and slot values.

TSPM reads the text vector of the prompt beside that of the question. The sentences are those of
its code, which made the published files, with two defects mended: a template was looked up with
its full-width mark or outer spaces, so that three of 33 had the prompt ``e``; and one sentence got
the wrong one of two values. ``released=True`` keeps both.
"""

from __future__ import annotations

from avqa.datasets._parts.fields import PLACEHOLDER
from avqa.datasets._parts.question import MARKS, Question, normalise
from avqa.errors import DatasetError

_PLAYING = "There are musical instruments playing in the video."
_DIFFERENT = "The sounds of musical instruments in the video are different."
_LEFT_OF_FIRST = "What is the <LR> instrument of the <FL> sounding instrument"

PROMPTS = {
    "How many instruments are sounding in the video": _PLAYING,
    "How many types of musical instruments sound in the video": _PLAYING,
    "How many types of musical instruments appeared in the entire video": _PLAYING,
    "How many musical instruments were heard throughout the video": _PLAYING,
    "Where is the performance": _PLAYING,
    "What kind of musical instrument is it": _PLAYING,
    "What kind of instrument is the <LRer> instrument": _PLAYING,
    "What is the <TH> instrument that comes in": _PLAYING,
    "Is this sound from the instrument in the video": (
        "The sound is from the instrument in the video."
    ),
    "Is the <Object> in the video always playing": "The {0} is not playing in this video.",
    "Is there a voiceover": "There are sounds other than musical instruments in the video.",
    "How many instruments in the video did not sound from beginning to end": (
        "The instrument is not playing in the video."
    ),
    "How many sounding <Object> in the video": "The {0} is playing in this video.",
    "Which is the musical instrument that sounds at the same time as the <Object>": (
        "The {0} is playing in this video."
    ),
    "Which instrument makes sounds <BA> the <Object>": "The {1} is playing in this video.",
    "Where is the <LL> instrument": _DIFFERENT,
    "Is the instrument on the <LR> louder than the instrument on the <LR>": _DIFFERENT,
    "Is the <FL> sound coming from the <LR> instrument": (
        "The instruments in the video are not sounding simultaneously."
    ),
    "Where is the <FL> sounding instrument": (
        "The instruments in the video do not sound simultaneously."
    ),
    "Which <Object> makes the sound <FL>": (
        "The {0} in the video are not sounding at the same time."
    ),
    _LEFT_OF_FIRST: "There are musical instruments on the {0} that are not being played.",
    "Is the instrument on the <LR> more rhythmic than the instrument on the <LR>": (
        "Inconsistent rhythmic sense of instrumental performance in the video."
    ),
    "Is the <Object> on the <LR> more rhythmic than the <Object> on the <LR>": (
        "The {0} on the {1} plays a different rhythm than the {2} on the {3}."
    ),
    "Is the <Object> on the <LR> louder than the <Object> on the <LR>": (
        "The {0} on the {1} and the {2} on the {3} produce different volumes of sound."
    ),
    "Is there a <Object> in the entire video": "The {0} is not in this video.",
    "Are there <Object> and <Object> instruments in the video": (
        "There are instruments other than {0} or {1} in this video."
    ),
    "How many <Object> are in the entire video": "The {0} is in this video.",
    "What is the instrument on the <LR> of <Object>": (
        "There is a musical instrument on the {0} side of the {1}."
    ),
    "Is there a <Object> sound": (
        "There are sounds of instruments other than the {0} in the video."
    ),
    "Are there <Object> and <Object> sound": (
        "There are sounds of instruments other than the {0} or the {1} in the video."
    ),
    "Is the <Object> more rhythmic than the <Object>": (
        "The {0} and {1} have different rhythms in the video."
    ),
    "Is the <Object> louder than the <Object>": (
        "The {0} and {1} have different sounds in the video."
    ),
    "Is the <Object> playing longer than the <Object>": (
        "The {0} and {1} are not played at the same time in the video."
    ),
}
"""Template in normal form (`normalise`) → sentence; ``{0}`` is the first slot's value."""
RELEASED = {
    _LEFT_OF_FIRST: "There are musical instruments on the {1} that are not being played.",
}
"""Sentences that the released code makes from other slots than its authors' table says."""
LOST = "e"
"""What the released code makes of a template that it does not find."""


def has_prompt(question: Question) -> bool:
    """Whether the question is of one of the 33 templates of MUSIC-AVQA."""
    return normalise(question.template) in PROMPTS


def prompt_of(question: Question, *, released: bool = False) -> str:
    """TSPM's prompt of a question, with its full stop: the text whose vector the head reads.

    A question of no template, such as a re-phrased one of MUSIC-AVQA-R, is its own prompt, and
    ``e`` as released.

    Args:
        question: of any data set.
        released: as TSPM's code makes it, with its defects; the published files hold these.

    Raises:
        DatasetError: the question has more or fewer values than its template has slots.
    """
    template = normalise(question.template)
    sentence = PROMPTS.get(template)
    if sentence is None:
        return LOST if released else question.text
    slots = question.slots
    wanted = len(PLACEHOLDER.findall(template))
    if len(slots) != wanted:
        raise DatasetError(
            f"question_id={question.question_id} template={question.template!r} has values"
            f" {list(slots)!r}; expected {wanted} of them; correct the row"
        )
    if released:
        if question.template != question.template.strip() or MARKS[1] in question.template:
            return LOST
        slots = tuple(value.replace(" ", "") for value in slots)
        sentence = RELEASED.get(template, sentence)
    return sentence.format(*slots)
