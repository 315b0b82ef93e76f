from collections import Counter

import pytest
from helpers.questions.question_files import REAL, make_question, needs_real
from hypothesis import given, settings
from hypothesis import strategies as st

from avqa import datasets
from avqa.datasets._parts.splits import split_videos, video_disjoint, video_position


def some_questions(num_videos, per_video=2):
    return [
        make_question(video_id=f"{i % num_videos:08d}", key=str(i))
        for i in range(num_videos * per_video)
    ]


def test_no_video_is_on_two_sides_and_nothing_else_changes():
    questions = some_questions(300)
    moved = video_disjoint(questions, seed=3)
    assert [q.key for q in moved] == [q.key for q in questions]
    assert len({(q.video_id, q.split) for q in moved}) == 300
    assert {q.split for q in moved} == {"train", "val", "test"}


IDS = [f"v{n}{end}" for n in range(15) for end in ("", "_flip")]
PAIRS = st.lists(st.tuples(*[st.sampled_from(IDS)] * 2), max_size=25)


@settings(max_examples=60)
@given(PAIRS, st.integers(0, 3))
def test_a_sound_of_another_video_is_in_no_other_split(pairs, seed):
    own = [make_question(video_id=video) for video in (*IDS, *(f"w{n}" for n in range(150)))]
    asked = [*own, *(make_question(video_id=v, sound_id=s) for v, s in pairs)]
    moved = video_disjoint(asked, seed, heard=True)
    sides = {}
    for q in moved:
        for video in (q.video_id, q.sound_id or q.video_id):
            sides.setdefault(video.removesuffix("_flip"), set()).add(q.split)
    assert max(map(len, sides.values())) == 1
    joined = {video.removesuffix("_flip") for pair in pairs for video in pair}
    alone = {q.video_id: q.split for q in video_disjoint(own, seed)}
    for q in moved[: len(own)]:
        if q.video_id.removesuffix("_flip") not in joined:
            assert q.split == alone[q.video_id]
    assert {q.video_id: q.split for q in video_disjoint(asked, seed)} == alone


def test_what_is_joined_stands_where_the_first_by_name_does():
    places = {video: video_position(video, 0) for video in ("birds", "cafe", "garden", "rain")}
    shares = {"train": 0.39, "test": 0.61}  # cafe 0.379, garden 0.398, birds 0.066
    apart = split_videos(places, 0, shares)
    assert (apart["cafe"], apart["garden"]) == ("train", "test")
    found = split_videos(places, 0, shares, [("garden", "cafe")])
    assert (found["cafe"], found["garden"]) == ("train", "train")
    found = split_videos(places, 0, shares, [("garden", "wave"), ("cafe_flip", "wave")])
    assert (found["cafe"], found["garden"]) == ("train", "train")
    found = split_videos(["garden", "washing"], 0, shares, [("garden", "washing")])
    assert set(found.values()) == {apart["garden"]}


def test_a_videos_place_depends_on_nothing_but_its_id_and_the_seed():
    # SHA-256 of "0:00000093" begins with these six bytes.
    assert video_position("00000093", 0) == int("95fbfe9f114b", 16) / 2**48
    alone = {q.video_id: q.split for q in video_disjoint(some_questions(50), seed=1)}
    among = {q.video_id: q.split for q in video_disjoint(some_questions(300)[::-1], seed=1)}
    assert alone == {video: among[video] for video in alone}
    other = {q.video_id: q.split for q in video_disjoint(some_questions(50), seed=2)}
    assert alone != other


@settings(max_examples=30)
@given(st.integers(0, 100), st.tuples(*[st.integers(0, 5)] * 3).filter(any))
def test_shares_are_kept(seed, weights):
    fractions = {
        s: w / sum(weights) for s, w in zip(("train", "val", "test"), weights, strict=True)
    }
    counts = Counter(q.split for q in video_disjoint(some_questions(500, 1), seed, fractions))
    for split, share in fractions.items():
        # Five standard deviations of 500 draws.
        assert abs(counts[split] / 500 - share) <= 5 * (share * (1 - share) / 500) ** 0.5


@pytest.mark.parametrize(
    "fractions",
    [{"train": 0.5}, {"train": 1.5, "val": -0.5}, {"train": 0.5, "dev": 0.5}, {}],
)
def test_fractions_that_are_none(fractions):
    with pytest.raises(ValueError, match="expected shares of .* that sum to 1"):
        video_disjoint([], 0, fractions)


def test_few_videos_leave_no_split_empty_and_move_as_few_as_can_be():
    # Places 0.066, 0.162, 0.379, 0.398 and 0.412, all of train.
    videos = ["birds", "street", "cafe", "garden", "washing"]
    assert split_videos(videos) == {
        **dict.fromkeys(("birds", "street", "cafe"), "train"),
        "washing": "val",
        "garden": "test",
    }
    # Choir, 0.777, is of val: the video that stood in for it goes back, and test gets it.
    assert split_videos([*videos, "choir"]) == {
        **dict.fromkeys(("birds", "street", "cafe", "garden"), "train"),
        "choir": "val",
        "washing": "test",
    }
    assert split_videos(["birds", "birds_flip"]) == {"birds": "train", "birds_flip": "train"}
    assert split_videos(["birds", "street"]) == {"birds": "train", "street": "val"}
    assert split_videos([]) == {}
    assert set(split_videos(videos, 0, {"train": 1.0}).values()) == {"train"}


@needs_real
def test_real_splits_share_videos_and_these_do_not():
    questions = datasets.read("music-avqa", REAL)
    videos = {s: {q.video_id for q in questions if q.split == s} for s in ("val", "test")}
    assert len(videos["val"] & videos["test"]) == 2296
    moved = video_disjoint(questions)
    assert len({(q.video_id, q.split) for q in moved}) == 7918
    shares = Counter({q.video_id: q.split for q in moved}.values())
    assert abs(shares["train"] / 7918 - 0.7) < 0.02
