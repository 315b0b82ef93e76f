"""Asking about a video: the same numbers as in training, kept features, and what is refused."""

import json
import shutil
import warnings

import numpy as np
import pytest
import torch
from helpers.questions import asking as questions_asked
from helpers.runs import asked_runs, run_folders

from avqa.datasets._parts.vocabulary import ANSWERS
from avqa.errors import ConfigError, MediaError, RecipeMismatch
from avqa.extract import encoders
from avqa.pipelines.ask import features, texts
from avqa.pipelines.ask.answer import AskOptions, Session, ask
from avqa.pipelines.ask.cache import AskCache
from avqa.pipelines.ask.question import Typed
from avqa.pipelines.extraction.single import VideoWarning
from avqa.training.data.features import VideoFeatures
from avqa.training.data.questions import QuestionSet
from avqa.training.data.splits import read_splits
from avqa.training.fitting.fit import infer
from avqa.training.run import Member
from avqa.training.scoring import predictions

ASKED = "Where is the loudest instrument?"


@pytest.fixture(scope="module", autouse=True)
def _one_cache(tmp_path_factory, kept_weights):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch, asked_runs.asked_once():
        patch.setenv("AVQA_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("avqa.machine.num_gpus", lambda: 0)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return asked_runs.extracted(tmp_path_factory.mktemp("stored"))


@pytest.fixture
def pstp(tmp_path, store):
    """CLIP's texts, three kinds of video features."""
    return asked_runs.write_run(tmp_path / "pstp", "pstp", store)


@pytest.fixture
def avst(tmp_path, store):
    """93 words, audio alone: the features that are made fastest."""
    alone = {"modalities": "aq", "spatial": False}
    return asked_runs.write_run(
        tmp_path / "avst", "avst", store, settings={"stride_seconds": 1}, **alone
    )


def asking(member, question=ASKED, video=None, say=lambda line: None, **options):
    return ask(AskOptions(member.path, video or asked_runs.clip(), question, **options), say)


def trained_on(member, store):
    """The test questions as `avqa train-head` has them: all questions, rows of the store."""
    config = member.config
    names = {field: entry["name"] for field, entry in config.features.items()}
    stride = config.settings.stride_seconds
    rows = VideoFeatures(store, names, stride_seconds=stride)
    test = read_splits("music-avqa", config.annotations).test
    ids = [asked_runs.VIDEO] * len(test)
    return QuestionSet(test, ids, rows, store, member.load_head(), training=False)


@pytest.mark.parametrize(
    ("head", "stride", "options"),
    [
        ("pstp", 1, {"fusion": "selfattn_words"}),  # reads every kind of feature
        ("mcd", 1, {}),
        ("avst", 2, {}),
        ("question_only", 1, {}),
    ],
)
def test_a_video_of_the_store_gets_the_answer_of_training(
    tmp_path, store, monkeypatch, head, stride, options
):
    settings = {"stride_seconds": stride}
    member = asked_runs.write_run(tmp_path / "run", head, store, settings=settings, **options)
    seen = []
    monkeypatch.setattr(
        "avqa.pipelines.ask.answer.infer",
        lambda h, q, **o: seen.append(q[0].inputs) or infer(h, q, **o),
    )
    answer = asking(member)
    questions = trained_on(member, store)
    expected = questions[0].inputs
    for field, tensor in vars(expected).items():
        found = getattr(seen[0], field)
        assert (found is None) == (tensor is None), field
        if (
            field == "words" and found is not None
        ):  # behind a text's end there are as many as its batch needs
            assert found.shape[1] == expected.eot + 1
            tensor = tensor[:, : found.shape[1]]
        assert tensor is None or torch.equal(found, tensor), field
    told = predictions(questions, infer(member.load_head(), questions, batch_size=4, device="cpu"))
    assert answer.answers[0][0] == told[0].prediction
    assert answer.answers[0][1] == pytest.approx(told[0].probability, abs=1e-5)
    assert not answer.stored
    assert {name for name, _ in answer.answers} == set(ANSWERS)
    assert sum(p for _, p in answer.answers) == pytest.approx(1, abs=1e-5)


@pytest.fixture
def remembering(tmp_path, store):
    """``avst`` whose store is there."""
    alone = {"modalities": "aq", "spatial": False}
    settings = {"stride_seconds": 1}
    return asked_runs.write_run(
        tmp_path / "own", "avst", store, settings=settings, remembers=True, **alone
    )


def no_extraction(*_):
    raise AssertionError("extracted")


def test_features_come_from_the_store_by_the_files_content(
    remembering, store, tmp_path, monkeypatch
):
    for name in ("VideoToExtract", "video_recipe"):
        monkeypatch.setattr(f"avqa.pipelines.ask.answer.{name}", no_extraction)
    answer = asking(remembering)
    questions = trained_on(remembering, store)
    head = remembering.load_head()
    told = predictions(questions, infer(head, questions, batch_size=1, device="cpu"))
    assert answer.answers[0] == (told[0].prediction, pytest.approx(told[0].probability, abs=1e-6))
    assert answer.stored
    assert answer.lines(1)[-1].endswith(" s; features from the store")
    shutil.copy(asked_runs.clip(), tmp_path / "renamed.mp4")
    assert asking(remembering, video=tmp_path / "renamed.mp4").answers == answer.answers
    with (tmp_path / "renamed.mp4").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(AssertionError, match="extracted"):
        asking(remembering, video=tmp_path / "renamed.mp4")


def test_a_store_of_another_recipe_is_not_used(remembering):
    asked_runs.edit(remembering, "audio", lambda recipe: recipe["decoder"].update(version="1.0"))
    with pytest.raises(RecipeMismatch):
        asking(remembering)


def test_texts_come_from_the_store_too(tmp_path, store, monkeypatch):
    monkeypatch.setattr(texts, "TextEncoder", no_extraction)
    monkeypatch.setenv("AVQA_CACHE", str(tmp_path / "cache"))
    member = asked_runs.write_run(tmp_path / "run", "pstp", store, remembers=True)
    assert member.config.texts
    assert asking(member).stored
    with pytest.raises(AssertionError, match="extracted"):
        asking(member, "Where is the violin?")


def test_the_right_answer_of_a_known_question_is_told(remembering, avst):
    answer = asking(remembering, "Is there a tuba sound?")
    place = [name for name, _ in answer.answers].index("yes")
    assert answer.right == "yes"
    told = f"right      yes, number {place + 1} with {100 * answer.answers[place][1]:.1f} %"
    assert answer.lines(2)[4] == told
    assert asking(remembering, "Is there a cello sound?").right is None
    assert asking(avst, "Is there a tuba sound?").right is None  # not in a store that is there
    assert asking(remembering, "Is there a tuba sound?", answer=" No ").right == "no"


def test_the_file_is_looked_at_before_anything_is_loaded(pstp, tmp_path, monkeypatch):
    monkeypatch.setattr("avqa.training.run.Member.load_head", no_extraction)
    (tmp_path / "text.mp4").write_text("no video at all", encoding="utf-8")
    with pytest.raises(MediaError, match=r"text\.mp4"):
        asking(pstp, video=tmp_path / "text.mp4")
    with pytest.raises(MediaError, match="has no audio stream; expected one"):
        asking(pstp, video=asked_runs.clip(seconds=1.0, sound_codec=None))


def test_a_silent_video_is_read_as_in_training(avst, monkeypatch):
    silent = asked_runs.clip(seconds=1.0, sound_codec=None)
    seen, answers = [], []
    monkeypatch.setattr(
        "avqa.pipelines.ask.answer.infer",
        lambda h, q, **o: seen.append(q[0].inputs) or infer(h, q, **o),
    )
    for missing, said in (("zeros", "zeros stand for it"), ("masked", "it is masked")):
        run_folders.change_settings(avst, missing=missing)
        answers += [asking(avst, video=silent), asking(avst, video=silent)]
        assert answers[-1].notes == (f"no audio: {said}, as in training",)
        assert answers[-1].answers == answers[-2].answers
    assert [answer.made for answer in answers] == [("vggish/audio",), (), (), ()]
    assert answers[1].answers != answers[2].answers
    assert [tuple(inputs.audio.shape) for inputs in seen] == [(1, 1, 128)] * 4
    assert not any(inputs.audio.any() for inputs in seen)
    assert [inputs.audio_valid for inputs in seen[:2]] == [None] * 2
    assert not any(inputs.audio_valid.any() for inputs in seen[2:])
    run_folders.change_settings(avst, missing="skip")
    with pytest.raises(MediaError, match="train with --set missing=masked, with which heads go"):
        asking(avst, video=silent)  # what was kept is no audio either


def test_several_questions_load_everything_once(avst, own_cache, monkeypatch):
    loaded = []
    load = Member.load_head
    monkeypatch.setattr(Member, "load_head", lambda self: loaded.append(self) or load(self))
    session = Session(avst.path, asked_runs.clip(), "auto", lambda line: None)
    asked = [session.read(Typed(text)) for text in (ASKED, "Is there a tuba sound?")]
    first, second = session.answers(asked)
    (third,) = session.answers([session.read(Typed(ASKED))])
    assert (len(loaded), len(own_cache)) == (1, 1)
    assert [one.made for one in (first, second, third)] == [("vggish/audio",), (), ()]
    assert first.answers == third.answers == asking(avst).answers
    assert second.answers == asking(avst, "Is there a tuba sound?").answers != first.answers


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """An empty cache, and an extraction that gives ever larger numbers at once."""
    extractions = []

    def extract(video, settings, max_rows, say, ahead):
        extractions.append((settings.features, max_rows))
        value = 0.1 * len(extractions)
        shapes = {name: encoders.tap_of(name).shape for name in settings.features}
        return {name: np.full((3, *shape), value, np.float16) for name, shape in shapes.items()}

    monkeypatch.setenv("AVQA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(features, "_extract", extract)
    return extractions


def test_the_second_question_extracts_nothing(pstp, avst, own_cache, monkeypatch):
    monkeypatch.setattr(texts, "TextEncoder", questions_asked.FakeEncoder)
    monkeypatch.setattr(questions_asked.FakeEncoder, "sizes", encoded := [])
    first = asking(pstp)
    assert len(first.made) == 3
    assert first.num_rows == 3
    assert first.lines(1)[-1].endswith(
        "s; vggish/audio, clip_vit_b32/frame, clip_vit_b32/patch extracted"
    )
    again = asking(pstp)
    assert again.made == ()
    assert again.answers == first.answers
    assert again.lines(1)[-1].endswith("s; features kept from before")
    assert asking(avst).made == ()  # another head, the same audio
    assert asking(pstp, "Where is it?").made == ()
    assert len(own_cache) == 1
    assert encoded == [1, 1, 1]  # two texts, the first also alone, to compare a small batch


def test_what_the_reader_warns_of_is_said(avst, own_cache, monkeypatch):
    made = features._extract

    def extract(*arguments):
        warnings.warn("video 'v.mp4': sound is lost", VideoWarning, stacklevel=1)
        return made(*arguments)

    monkeypatch.setattr(features, "_extract", extract)
    said = []
    asking(avst, say=said.append)
    assert "warning: video 'v.mp4': sound is lost" in said


def test_a_damaged_file_of_the_cache_is_made_again(avst, own_cache, tmp_path):
    first = asking(avst)
    assert own_cache == [(("vggish/audio",), 60)]
    (path,) = (tmp_path / "cache" / "asked").iterdir()
    whole = path.read_bytes()
    middle = len(whole) // 2
    bit = bytes([whole[middle] ^ 1])
    for damage in (whole[:-40], whole[:middle] + bit + whole[middle + 1 :], b"", b"no archive"):
        path.write_bytes(damage)
        again = asking(avst)
        assert again.made == ("vggish/audio",)
        assert again.answers != first.answers  # the stand-in has moved on: nothing was read
        assert len(path.read_bytes()) == len(whole)
        assert asking(avst).made == ()


def test_a_changed_video_is_another_one(avst, own_cache, tmp_path):
    asking(avst)
    other = tmp_path / "clip.mp4"
    shutil.copy(asked_runs.clip(), other)
    assert asking(avst, video=other).made == ()
    other.write_bytes(other.read_bytes() + b"\0" * 64)
    assert asking(avst, video=other).made == ("vggish/audio",)


def test_an_unwritable_cache_costs_a_warning_only(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("AVQA_CACHE", str(tmp_path / "file"))
    said = []
    cache = AskCache(said.append)
    cache.write(cache.path("x"), np.zeros(3))
    assert cache.read(cache.path("x")) is None
    cache.write(cache.path("y"), np.zeros(3))
    (line,) = said  # once
    assert line.startswith("warning: features are not kept for the next question: ")
    assert line.endswith("; set AVQA_CACHE to a folder that can be written")


def test_random_weights_are_told_once(avst):
    said = []
    asking(avst, say=said.append)
    assert [line for line in said if line.startswith("RANDOM WEIGHTS")] == [
        "RANDOM WEIGHTS: the features come from seeded random weights and mean nothing"
    ]


def test_another_recipe_is_refused(avst):
    asked_runs.edit(avst, "audio", lambda recipe: recipe["decoder"].update(version="1.0"))
    with pytest.raises(RecipeMismatch) as refused:
        asking(avst)
    text = str(refused.value)
    assert text.startswith(f"run {str(avst.path)!r}: another recipe: ")
    assert 'decoder.version: run="1.0" here=' in text
    assert text.count("run=") == 1
    assert text.endswith("train on features made here")


def test_another_kind_of_machine_is_warned_of(avst):
    device = {"device": "cuda", "batch": 128, "precision": "fp32"}
    asked_runs.edit(avst, "audio", lambda recipe: recipe.update(compute=device))
    said = []
    assert asking(avst, say=said.append).answers
    (warning,) = [line for line in said if line.startswith("warning:")]
    assert 'compute.batch: run=128 here=16 (vggish/audio); compute.device: run="cuda"' in warning


def test_imported_features_cannot_be_made(avst):
    asked_runs.edit(avst, "audio", lambda recipe: recipe.update(imported={"layout": "vggish"}))
    with pytest.raises(RecipeMismatch, match="vggish/audio was imported, so how it was made is"):
        asking(avst)


def test_features_of_several_recipes_are_refused(pstp):
    asked_runs.edit(pstp, "audio", lambda recipe: recipe["grid"].update(frame_at="start"))
    with pytest.raises(RecipeMismatch, match="features differ in frame_at"):
        asking(pstp)


def test_other_texts_are_refused(pstp):
    path = pstp.path / "config.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    value["texts"]["clip_vit_b32/sentence"]["recipe"]["text"]["tokeniser"] = "another"
    path.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(RecipeMismatch, match=r'text\.tokeniser: run="another" here="open_clip'):
        asking(pstp)


def test_a_mark_of_the_run_reaches_the_text(pstp, monkeypatch):
    path = pstp.path / "config.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    value["texts"]["clip_vit_b32/sentence"]["recipe"]["text"]["mark"] = "?"
    path.write_text(json.dumps(value), encoding="utf-8")
    tokenised = []

    class Stop(Exception):
        pass

    def tokenise(texts):
        tokenised.extend(texts)
        raise Stop

    monkeypatch.setattr(texts, "tokenise", tokenise)
    with pytest.raises(Stop):
        asking(pstp, "Where is it ? ")
    assert tokenised == ["Where is it?"]


def test_a_video_without_sound(avst):
    silent = asked_runs.clip(seconds=1.0, sound_codec=None)
    with pytest.raises(MediaError) as refused:
        asking(avst, video=silent)
    assert refused.value.reason == "no_sound"
    assert str(refused.value) == (
        f"video {str(silent)!r} has no audio stream; expected one: the head was trained with"
        " vggish/audio; ask about a video with audio, or train with --set missing=masked, with"
        " which heads go without it"
    )


def test_files_that_are_no_videos(avst, tmp_path):
    with pytest.raises(ConfigError, match="no such file: video='.*gone.mp4'; expected one video"):
        asking(avst, video=tmp_path / "gone.mp4")
    with pytest.raises(ConfigError, match="no such file"):
        asking(avst, video=tmp_path)
    (tmp_path / "text.mp4").write_text("no video at all", encoding="utf-8")
    with pytest.raises(MediaError, match=r"text\.mp4"):
        asking(avst, video=tmp_path / "text.mp4")


def test_no_run(tmp_path):
    with pytest.raises(ConfigError, match="expected a folder of `avqa train-head`"):
        ask(AskOptions(tmp_path, asked_runs.clip(), ASKED))


def test_a_run_stands_for_its_first_seed(avst):
    answer = ask(AskOptions(avst.path.parents[1], asked_runs.clip(), ASKED))
    assert answer.member.path == avst.path
    assert answer.answers == asking(avst).answers


def test_unknown_words_are_named(avst):
    answer = asking(avst, "Where is the loudst guitars Instrument, Xyz")
    (note,) = answer.notes
    assert note == (
        "unknown words, read as nothing: 'loudst' (nearest: 'loudest'), 'guitars' (nearest:"
        " 'acoustic_guitar'), 'Instrument,' (nearest: 'instrument'), 'Xyz'"
    )
    assert answer.answers == asking(avst, "Where is the xx xx xx xx").answers


def test_more_words_than_are_read(avst):
    (note,) = asking(avst, " ".join(["is"] * 15)).notes
    assert note == "15 words; this head reads the first 14"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" ? ", "the question is empty; expected words"),
        ("wer spielt da", "no word of the question is known to this head: 'wer'"),
        ("x " * 14 + "is", "no word of the question is known to this head: 'x'"),
    ],
)
def test_questions_that_cannot_be_read(avst, text, message):
    with pytest.raises(ConfigError, match=message):
        asking(avst, text)


def test_options_belong_to_heads_that_choose(avst, tmp_path, store):
    with pytest.raises(
        ConfigError, match=r"choices=\['a', 'b'\]; expected none: this head answers"
    ):
        asking(avst, choices=("a", "b"))
    member = asked_runs.write_run(tmp_path / "choosing", "avst", store, answer="choices")
    for choices in ((), ("one",), ("one", " ")):
        with pytest.raises(ConfigError, match="expected at least two: this head chooses among"):
            asking(member, choices=choices)


def test_options_are_what_is_answered(tmp_path, store, monkeypatch):
    member = asked_runs.write_run(tmp_path / "choosing", "question_only", store, answer="choices")
    monkeypatch.setattr(texts, "TextEncoder", questions_asked.FakeEncoder)
    answer = asking(member, choices=("the cat", "a loud dog", "nobody"))
    swapped = asking(member, choices=("nobody", "the cat", "a loud dog"))
    assert [name for name, _ in answer.answers] == [name for name, _ in swapped.answers]
    assert dict(answer.answers) == pytest.approx(dict(swapped.answers), abs=1e-6)
    assert sum(p for _, p in answer.answers) == pytest.approx(1, abs=1e-6)
    assert len({p for _, p in answer.answers}) == 3
    inline = asking(member, f"{ASKED} | the cat | a loud dog|nobody", answer="A  loud dog")
    assert (inline.answers, inline.right) == (answer.answers, "a loud dog")
    with pytest.raises(ConfigError, match="answer='x' is none of choices=.'the cat', 'nobody'.; "):
        asking(member, choices=("the cat", "nobody"), answer="x")


def test_how_the_type_was_found_is_told(tmp_path, store):
    member = asked_runs.write_run(tmp_path / "mcd", "mcd", store)
    answer = asking(member, "Is there a tuba sound?")
    assert (answer.question.modality, answer.question.slots) == ("Audio", ("tuba",))
    assert answer.notes == (
        "type of the question: Audio Counting, as training questions 'Is there a <Object> sound'",
    )
    (note,) = asking(member, "Is there a sound?").notes
    assert note == "type of the question: left empty, no training question has its form"
    path = member.path / "config.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace("/annotations", "/moved"), encoding="utf-8"
    )
    (note,) = asking(member, "Is there a tuba sound?").notes
    assert note.startswith("type of the question: left empty, the training questions are gone: ")
