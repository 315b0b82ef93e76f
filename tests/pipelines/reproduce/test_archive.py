"""`--pack` and `--check`: a reviewer finds what was changed, and needs no video for it."""

import hashlib
import json
import zipfile

import pytest
from helpers.questions.question_files import write
from helpers.runs.reproduced import write_annotations, write_out
from typer.testing import CliRunner

from avqa.cli import app
from avqa.pipelines.reproduce import archive, page
from avqa.pipelines.reproduce.page import pages
from avqa.training import digests


@pytest.fixture
def packed(tmp_path):
    """An archive of a head with two seeds, made as typed."""
    annotations = write_annotations(tmp_path / "annotations")
    write_out(
        tmp_path / "o",
        annotations,
        {("avst", "default", seed): lambda n, seed=seed: n % 4 != seed for seed in (0, 1)},
        version="unknown",
    )
    code, said = typed("--out", tmp_path / "o", "--pack", tmp_path / "o.zip")
    assert (code, said) == (0, f"archive: {tmp_path}/o.zip\n")
    return tmp_path / "o.zip"


def typed(*words):
    done = CliRunner().invoke(app, ["reproduce", *map(str, words)])
    return done.exit_code, done.stdout + done.stderr


def content(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(path, files, listed=True):
    """The archive with these files, its manifest too if ``listed``."""
    if listed:
        manifest = json.loads(files["manifest.json"])
        manifest["sha256"] = {
            name: hashlib.sha256(data).hexdigest()
            for name, data in files.items()
            if name != "manifest.json"
        }
        files["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def test_it_holds_answers_and_no_weights_and_is_checked_without_the_folder(packed, tmp_path):
    names = content(packed).keys()
    assert {"avst.md", "papers.md", "reproduce.json", "questions.json"} <= names
    assert "runs/avst/default/seed-1/predictions.json" in names
    assert not any(name.endswith((".safetensors", ".npz")) for name in names)
    (tmp_path / "o").rename(tmp_path / "gone")
    code, said = typed("--check", packed)
    assert code == 0
    assert said.startswith(f"{packed}: 2 pages follow from the answers; 24 test questions\n")
    assert "its right answers were not compared: give --annotations for that" in said
    assert "| [AVST (CVPR 2022)](avst.md) | AVST | 71.52 | 75.00 |" in said
    code, said = typed("--check", packed, "--annotations", tmp_path / "annotations")
    assert code == 0
    assert f"its questions and right answers are those of {tmp_path}/annotations" in said


def test_the_same_folder_is_the_same_file(packed, tmp_path):
    typed("--out", tmp_path / "o", "--pack", tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()


def test_a_page_that_was_edited_is_found_whoever_wrote_the_digests(packed):
    files = content(packed)
    files["avst.md"] = files["avst.md"].replace(
        b"| All | 71.52 | 75.00 |", b"| All | 71.52 | 79.00 |"
    )
    rewritten(packed, files, listed=False)
    code, said = typed("--check", packed)
    assert (code, "avst.md is not what its manifest.json says" in said) == (6, True)
    rewritten(packed, files)
    code, said = typed("--check", packed)
    assert code == 6
    assert "avst.md does not follow from the answers; expected '| All | 71.52 | 75.00 |" in said


def test_right_answers_of_other_annotations_are_found(packed, tmp_path):
    rows = json.loads((tmp_path / "annotations/avqa-test.json").read_text(encoding="utf-8"))
    rows[0]["anser"] = "no"
    write(tmp_path / "annotations/avqa-test.json", rows)
    code, said = typed("--check", packed, "--annotations", tmp_path / "annotations")
    assert code == 6
    assert "is 'yes'; expected 'no', as" in said


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda f: f.pop("costs.json", f.pop("questions.json")), 6, "alone, or twice; expected"),
        (lambda f: f.update({"more.txt": b"x"}), 6, "'more.txt' is in the archive or in its"),
        (lambda f: f.update({"./papers.md": b"x"}), 2, "a path './papers.md' that leads else"),
        (lambda f: f.update({"../evil.md": b"x"}), 2, "a path '../evil.md' that leads elsewhere"),
        (lambda f: f.update({"/evil.md": b"x"}), 2, "a path '/evil.md' that leads elsewhere"),
        (lambda f: f.update({"manifest.json": b"[]"}), 2, "cannot be read: "),
        (lambda f: f.pop("manifest.json"), 2, "no item named 'manifest.json'"),
    ],
)
def test_archives_that_are_none(packed, change, code, said):
    files = content(packed)
    change(files)
    rewritten(packed, files, listed=False)
    found, text = typed("--check", packed)
    assert (found, said in text) == (code, True), text
    assert text.count("\n") == 1


def test_files_that_are_no_archives(packed, tmp_path):
    (tmp_path / "text.zip").write_text("no zip", encoding="utf-8")
    cut = packed.read_bytes()[:-200]
    (tmp_path / "cut.zip").write_bytes(cut)
    for name in ("text.zip", "cut.zip", "gone.zip", "."):
        code, said = typed("--check", tmp_path / name)
        assert code == 2
        assert "cannot be read: " in said
        assert "expected what `avqa reproduce --pack` writes; check --check" in said
    with zipfile.ZipFile(tmp_path / "thesis.docx", "w") as other:
        other.writestr("word.xml", "x")
    for name in ("annotations/avqa-val.json", "thesis.docx"):
        before = (tmp_path / name).read_bytes()
        code, said = typed("--out", tmp_path / "o", "--pack", tmp_path / name)
        assert (code, "is there and is no archive of a reproduction" in said) == (2, True)
        assert (tmp_path / name).read_bytes() == before
    (tmp_path / "empty").mkdir()
    code, said = typed("--out", tmp_path / "empty", "--pack", tmp_path / "e.zip")
    assert (code, "no reproduce.json in" in said) == (2, True)


def test_files_that_no_reproduction_has_are_found(packed):
    files = content(packed)
    files["runs/avst/default/seed-0/more.txt"] = b"x"
    rewritten(packed, files)
    code, said = typed("--check", packed)
    assert (code, "more.txt' is no file of a reproduction, or is missing" in said) == (6, True)


def test_what_decides_the_columns_is_compared_with_the_annotations(packed, tmp_path):
    """The right answers are the same, and whoever edits the questions writes the digests."""
    files = content(packed)
    value = digests.unsealed(json.loads(files["questions.json"]))
    value["asked"][0]["columns"] = ["All"]
    files["questions.json"] = json.dumps(digests.sealed(value)).encode()
    (tmp_path / "o/questions.json").write_bytes(files["questions.json"])
    files |= {name: text.encode() for name, text in pages(tmp_path / "o").items()}
    rewritten(packed, files)
    assert typed("--check", packed)[0] == 0
    code, said = typed("--check", packed, "--annotations", tmp_path / "annotations")
    assert (code, "asked of its questions is not that of" in said) == (6, True)


def test_pages_of_another_avqa_are_not_called_edited(packed, monkeypatch):
    monkeypatch.setattr(page, "_RULE", "In other words.")
    code, said = typed("--check", packed)
    assert (code, "does not follow from the answers" in said) == (6, True)
    monkeypatch.setattr(archive, "made_by", lambda: "another")
    code, said = typed("--check", packed)
    assert code == 0
    assert "the scores follow from the answers; 24 test questions" in said
    assert "the pages' words are those of another avqa (0.1.0), and were not compared" in said
    files = content(packed)
    files["papers.md"] = files["papers.md"].replace(b"| 75.00 |", b"| 79.00 |")
    rewritten(packed, files)
    code, said = typed("--check", packed)
    assert (code, "does not follow from the answers" in said) == (6, True)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("questions.json", "{}"),
        ("runs/avst/run.json", "{}"),
        ("runs/avst/default/seed-0/result.json", "{}"),
        ("runs/avst/default/seed-0/environment.json", '{"python": 3}'),
        ("runs/avst/default/seed-0/config.json", "[]"),
    ],
)
def test_files_of_an_archive_that_hold_something_else_are_one_line(packed, name, text):
    files = content(packed)
    files[name] = text.encode()
    rewritten(packed, files)
    code, said = typed("--check", packed)
    assert code in (2, 6), said
    assert said.count("\n") == 1
    assert said.startswith("avqa: archive ")


def test_damage_at_any_place_is_one_line(packed):
    data = packed.read_bytes()
    for place in range(0, len(data), max(1, len(data) // 40)):
        damaged = bytearray(data)
        damaged[place] ^= 0xFF
        packed.write_bytes(damaged)
        code, said = typed("--check", packed)
        assert code in (0, 2, 6), said
        assert code == 0 or said.count("\n") == 1
    packed.write_bytes(b"#!/bin/sh\n" + data)
    code, said = typed("--check", packed)
    assert (code, "something stands before the archive" in said) == (2, True)


@pytest.mark.parametrize(
    "others", [["avst"], ["--videos", "v"], ["--plan"], ["--partition", "9/3"], ["--out", "o"]]
)
def test_what_plays_no_role_beside_a_check_is_refused(packed, others):
    code, said = typed("--check", packed, *others)
    assert (code, "; expected it alone, since nothing is reproduced then" in said) == (2, True)
