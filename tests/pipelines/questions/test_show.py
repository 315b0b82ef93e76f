import pytest
from helpers.questions.question_files import REAL, SAMPLES, avqa_row, music_row, needs_real, write

from avqa import datasets
from avqa.errors import DatasetError
from avqa.pipelines.questions.show import show_lines


@pytest.fixture
def folder(tmp_path):
    """Two training questions and two test ones, one of each with words and answers of its own."""
    write(tmp_path / "avqa-train.json", [music_row(), music_row(anser="no", video_id="00000008")])
    strange = music_row(
        question_id=2,
        question_content="Does a theremin play?",
        templ_values="[]",
        anser="theremin",
    )
    write(tmp_path / "avqa-test.json", [music_row(question_id=1), strange])
    return tmp_path


def test_everything_about_a_small_set(folder):
    assert show_lines("music-avqa", folder, 1)[:7] == [
        "data set music-avqa, annotation version: unknown",
        "questions: train 2 (2 videos), test 2 (1 videos); 2 distinct texts",
        "ids of questions: 1 occur more than once, 0 are missing",
        "words outside the vocabulary: 3 in 1 questions: 'Does', 'theremin', 'play'",
        "answers outside the vocabulary: 1: 'theremin'; 0 questions have none",
        "",
        "questions per type, and floors in percent, fitted on train, scored on test",
    ]


def test_counts_and_floors_per_type(folder):
    lines = show_lines("music-avqa", folder, 0)
    head = lines.index("questions per type, and floors in percent, fitted on train, scored on test")
    rows = {line.split()[0]: line.split()[1:] for line in lines[head + 1 :]}
    assert rows["type"] == ["train", "test", "global", "type", "template", "slots"]
    assert rows["A-Count"] == ["2", "2", "50.00", "50.00", "50.00", "50.00"]
    assert rows["V-Avg"] == ["0", "0", "–", "–", "–", "–"]
    assert list(rows)[1:] == list(datasets.load("music-avqa").COLUMNS)
    assert len({len(line) for line in lines[head + 1 :]}) == 1


def test_samples_do_not_change(folder):
    four = show_lines("music-avqa", folder, 4)[-4:]
    assert sorted(four) == [
        "test 00000007 [Audio, Counting] Does a theremin play? theremin",
        "test 00000007 [Audio, Counting] Is there a violin sound? yes",
        "train 00000007 [Audio, Counting] Is there a violin sound? yes",
        "train 00000008 [Audio, Counting] Is there a violin sound? no",
    ]
    by_key = sorted(datasets.read("music-avqa", folder), key=lambda q: q.key)
    assert [line.split()[-1] for line in four] == [q.answer for q in by_key]
    assert show_lines("music-avqa", folder, 2)[-2:] == four[:2]
    assert show_lines("music-avqa", folder, 0) == show_lines("music-avqa", folder, 4)[:-5]


def test_one_split_alone_is_said_to_be_no_honest_floor(folder):
    lines = show_lines("music-avqa", folder, 0, ["test"])
    assert (
        "questions per type, and floors in percent, fitted on test, scored on test: higher than"
        " an honest floor, since only one split is here"
    ) in lines


def test_multiple_choice(tmp_path):
    SAMPLES["avqa"](tmp_path)
    write(tmp_path / "data/annotation/val_qa.json", [avqa_row(), avqa_row(answer=2)])
    lines = show_lines("avqa", tmp_path, 9)
    # Of four questions with a right option, each of three.
    told = "options: 5 are missing; 1 questions have no right one; guessing scores 33.33 %"
    assert lines[3] == told
    assert lines[6].split() == ["type", "train", "val", "position", "option", "longest"]
    assert lines[7].split() == ["Which", "3", "2", "100.00", "100.00", "0.00"]
    question = "-HG3Omg_89c_000030 [Both, Which] What makes the sound in the video?"
    assert f"train {question} Cat (of dog | Cat | – | 3)" in lines
    assert f"val {question} no answer (of dog | Cat | – | 3)" in lines


@pytest.mark.parametrize("name", SAMPLES)
def test_every_data_set_can_be_shown(name, tmp_path):
    SAMPLES[name](tmp_path)
    version = datasets.load(name).version(datasets.read(name, tmp_path))
    chosen = ", edition=balance" if name == "music-avqa-v2" else ""
    first = f"data set {name}{chosen}, annotation version: {version}"
    assert show_lines(name, tmp_path)[0] == first


def test_nothing_left_after_a_choice_is_no_crash(folder):
    lines = show_lines("music-avqa", folder, subset="synthetic")
    assert lines[1] == "questions: none; 0 distinct texts"


def test_errors_pass_through(tmp_path):
    with pytest.raises(DatasetError, match="no question file in annotations="):
        show_lines("music-avqa", tmp_path)


@needs_real
def test_the_real_files():
    lines = show_lines("music-avqa", REAL)
    assert lines[:5] == [
        "data set music-avqa, annotation version: updated",
        "questions: val 4568 (3815 videos), test 9129 (6399 videos); 1626 distinct texts",
        "ids of questions: 0 occur more than once, 0 are missing",
        "words outside the vocabulary: 0 in 0 questions",
        "answers outside the vocabulary: 0; 0 questions have none",
    ]
    (line,) = (line for line in lines if line.startswith("All"))
    assert line.split() == ["All", "4568", "9129", "26.15", "35.77", "51.05", "51.81"]
