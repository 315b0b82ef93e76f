import dataclasses

import numpy as np
import pytest
import torch
from helpers.questions import asking
from helpers.questions.question_files import REAL, make_question, needs_real

from avqa import datasets, heads
from avqa.datasets._parts.labels import instrument_labels
from avqa.datasets._parts.vocabulary import (
    ANSWERS,
    INSTRUMENTS,
    MAX_WORDS,
    MUSIC_AVQA,
    TYPE_WORDS,
    WORDS,
)
from avqa.errors import ConfigError, DatasetError, FeatureMissing, UnknownName
from avqa.pipelines.questions.encode import QuestionOptions, encode_questions
from avqa.store.reader import FeatureStore
from avqa.training.data.names import require_texts
from avqa.training.data.questions import MAX_SLOTS, QuestionSet

VOCABULARY = (*WORDS, *TYPE_WORDS)


class Rows:
    """Features that tell the video: 3 seconds of frames, all of them its number."""

    def read(self, video):
        return {"frame": torch.full((3, 2), float(video))}


def head(name="question_only", **options):
    return heads.build(name, width=16, **options)


def ask(text="Where is the violin", **changes):
    slots = tuple(word for word in text.split() if word in INSTRUMENTS)
    given = {"text": text, "words": tuple(text.split()), "slots": slots, **changes}
    return make_question(**given)


def questions_of(questions, head, *, texts=None, **choices):
    ids = [question.video_id for question in questions]
    return QuestionSet(questions, ids, Rows(), texts, head, **choices)


def batch_of(questions, head, **choices):
    """All of them as one batch."""
    videos = [dataclasses.replace(question, video_id="1") for question in questions]
    return questions_of(videos, head, **choices).__getitems__(list(range(len(questions))))


def words(tokens):
    return [VOCABULARY[number] for number in tokens]


def test_item_i_is_question_i():
    asked = [ask(video_id=str(n), answer=answer) for n, answer in enumerate(["no", "one", "yes"])]
    questions = questions_of(asked, head())
    assert len(questions) == 3
    assert questions.questions == asked
    assert questions.video_ids == ["0", "1", "2"]
    for number, question in enumerate(asked):
        batch = questions[number]
        assert batch.rows.tolist() == [number]
        assert [ANSWERS[answer] for answer in batch.answers] == [question.answer]
        assert batch.inputs.frame.tolist() == [[[number, number]] * 3]


def test_several_items_keep_their_order_and_read_a_video_once():
    asked = [
        ask(video_id=video, answer=answer) for video, answer in zip("7787", ANSWERS, strict=False)
    ]
    batch = questions_of(asked, head()).__getitems__([3, 2, 0])
    assert batch.rows.tolist() == [3, 2, 0]
    assert batch.answers.tolist() == [3, 2, 0]
    assert batch.videos["frame"][:, 0, 0].tolist() == [7, 8]
    assert batch.inputs.frame[:, 0, 0].tolist() == [7, 8]
    assert batch.inputs.apart().frame[:, 0, 0].tolist() == [7, 8, 7]
    assert batch.inputs.video.tolist() == [0, 1, 0]


def test_words_are_padded_to_the_published_length():
    batch = batch_of([ask("Where is the violin"), ask("What is it")], head())
    tokens = batch.inputs.tokens
    assert tokens.shape == (2, 14)
    assert words(tokens[0])[:5] == ["Where", "is", "the", "violin", "<pad>"]
    assert words(tokens[1])[:4] == ["What", "is", "it", "<pad>"]


def test_a_word_that_the_head_does_not_know_is_as_padding():
    tokens = batch_of([ask("Where is the theremin")], head()).inputs.tokens
    assert words(tokens[0])[:4] == ["Where", "is", "the", "<pad>"]


def test_a_question_without_any_known_word_is_refused():
    with pytest.raises(DatasetError) as caught:
        batch_of([ask(), ask("Hear ye", question_id="17")], head())
    assert str(caught.value) == (
        "question_id='17' 'Hear ye' has no word of the 92 that the head knows; expected at least"
        " one; train with question=clip, which reads any words"
    )


TEMPORAL = ask(
    "Is the violin on the left louder than the flute on the right",
    modality="Audio-Visual",
    kind="Comparative",
    slots=("violin", "left", "flute", "right"),
)


def test_type_and_slots_have_words_where_the_vocabulary_has_rows_for_them():
    inputs = batch_of([TEMPORAL, ask("What is it")], head("mcd", vocabulary=101)).inputs
    assert words(inputs.type_tokens[0]) == ["Audio-Visual", "Comparative"]
    assert words(inputs.type_tokens[1]) == ["Audio", "Counting"]
    assert words(inputs.keyword_tokens[0]) == ["violin", "left", "flute", "right"]
    assert inputs.keyword_tokens[1].tolist() == [0, 0, 0, 0]


def test_a_smaller_vocabulary_knows_no_types():
    inputs = batch_of([TEMPORAL], head("mcd", vocabulary=93)).inputs
    assert inputs.type_tokens.tolist() == [[0, 0]]
    assert words(inputs.keyword_tokens[0]) == ["violin", "left", "flute", "right"]


def test_too_small_a_vocabulary_is_refused():
    with pytest.raises(ConfigError, match="^vocabulary=92; expected at least 93, the words there"):
        batch_of([ask()], head(vocabulary=92))


def test_answers_that_cannot_be_trained_on_can_be_predicted():
    asked = [ask(answer="yes"), ask(answer=None), ask(answer="theremin")]
    assert batch_of(asked, head()).answers.tolist() == [ANSWERS.index("yes"), -1, -2]


@pytest.mark.parametrize(
    ("answer", "what"), [(None, "no answer of"), ("theremin", "answer='theremin' of")]
)
def test_training_needs_an_answer_of_the_vocabulary(answer, what):
    with pytest.raises(DatasetError, match=f"^{what} question_id='1' video_id='1' split='train'"):
        batch_of([ask(answer=answer)], head(), training=True)


def test_no_question_is_refused():
    with pytest.raises(DatasetError) as caught:
        batch_of([], head())
    assert str(caught.value) == (
        "no question is left; expected at least one; check --annotations, the splits, and which"
        " videos the store holds"
    )


CHOICES = ("a dog", None, "the cat", "rain")


def choose(choices=CHOICES, **changes):
    return ask("What is it", answer=None, choices=choices, **changes)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A store with the features of a few texts, by the fakes of `asking`."""
    folder = tmp_path_factory.mktemp("texts")
    path = asking.video_store(folder / "store", ["00000001"])
    asked = ["Where is the violin", "What is it", "a dog", "the cat", "rain"]
    annotations = asking.music(folder / "rows", [("00000001", f"{text}?", []) for text in asked])
    with asking.fakes():
        encode_questions(QuestionOptions("music-avqa", annotations, path))
    return FeatureStore(path)


def sentence(text):
    """The vector at the end of a text, by the fakes."""
    return asking.expected(text)[len(text)].astype(np.float32)


def test_sentences_are_those_of_the_texts(texts):
    asked = [ask("What is it"), ask(), ask("What is it")]
    found = batch_of(asked, head(question="clip"), texts=texts).inputs.sentence
    assert found.dtype == torch.float32
    for row, question in zip(found, asked, strict=True):
        np.testing.assert_array_equal(row.numpy(), sentence(question.text))


def test_words_end_with_the_longest_text(texts):
    asked = [ask("What is it"), ask()]
    inputs = batch_of(asked, head("avaf"), texts=texts).inputs
    assert inputs.eot.tolist() == [10, 19]
    assert inputs.words.shape == (2, 20, 512)
    for row, question in zip(inputs.words, asked, strict=True):
        np.testing.assert_array_equal(row.numpy(), asking.expected(question.text)[:20])


def test_a_text_that_the_store_lacks_says_what_to_run(texts):
    with pytest.raises(FeatureMissing) as caught:
        batch_of([ask("Where is the tuba")], head(question="clip"), texts=texts)
    assert str(caught.value).startswith("no text 'Where is the tuba' in store ")
    assert "avqa questions --dataset NAME --annotations PATH --store" in str(caught.value)


def test_a_store_without_texts_says_what_to_run(tmp_path):
    store = FeatureStore(asking.video_store(tmp_path / "store"))
    with pytest.raises(FeatureMissing, match="^no text 'What is it' .* avqa questions --dataset"):
        batch_of([ask("What is it")], head(question="clip"), texts=store)


def test_a_store_without_the_texts_of_an_encoder_names_the_command(texts):
    wanted = ("clip_vit_l14_336/sentence", "clip_vit_l14_336/word_state")
    require_texts(texts, ("clip_vit_b32/word",))
    with pytest.raises(FeatureMissing) as caught:
        require_texts(texts, wanted)
    assert str(caught.value).endswith(
        f"has no {', '.join(wanted)}; expected {', '.join(wanted)}, the features of the questions;"
        f" add with: avqa questions --dataset NAME --annotations PATH --store {texts.path}"
        f" --features {','.join(wanted)}"
    )
    with pytest.raises(UnknownName, match="no encoder of texts 'resnet18'"):
        require_texts(texts, ("resnet18/sentence",))


def test_prompts_are_those_of_the_questions(texts):
    reading = heads.build("tspm", width=16, visual_width=2, text_width=512, patch_width=2)
    asked = [ask(template="Where is the <LL> instrument?", slots=("loudest",))]
    with pytest.raises(FeatureMissing) as caught:
        batch_of(asked, reading, texts=texts)
    assert str(caught.value) == (
        "no prompt 'The sounds of musical instruments in the video are different.' among the"
        " texts of the store; expected the prompts of all questions, which tspm reads; add with:"
        f" avqa questions --prompts --dataset NAME --annotations PATH --store {texts.path}"
        " --features clip_vit_b32/sentence"
    )


class Prompted:
    """Texts each of which is its number of letters."""

    text_features = ("near/sentence",)

    def eot(self, text):
        return 5

    def read_texts(self, texts, feature):
        return np.repeat([[len(text)] for text in texts], 16, 1).astype(np.float32)


@pytest.mark.parametrize("prompt", ["mended", "released", "question"])
def test_a_prompt_stands_beside_the_question(prompt):
    sizes = {"width": 16, "visual_width": 2, "text_width": 16, "patch_width": 2}
    reading = heads.build("tspm", prompt=prompt, **sizes)
    asked = [
        ask("Is there a tuba sound", template="Is there a <Object> sound?", slots=("tuba",)),
        ask("Who plays", template="Who plays?", slots=()),
    ]
    inputs = batch_of(asked, reading, texts=Prompted(), text="near").inputs
    assert inputs.sentence[:, 0].tolist() == [21, 9]
    if prompt == "question":
        assert inputs.prompt is None
    else:  # what has no template is its own prompt, and the letter e as released
        assert inputs.prompt[:, 0].tolist() == [65, 9 if prompt == "mended" else 1]


class Told(Prompted):
    """Texts each of whose words are their place, behind the number of letters of all."""

    text_features = ("near/sentence", "near/word_state")
    path = None

    def __init__(self, known):
        self.known = known

    def eot(self, text):
        if text not in self.known:
            raise FeatureMissing("gone")
        return len(text.split()) + 1

    def read_texts(self, texts, feature):
        if feature == "near/sentence":
            return super().read_texts(texts, feature)
        return np.tile(np.arange(77, dtype=np.float16)[:, None], (len(texts), 1, 16))


OPTIONS = ("a dog", None, "the cat that sings")
BEHIND = ("Who plays a dog", "Who plays the cat that sings", "Who plays rain")


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("form", ["shared", "per_option"])
def test_options_stand_behind_the_question(form, every):
    sizes = dict.fromkeys(("audio_width", "visual_width", "patch_width", "band_width"), 2)
    sizes |= {"text_width": 16, "word_width": 16, "mask_words": not every}
    reading = head("cuespace", answer="choices", options=form, **sizes)
    asked = [ask("Who plays", choices=c, choice=0) for c in (OPTIONS, ("rain",))]
    inputs = batch_of(asked, reading, texts=Told({"Who plays", *BEHIND}), text="near").inputs
    assert inputs.choices[..., 0].tolist() == [[15, 0, 28], [14, 0, 0]]
    assert inputs.choice_valid.tolist() == [[True, False, True], [True, False, False]]
    assert (inputs.sentence is None) == (inputs.words is None) == (form == "per_option")
    if form == "shared":
        assert inputs.choice_words is None
    else:
        assert inputs.choice_eot.tolist() == [[5, 0, 7], [4, 0, 0]]
        assert inputs.choice_words.shape[2] == (77 if every else 8)
        assert inputs.choice_words[0, 2, :, 0].tolist() == [*range(77 if every else 8)]
    with pytest.raises(FeatureMissing) as caught:
        batch_of(asked, reading, texts=Told({"Who plays", *BEHIND[:2]}), text="near")
    assert str(caught.value) == (
        "no text 'Who plays rain' among the texts of the store; expected each question with each of"
        " its options behind it, which cuespace reads; add with: avqa questions --with-options"
        " --dataset NAME --annotations PATH --store STORE --features near/sentence,near/word_state"
    )


class Spoken:
    """Texts of which each feature is filled with a number of its own."""

    text_features = ("near/sentence", "near/word", "near/word_state")

    def eot(self, text):
        return len(text.split())

    def read_texts(self, texts, feature):
        shape = (16,) if feature.endswith("sentence") else (77, 16)
        number = self.text_features.index(feature)
        return np.full((len(texts), *shape), number, np.float16)


@pytest.mark.parametrize("every", [False, True])
def test_a_head_says_which_words_it_reads_and_how_far(every):
    reading = head("avaf", text_width=16)
    kind = type("Head", (type(reading),), {"WORDS": "word_state", "every_word": every})
    reading.__class__ = kind
    inputs = batch_of([ask()], reading, texts=Spoken(), text="near").inputs
    assert inputs.words.unique().tolist() == [2]
    assert inputs.sentence.unique().tolist() == [0]
    assert inputs.words.shape[1] == (77 if every else 5)
    reading.__class__ = kind.__base__
    assert batch_of([ask()], reading, texts=Spoken(), text="near").inputs.words[0, 0, 0] == 1


def test_options_of_multiple_choice(texts):
    asked = [choose(choice=2), choose(("rain", "a dog"), choice=0), choose(choice=None)]
    batch = batch_of(asked, head(answer="choices"), texts=texts)
    assert batch.answers.tolist() == [2, 0, -1]
    assert batch.inputs.choice_valid.tolist() == [
        [True, False, True, True],
        [True, True, False, False],
        [True, False, True, True],
    ]
    for row, question in zip(batch.inputs.choices, asked, strict=True):
        for vector, option in zip(row, (*question.choices, None, None), strict=False):
            right = np.zeros(512) if option is None else sentence(option)
            np.testing.assert_array_equal(vector.numpy(), right)


def test_words_of_all_options_are_joined(texts):
    options = ("a dog", None, "the cat")
    built = head("mcd", answer="choices", vocabulary=101)
    tokens = batch_of([choose(options)], built, texts=texts).inputs.choice_tokens
    assert words(tokens[0])[:5] == ["a", "<pad>", "the", "<pad>", "<pad>"]


def test_training_needs_a_right_option(texts):
    with pytest.raises(DatasetError) as caught:
        batch_of([choose(choice=None)], head(answer="choices"), texts=texts, training=True)
    assert str(caught.value) == (
        "question_id='1' has no right option; expected one of its 4; correct the row, or leave it"
        " out of training"
    )


def test_heads_and_questions_must_agree_on_options(texts):
    with pytest.raises(DatasetError, match="'1' is multiple choice; .* build it with answer=choi"):
        batch_of([choose(choice=2)], head())
    with pytest.raises(
        DatasetError, match="'1' has no options; .* build it with answer=vocabulary"
    ):
        batch_of([ask()], head(answer="choices"), texts=texts)
    with pytest.raises(DatasetError, match="'1' has no options"):
        batch_of([choose((None, None))], head(answer="choices"), texts=texts)


def test_instruments_of_the_training_videos():
    training = [
        ask("Is there a violin sound", answer="yes", video_id="a", template="Is there a <Object>"),
        ask("Is there a flute sound", answer="no", video_id="a", template="Is there a <Object>"),
        ask("What is it", answer="one", video_id="b", template="What is it"),
    ]
    labels = instrument_labels(training)
    asked = [dataclasses.replace(q, video_id=v) for q, v in zip(training, "bca", strict=True)]
    questions = QuestionSet(asked, ["1", "2", "3"], Rows(), None, head(), labels)
    inputs = questions.__getitems__([2, 0, 1]).inputs
    violin, flute, tuba = (INSTRUMENTS.index(name) for name in ("violin", "flute", "tuba"))
    assert inputs.sources.sum(1).tolist() == [1, 0, 0]
    assert inputs.sources[0, violin] == 1
    weight = inputs.source_weight
    assert weight[0, [violin, flute, tuba]].tolist() == pytest.approx([1, 1, 0.1])
    assert weight[1].tolist() == pytest.approx([0.1] * 22)  # a video that nothing is told of
    assert weight[2].tolist() == [0] * 22  # a video that is not in training
    # What is heard with another's sound is not what is known of the video.
    dubbed = [dataclasses.replace(asked[2], sound_id="b")]
    inputs = QuestionSet(dubbed, ["3"], Rows(), None, head(), labels).__getitems__([0]).inputs
    assert inputs.source_weight.tolist() == [[0] * 22]


def test_without_labels_no_sources_are_given():
    assert batch_of([ask()], head()).inputs.sources is None


@needs_real
def test_lengths_are_enough_for_the_real_questions():
    asked = datasets.read("music-avqa", REAL, ["val", "test"])
    assert max(len(question.words) for question in asked) == MAX_WORDS
    assert max(len(question.slots) for question in asked) == MAX_SLOTS
    questions = questions_of(asked, head("mcd", vocabulary=MUSIC_AVQA.num_words(type_words=True)))
    assert int((questions.answers >= 0).sum()) == len(asked)
