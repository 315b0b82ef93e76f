"""TSPM's prompts: of every template, mended and as released, and of what has no template."""

from collections import Counter

import pytest
from helpers.questions.question_files import REAL, make_question, music_row, needs_real, write

from avqa import datasets
from avqa.datasets._parts.prompts import PROMPTS, has_prompt, prompt_of
from avqa.datasets._parts.question import MARKS
from avqa.errors import DatasetError

PLAYING = "There are musical instruments playing in the video."
SIDE = "What is the <LR> instrument of the <FL> sounding instrument?"
THREE_LOST = (
    f"How many sounding <Object> in the video{MARKS[1]}",
    "Are there <Object> and <Object> sound? ",
    "What kind of instrument is the <LRer> instrument? ",
)


def asked(template, *slots):
    return make_question(template=template, slots=slots, text="the question itself")


@pytest.mark.parametrize(
    ("template", "slots", "prompt"),
    [
        ("Where is the performance?", (), PLAYING),
        (
            "Is the <Object> in the video always playing?",
            ("cello",),
            "The cello is not playing in this video.",
        ),
        (
            "Which instrument makes sounds <BA> the <Object>?",
            ("before", "erhu"),
            "The erhu is playing in this video.",
        ),
        (
            "Which <Object> makes the sound <FL>?",
            ("pipa", "first"),
            "The pipa in the video are not sounding at the same time.",
        ),
        (
            "What is the instrument on the <LR> of <Object>?",
            ("left", "acoustic_guitar"),
            "There is a musical instrument on the left side of the acoustic_guitar.",
        ),
        (
            "Is the <Object> on the <LR> louder than the <Object> on the <LR>?",
            ("tuba", "left", "drum", "right"),
            "The tuba on the left and the drum on the right produce different volumes of sound.",
        ),
        (
            "Is the <Object> playing longer than the <Object>?",
            ("tuba", "drum"),
            "The tuba and drum are not played at the same time in the video.",
        ),
    ],
)
def test_values_go_where_the_sentence_has_them(template, slots, prompt):
    for released in (False, True):
        assert prompt_of(asked(template, *slots), released=released) == prompt


def test_of_a_side_and_an_order_the_side_is_named_and_as_released_the_order():
    question = asked(SIDE, "left", "first")
    named = "There are musical instruments on the {} that are not being played."
    assert prompt_of(question) == named.format("left")
    assert prompt_of(question, released=True) == named.format("first")


def test_marks_and_outer_spaces_lose_three_templates_as_released_alone():
    for template, slots in zip(
        THREE_LOST, (("erhu",), ("erhu", "pipa"), ("leftest",)), strict=True
    ):
        assert len(prompt_of(asked(template, *slots))) > 20
        assert prompt_of(asked(template, *slots), released=True) == "e"


def test_a_question_of_no_template_is_its_own_prompt():
    question = asked("Can one hear a violin?")
    assert not has_prompt(question)
    assert prompt_of(question) == "the question itself"
    assert prompt_of(question, released=True) == "e"


def test_too_few_values_are_refused():
    with pytest.raises(DatasetError) as caught:
        prompt_of(asked(SIDE, "left"))
    assert str(caught.value) == (
        f"question_id=1 template={SIDE!r} has values ['left']; expected 2 of them; correct the row"
    )


def test_blanks_in_values_are_deleted_as_released_alone():
    question = asked("Is there a <Object> sound?", "bass drum")
    end = "in the video."
    start = "There are sounds of instruments other than the"
    assert prompt_of(question) == f"{start} bass drum {end}"
    assert prompt_of(question, released=True) == f"{start} bassdrum {end}"


def test_a_file_with_a_filled_text_finds_the_template_without_slots_alone(tmp_path):
    rows = [
        music_row(question_content="Where is the performance", templ_values=None),
        music_row(question_content="Is there a violin sound?", templ_values="[]"),
    ]
    plain, filled = datasets.read("music-avqa", write(tmp_path / "avqa-test.json", rows))
    assert prompt_of(plain) == PLAYING
    assert prompt_of(filled) == "Is there a violin sound"


@needs_real
def test_every_real_template_has_a_prompt_and_as_released_three_have_none():
    questions = [
        question
        for name in ("avqa-test.json", "avqa-val.json", "avqa-train_synthetic_original.json")
        for question in datasets.read("music-avqa", REAL / name)
    ]
    assert {q.template for q in questions if not has_prompt(q)} == set()
    assert len({q.template for q in questions}) == len(PROMPTS) == 33
    prompts = [prompt_of(q) for q in questions]
    assert all(len(p) > 20 and p.endswith(".") and "<" not in p and "{" not in p for p in prompts)
    lost = Counter(q.template for q in questions if prompt_of(q, released=True) == "e")
    assert set(lost) == set(THREE_LOST)
    differ = {q.template for q in questions if prompt_of(q, released=True) != prompt_of(q)}
    assert differ == {*THREE_LOST, SIDE}
    of_split = Counter(q.split for q in questions if prompt_of(q, released=True) == "e")
    assert (of_split["test"], of_split["val"]) == (1016, 491)
