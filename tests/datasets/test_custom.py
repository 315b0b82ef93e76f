"""Own question files: every form they come in, and one clear line for every mistake."""

import json

import pytest
from helpers.questions.question_files import write

from avqa import datasets
from avqa.datasets import custom
from avqa.datasets._parts.custom_rows import read_rows
from avqa.datasets._parts.splits import video_position
from avqa.errors import DatasetError
from avqa.pipelines.extraction.collection.sources import EXTENSIONS
from avqa.training.data.splits import read_splits

ROWS = [
    {"video": "birds.mp4", "question": "What  sings?", "answer": " A  Bird", "type": "what"},
    {"video": "choir.mp4", "question": "Who, if any, sings?", "answer": "women", "type": "who"},
    {"video": "a/rain.MP4", "question": 'Is it "wet"?', "answer": "YES", "type": "yes or no"},
]
"""Their videos are in train, val and test by their hashes."""
CSV = (
    "video,question,answer,type\n"
    "birds.mp4,What  sings?, A  Bird,what\n"
    'choir.mp4,"Who, if any, sings?",women,who\n'
    'a/rain.MP4,"Is it ""wet""?",YES,yes or no\n'
)


def text(folder, content, name="own.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def seen(path):
    return [(q.split, q.video_id, q.text, q.answer, q.kind) for q in datasets.read("custom", path)]


EXPECTED = [
    ("train", "birds", "What sings", "a bird", "what"),
    ("val", "choir", "Who, if any, sings", "women", "who"),
    ("test", "a/rain", 'Is it "wet"', "yes", "yes or no"),
]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("own.json", json.dumps(ROWS)),
        ("own.jsonl", "\n\n".join(map(json.dumps, ROWS)) + "\n"),
        ("own.csv", CSV),
        ("own.CSV", "\ufeff" + CSV.replace("\n", "\r\n")),
        ("own.csv", CSV.replace(",", ";").replace("Who; if any;", "Who, if any,")),
        ("own.csv", CSV.replace("\n", "\r")),
        ("own.csv", CSV.replace(",", "\t").replace("Who\t if any\t", "Who, if any,")),
        ("own.csv", "\n" + CSV.replace("type\n", "Type ,,\n").replace("what\n", "what,,\n")),
        ("own.csv", CSV.replace("a/rain", "a\\rain").replace("choir.mp4", "./choir")),
    ],
)  # fmt: skip
def test_one_file_in_any_form_gives_the_same_questions(tmp_path, name, content):
    assert seen(text(tmp_path, content, name)) == EXPECTED


def test_lines_are_counted_as_an_editor_shows_them(tmp_path):
    content = '\nvideo,question,answer\nbirds,"What\nsings?",3\n\nbirds,Who?,\n'
    with pytest.raises(DatasetError, match=r" line=6: the answer is empty"):
        datasets.read("custom", text(tmp_path, content))


def test_a_text_may_go_over_lines_and_a_number_is_an_answer(tmp_path):
    path = text(tmp_path, 'video,question,answer\nbirds,"What\nsings?",3\n')
    (one,) = datasets.read("custom", path)
    assert (one.text, one.answer, one.kind, one.modality) == ("What sings", "3", "", "")
    rows = [{"video": 7, "question": "How many?", "answer": n} for n in (3, 3.0, 2.5)]
    read = datasets.read("custom", write(tmp_path / "n.json", rows))
    assert [(q.video_id, q.answer) for q in read] == [("7", "3"), ("7", "3"), ("7", "2.5")]


def test_a_folder_has_a_file_for_each_split(tmp_path):
    for split, row in zip(("train", "val", "test"), ROWS, strict=True):
        write(tmp_path / f"{split}.json", [row, {**ROWS[0], "split": split}])
    read = datasets.read("custom", tmp_path)
    assert [q.split for q in read] == ["train", "train", "val", "val", "test", "test"]
    assert datasets.read("custom", tmp_path / "val.json") == read[2:4]
    assert datasets.notes("custom", tmp_path) == []


def test_the_column_split_is_heeded_also_under_other_names(tmp_path):
    names = ["test", "Validation", "training"]
    rows = [{**row, "split": name} for row, name in zip(ROWS, names, strict=True)]
    path = write(tmp_path / "own.json", rows)
    assert [q.split for q in datasets.read("custom", path)] == ["train", "val", "test"]
    assert datasets.read("custom", path, ["test"])[0].video_id == "birds"
    assert datasets.notes("custom", path) == []


def test_splits_are_made_by_video_and_further_videos_move_none(tmp_path):
    rows = [{**ROWS[0], "video": f"{folder}v{n}"} for n in range(60) for folder in ("", "a/")]
    few = datasets.read("custom", write(tmp_path / "few.json", rows[:60]))
    many = datasets.read("custom", write(tmp_path / "many.json", rows[::-1]))
    split_of = {q.video_id: q.split for q in many}
    assert {q.video_id: q.split for q in few}.items() <= split_of.items()
    for n in range(60):
        place = video_position(f"v{n}", 0)
        expected = "train" if place < 0.7 else "val" if place < 0.8 else "test"
        assert split_of[f"v{n}"] == split_of[f"a/v{n}"] == expected
    assert {q.key for q in few} <= {q.key for q in many}


def test_the_smallest_collection_has_three_splits_and_says_so(tmp_path):
    rows = [{**ROWS[0], "video": video} for video in ("birds", "street", "cafe")]
    path = write(tmp_path / "own.json", rows)
    split_of = {q.video_id: q.split for q in datasets.read("custom", path)}
    # Of three videos of train, at 0.066, 0.162 and 0.379, the last is nearest to the share of val.
    assert split_of == {"birds": "train", "cafe": "val", "street": "test"}
    assert read_splits("custom", path).notes == (
        "splits: by video, since the file tells none: train / val / test are 70% / 10% / 20% of the"
        " hashes of the ids, and one video at least: train 1, val 1, test 1 videos",
    )


def test_columns_that_are_not_read_are_named(tmp_path):
    path = text(tmp_path, CSV.replace("type", "type,by,seen at").replace("what\n", "what,me,2\n")
                .replace("who\n", "who,me,\n").replace("no\n", "no,,\n"))  # fmt: skip
    assert datasets.notes("custom", path)[1:] == ["columns that are not read: by, seen at"]


def test_options_make_it_multiple_choice(tmp_path):
    rows = "video,question,answer,options\nbirds,Who?,a DOG,cat|A dog\nbirds,Who?,cat, cat |cow|x\n"
    read = datasets.read("custom", text(tmp_path, rows))
    assert [(q.choices, q.choice, q.answer) for q in read] == [
        (("cat", "A dog"), 1, None),
        (("cat", "cow", "x"), 0, None),
    ]
    without = text(tmp_path, "video,question,options\nbirds,Who?,cat|A dog\n", "ask.csv")
    assert datasets.read("custom", without)[0].choice is None


def test_the_table_has_a_column_for_each_type(tmp_path):
    read = datasets.read("custom", text(tmp_path, CSV))
    assert list(datasets.columns("custom", read)) == ["what", "who", "yes or no", "All"]
    assert datasets.columns("custom", read)["who"] == {("", "who")}
    assert list(datasets.columns("custom", [])) == ["All"]
    rows = [{**ROWS[0], "type": f"t{n}"} for n in range(21)]
    many = datasets.read("custom", write(tmp_path / "many.json", rows))
    assert list(datasets.columns("custom", many)) == ["All"]
    assert len(datasets.columns("custom", many)["All"]) == 22


def test_the_version_follows_from_questions_and_answers(tmp_path):
    first = custom.version(datasets.read("custom", text(tmp_path, CSV)))
    assert len(first) == 8
    assert (
        custom.version(datasets.read("custom", text(tmp_path, CSV.replace("women", "men"))))
        != first
    )
    assert custom.version([]) == "unknown"


def test_endings_are_those_that_are_extracted():
    assert set(custom.SUFFIXES) == set(EXTENSIONS)


HEAD = "video,question,answer\n"
GOOD = "birds,What?,a bird\n"
SPLIT, TYPE, OPTIONS, ID = (
    HEAD.replace("\n", f",{name}\n") for name in ("split", "type", "options", "question_id")
)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("own.txt", CSV, "ends in '.txt'; expected .json, .jsonl, .csv, .tsv; save"),
        ("own.csv", "", "holds no rows; expected a question a row"),
        ("own.csv", HEAD, "holds no rows; expected a question a row"),
        ("own.json", "[]", "holds no rows"),
        ("own.json", "{}", "holds a dict; expected a list of objects"),
        ("own.json", "[1]", "row=0 is a int; expected an object with video"),
        ("own.jsonl", "{}\n{", " line=2 is not JSON: "),
        ("own.csv", (HEAD + "é,a?,b").encode("latin-1"), "is not UTF-8: byte 0xe9 at 22"),
        ("own.csv", HEAD + "a,b\n", "line=2 has 2 cells; expected 3, as the first line has"),
        ("own.csv", HEAD + "a,b?,c,d\n", "line=2 has 4 cells; expected 3"),
        ("own.csv", HEAD + 'a,"b"x,c\n', "line=2 is not CSV: "),
        ("own.csv", HEAD + 'a,"b,c\n', "is not CSV: "),
        ("own.csv", "video,video,question\n", "has the column video twice; expected a name of"),
        ("own.csv", HEAD + "a,b?," + "c" * 200_000, " line=2 is not CSV: field larger than"),
        ("own.csv", "v" * 200_000, " line=1 is not CSV: field larger than"),
        ("own.csv", "video,,question\n1,2,3", "has the column without a name; expected"),
        ("own.csv", "question,answer\na,b\n", "has no column 'video'; expected video, quest"),
        ("own.csv", "clip,question,answer\na,b,c\n", "its columns: answer, clip, question"),
        ("own.csv", "video_id,question,answer\na,b,c\n", "did you mean 'video'? rename the column"),
        ("own.csv", HEAD.replace("answer", "answers") + GOOD, "did you mean 'answer'?"),
        ("own.csv", HEAD + GOOD + "birds,Who?,\n", "line=3: the answer is empty; expected a text"),
        ("own.csv", HEAD + GOOD + "birds,,x\n", "line=3: question=None; expected a text"),
        ("own.csv", HEAD + GOOD + ",Who?,x\n", "line=3: video=None; expected a text"),
        ("own.csv", HEAD + "../a,b?,c\n", "line=2: video='../a' (4 characters); expected a name"),
        ("own.csv", HEAD + "/x/a.mp4,b?,c\n", "line=2: video='/x/a.mp4' (8 characters); expected"),
        ("own.csv", HEAD + "a,?,c\n", "line=2: text='?'; expected words"),
        ("own.csv", HEAD + "a,b,<Other>\n", "line=2: answer='<Other>'; expected another text"),
        ("own.csv", TYPE + "a,b,c,All\n", "line=2: type='All'; expected"),
        ("own.csv", SPLIT + "a,b,c,all\n", "line=2: split='all'; expected"),
        ("own.csv", SPLIT + "a,b,c,\na,b,c,val\n",
         "line=2 has no split, other rows have; expected one in every row, or in none"),
        ("val.csv", SPLIT + "a,b,c,test\n",
         "line=2: split='test' in the file of 'val'; expected 'val'"),
        ("own.csv", ID + "a,b,c,7\na,d,e,7\nb,c,d,8\n",
         "question_id='7' is given to more than one question; expected each once"),
        ("own.csv", ID + "a,,c,7\n",
         "line=2 question_id='7': question=None"),
        ("own.csv", OPTIONS + "a,b,c,c\n", "options='c'; expected two or"),
        ("own.csv", OPTIONS + "a,b,c,c|d\na,b,c,\n", "line=3: options=None"),
        ("own.csv", OPTIONS + "a,b,c,d|e\n",
         "answer='c' is none of options=['d', 'e']; expected one of them"),
        ("own.csv", OPTIONS + "a,b,c,c|C\n", "expected different ones"),
        ("own.json", '[{"video": "a", "question": "b", "answer": true}]',
         "row=0: answer=True; expected a text or a number"),
        ("own.json", '[{"video": "a", "question": "b", "answer": NaN}]',
         "row=0: answer=nan; expected a text or a number"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_place(tmp_path, name, content, message):
    path = text(tmp_path, content, name)
    with pytest.raises(DatasetError) as caught:
        datasets.read("custom", path)
    said = str(caught.value)
    assert message in said
    assert str(path) in said
    assert "\n" not in said


@pytest.mark.parametrize("name", ["own.csv", "own.tsv", "folder/train.tsv"])
def test_a_table_as_pandas_writes_it_is_the_same_questions(tmp_path, name):
    """With the numbers of its rows in a column without a name; with tabs under any ending."""
    plain = datasets.read("custom", text(tmp_path, HEAD + GOOD, "train.csv"))
    tabs = (HEAD + GOOD).replace(",", "\t").splitlines()
    (tmp_path / "folder").mkdir()
    path = text(tmp_path, f"\t{tabs[0]}\n0\t{tabs[1]}\n", name)
    assert [row.values.keys() for row in read_rows(path)] == [{"video", "question", "answer"}]
    taken = path.parent if name.startswith("folder") else path
    found = datasets.read("custom", taken)
    assert [(q.video_id, q.text, q.answer) for q in found] == [
        (q.video_id, q.text, q.answer) for q in plain
    ]


def test_what_is_not_there(tmp_path):
    with pytest.raises(DatasetError, match=r"no question file in .*; expected train.json or train"):
        datasets.read("custom", tmp_path)
    with pytest.raises(DatasetError, match="does not exist; expected a folder of question files"):
        datasets.read("custom", tmp_path / "own.csv")
    with pytest.raises(DatasetError, match="have no question in split='val'; expected at least"):
        datasets.read("custom", text(tmp_path, SPLIT + "birds,What?,a bird,train\n"), ["val"])
