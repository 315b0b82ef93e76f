import json
from collections import Counter

import pytest
from helpers.questions.question_files import REAL, music_row, needs_real, write

from avqa import datasets
from avqa.datasets._parts.question import num_repeated
from avqa.datasets._parts.taxonomy import NAMES
from avqa.datasets.music_avqa import is_real, version
from avqa.errors import DatasetError


def read_rows(tmp_path, *rows, **how):
    return datasets.read("music-avqa", write(tmp_path / "avqa-train.json", list(rows)), **how)


def test_a_row_becomes_a_question(tmp_path):
    row = music_row(
        video_id="va00003871",
        question_id=41,
        type='["Audio-Visual", "Comparative"]',
        question_content="Is the <Object> on the <LR> louder than the <Object> on the <LR>?",
        templ_values='["acoustic_guitar", "left", "erhu", "right"]',
        anser="no",
    )
    (q,) = read_rows(tmp_path, row)
    assert q.text == "Is the acoustic_guitar on the left louder than the erhu on the right"
    assert q.words == tuple(q.text.split(" "))
    assert len(q.words) == 13
    assert q.slots == ("acoustic_guitar", "left", "erhu", "right")
    assert q.template == row["question_content"]
    assert (q.question_id, q.video_id, q.split) == ("41", "va00003871", "train")
    assert (q.modality, q.kind, q.answer) == ("Audio-Visual", "Comparative", "no")
    assert (q.choices, q.choice) == ((), None)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("How many sounding <Object> in the video？", "How many sounding violin in the video"),
        ("What kind of instrument is the <Object>? ", "What kind of instrument is the violin"),
        ("Is there a <Object>?", "Is there a violin"),
        ("Is there a <Object>", "Is there a violin"),
    ],
)
def test_the_final_mark_goes_whatever_it_is(tmp_path, content, text):
    assert read_rows(tmp_path, music_row(question_content=content))[0].text == text


@pytest.mark.parametrize("values", ['["violin"]', "['violin']", ["violin"], "('violin',)"])
def test_lists_in_strings(tmp_path, values):
    assert read_rows(tmp_path, music_row(templ_values=values))[0].slots == ("violin",)


def test_values_are_data_and_never_filled_or_run(tmp_path):
    marker = tmp_path / "ran"
    values = json.dumps(["<LR>"])
    assert read_rows(tmp_path, music_row(templ_values=values))[0].text == "Is there a <LR> sound"
    run = f"[__import__('pathlib').Path({str(marker)!r}).touch()]"
    with pytest.raises(DatasetError, match="expected a list of texts"):
        read_rows(tmp_path, music_row(templ_values=run))
    assert not marker.exists()


def test_absent_and_spare_keys(tmp_path):
    row = music_row(question_id=None, question_deleted=None, anser=None, person="two")
    (q,) = read_rows(tmp_path, row)
    assert (q.question_id, q.answer) == (None, None)
    (q,) = read_rows(tmp_path, {**row, "answer": " yes "})
    assert q.answer == "yes"
    (q,) = read_rows(tmp_path, music_row(question_content="Is it?", templ_values=None))
    assert q.slots == ()


def test_two_answers_under_one_id_are_both_kept(tmp_path):
    questions = read_rows(tmp_path, music_row(anser="yes"), music_row(anser="no"))
    assert [q.answer for q in questions] == ["yes", "no"]
    assert questions[0].key != questions[1].key
    alone = read_rows(tmp_path, music_row(anser="no"))
    assert alone[0].key == questions[0].key  # the updated file keeps one of them


def test_real_and_synthetic_halves(tmp_path):
    rows = [music_row(video_id=v) for v in ("00000007", "va00000001", "sa00000002")]
    assert [q.video_id for q in read_rows(tmp_path, *rows, subset="real")] == ["00000007"]
    synthetic = read_rows(tmp_path, *rows, subset="synthetic")
    assert [q.video_id for q in synthetic] == ["va00000001", "sa00000002"]


def test_an_id_of_letters_and_eight_digits_is_synthetic():
    synthetic = ("va00003871", "evv00000001", "a00003871")
    real = ("00000093", "-HG3Omg_89c_000030", "iveNvQ4jCis_flip", "va0000387", "clip 00000001")
    assert not any(map(is_real, synthetic))
    assert all(map(is_real, real))


def test_a_half_file_serves_its_half_only(tmp_path):
    write(tmp_path / "avqa-val_fake.json", [music_row(video_id="va00000001")])
    assert len(datasets.read("music-avqa", tmp_path, subset="synthetic")) == 1
    with pytest.raises(DatasetError, match="no question file in"):
        datasets.read("music-avqa", tmp_path)


def test_the_updated_file_comes_before_the_original(tmp_path):
    write(tmp_path / "data/json/avqa-val.json", [music_row(anser="no")])
    assert datasets.read("music-avqa", tmp_path)[0].answer == "no"
    write(tmp_path / "data/json_update/avqa-val.json", [music_row(anser="yes")])
    assert [q.answer for q in datasets.read("music-avqa", tmp_path)] == ["yes"]


def test_renamed_files(tmp_path):
    write(tmp_path / "dataset/split_que_id/music_avqa_test.json", [music_row()])
    write(tmp_path / "dataset/split_que_id/music_avqa.json", [music_row(), music_row()])
    assert [q.split for q in datasets.read("music-avqa", tmp_path)] == ["test"]
    union = tmp_path / "dataset/split_que_id/music_avqa.json"
    assert [q.split for q in datasets.read("music-avqa", union, ["train"])] == ["train"] * 2


@needs_real
def test_real_counts_per_type():
    questions = datasets.read("music-avqa", REAL)
    counts = Counter((q.split, q.modality, q.kind) for q in questions)
    of = {s: [counts[s, *pair] for pair in NAMES.values()] for s in ("val", "test")}
    # heads.md section 8.
    assert of["val"] == [511, 295, 600, 613, 495, 633, 461, 549, 411]
    assert of["test"] == [1017, 594, 1197, 1225, 988, 1265, 920, 1101, 822]
    assert len({q.template for q in questions}) == 33
    assert {s: len({q.text for q in questions if q.split == s}) for s in of} == {
        "val": 893,
        "test": 1298,
    }
    assert max(len(q.words) for q in questions) == 14
    assert len({q.key for q in questions}) == 13697


@needs_real
def test_real_versions_are_recognised():
    updated = datasets.read("music-avqa", REAL)
    assert version(updated) == "updated"
    assert version(datasets.read("music-avqa", REAL, ["test"], subset="real")) == "updated"
    synthetic = REAL / "avqa-train_synthetic_original.json"
    original = datasets.read("music-avqa", synthetic)
    assert version(original) == "original"
    assert num_repeated(original) == 56
    assert len({q.key for q in original}) == 6233
    assert version(original + updated) == "train original, val updated, test updated"
    assert version(updated[:-1]) == "val updated, test unknown"


@needs_real
def test_real_questions_about_videos_with_several():
    # The 5,046 questions and 2,316 videos of music_avqa_test_multiple_q.json: computed, no file.
    multi = datasets.read("music-avqa", REAL, subset="multi")
    test = [q for q in multi if q.split == "test"]
    assert (len(test), len({q.video_id for q in test})) == (5046, 2316)
    assert len(multi) - len(test) == 4568
    assert version(test) == "updated"


def test_videos_with_several_test_questions(tmp_path):
    rows = [music_row(video_id=v, question_id=n) for n, v in enumerate("aabccc")]
    write(tmp_path / "avqa-train.json", rows)
    own = [rows[n] | {"idx": n} for n in (0, 1, 3, 4, 5)]
    write(tmp_path / "data/annots/music_avqa/music_avqa_test_multiple_q.json", own)
    # Of their own file, of the whole one, which comes first, and of a file alone.
    of_theirs = datasets.read("music-avqa", tmp_path, ["test"], subset="multi")
    file = write(tmp_path / "avqa-test.json", rows)
    of_all = datasets.read("music-avqa", tmp_path, subset="multi")
    assert [q.split for q in of_all] == ["train"] * 6 + ["test"] * 5
    assert of_all[6:] == of_theirs == datasets.read("music-avqa", file, subset="multi")
    assert [q.question_id for q in of_theirs] == ["0", "1", "3", "4", "5"]
