"""The three commands from the command line: what they print, and their exit codes."""

import numpy as np
import pytest
from helpers.store.dumps import extracted_store, file_bytes, write_dump
from typer.testing import CliRunner

from avqa.cli import app


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_import_export_and_compare(tmp_path):
    for folder, kind in (("vggish", "vggish"), ("clip_patch_vit32", "clip_patch")):
        write_dump(tmp_path / "feats" / folder, kind, {"a": 60, "b": 60})
    store = tmp_path / "store"
    done = run("import", "npy", "--from", tmp_path / "feats", "--store", store)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "clip_patch: 2 files: 2 imported, 0 already there; 120 rows",
        "vggish: 2 files: 2 imported, 0 already there; 120 rows",
    ]
    out = tmp_path / "out"
    done = run("export", "npy", "--store", store, "--layout", "avaf", "--out", out)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        "vggish: 2 written, 0 already there",
        "clip_patch_vit32: 2 written, 0 already there",
    ]
    assert file_bytes(out) == file_bytes(tmp_path / "feats")
    done = run("compare", store, out)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == (
        "verdict: equal: 3 streams, every cosine at least 0.999"
    )


def test_a_difference_is_exit_code_6(tmp_path):
    left = write_dump(tmp_path / "o/vggish", "vggish", {"a": 5, "b": 5})
    right = write_dump(tmp_path / "t/vggish", "vggish", {"b": 5, "a": 5})
    done = run("compare", left, right)
    assert done.exit_code == 6
    assert done.stdout.splitlines()[-1].startswith("verdict: different: vggish/audio: ")
    assert done.stderr.startswith(f"avqa: {str(right)!r} differs from {str(left)!r} in vggish/")
    alike = run("compare", left, right, "--tolerance", "-1", "--feature", "vggish/audio")
    assert "cosine below" not in alike.stdout


def test_refused_files_are_exit_code_3(tmp_path):
    folder = write_dump(tmp_path / "vggish", "vggish", {"a": 5, "b": 5})
    np.save(folder / "b.npy", np.zeros((5, 100), "float32"))
    done = run("import", "npy", "--from", folder, "--store", tmp_path / "store")
    assert done.exit_code == 3
    first, last = done.stderr.splitlines()
    assert first == (
        f"file {str(folder / 'b.npy')!r}: shape=(5, 100) rank=2; expected [T,128] rank=2;"
        " check the folder or --kind"
    )
    assert last.startswith("avqa: 1 of 2 files were refused; see ")


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("import", "npy", "--from", "none", "--store", "s"), 2, "no folder 'none'; expected"),
        (("export", "npy", "--store", "none", "--layout", "pstp", "--out", "o"), 2, "no store at"),
        (("compare", "none", "none"), 2, "'none' is not there; expected a store"),
    ],
)
def test_bad_paths_are_exit_code_2(arguments, code, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert done.exit_code == code
    assert done.stderr.startswith(f"avqa: {expected}")
    assert list(tmp_path.iterdir()) == []


def test_export_options(tmp_path):
    extracted_store(tmp_path / "s", {"a": 3})
    arguments = ("export", "npy", "--store", tmp_path / "s", "--layout", "pstp")
    options = ("--out", tmp_path / "o", "--folders", "vggish, clip_vit_b32", "--length", 4)
    done = run(*arguments, *options)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[:2] == [
        "vggish: 1 written, 0 already there; length=4: 1 padded, 0 cut",
        "clip_vit_b32: 1 written, 0 already there; length=4: 1 padded, 0 cut",
    ]
    (tmp_path / "o/vggish/a.npy").write_bytes(b"precious")
    assert run(*arguments, *options).exit_code == 2
    assert run(*arguments, *options, "--overwrite").exit_code == 0
    missing = run(*arguments[:-1], "music-avqa", "--out", tmp_path / "o")
    assert missing.exit_code == 4
    assert "has no resnet18/map, which folder 'res18_14x14' of layout=music-avqa" in missing.stderr
