"""Three splits of data sets that have two, and of those that have three."""

import pytest
from helpers.questions import question_files

from avqa.errors import DatasetError
from avqa.training.data.splits import read_splits, require_questions


def music(folder, **videos_of_split):
    for split, videos in videos_of_split.items():
        rows = [question_files.music_row(video_id=v, question_id=n) for n, v in enumerate(videos)]
        question_files.write(folder / f"avqa-{split}.json", rows)
    return folder


def videos(questions):
    return {question.video_id for question in questions}


def test_three_files_are_three_splits(tmp_path):
    folder = music(tmp_path, train=["a", "a", "b"], val=["b"], test=["c", "a"])
    splits = read_splits("music-avqa", folder)
    assert [len(splits.of(name)) for name in ("train", "val", "test")] == [3, 1, 2]
    assert splits.notes == ()
    assert splits.version == "unknown"


def test_without_val_a_tenth_of_the_training_videos_is_held_out(tmp_path):
    ids = [f"{n:08d}" for n in range(300)]
    folder = music(tmp_path, train=[*ids, *ids], test=["00000000"])
    splits = read_splits("music-avqa", folder)
    held = videos(splits.val)
    assert 15 <= len(held) <= 45
    assert not held & videos(splits.train)
    assert held | videos(splits.train) == set(ids)
    assert {q.split for q in splits.val} == {"val"}
    assert splits.notes == (
        f"validation: {len(held)} of 300 training videos, held out by video (the share is 10% of"
        " their hashes)",
    )
    assert len(splits.test) == 1
    # Other questions do not move a video.
    fewer = read_splits("music-avqa", music(tmp_path / "fewer", train=ids[:150], test=["x"]))
    assert videos(fewer.val) == held & set(ids[:150])


def test_two_videos_are_enough_to_hold_one_out(tmp_path):
    splits = read_splits("music-avqa", music(tmp_path, train=["a", "b"], test=["c"]))
    assert (len(splits.train), len(splits.val)) == (1, 1)


def test_avqa_is_tested_on_val_and_validated_on_held_out_videos(tmp_path):
    rows = [question_files.avqa_row(id=n, video_name=f"v{n}_000030") for n in range(60)]
    question_files.write(tmp_path / "train_qa.json", rows[:50])
    question_files.write(tmp_path / "val_qa.json", rows[50:])
    splits = read_splits("avqa", tmp_path)
    assert videos(splits.test) == {f"v{n}_000030" for n in range(50, 60)}
    assert {q.split for q in splits.test} == {"test"}
    assert 0 < len(splits.val) < 20
    assert not videos(splits.val) & (videos(splits.train) | videos(splits.test))
    assert splits.notes[0] == "avqa has no test of its own: val of the file is the test"


def test_own_questions_without_a_test_are_tested_on_val(tmp_path):
    rows = [f"v{n}.mp4,what is it,a cat,{'val' if n < 3 else 'train'}" for n in range(40)]
    file = tmp_path / "mine.csv"
    file.write_text("\n".join(["video,question,answer,split", *rows]), encoding="utf-8")
    splits = read_splits("custom", file)
    assert videos(splits.test) == {"v0", "v1", "v2"}
    assert 0 < len(splits.val) < 12
    assert not videos(splits.val) & (videos(splits.train) | videos(splits.test))
    assert splits.notes[0] == "custom has no test of its own: val of the file is the test"


def test_splits_by_video_share_none(tmp_path):
    ids = [f"{n:08d}" for n in range(100)]
    splits = read_splits("music-avqa", music(tmp_path, train=ids, val=ids, test=ids), "video")
    parts = [videos(splits.of(name)) for name in ("train", "val", "test")]
    assert sum(map(len, parts)) == 100
    assert set.union(*parts) == set(ids)
    assert "no video is in two of them" in splits.notes[0]


@pytest.mark.parametrize("dub", ["honour", "ignore"])
def test_splits_by_video_share_no_sound_where_it_is_heard(tmp_path, dub):
    ids = [f"{n:08d}" for n in range(60)]
    rows = [
        question_files.music_row(video_id=v, unmatch_audio=ids[-1 - n])
        for n, v in enumerate(ids[:30])
    ]
    question_files.write(tmp_path / "test_balance.json", rows)
    plain = [question_files.music_row(video_id=v) for v in ids]
    question_files.write(tmp_path / "train_balance.json", plain)
    splits = read_splits("music-avqa-v2", tmp_path, "video", dub=dub)
    parts = [videos(splits.of(name)) for name in ("train", "val", "test")]
    assert sum(map(len, parts)) == 60
    heard = [{q.sound_id for q in splits.of(name)} - {None} for name in ("train", "val", "test")]
    assert sum(map(len, heard)) == 30
    leaks = sum(len(h - p) for h, p in zip(heard, parts, strict=True))
    assert (leaks == 0) == (dub == "honour")
    seen = "no video, seen or heard," if dub == "honour" else "no video"
    assert splits.notes[-1] == (
        f"splits by video: {seen} is in two of them; not the data set's own splits"
    )


def test_an_empty_split_is_refused(tmp_path):
    splits = read_splits("music-avqa", music(tmp_path, train=["a"]))
    expected = r"no question left in val and test of music-avqa \(train 1, val 0, test 0\);"
    with pytest.raises(DatasetError, match=expected):
        require_questions(splits, "music-avqa", tmp_path)
