"""Question files in and out: by id on disk, by text in the store."""

import re

import numpy as np
import pytest
from helpers.questions.question_files import music_row, write
from helpers.store.dumps import file_bytes, write_dump
from typer.testing import CliRunner

from avqa.cli import app
from avqa.store.reader import open_store

ROWS = [
    music_row(question_id=1),
    music_row(question_id=2),  # the same text
    music_row(question_id=7, question_content="Is there a voiceover?", templ_values="[]"),
]


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def sentence(number, dtype="float32"):
    return np.random.default_rng(number).standard_normal((1, 512)).astype(dtype)


@pytest.fixture
def given(tmp_path):
    """Annotations, and a dump whose first two questions share a text and so their numbers."""
    feats = tmp_path / "feats"
    write_dump(feats / "vggish", "vggish", {"00000093": 3})
    for folder, shape in (("clip_qst", (1, 512)), ("clip_word", (1, 77, 512))):
        (feats / folder).mkdir()
        for name, seed in ((1, 1), (2, 1), (7, 7)):
            values = np.random.default_rng(seed).standard_normal(shape).astype("float32")
            np.save(feats / folder / f"{name}.npy", values)
    asked = tmp_path / "avqa-val.json"
    write(asked, ROWS)
    return tmp_path, ("--dataset", "music-avqa", "--annotations", asked)


def import_(root, asked):
    return run("import", "npy", "--from", root / "feats", "--store", root / "store", *asked)


def test_imported_question_files_come_out_with_the_same_bytes(given):
    root, asked = given
    done = import_(root, asked)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1:] == [
        "clip_qst: 3 files, 2 distinct texts: 2 imported, 0 already there",
        "clip_word: 3 files, 2 distinct texts: 2 imported, 0 already there",
    ]
    store = open_store(root / "store")
    np.testing.assert_array_equal(
        store.read_text("Is there a voiceover", "clip_vit_b32/sentence"), sentence(7)[0]
    )
    assert store.eot("Is there a voiceover") > 4
    out = root / "out"
    chosen = ("--folders", "vggish,clip_qst,clip_word")
    done = run(
        *("export", "npy", "--store", root / "store", "--layout", "pstp", "--out", out),
        *(*chosen, *asked),
    )
    assert done.exit_code == 0, done.output
    assert "clip_word: 3 written, 0 already there" in done.stdout
    assert file_bytes(out) == file_bytes(root / "feats")


def test_a_second_import_changes_nothing(given):
    root, asked = given
    import_(root, asked)
    before = {k: v for k, v in file_bytes(root / "store").items() if "zarr" in k}
    done = import_(root, asked)
    assert "clip_qst: 3 files, 2 distinct texts: 0 imported, 2 already there" in done.stdout
    assert {k: v for k, v in file_bytes(root / "store").items() if "zarr" in k} == before


def test_questions_without_an_id_are_counted(given):
    root, asked = given
    write(asked[-1], [*ROWS, {**ROWS[0], "question_id": None}])
    done = import_(root, asked)
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith(
        f"note: annotations={str(asked[-1])!r}: 1 of {len(ROWS) + 1} questions have no question_id;"
        " expected one, since it names a question's file; they are left out\n"
    )


def test_without_annotations_question_files_are_left_out_and_it_says_so(given):
    root, _ = given
    done = import_(root, ())
    assert done.exit_code == 0
    assert "clip_qst, clip_word: not imported; files of questions need --dataset" in done.stderr


def spoil(root, what):
    path = root / "feats" / "clip_qst" / "2.npy"
    if what == "differs":
        np.save(path, sentence(3))
    elif what == "pickled":
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    elif what == "width":
        np.save(path, np.zeros((1, 300), "float32"))
    elif what == "rows":
        np.save(path, np.zeros((2, 512), "float32"))
    elif what == "nan":
        np.save(path, np.full((1, 512), np.nan, "float32"))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("differs", "files '1.npy' and '2.npy' in .* differ, but their questions have one text="),
        ("pickled", "2.npy': holds pickled objects"),
        ("width", r"2.npy': shape=\(1, 300\) rank=2; expected \[T,512\]"),
        ("rows", r"2.npy': shape=\(2, 512\), dtype=float32; expected one question in float32"),
        ("nan", "2.npy': .*nan"),
    ],
)
def test_bad_question_files_are_refused_by_name(given, what, message):
    root, asked = given
    spoil(root, what)
    done = import_(root, asked)
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()[-1]) > 0

    assert re.search(message, done.stderr, re.IGNORECASE), done.stderr


def test_only_half_of_the_annotations_is_refused(given):
    root, asked = given
    done = import_(root, asked[:2])
    assert done.exit_code == 2
    assert "dataset=music-avqa, annotations=None; expected both or neither" in done.stderr


def test_files_of_other_questions_are_refused(given):
    root, asked = given
    for path in (root / "feats" / "clip_word").iterdir():
        path.rename(path.with_name(f"9{path.name}"))
    done = import_(root, asked)
    assert done.exit_code == 2
    assert "holds no file of the 3 questions with an id; expected <question_id>.npy" in done.stderr


def test_texts_imported_in_another_way_are_refused(given):
    root, asked = given
    import_(root, asked)
    for path in (root / "feats" / "clip_qst").iterdir():
        np.save(path, np.load(path).astype("float16"))
    done = import_(root, asked)
    assert done.exit_code == 4
    assert ": another recipe: storage.dtype" in done.stderr
