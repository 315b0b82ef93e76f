"""`avqa pack` and what other commands make of a packed copy, as a user types them."""

import pytest
from helpers.media import fake_reader
from helpers.questions import question_files
from helpers.runs import run_folders
from helpers.store.dumps import extracted_store, file_bytes, write_dump
from typer.testing import CliRunner

from avqa.cli import app
from avqa.pipelines.extraction.array_job import Partition, fix_videos
from avqa.pipelines.extraction.collection.sources import Source
from avqa.store.packing.pack import pack


def avqa(*arguments):
    """Run a command in this process: (exit code, stdout, stderr)."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return extracted_store(tmp_path_factory.mktemp("working") / "S", {"a": 3, "b": 10})


@pytest.fixture(scope="module")
def packed(tmp_path_factory, store):
    out = tmp_path_factory.mktemp("packed") / "P"
    code, printed, said = avqa("pack", store, out)
    assert code == 0, said
    lines = printed.splitlines()
    assert lines[0] == f"packed {str(store)!r} into {str(out)!r}: 2 videos, read back and equal"
    assert lines[1].startswith("files ")
    assert len(lines) == 2
    assert "vggish/audio: 2 shards, 0.0 MB" in said
    return out


def test_status_and_verify(packed):
    code, printed, _ = avqa("status", packed)
    assert code == 0
    assert printed.splitlines()[0].endswith("2 videos, chunks of 8 s; a packed copy, read-only")
    assert "lock" not in printed
    assert "\nrun " not in printed
    code, printed, _ = avqa("verify", packed)
    assert code == 0
    assert printed.splitlines()[-1].endswith("; no problem")


def test_refusals_have_exit_codes(store, packed, tmp_path):
    code, _, said = avqa("pack", store, packed)
    assert code == 4
    assert said == f"avqa: OUT={str(packed)!r} exists; expected a new folder; give another one\n"
    assert avqa("pack", tmp_path / "nothing", tmp_path / "out")[0] == 2
    assert avqa("pack", packed, tmp_path / "out")[0] == 4
    assert avqa("pack", store, store / "copy")[0] == 2


def test_a_store_in_parts_waits_for_finalize(tmp_path):
    store = extracted_store(tmp_path / "S", {"a": 3})
    fix_videos(store, Partition(1, 2), [Source("b", "b.mp4", str(tmp_path))])
    code, _, said = avqa("pack", store, tmp_path / "out")
    assert code == 4
    assert (
        "is being extracted in 2 parts; expected none; when all are finished run: avqa fi" in said
    )


def test_damage_is_exit_code_6_and_what_to_do(packed, tmp_path):
    out = tmp_path / "P"
    out.mkdir()
    for name, data in file_bytes(packed).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    (out / "features.zarr/vggish/audio/c.0.1.0").unlink()
    code, printed, said = avqa("verify", out)
    assert code == 6
    assert "missing: vggish/audio: shard c.0.1.0 of 1 videos: no object" in printed
    assert said.endswith(
        "problems=1; expected none; fetch this packed copy again, or `avqa pack` the working store"
        " again\n"
    )


def test_writing_commands_refuse(packed, tmp_path):
    before = file_bytes(packed)
    fake_reader.write_video(tmp_path / "videos/a.mp4", seconds=2, seed=1)
    write_dump(tmp_path / "vggish", "vggish", {"a": 3})
    question_files.write(
        tmp_path / "notes/avqa-train.json", [question_files.music_row(video_id="a")]
    )
    weights = ("--weights", "random:0")
    extracted = ("--features", "vggish/audio", "--decoder", fake_reader.DECODER, *weights)
    part = ("--partition", "1/2")
    annotations = ("--dataset", "music-avqa", "--annotations", tmp_path / "notes")
    for command in (
        ("extract", "--videos", tmp_path / "videos", "--out", packed, *extracted),
        ("extract", "--videos", tmp_path / "videos", "--out", packed, *extracted, *part),
        ("import", "npy", "--from", tmp_path / "vggish", "--store", packed),
        ("questions", *annotations, "--store", packed, *weights),
        ("verify", packed, "--repair"),
    ):
        code, _, said = avqa(*command)
        assert said.splitlines()[-1] == (
            f"avqa: store {str(packed)!r} is a packed copy, which never changes; expected a working"
            " store; give the one that it was packed from, then pack that again with: avqa pack"
        )
        assert code == 4
    assert file_bytes(packed) == before


def test_compare_and_export(store, packed, tmp_path):
    code, printed, _ = avqa("compare", store, packed)
    assert code == 0
    assert printed.splitlines()[-1].startswith("verdict: equal: 4 streams")
    for name, source in (("mine", store), ("yours", packed)):
        code, _, said = avqa(
            *("export", "npy", "--store", source, "--layout", "avaf", "--out", tmp_path / name)
        )
        assert code == 0, said
    assert file_bytes(tmp_path / "mine") == file_bytes(tmp_path / "yours")
    assert len(file_bytes(tmp_path / "yours")) == 4


def test_a_head_is_trained_on_a_packed_copy(tmp_path):
    videos = {"00000001": 2, "00000002": 3, "00000003": 2}
    run_folders.write_store(tmp_path / "store", videos)
    for split, video in zip(("train", "val", "test"), videos, strict=True):
        row = question_files.music_row(video_id=video)
        question_files.write(tmp_path / "annotations" / f"avqa-{split}.json", [row])
    pack(tmp_path / "store", tmp_path / "packed")
    sets = [f"--set={pair}" for pair in ("epochs=1", "width=8")]
    code, printed, said = avqa(
        *("train-head", "late_fusion", "--store", tmp_path / "packed", "--device", "cpu", *sets),
        *("--dataset", "music-avqa", "--annotations", tmp_path / "annotations"),
        *("--out", tmp_path / "run"),
    )
    assert code == 0, said
    assert "ours: late_fusion" in printed
