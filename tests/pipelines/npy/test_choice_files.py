"""CueSpace's ``mcq_text_clip`` as typed: in, out with the same bytes, and what is refused."""

import shutil
from unittest import mock

import numpy as np
import pytest
from helpers.questions import asking
from helpers.questions.question_files import avqa_row, write
from helpers.store.dumps import file_bytes, write_dump
from typer.testing import CliRunner

from avqa.cli import app
from avqa.errors import FeatureMissing
from avqa.pipelines.npy.npy_files import BadFile
from avqa.pipelines.npy.npz_files import read_arrays
from avqa.store.reader import FeatureStore

SENTENCE, WORDS = "clip_vit_l14_336/sentence", "clip_vit_l14_336/word_state"
ROWS = [
    avqa_row(id=1, video_name="00000007", question_text="Who sings?", multi_choice=list("abcd")),
    avqa_row(id=2, video_name="00000007", question_text="Who sings?", multi_choice=list("axyz")),
    avqa_row(
        id=3, video_name="00000007", question_text="Where?", multi_choice=["a", "b", None, "d"]
    ),
]


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done


def numbers(text, *shape):
    """What a text has: half precision in single, as CLIP made it."""
    seed = sum(ord(letter) * (place + 1) for place, letter in enumerate(text))
    return np.random.default_rng(seed).standard_normal(shape).astype("float16").astype("float32")


def arrays(row, *, words):
    text = row["question_text"].removesuffix("?")
    behind = ["" if c is None else f"{text} {c}" for c in row["multi_choice"]]
    found = {"quest_global": numbers(text, 768), "quest_words": numbers(text, 77, 768)}
    for name, shape in (("cand_global", (768,)), ("cand_words", (77, 768)))[: 1 + words]:
        rows = [numbers(t, *shape) if t else np.zeros(shape, "f4") for t in behind]
        found[name] = np.stack(rows)
    return found


def tree_of(root, *, words=False, save=np.savez):
    write_dump(root / "ast" / "audio_ast_cls", "ast_class", {"00000007": 3})
    (root / "mcq_text_clip").mkdir()
    for row in ROWS:
        save(root / "mcq_text_clip" / f"{row['id']}.npz", **arrays(row, words=words))
    return root


def asked(tmp_path):
    return ("--dataset", "avqa", "--annotations", write(tmp_path / "val_qa.json", ROWS))


def into(store, tree, *more, code=0):
    words = ("import", "npy", "--from", tree, "--store", store, "--from-layout", "cuespace")
    return run(*words, *more, code=code)


def out_of(store, out, *more, code=0):
    return run(
        "export", "npy", "--store", store, "--layout", "cuespace", "--out", out, *more, code=code
    )


@pytest.mark.parametrize(
    ("words", "save"), [(False, np.savez), (True, np.savez), (False, np.savez_compressed)]
)
def test_published_files_come_out_with_the_same_bytes(tmp_path, words, save):
    tree, of = tree_of(tmp_path / "feats", words=words, save=save), asked(tmp_path)
    done = into(tmp_path / "s", tree, *of)
    line = "mcq_text_clip: 3 files, 12 distinct texts: {} imported, {} already there"
    assert done.stdout.splitlines()[-1] == line.format(12, 0)
    store = FeatureStore(tmp_path / "s")
    np.testing.assert_array_equal(
        store.read_text("Who sings c", SENTENCE), numbers("Who sings c", 768)
    )
    np.testing.assert_array_equal(store.read_text("Where", WORDS), numbers("Where", 77, 768))
    if words:
        own = store.read_text("Who sings c", WORDS)
        np.testing.assert_array_equal(own, numbers("Who sings c", 77, 768))
    else:
        with pytest.raises(FeatureMissing, match="^text 'Who sings c': .*word_state is pending;"):
            store.read_text("Who sings c", WORDS)
    folders = ("--folders", "ast/audio_ast_cls,mcq_text_clip")
    done = out_of(tmp_path / "s", tmp_path / "out", *of, *folders)
    assert done.stdout.splitlines()[-1] == "mcq_text_clip: 3 written, 0 already there"
    assert file_bytes(tmp_path / "out") == file_bytes(tree)
    assert into(tmp_path / "s", tmp_path / "out", *of).stdout.splitlines()[-1] == line.format(0, 12)
    assert run("verify", tmp_path / "s").stdout.endswith("no problem\n")


class Tower(asking.FakeEncoder):
    """Sentences and words before the projection, of 768."""

    def encode(self, tokens, eot):
        words = np.stack([self.words(row) for row in tokens])
        wide = np.concatenate([words, words], 2)[:, :, :768]
        return {"sentence": wide[:, 1], "word_state": wide}


def test_what_was_encoded_goes_out_in_and_out_with_the_same_bytes(tmp_path):
    asking.video_store(tmp_path / "s", ids=("00000007",))
    of = asked(tmp_path)
    encode = ("questions", "--store", tmp_path / "s", *of, "--features", f"{SENTENCE},{WORDS}")
    encode = (*encode, "--weights", "random:0", "--device", "cpu")
    only = ("--folders", "mcq_text_clip")
    with asking.fakes(), mock.patch("avqa.pipelines.questions.encode.TextEncoder", Tower):
        done = out_of(tmp_path / "s", tmp_path / "none", *of, *only, code=4)
        of_all = f"--dataset NAME --annotations PATH --store {tmp_path / 's'}"
        command = f"avqa questions --with-options {of_all}"
        assert done.stderr.splitlines()[-1].endswith(
            f"; add with: {command} --features {SENTENCE},{WORDS}"
        )
        run(*encode)
        done = out_of(tmp_path / "s", tmp_path / "none", *of, *only, code=4)
        assert done.stderr.splitlines()[-1].endswith("; texts of options: with --with-options")
        run(*encode, "--with-options")
    out_of(tmp_path / "s", tmp_path / "one", *of, *only)
    with np.load(tmp_path / "one/mcq_text_clip/3.npz") as file:
        assert {name: (file[name].shape, file[name].dtype.str) for name in file} == {
            "quest_global": ((768,), "<f4"),
            "quest_words": ((77, 768), "<f4"),
            "cand_global": ((4, 768), "<f4"),
            "cand_words": ((4, 77, 768), "<f4"),
        }
        own = FeatureStore(tmp_path / "s").read_text("Where b", WORDS)
        np.testing.assert_array_equal(file["cand_words"][1], own)
        assert not file["cand_words"][2].any()  # the missing option
    write_dump(tmp_path / "one/ast/audio_ast_cls", "ast_class", {"00000007": 3})
    into(tmp_path / "t", tmp_path / "one", *of)
    out_of(tmp_path / "t", tmp_path / "two", *of, "--folders", "ast/audio_ast_cls,mcq_text_clip")
    assert file_bytes(tmp_path / "two") == file_bytes(tmp_path / "one")


def change(tree, **changed):
    with np.load(tree / "mcq_text_clip/2.npz") as file:
        held = dict(file) | changed
    kept = {name: value for name, value in held.items() if value is not None}
    np.savez(tree / "mcq_text_clip/2.npz", **kept)


BAD = [
    ({"cand_global": np.zeros((3, 768), "f4")}, "cand_global has shape=(3, 768), dtype=float32;"),
    ({"cand_global": np.zeros((4, 768), "i4")}, "cand_global has shape=(4, 768), dtype=int32;"),
    ({"quest_words": None}, "holds quest_global, cand_global; expected quest_words too; make it"),
    ({"quest_global": np.full(768, np.nan, "f4")}, "row=0 holds NaN or infinity; expected finite"),
    (
        {"quest_global": np.array([{}] * 768)},
        "quest_global holds pickled objects; expected numbers",
    ),
    ({"quest_global": np.ones(768, "f4")}, "files '1.npz' and '2.npz' in "),
]


@pytest.mark.parametrize(("changed", "message"), BAD)
def test_a_file_that_cannot_be_taken_is_named(tmp_path, changed, message):
    tree = tree_of(tmp_path / "feats")
    change(tree, **changed)
    last = into(tmp_path / "s", tree, *asked(tmp_path), code=2).stderr.splitlines()[-1]
    assert message in last
    assert "2.npz" in last


def test_a_damaged_archive_is_refused_and_no_more_is_unpacked_than_is_expected(tmp_path):
    tree, of = tree_of(tmp_path / "feats"), asked(tmp_path)
    file = tree / "mcq_text_clip/2.npz"
    whole = file.read_bytes()
    file.write_bytes(whole[:4000])
    last = into(tmp_path / "s", tree, *of, code=2).stderr.splitlines()[-1]
    assert last == (f"avqa: file {str(file)!r}: is no .npz archive; expected one; copy it again")
    file.write_bytes(whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:])
    last = into(tmp_path / "s", tree, *of, code=2).stderr.splitlines()[-1]
    assert last.endswith("quest_global is damaged; expected its checksum; copy it")
    with pytest.raises(
        BadFile, match=r"^quest_global has shape=\(768,\), dtype=float32; expected \(4,\)"
    ):
        read_arrays(tree / "mcq_text_clip/1.npz", {"quest_global": (4,)})


def test_without_questions_or_options_nothing_is_taken(tmp_path):
    tree, of = tree_of(tmp_path / "feats"), asked(tmp_path)
    need = "files of questions need --dataset and --annotations"
    done = into(tmp_path / "s", tree)
    assert done.stderr.splitlines()[-1] == f"mcq_text_clip: not imported; {need}"
    done = out_of(tmp_path / "s", tmp_path / "out", "--folders", "ast/audio_ast_cls")
    assert done.stderr.splitlines()[-1] == f"mcq_text_clip: not written; {need}"
    done = run("compare", tmp_path / "s", tree / "mcq_text_clip", code=2)
    assert "mcq_text_clip: not compared; expected folders of .npy" in done.stderr
    shutil.rmtree(tree / "mcq_text_clip")
    (tree / "mcq_text_clip").mkdir()
    last = into(tmp_path / "s", tree, *of, code=2).stderr.splitlines()[-1]
    assert last.endswith(
        "mcq_text_clip' holds no file of the 3 questions with an id and options; expected"
        " <question_id>.npz; check --dataset and --annotations"
    )
    change_id = [row | {"id": 1} for row in ROWS[:2]]
    write(of[-1], change_id)
    last = into(tmp_path / "s", tree, *of, code=2).stderr.splitlines()[-1]
    assert last.startswith("avqa: question id '1' has options ['a', 'b', 'c', 'd'] and ['a', 'x',")


def test_what_does_not_come_out_as_it_went_in_is_said(tmp_path):
    tree, of = tree_of(tmp_path / "feats"), asked(tmp_path)
    for row in ROWS[:2]:
        held = arrays(row, words=False) | {"cand_names": np.zeros(4, "f4")}
        np.savez(tree / f"mcq_text_clip/{row['id']}.npz", **held)
    held = arrays(ROWS[2], words=False)
    held["cand_global"][2] = 1
    np.savez(tree / "mcq_text_clip/3.npz", **held)
    said = into(tmp_path / "s", tree, *of).stderr.splitlines()
    assert said[-3:] == [
        "mcq_text_clip: cand_names of the files: passed over; expected some of quest_global,"
        " quest_words, cand_global, cand_words",
        "mcq_text_clip: 1 of 3 files have other arrays than most, or another order or compression:"
        " what most have is taken, and comes out as most have it",
        "mcq_text_clip: 1 files have numbers for options that their questions have not: they are"
        " not kept, and come out as zeros",
    ]
