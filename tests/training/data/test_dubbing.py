"""Questions about one video's pictures with another's sound."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from helpers.questions.question_files import make_question
from helpers.store import stored
from helpers.store.reading import EVERYTHING, NAMES, expected, store_of, store_with
from hypothesis import example, given, settings
from hypothesis import strategies as st

from avqa import heads
from avqa.errors import FeatureMissing
from avqa.store.format.records import FeatureRecord, Status
from avqa.training.data.batches import make_loader
from avqa.training.data.dubbing import (
    as_heard,
    dub_note,
    dubbed,
    in_store,
    name_of,
    picture_of,
    require_sounds,
    sound_of,
)
from avqa.training.data.features import VideoFeatures
from avqa.training.data.questions import QuestionSet

LENGTHS = {"a": 7, "b": 12, "c": 1, "d": 5}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return store_of(tmp_path_factory.mktemp("dubbed") / "store", LENGTHS)


@example("a", "d", 2, 14, "masked", 0, set())
@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([*LENGTHS]),
    st.sampled_from([*LENGTHS]),
    st.integers(1, 4),
    st.integers(1, 14),
    st.sampled_from(["error", "masked", "zeros"]),
    st.sampled_from([0, 600, EVERYTHING]),
    st.sets(st.sampled_from(["frame", "patch"])),
)
def test_sound_is_cut_or_filled_to_the_length_of_the_pictures(
    store, video, sound, stride, most, missing, budget, seen
):
    """Whatever is loaded, whatever else is read, and however the rows are chosen."""
    names = {field: NAMES[field] for field in ("audio", *sorted(seen))}
    reader = VideoFeatures(
        store,
        names,
        stride_seconds=stride,
        max_seconds=most,
        missing=missing,
        budget_bytes=budget,
    )
    name = dubbed(video, sound)
    reader.preload([video, sound, name])
    rows = reader.read(name)
    seconds = range(LENGTHS[video])[:most:stride]
    for field in seen:
        whole = expected(video, field, LENGTHS[video])
        assert np.array_equal(rows[field].numpy(), whole[list(seconds)])
    theirs = expected(sound, "audio", LENGTHS[sound])
    heard = [second < len(theirs) for second in seconds]
    padded = np.concatenate([theirs, np.zeros((14, *theirs.shape[1:]), theirs.dtype)])
    assert np.array_equal(rows["audio"].numpy(), padded[list(seconds)])
    assert ("audio_valid" in rows) == (missing == "masked")
    if missing == "masked":
        assert rows["audio_valid"].tolist() == heard
    assert {field for field in rows if field != "audio_valid"} == {*names}


def test_pictures_are_loaded_once_whatever_is_heard_with_them(store):
    reader = VideoFeatures(store, NAMES, budget_bytes=EVERYTHING)
    reader.preload(["a", dubbed("a", "b"), dubbed("a", "d")])
    sizes = {field: len(loaded.rows) for field, loaded in reader._loaded.items()}
    assert sizes == {"audio": 3 * 7, "frame": 7, "patch": 7}
    plain, other = reader.read("a"), reader.read(dubbed("a", "b"))
    assert plain["frame"].data_ptr() == other["frame"].data_ptr()
    assert not torch.equal(plain["audio"], other["audio"])
    few = VideoFeatures(store, NAMES, budget_bytes=7 * 8 * 2)
    assert not few.fits(["a", dubbed("a", "b")])
    assert VideoFeatures(store, {"frame": NAMES["frame"]}, budget_bytes=7 * 8 * 2).fits(
        ["a", dubbed("a", "b"), dubbed("a", "d")]
    )


@pytest.mark.parametrize("order", ["given", "shuffled", "grouped", "together"])
def test_dubbed_and_undubbed_questions_of_a_video_share_no_rows(store, order):
    """One batch holds both, as one of six questions about two videos must."""
    asked = [
        make_question(key=str(n), question_id=str(n), video_id=video, sound_id=sound)
        for n, (video, sound) in enumerate(
            [("a", None), ("a", "b"), ("a", None), ("a", "d"), ("b", None), ("a", "b")]
        )
    ]
    ids = in_store(asked, store.video_ids)
    names = [name_of(question, ids) for question in asked]
    head = heads.build("late_fusion", width=16, audio_width=6, visual_width=8)
    features = VideoFeatures(store, {field: NAMES[field] for field in head.FEATURES})
    questions = QuestionSet(asked, names, features, None, head)
    (batch,) = make_loader(questions, 6, order=order)
    places = dict(zip(batch.rows.tolist(), batch.of_video.tolist(), strict=True))
    assert len({*places.values()}) == 4
    assert places[0] == places[2]
    assert places[1] == places[5]
    inputs = batch.inputs.apart()
    for row, place in enumerate(batch.rows.tolist()):
        heard = asked[place].sound_id or asked[place].video_id
        length = min(LENGTHS[asked[place].video_id], LENGTHS[heard])
        theirs = torch.from_numpy(expected(heard, "audio", LENGTHS[heard])).float()
        assert torch.equal(inputs.audio[row, :length], theirs[:length])
        seconds = LENGTHS[asked[place].video_id]
        pictures = torch.from_numpy(expected(asked[place].video_id, "patch", seconds)).float()
        assert torch.equal(inputs.patch[row, :seconds], pictures)


@pytest.fixture(scope="module")
def partial(tmp_path_factory):
    """Video a has all; b no sound; c sound and no pictures; d is longer than a; e has nothing."""

    def records(writer, rows):
        def without(video, seconds, field, status, lost):
            made = stored.extract(writer, video, rows[video], seconds)
            kept = [f for f in made.features if f.feature not in lost]
            gone = [FeatureRecord(name, status, 0, ()) for name in lost]
            return dataclasses.replace(made, features=(*kept, *gone))

        return [
            stored.extract(writer, "a", rows["a"], 2),
            without("b", 3, "audio", Status.ABSENT, [NAMES["audio"]]),
            without("c", 4, "frame", Status.FAILED, [NAMES["frame"], NAMES["patch"]]),
            stored.extract(writer, "d", rows["d"], 4),
            stored.failure("e", rows["e"]),
        ]

    return store_with(tmp_path_factory.mktemp("partial") / "store", [*"abcde"], records)


@pytest.mark.parametrize("budget", [0, 2**40])
def test_bands_are_heard_wherever_the_audio_is(partial, budget):
    """Here both are of one feature, so that they are equal: silence, and another's sound."""
    names = {**NAMES, "bands": NAMES["audio"]}
    reader = VideoFeatures(partial, names, missing="masked", budget_bytes=budget)
    videos = ["a", "b", dubbed("b", "c"), dubbed("d", "a")]
    assert reader.require(videos, "masked") == {*videos}
    reader.preload(videos)
    for video in videos:
        found = reader.read(video)
        assert len(found["bands"]) == len(found["frame"])
        assert torch.equal(found["bands"], found["audio"])
        assert found["bands"].any() == (video != "b")


def test_each_video_needs_what_is_read_of_it_alone(partial):
    reader = VideoFeatures(partial, NAMES)
    # Of b the pictures, of c the sound.
    assert reader.require([dubbed("b", "c"), "a"], "error") == {dubbed("b", "c"), "a"}
    assert len(reader.read(dubbed("b", "c"))["audio"]) == 3
    with pytest.raises(FeatureMissing) as caught:
        reader.require([dubbed("a", "b")], "error")
    assert "the first is 'a' with the sound of 'b': vggish/audio is absent; " in str(caught.value)
    with pytest.raises(FeatureMissing, match="'c' with the sound of 'a': clip/frame is failed"):
        reader.require([dubbed("c", "a")], "error")
    names = ["a", dubbed("a", "b"), dubbed("a", "d")]
    assert reader.require(names, "skip") == {"a", dubbed("a", "d")}
    assert reader.silent(names) == {dubbed("a", "b")}
    masked = VideoFeatures(partial, NAMES, missing="masked")
    assert masked.require(names, "masked") == {*names}
    assert masked.read(dubbed("a", "b"))["audio_valid"].tolist() == [False] * 2
    assert not masked.read(dubbed("a", "b"))["audio"].any()
    # Who hears alone takes pictures that failed for as long as the sound.
    heard = VideoFeatures(partial, {"audio": NAMES["audio"]})
    assert len(heard.read(dubbed("e", "d"))["audio"]) == 4


def asked(*pairs):
    return [
        make_question(key=str(n), question_id=str(n), video_id=video, sound_id=sound)
        for n, (video, sound) in enumerate(pairs)
    ]


def test_names_go_by_the_stores_ids():
    questions = asked(("a", None), ("a", "b"), ("a", "a"), ("a", "z"), ("z", "a"))
    ids = in_store(questions, ["part/a", "b"])
    assert ids == {"a": "part/a", "b": "b"}
    names = [name_of(question, ids) for question in questions]
    assert names == ["part/a", dubbed("part/a", "b"), "part/a", None, None]
    assert [(picture_of(n), sound_of(n)) for n in names[:2]] == [
        ("part/a", "part/a"),
        ("part/a", "b"),
    ]
    assert in_store(asked(("a", "y"), ("a", "z")), ["a"]) == {"a": "a"}


def test_a_sound_that_is_not_in_the_store_is_refused_or_left_out():
    questions = asked(("a", "b"), ("a", "z"), ("z", "y"))
    ids = in_store(questions, ["a", "b"])
    for missing in ("error", "masked", "zeros"):
        with pytest.raises(FeatureMissing) as caught:
            require_sounds(questions, ids, missing)
        assert str(caught.value) == (
            "1 questions are heard with the sound of a video that the store has not, the first is"
            " 'Is it' about video 'a' with the sound of 'z'; expected that video in the store;"
            " extract these videos, too, leave the questions out with --set missing=skip, or give"
            " every video its own sound with --set dub=ignore"
        )
    assert require_sounds(questions, ids, "skip") == [questions[1]]
    assert require_sounds(questions[::2], ids, "error") == []


def test_who_does_not_hear_or_is_told_to_ignore_it_has_no_other_sound():
    questions = asked(("a", "b"), ("a", None))
    assert [*as_heard(questions, "honour", ["audio", "frame"])] == questions
    for dub, fields in itertools.product(("honour", "ignore"), (["frame"], ["audio", "frame"])):
        if (dub, fields) != ("honour", ["audio", "frame"]):
            assert [q.sound_id for q in as_heard(questions, dub, fields)] == [None, None]
    assert dub_note({"train": questions, "test": questions[1:]}, "honour") == [
        "dub=honour: questions heard with the sound of another video: train 1, test 0"
    ]
    assert dub_note({"test": questions}, "ignore") == [
        "dub=ignore: questions that name another video's sound: test 1; they are heard with their"
        " own, which their answers contradict"
    ]
    assert dub_note({"test": questions[1:]}, "honour") == []
