"""The driver end to end on scripted videos: resume, append, change, failures, refusals."""

import csv
import pickle
import shutil

import numpy as np
import pytest
import torch
from helpers.extraction.light import AUDIO, POOL
from helpers.media import fake_reader
from helpers.store.stores import store_bytes

import avqa
from avqa.errors import (
    ConfigError,
    EnvironmentFailure,
    PartialFailure,
    RecipeMismatch,
    StoreLocked,
)
from avqa.extract import encoders
from avqa.extract.media.types import Limits
from avqa.pipelines.engine import networks
from avqa.pipelines.extraction.single import VideoWarning
from avqa.store.checks.verify import verify
from avqa.store.format.records import RowFlag, Status
from avqa.store.lock import Lock
from avqa.store.packing.pack import pack

pytestmark = pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning")


def write(tmp_path, name, **content):
    return fake_reader.write_video(tmp_path / "videos" / f"{name}.mp4", **content)


def three(tmp_path):
    for seed, seconds in enumerate((3, 5, 2)):
        write(tmp_path, f"v{seed}", seconds=seconds, seed=seed)


def test_rows_equal_those_of_each_video_alone(tmp_path, extract):
    three(tmp_path)
    report = extract(features=(POOL, AUDIO), dtype="float32")
    assert (report.taken, report.extracted, report.failed, report.rows) == (3, 3, 0, 10)
    assert report.summary().startswith("3 videos: 3 extracted, 0 already there; 10 rows, ")
    assert report.summary().endswith("; done")
    store = avqa.open_store(tmp_path / "store")
    assert [store.read(f"v{seed}", POOL).shape[0] for seed in range(3)] == [3, 5, 2]
    path = tmp_path / "videos" / "v1.mp4"
    alone = avqa.extract_video(path, (POOL, AUDIO), decoder=fake_reader.DECODER, weights="random:0")
    for feature in (POOL, AUDIO):
        rows = store.read("v1", feature)
        assert rows.shape[0] == 5
        assert rows.std() > 0
        np.testing.assert_array_equal(rows, alone[feature])
    np.testing.assert_array_equal(store.pts("v1"), alone["pts"])
    assert alone["pts"].tolist() == [k + 0.5 for k in range(5)]


def test_a_second_run_extracts_nothing(tmp_path, extract):
    three(tmp_path)
    extract()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "store/features.zarr").rglob("c.*")}
    report = extract()
    assert (report.extracted, report.finished_before) == (0, 3)
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_local_cluster_and_one_process_give_the_same_bytes(tmp_path, extract):
    three(tmp_path)
    extract("one")
    extract("two", scheduler="local")
    assert store_bytes(tmp_path / "one") == store_bytes(tmp_path / "two")


def test_an_existing_scheduler_by_address(tmp_path, extract):
    from distributed import LocalCluster

    three(tmp_path)
    extract("one")
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as cluster:
        report = extract("two", scheduler=cluster.scheduler_address)
    assert report.extracted == 3
    assert store_bytes(tmp_path / "one") == store_bytes(tmp_path / "two")


def test_new_videos_are_appended_and_longer_ones_grow_the_store(tmp_path, extract):
    write(tmp_path, "b", seconds=2, seed=1)
    extract(chunk_seconds=4)
    chunk = next((tmp_path / "store/features.zarr/light/pool").glob("c.*"))
    before = chunk.read_bytes()
    write(tmp_path, "a", seconds=9, seed=2)
    report = extract(chunk_seconds=4)
    assert (report.extracted, report.finished_before) == (1, 1)
    store = avqa.open_store(tmp_path / "store")
    assert store.read("a", POOL).shape == (9, 512)
    assert store.read("b", POOL).shape == (2, 512)
    assert chunk.read_bytes() == before


def test_a_new_feature_leaves_other_arrays_alone(tmp_path, extract):
    three(tmp_path)
    extract()
    before = store_bytes(tmp_path / "store")
    report = extract(features=(AUDIO,))
    assert (report.extracted, report.finished_before) == (3, 0)
    after = store_bytes(tmp_path / "store")
    touched = {name for name in before if after.get(name) != before[name]}
    assert touched == {"zarr.json"}  # it lists the features
    assert avqa.open_store(tmp_path / "store").read("v1", AUDIO).shape == (5, 128)


def test_frames_made_again_or_later_leave_the_audio_extent_alone(tmp_path, extract):
    three(tmp_path)
    extract("whole", features=(AUDIO, POOL))
    extract(features=(AUDIO,))
    extract(features=(POOL,))
    assert store_bytes(tmp_path / "store") == store_bytes(tmp_path / "whole")
    (tmp_path / f"store/features.zarr/{POOL}/c.1.0.0").unlink()
    verify(tmp_path / "store", repair=True)
    assert extract(features=(AUDIO, POOL)).extracted == 1
    assert store_bytes(tmp_path / "store") == store_bytes(tmp_path / "whole")
    assert avqa.open_store(tmp_path / "store").audio_extent("v1") is not None
    assert verify(tmp_path / "store").problems == []


def test_a_changed_file_is_extracted_again_with_all_its_features(tmp_path, extract):
    three(tmp_path)
    extract(features=(POOL, AUDIO))
    old = avqa.open_store(tmp_path / "store").read("v1", POOL)
    write(tmp_path, "v1", seconds=2, seed=77)
    said = []
    report = extract(features=(POOL,), say=said.append)
    assert (report.extracted, report.finished_before) == (1, 2)
    assert any("changed since they were extracted: 1 videos" in line for line in said)
    store = avqa.open_store(tmp_path / "store")
    assert store.read("v1", POOL).shape == (2, 512)
    assert not np.array_equal(store.read("v1", POOL), old[:2])
    # The audio of the old file must not stand beside the frames of the new one.
    assert store.status("v1", AUDIO) == Status.PENDING
    assert extract(features=(POOL, AUDIO)).extracted == 1


def test_a_touched_file_is_not_extracted_again(tmp_path, extract):
    path = write(tmp_path, "v", seconds=2)
    extract()
    path.touch()
    assert extract().finished_before == 1


def test_bad_videos_are_recorded_and_never_stop_the_others(tmp_path, extract):
    three(tmp_path)
    for act in ("crash", "corrupt", "hang"):
        write(tmp_path, f"bad_{act}", act=act)
    (tmp_path / "videos" / "bad_text.mp4").write_text("hello", encoding="utf-8")
    said = []
    report = extract(limits=Limits(timeout_seconds=2), say=said.append)
    assert (report.extracted, report.failed) == (3, 4)
    with report.report_path.open(newline="", encoding="utf-8") as file:
        rows = {row["video_id"]: row for row in csv.DictReader(file)}
    assert {name: row["reason"] for name, row in rows.items()} == {
        "bad_crash": "crash",
        "bad_corrupt": "corrupt",
        "bad_hang": "timeout",
        "bad_text": "not_media",
    }
    assert any(line.startswith("failed: video=bad_text, ") for line in said)
    with pytest.raises(PartialFailure, match=r"4 of 7 videos failed; see .*-failures.csv; exp"):
        report.raise_if_failed()
    store = avqa.open_store(tmp_path / "store")
    assert [store.status(f"v{i}", POOL) for i in range(3)] == [Status.OK] * 3
    assert store.status("bad_hang", POOL) == Status.FAILED
    # They stay failed, and are not tried again unless asked for.
    again = extract()
    assert (again.extracted, again.failed, again.failed_before) == (0, 0, 4)
    write(tmp_path, "bad_text", seconds=2)
    write(tmp_path, "bad_hang", seconds=2)
    retried = extract(retry_failed=True)
    assert (retried.extracted, retried.failed) == (2, 2)


def test_a_video_that_crashes_its_decoder_once_is_read_again(tmp_path, extract):
    path = write(tmp_path, "v", seconds=4, act="crash_once")
    report = extract()
    assert (report.extracted, report.failed) == (1, 0)
    assert (path.parent / (path.name + ".once")).exists()
    assert avqa.open_store(tmp_path / "store").read("v", POOL).shape == (4, 512)


def test_a_damaged_video_fails_unless_its_good_rows_are_accepted(tmp_path, extract):
    write(tmp_path, "torn", seconds=8, seed=5, act="half")
    write(tmp_path, "whole", seconds=8, seed=5)
    features = (POOL, AUDIO)
    report = extract(features=features, chunk_seconds=3)
    assert (report.extracted, report.failed) == (1, 1)
    assert "truncated" in report.report_path.read_text(encoding="utf-8")
    report = extract(features=features, chunk_seconds=3, retry_failed=True, accept_partial=True)
    assert (report.extracted, report.failed) == (1, 0)
    store = avqa.open_store(tmp_path / "store")
    warnings = ("ends at damage: the first 4 of 8 rows are kept",)
    assert (store.warnings("torn"), store.warnings("whole")) == (warnings, ())
    assert not store.lost_rows("torn").any()
    for feature in features:
        rows = store.read("torn", feature)
        assert len(rows) == 4
        np.testing.assert_array_equal(rows, store.read("whole", feature)[:4])
    assert not verify(tmp_path / "store").problems


def test_rows_that_are_lost_in_the_middle_are_zeros_and_told(tmp_path, extract):
    write(tmp_path, "torn", seconds=8, seed=5, act="holes")
    write(tmp_path, "whole", seconds=8, seed=5)
    report = extract(chunk_seconds=2)
    assert "damaged: rows=5 of 8" in report.report_path.read_text(encoding="utf-8")
    report = extract(chunk_seconds=2, retry_failed=True, accept_partial=True)
    assert (report.extracted, report.failed, report.rows) == (1, 0, 8)
    extract(features=(AUDIO,), chunk_seconds=2, accept_partial=True)  # judged by its frames, too
    store = avqa.open_store(tmp_path / "store")
    lost = store.lost_rows("torn")
    assert lost.tolist() == [k in (1, 4, 5) for k in range(8)]
    rows, whole = store.read("torn", POOL), store.read("whole", POOL)
    np.testing.assert_array_equal(rows[~lost], whole[~lost])
    assert not rows[lost].any()
    assert whole[lost].any(axis=1).all()
    np.testing.assert_array_equal(store.read("torn", AUDIO), store.read("whole", AUDIO))
    assert not store.lost_rows("whole").any()
    assert store.warnings("torn") == ("decoded 5 of 8 rows; lost seconds: 1, 4 to 5",)
    assert not verify(tmp_path / "store").problems
    pack(tmp_path / "store", tmp_path / "packed")
    packed = avqa.open_store(tmp_path / "packed")
    np.testing.assert_array_equal(packed.lost_rows("torn"), lost)
    assert pickle.loads(pickle.dumps(packed)).lost_rows("torn").sum() == 3


def test_sound_that_fails_does_not_harm_the_pictures(tmp_path, extract):
    write(tmp_path, "v", seconds=2, act="bad_sound")
    report = extract(features=(POOL, AUDIO))
    assert report.failed == 1
    store = avqa.open_store(tmp_path / "store")
    assert store.status("v", POOL) == Status.OK
    assert store.status("v", AUDIO) == Status.FAILED


def test_a_video_without_sound_is_finished_and_says_so(tmp_path, extract):
    write(tmp_path, "mute", seconds=2, audio=False)
    report = extract(features=(POOL, AUDIO))
    assert (report.extracted, report.failed, report.without_audio) == (1, 0, 1)
    assert "1 without audio" in report.summary()
    store = avqa.open_store(tmp_path / "store")
    assert store.status("mute", AUDIO) == Status.ABSENT
    assert store.read("mute", POOL).shape == (2, 512)
    assert extract(features=(POOL, AUDIO)).finished_before == 1


def test_another_recipe_is_refused_with_the_keys_and_the_option(tmp_path, extract):
    write(tmp_path, "v")
    extract()
    with pytest.raises(RecipeMismatch) as caught:
        extract(frame_at="start")
    message = str(caught.value)
    assert 'grid.frame_at: store="mid" asked="start" (light/pool)' in message
    assert "set --frame-at as the store has it, or give another --out" in message
    with pytest.raises(RecipeMismatch, match=r"weights.light.source: .*set --weights as"):
        extract(weights="random:1")
    # A new feature must share the grid, too.
    with pytest.raises(RecipeMismatch, match=r"grid.frame_at: .*light/audio"):
        extract(features=(AUDIO,), frame_at="start")
    assert extract().finished_before == 1


def test_a_locked_store_is_refused(tmp_path, extract):
    write(tmp_path, "v")
    with Lock.acquire(tmp_path / "store", "another-run"):
        with pytest.raises(StoreLocked, match="in use by run_id=another-run"):
            extract()
    assert extract().extracted == 1


def test_a_foreign_folder_or_file_is_never_written_to(tmp_path, extract):
    write(tmp_path, "v")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.tex").write_text("precious", encoding="utf-8")
    with pytest.raises(ConfigError, match="is no avqa store and not empty; .*another --out"):
        extract()
    assert sorted(p.name for p in (tmp_path / "store").iterdir()) == ["thesis.tex"]
    for place in ("videos/v.mp4", "videos/v.mp4/below"):
        with pytest.raises(ConfigError, match=r"v.mp4' is a file; expected a folder"):
            extract(store=place)


def test_ids_and_limit(tmp_path, extract):
    three(tmp_path)
    (tmp_path / "ids.txt").write_text("v2\n", encoding="utf-8")
    assert extract(ids=tmp_path / "ids.txt").taken == 1
    assert extract(limit=2).extracted == 2
    assert extract().finished_before == 3


def test_flags_and_durations_are_stored(tmp_path, extract):
    write(tmp_path, "loud", seconds=2)
    write(tmp_path, "mute", seconds=3, audio=False)
    extract()
    store = avqa.open_store(tmp_path / "store")
    assert store.duration("mute") == 3.0
    assert store.recipe(POOL)["grid"] == {"frame_at": "mid", "chunk_seconds": 60}
    import zarr

    flags = zarr.open_array(tmp_path / "store/features.zarr/index/row_flags", mode="r")[:]
    assert [RowFlag(int(flag)) for flag in flags] == [RowFlag.HAS_AUDIO, RowFlag(0)]


def test_too_small_a_disk_is_refused_before_anything_runs(tmp_path, extract, monkeypatch):
    write(tmp_path, "v")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    from avqa.errors import StorageFailure

    with pytest.raises(StorageFailure, match=r"1.0 kB free; expected about 61.4 kB for 1 videos"):
        extract()


def test_a_full_disk_keeps_what_was_finished_in_the_same_bundle(tmp_path, extract, monkeypatch):
    from avqa.errors import StorageFailure
    from avqa.store.writer import ChunkWriter

    for seed in range(4):
        write(tmp_path, f"v{seed}", seconds=20, seed=seed, act="slow")
    write_chunk = ChunkWriter.write

    def full_at_the_third(self, feature, row, chunk, values):
        if row == 2:
            raise StorageFailure("disk is full, says the test")
        return write_chunk(self, feature, row, chunk, values)

    monkeypatch.setattr(ChunkWriter, "write", full_at_the_third)
    said = []
    with pytest.raises(StorageFailure, match="says the test"):
        extract(say=said.append)
    store = avqa.open_store(tmp_path / "store")
    assert [int(store.status(f"v{i}", POOL)) for i in range(4)] == [1, 1, 0, 0]
    assert any("2 extracted" in line and line.endswith("says the test") for line in said)
    monkeypatch.undo()
    assert extract().finished_before == 2


def test_an_unknown_scheduler_makes_no_store(tmp_path, extract):
    write(tmp_path, "v")
    with pytest.raises(
        ConfigError, match="scheduler='dusk'; expected local, sync, slurm or an address"
    ):
        extract(scheduler="dusk")
    assert not (tmp_path / "store").exists()


def test_a_refused_run_is_not_left_open(tmp_path, extract):
    import json

    write(tmp_path, "v")
    extract()
    with pytest.raises(RecipeMismatch):
        extract(frame_at="start")
    files = (tmp_path / "store/runs").glob("*.json")
    runs = sorted(
        (json.loads(file.read_text(encoding="utf-8")) for file in files),
        key=lambda run: run["number"],
    )
    assert [run["state"] for run in runs] == ["done", "refused"]


class Zeros:
    """In place of a network: what is chosen is tested here, not what comes out."""

    def __init__(self, encoder):
        self.taps = encoders.load(encoder).TAPS

    def forward(self, name, batch, taps):
        return {tap: torch.zeros(len(batch), *self.taps[tap].shape) for tap in taps}


def test_a_profile_chooses_the_features_of_one_video(tmp_path, reused_children, monkeypatch):
    monkeypatch.setattr(networks.Networks, "get", lambda self, encoder: Zeros(encoder))
    write(tmp_path, "v", seconds=1)
    arrays = avqa.extract_video(
        tmp_path / "videos/v.mp4", profile="music-avqa", decoder=fake_reader.DECODER,
        weights="random:0",
    )  # fmt: skip
    assert {name: rows.shape for name, rows in arrays.items()} == {
        "resnet18/pool": (60, 512),
        "resnet18/map": (60, 14, 14, 512),
        "vggish/audio": (60, 128),
        "pts": (60,),
    }


def test_a_warning_about_one_video_is_one_of_python(tmp_path, reused_children, monkeypatch):
    monkeypatch.setattr(networks.Networks, "get", lambda self, encoder: Zeros(encoder))
    write(tmp_path, "v", seconds=1, warn=["sound is lost"])
    path = tmp_path / "videos/v.mp4"
    with pytest.warns(VideoWarning, match=f"^video '{path}': sound is lost$"):
        avqa.extract_video(path, [POOL], decoder=fake_reader.DECODER, weights="random:0")


def test_a_gpu_without_room_for_the_networks_is_a_line(tmp_path, reused_children, monkeypatch):
    def full(self, encoder):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(networks.Networks, "get", full)
    write(tmp_path, "v", seconds=1)
    path = tmp_path / "videos/v.mp4"
    options = {"decoder": fake_reader.DECODER, "weights": "random:0"}
    with pytest.raises(EnvironmentFailure) as caught:
        avqa.extract_video(path, ["resnet18/pool"], **options)
    assert str(caught.value) == (
        "GPU out of memory as networks were put on it; expected a GPU that holds it; free the GPU,"
        " or use --precision bf16 or --device cpu"
    )
