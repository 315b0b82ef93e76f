"""MUSIC-AVQA-R and MUSIC-AVQA-v2.0."""

import hashlib

import pytest
from helpers.questions.question_files import SAMPLES, music_row, validation_row, write

from avqa import datasets
from avqa.datasets.music_avqa_r import groups
from avqa.errors import AnnotationWarning, DatasetError


def rephrased(folder, name="avqa-test-headtail.json"):
    """Audio counting: 6 yes, 2 no, 1 two; audio comparative: 1 yes, 1 no."""
    answers = ["yes"] * 6 + ["no"] * 2 + ["two"]
    plain = {"templ_values": None, "question_content": "Can one hear it?"}
    rows = [music_row(question_id=i, anser=a, **plain) for i, a in enumerate(answers)]
    compare = {"type": '["Audio", "Comparative"]', **plain}
    rows += [music_row(question_id=20 + i, anser=a, **compare) for i, a in enumerate(("yes", "no"))]
    return write(folder / name, rows)


def test_head_is_over_a_fifth_above_the_mean_count_of_its_type(tmp_path):
    questions = datasets.read("music-avqa-r", rephrased(tmp_path))
    group_of = groups(questions)
    # Counting: mean 3, so only yes (6 > 3.6); comparative: mean 1, so none (1 < 1.2).
    assert [group_of[q.key] for q in questions] == ["head"] * 6 + ["tail"] * 5
    assert [q.text for q in questions][:1] == ["Can one hear it"]


def test_a_group_is_cut_from_the_file_of_both(tmp_path):
    rephrased(tmp_path)
    sizes = {g: len(datasets.read("music-avqa-r", tmp_path, group=g)) for g in ("head", "tail")}
    assert sizes == {"head": 6, "tail": 5}
    everything = datasets.read("music-avqa-r", tmp_path)
    assert [q.group for q in everything] == ["head"] * 6 + ["tail"] * 5
    tail = datasets.read("music-avqa-r", tmp_path, group="tail")
    assert tail == [q for q in everything if q.group == "tail"]


def test_a_groups_own_file_is_taken_whole(tmp_path):
    rephrased(tmp_path)
    rephrased(tmp_path, "avqa-test-head.json")
    head = datasets.read("music-avqa-r", tmp_path, group="head")
    assert [q.group for q in head] == ["head"] * 11
    file = tmp_path / "avqa-test-head.json"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert datasets.notes("music-avqa-r", tmp_path, group="head") == [
        f"test file: 'avqa-test-head.json', sha256={digest}"
    ]
    (of_both,) = datasets.notes("music-avqa-r", tmp_path)
    assert of_both.startswith("test file: 'avqa-test-headtail.json', sha256=")
    with pytest.raises(DatasetError) as caught:
        datasets.read("music-avqa-r", tmp_path / "avqa-test-head.json", group="tail")
    assert "holds group 'head', not 'tail'; expected the file of that group" in str(caught.value)


def test_training_questions_have_no_group(tmp_path):
    rephrased(tmp_path)
    write(tmp_path / "avqa-train.json", [music_row()])
    questions = datasets.read("music-avqa-r", tmp_path, group="tail")
    assert [q.split for q in questions] == ["train"] + ["test"] * 5


def balanced(folder, num_videos=400):
    rows = [
        music_row(video_id=f"{i % num_videos:08d}", question_id=None) for i in range(2 * num_videos)
    ]
    write(folder / "data/balance_full_set/train_balance.json", rows)
    return folder


def test_a_tenth_of_the_videos_is_held_out(tmp_path):
    questions = datasets.read("music-avqa-v2", balanced(tmp_path))
    videos = {s: {q.video_id for q in questions if q.split == s} for s in ("train", "val")}
    assert not videos["train"] & videos["val"]
    assert len(videos["val"]) == 37  # of 400, by hash: the same on every machine
    assert len(questions) == 800
    assert len({q.key for q in questions}) == 800


def test_what_is_held_out_does_not_depend_on_the_file(tmp_path):
    everything = datasets.read("music-avqa-v2", balanced(tmp_path), ["val"])
    few = datasets.read("music-avqa-v2", balanced(tmp_path, 100), ["val"])
    assert {q.video_id for q in few} == {q.video_id for q in everything if q.video_id < "00000100"}


def test_derivatives_of_a_video_stay_on_its_side(tmp_path):
    names = [f"{i:011d}" for i in range(50)]
    rows = [music_row(video_id=n + s) for n in names for s in ("", "_flip", "_#02", "_#02_flip")]
    write(tmp_path / "train_bias.json", rows)
    questions = datasets.read("music-avqa-v2", tmp_path, edition="bias")
    sides = {(q.video_id[:11], q.split) for q in questions}
    assert len(sides) == 50
    assert len({split for _, split in sides}) == 2


@pytest.mark.parametrize("name", ["music-avqa", "music-avqa-r", "music-avqa-v2"])
def test_a_few_questions_have_no_known_version(tmp_path, name):
    SAMPLES[name](tmp_path)
    assert datasets.load(name).version(datasets.read(name, tmp_path)) == "unknown"
    assert datasets.load(name).version([]) == "unknown"


def test_an_edition_is_told_by_its_test_count(tmp_path):
    write(tmp_path / "test_bias.json", [music_row(question_id=i) for i in range(9119)])
    questions = datasets.read("music-avqa-v2", tmp_path, edition="bias")
    assert datasets.load("music-avqa-v2").version(questions) == "bias"
    with pytest.raises(DatasetError, match="expected train_balance.json or balance_train.json"):
        datasets.read("music-avqa-v2", tmp_path)


WHOLE = [music_row(video_id=f"{i // 2:08d}", question_id=i) for i in range(40)]
VALID = [
    validation_row(video_id="00000003", question_id=6.0),
    validation_row(video_id="iveNvQ4jCis_flip", question_id=None, question_deleted=None),
    validation_row(
        video_id="00000005",
        question_id=None,
        question_content="Is this sound from the instrument in the video?",
        templ_values=[],
        anser="no",
        unmatch_audio="00000009",
    ),
]


@pytest.mark.parametrize("name", ["balance_valid", "valid_balance", "balance_val", "balance_dev"])
def test_the_authors_validation_rows_are_val_and_not_train(tmp_path, name):
    write(tmp_path / "train_balance.json", WHOLE)
    file = write(tmp_path / f"{name}.json", VALID)
    with pytest.warns(AnnotationWarning) as told:
        questions = datasets.read("music-avqa-v2", tmp_path)
    train, val = ([q for q in questions if q.split == s] for s in ("train", "val"))
    # Both rows of video 3 have the text of the one in validation.
    assert len(train) == len(WHOLE) - 2
    assert "00000003" not in {q.video_id for q in train}
    assert [q.question_id for q in val] == ["6", None, None]
    assert (val[2].slots, val[2].answer) == ((), "no")
    assert [str(warning.message) for warning in told] == [
        f"file={str(tmp_path / 'train_balance.json')!r}: 2 of 40 rows are validation rows of"
        f" '{name}.json' and left out of training; 2 validation rows are not in it"
    ]
    assert datasets.read("music-avqa-v2", tmp_path, ["val"]) == val
    assert datasets.read("music-avqa-v2", file) == val
    with pytest.warns(AnnotationWarning):
        assert datasets.read("music-avqa-v2", tmp_path, ["train"]) == train


def test_the_authors_training_file_is_taken_whole(tmp_path):
    file = write(tmp_path / "balance_train.json", WHOLE[:20])
    alone = datasets.read("music-avqa-v2", tmp_path)
    assert {q.split for q in alone} == {"train"}
    assert len(alone) == 20
    write(tmp_path / "train_balance.json", WHOLE)
    assert len(datasets.read("music-avqa-v2", tmp_path)) == 40  # validation is held out of it
    write(tmp_path / "data/annots/music_avqa_v2/balance_valid.json", VALID)
    questions = datasets.read("music-avqa-v2", tmp_path)
    assert [q.split for q in questions] == ["train"] * 20 + ["val"] * 3
    assert datasets.read("music-avqa-v2", file) == questions[:20]


def test_an_edition_is_told_by_its_validation_count(tmp_path):
    rows = [validation_row(question_id=float(i)) for i in range(4499)]
    file = write(tmp_path / "bias_valid.json", rows)
    with pytest.raises(DatasetError) as caught:
        datasets.read("music-avqa-v2", file)
    assert str(caught.value) == (
        f"file={str(file)!r} holds edition 'bias', not 'balance'; expected the file of that"
        " edition; give its folder, or ask for edition=bias"
    )
    questions = datasets.read("music-avqa-v2", file, edition="bias")
    assert {q.split for q in questions} == {"val"}
    assert datasets.load("music-avqa-v2").version(questions) == "bias"
