"""The commands as a user types them: what they print and the code they exit with."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from helpers.extraction.as_typed import avqa, extract, two_videos
from helpers.extraction.light import AUDIO, POOL
from helpers.media import clips, fake_reader
from helpers.media.damage import without_packets

from avqa import open_store
from avqa.store.checks.verify import verify
from avqa.store.format.records import Status

ROOT = Path(__file__).resolve().parents[1]
MEDIA = ROOT.parent / "shared" / "media"
real_media = pytest.mark.skipif(not MEDIA.is_dir(), reason="needs ../shared/media")
pytestmark = [
    pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning"),
    pytest.mark.usefixtures("light", "reused_children"),
]


@pytest.fixture
def videos(tmp_path):
    return two_videos(tmp_path / "videos")


@pytest.fixture
def store(tmp_path, videos):
    assert extract(videos, tmp_path / "store")[0] == 0
    return tmp_path / "store"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--videos", "nowhere"),
            "/nowhere' does not exist; expected a folder of videos, or a list of them ending",
        ),
        (("--frame-at", "middle"), "frame_at='middle'; expected one of mid, start, key"),
        (("--decoder", "opencv"), "no decoder 'opencv'; available: decord, ffmpeg, pyav"),
        (("--features", "clip/frame"), "no feature 'clip/frame'; did you mean"),
        (("--features", "light/pool,light/pool"), "expected each feature once"),
        (("--profile", "psptp"), "no profile 'psptp'; did you mean 'pstp'? available: avaf"),
        (("--weights", "imagenet"), "weights='imagenet' is no folder; expected pretrained"),
        (("--precision", "int8"), "precision='int8'; expected one of fp32, bf16, fp16"),
        (("--dtype", "f8"), "dtype='f8'; expected one of float16, float32; check --dtype"),
        (
            ("--set", "clip_vit_b32.crop=top"),
            "clip_vit_b32.crop='top'; expected one of center, squash, pad; check --set clip_vit",
        ),
        (("--resample", "linear"), "resample='linear'; expected one of soxr_hq, nearest44k"),
        (("--mix", "sum"), "mix='sum'; expected one of mean, itu, first; check --mix"),
        (
            ("--audio-hop", "2"),
            "vggish.audio_hop=2.0; expected one of 1.0, 0.96; check --set vgg",
        ),
        (("--set", "vggish.hop=1"), "no option 'vggish.hop'; did you mean 'vggish.audio_hop'?"),
        (("--set", "crop"), "--set crop; expected key=value, such as epochs=10; check --set"),
        (("--chunk-seconds", "0"), "chunk_seconds=0; expected 1 to 3600; check --chunk-seconds"),
        (("--device", "tpu"), "device='tpu'; expected auto, cpu or cuda; check --device"),
        (("--scheduler", "slurmy"), "scheduler='slurmy'; expected local, sync, slurm or"),
        (("--id", "name"), "id='name'; expected relpath or stem; check --id"),
        (("--ids", "missing.txt"), "list of ids 'missing.txt' cannot be read"),
        (("--ids", os.devnull), f"list of ids '{os.devnull}' names no video; expected one id per"),
        (("--ext", " , "), "ext=' , '; expected extensions, such as mp4,mkv; check --ext"),
        (("--features", ","), "features=''; expected at least one <encoder>/<tap>"),
        (("--scheduler", "tcp://"), "scheduler='tcp://'; expected local, sync, slurm or an"),
    ],
)
def test_unknown_values_exit_2_with_one_line(tmp_path, videos, arguments, message):
    code, _, err = extract(videos, tmp_path / "store", *arguments)
    assert code == 2, err
    line = err.splitlines()[-1]
    assert line.startswith("avqa: ")
    assert message in line
    assert "Traceback" not in err
    assert not (tmp_path / "store").exists()


def test_options_of_before_are_taken_with_a_line_of_warning(tmp_path, videos):
    old = ("--clip-crop", "top", "--audio-hop", "0.96")
    code, _, err = extract(videos, tmp_path / "store", *old)
    assert code == 2
    assert err.splitlines() == [
        "warning: --clip-crop goes with the next release; use --set clip_vit_b32.crop=top",
        "warning: --audio-hop goes with the next release; use --set vggish.audio_hop=0.96",
        "avqa: clip_vit_b32.crop='top'; expected one of center, squash, pad; check --set"
        " clip_vit_b32.crop",
    ]


def test_done_exits_0_and_ends_with_counts_time_bytes_reason(tmp_path, videos):
    code, out, _ = extract(videos, tmp_path / "store")
    assert code == 0
    last = out.splitlines()[-1]
    counts = "2 videos: 2 extracted, 0 already there; 4 rows, 122.9 kB in "
    assert re.match(counts + r"\d+:\d\d \(", last)
    assert last.endswith("; done")


def test_failed_videos_exit_3_and_name_the_report(tmp_path, videos):
    (videos / "c.mp4").write_text("no JSON", encoding="utf-8")
    code, out, err = extract(videos, tmp_path / "store")
    assert code == 3
    assert "2 extracted, 0 already there, 1 failed" in out
    last = err.splitlines()[-1]
    report = last.split("see ")[1].split(";")[0]
    assert "1 of 3 videos failed" in last
    assert "not_media" in Path(report).read_text(encoding="utf-8")


def test_warnings_are_counted_and_listed(tmp_path, videos):
    hostile = '=a "b",c;\n'
    for name, warnings in {hostile: ["one, \n two", "three"], "b": ["four"]}.items():
        fake_reader.write_video(videos / f"{name}.mp4", seconds=2, warn=warnings)
    code, out, err = extract(videos, tmp_path / "store", "--log-json")
    assert code == 0
    (table,) = (tmp_path / "store/runs").glob("*-warnings.csv")
    assert f"3 videos: 3 extracted, 0 already there, 2 with warnings (see {table}); 6 rows," in out
    with table.open(encoding="utf-8", newline="") as file:
        rows = [(row["video_id"], row["relpath"], row["warning"]) for row in csv.DictReader(file)]
    assert rows == [
        (hostile, f"{hostile}.mp4", "one, \n two"),
        (hostile, f"{hostile}.mp4", "three"),
        ("b", "b.mp4", "four"),
    ]
    events = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert [
        {k: v for k, v in e.items() if k != "time"} for e in events if e["event"] == "warning"
    ] == [
        {"event": "warning", "video": hostile, "warnings": ["one, \n two", "three"]},
        {"event": "warning", "video": "b", "warnings": ["four"]},
    ]
    code, out, _ = avqa("status", tmp_path / "store", "--warnings")
    assert (code, out.splitlines()) == (
        0,
        [f"{hostile!r}: one, two", f"{hostile!r}: three", "'b': four"],
    )
    told = "warnings of the last run that had any: '" + str(table)
    assert told in avqa("status", tmp_path / "store")[1]
    found = open_store(tmp_path / "store")
    assert found.warnings(hostile) == ("one, \n two", "three")
    assert found.warnings("a") == ()


def test_too_much_lost_sound_fails_the_sound_alone(tmp_path):
    clip = clips.cached_clip("sounding.mp4", seconds=4, sound_codec="aac")
    folder, store = tmp_path / "videos", tmp_path / "store"
    folder.mkdir()
    for name, end in {"much": 4, "some": 1.3, "none": 1}.items():
        without_packets(clip, folder / f"{name}.mp4", (1, end))
    more = ("--decoder", "pyav", "--features", f"{POOL},{AUDIO}")
    code, out, _ = extract(folder, store, *more)
    assert code == 3
    assert "3 videos: 2 extracted, 0 already there, 1 failed, 2 with warnings (see " in out
    found = open_store(store)
    assert found.read("much", POOL).shape == (4, 512)
    assert found.status("much", AUDIO) == Status.FAILED
    assert found.read("some", AUDIO).shape == (4, 128)
    assert found.warnings("none") == ()
    lost = "sound is lost: 0.30 of 4 s, at 1.00 to 1.30 s; silence stands there"
    assert found.warnings("some") == (lost,)
    assert (
        "failed: 'much' light/audio: corrupt: sound is lost: 3.00 of 4 s, at 1.00 to 4.00 s;"
        " expected at most 0.1 of the video's seconds; repair the file, or keep it with"
        " --max-lost-sound 0.75 --retry-failed\n"
    ) in avqa("status", store)[1]
    code, _, _ = extract(folder, store, *more, "--max-lost-sound", "0.75", "--retry-failed")
    assert code == 0
    assert open_store(store).read("much", AUDIO).shape == (4, 128)
    assert not verify(store).problems


@pytest.mark.parametrize("reader", ["pyav", "ffmpeg"])
def test_limits_beyond_what_libraries_count_to_are_none(tmp_path, reader):
    (tmp_path / "videos").mkdir()
    shutil.copy(clips.cached_clip("hole.mp4", seconds=2, fps=25), tmp_path / "videos")
    most = ("--max-pixels", 2**63, "--max-length", 1e9, "--video-timeout", 1e9)
    more = ("--decoder", reader, *most, "--decoder-memory", 1e6)
    code, out, err = extract(tmp_path / "videos", tmp_path / "store", *more)
    assert (code, "1 video: 1 extracted" in out) == (0, True), err


def test_rows_behind_a_hole_are_kept_on_request(tmp_path):
    folder, store = tmp_path / "videos", tmp_path / "store"
    folder.mkdir()
    clip = clips.cached_clip("hole.mp4", seconds=6, fps=25, extra=("-g", "25", "-bf", "2"))
    shutil.copy(clip, folder / "whole.mp4")
    without_packets(clip, folder / "torn.mp4", (2.2, 2.6), (5.0, 6.0), of="video")
    code, _, err = extract(folder, store, "--decoder", "pyav")
    assert code == 3
    code, out, _ = extract(folder, store, "--decoder", "pyav", "--retry-failed", "--accept-partial")
    assert (code, out.count("1 with warnings")) == (0, 1)
    found = open_store(store)
    lost = found.lost_rows("torn")
    assert lost.tolist() == [False, False, True, False, False]
    rows, whole = found.read("torn", POOL), found.read("whole", POOL)[:5]
    assert (rows[~lost] == whole[~lost]).all()
    assert not rows[lost].any()
    assert found.pts("torn").tolist() == found.pts("whole")[:5].tolist()
    told = avqa("status", store, "--warnings")[1].splitlines()
    assert told[1:] == [
        "'torn': decoded 4 of 5 rows; lost seconds: 2",
        "'torn': ends at damage: the first 5 of 6 rows are kept",
    ]
    code, out, _ = avqa("verify", store, "--level", "sample", "--videos", folder)
    assert (code, out.splitlines()[-2].endswith("; no problem")) == (0, True)
    for segment in (store / "ledger").rglob("*.jsonl"):
        segment.unlink()
    assert avqa("verify", store, "--repair")[0] == 0
    assert open_store(store).lost_rows("torn").tolist() == lost.tolist()


def test_a_store_without_warnings_says_so(store):
    code, out, _ = avqa("status", store, "--warnings")
    assert (code, out) == (0, f"store '{store}': no warnings\n")
    assert "warnings of the last" not in avqa("status", store)[1]


@pytest.mark.parametrize(
    ("soxr", "message"),
    [
        (
            "raise RuntimeError('no locator available')",
            "the decoder process cannot prepare light/wave: RuntimeError: no locator available;"
            " expected its libraries to load; repair the installation, or set AVQA_CACHE to a"
            " folder that can be written",
        ),
        (
            "import time; time.sleep(60)",
            "the decoder process has not loaded its libraries within 3 s; expected a few seconds;"
            " the machine or the disk of the installation is overloaded, or a library hangs: run it"
            " again, with fewer --decoders",
        ),
    ],
    ids=["broken", "slow"],
)
def test_a_library_that_does_not_load_exits_5_and_no_video_failed(
    tmp_path, videos, monkeypatch, soxr, message
):
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries" / "soxr.py").write_text(soxr, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr("avqa.extract.decoder.process.LOAD_SECONDS", 3.0)
        patch.syspath_prepend(tmp_path / "libraries")  # the decoder process looks where we do
        code, _, err = extract(videos, tmp_path / "store", "--features", AUDIO)
    assert code == 5
    assert err.splitlines()[-1] == f"avqa: {message}"
    out = avqa("status", tmp_path / "store")[1]
    assert re.search(r"^light/audio +0 +2 +0 ", out, re.MULTILINE)  # ok, pending, failed
    code, out, _ = extract(videos, tmp_path / "store", "--features", AUDIO)
    assert (code, "2 extracted" in out) == (0, True)


def test_a_locked_store_exits_4(tmp_path, videos):
    from avqa.store.lock import Lock

    with Lock.acquire(tmp_path / "store", "other"):
        code, _, err = extract(videos, tmp_path / "store")
    assert code == 4
    assert "is in use by run_id=other" in err


def test_another_recipe_exits_4(videos, store):
    code, _, err = extract(videos, store, "--frame-at", "start")
    assert code == 4
    assert 'grid.frame_at: store="mid" asked="start"' in err


def test_missing_weights_exit_5_and_name_both_ways(tmp_path, videos, monkeypatch):
    monkeypatch.setenv("AVQA_CACHE", str(tmp_path / "cache"))
    options = ("--weights", "pretrained", "--features", "resnet18/pool")
    code, _, err = extract(videos, tmp_path / "store", *options)
    assert code == 5
    assert "avqa weights fetch resnet18" in err
    assert "avqa weights import resnet18 FILE" in err
    assert not (tmp_path / "store").exists()


def test_a_read_only_place_exits_5(tmp_path, videos):
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(disk)]
    if subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        code, _, err = extract(videos, disk / "store")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert code == 5
    assert "EROFS; the folder is not writable; choose another --out" in err


def test_no_scheduler_exits_5(tmp_path, videos, monkeypatch):
    monkeypatch.setattr("avqa.pipelines.cluster.on_dask.CONNECT_SECONDS", 1)
    code, _, err = extract(videos, tmp_path / "store", "--scheduler", "tcp://127.0.0.1:9")
    assert code == 5
    assert "scheduler tcp://127.0.0.1:9: no answer" in err


def test_verify_exits_6_and_repair_makes_it_right(videos, store):
    code, out, _ = avqa("verify", store)
    assert code == 0
    assert out.splitlines()[-1].startswith("RANDOM WEIGHTS: the store is in order, but")
    chunk = next((store / "features.zarr/light/pool").glob("c.*"))
    data = bytearray(chunk.read_bytes())
    data[100] ^= 1
    chunk.write_bytes(data)
    code, out, err = avqa("verify", store)
    assert code == 6
    assert "crc: light/pool video=" in out
    assert "problems=1; expected none; `avqa verify --repair` rebuilds what can be" in err
    assert avqa("verify", store, "--repair")[0] == 0
    code, out, _ = extract(videos, store)
    assert code == 0
    assert "1 extracted, 1 already there" in out
    assert avqa("verify", store)[0] == 0


def test_verify_by_sample_extracts_again(videos, store):
    code, out, _ = avqa("verify", store, "--level", "sample", "--videos", videos, "--n", "1")
    assert code == 0
    fake_reader.write_video(videos / "a.mp4", seconds=2, seed=99)
    fake_reader.write_video(videos / "b.mp4", seconds=2, seed=98)
    code, out, _ = avqa("verify", store, "--level", "sample", "--videos", videos, "--n", "2")
    assert code == 6
    assert "sample: light/pool video='a'" in out
    code, out, _ = avqa("verify", store, "--level", "sample")  # where they were before
    assert code == 6
    (store / "collection.json").unlink()
    code, _, err = avqa("verify", store, "--level", "sample")
    assert code == 2
    assert "give it with --videos" in err
    assert avqa("verify", store, "--level", "deep")[0] == 2


def test_no_store_exits_2(tmp_path):
    for command in ("status", "verify"):
        code, _, err = avqa(command, tmp_path / "none")
        assert code == 2
        assert "no store at" in err


def test_status_prints_counts_and_recipes(store):
    code, out, _ = avqa("status", store)
    assert code == 0
    assert re.search(r"^light/pool +2 +0 +0 ", out, re.MULTILINE)
    assert "RANDOM WEIGHTS" in out
    code, out, _ = avqa("status", store, "--recipes")
    assert (code, "frame_at" in out, "random:0" in out) == (0, True, True)


def test_plan_runs_nothing(tmp_path, videos):
    code, out, _ = extract(videos, tmp_path / "store", "--features", "resnet18/pool", "--plan")
    assert code == 0
    assert "videos: 2, 0.00 hours (mean of 2 probed: 2.0 s)" in out
    assert "bottleneck: the networks" in out
    assert "--chunk-seconds 2 or so makes a smaller store" in out
    assert out.splitlines()[-1] == "nothing was run; leave --plan out to start"
    assert not (tmp_path / "store").exists()


def test_plan_of_a_real_clip(tmp_path):
    (tmp_path / "videos").mkdir()
    shutil.copy(clips.cached_clip("hole.mp4", seconds=2, fps=25), tmp_path / "videos")
    code, out, _ = extract(tmp_path / "videos", tmp_path / "store", "--decoder", "pyav", "--plan")
    assert code == 0
    assert "videos: 1, 0.00 hours (mean of 1 probed: 2.0 s)" in out
    assert out.splitlines()[-1] == "nothing was run; leave --plan out to start"
    assert not (tmp_path / "store").exists()


def test_log_json_makes_every_line_of_progress_json(tmp_path, videos, monkeypatch):
    monkeypatch.setattr("avqa.pipelines.extraction.progress.LINE_SECONDS", 0.0)
    (videos / "c.mp4").write_text("no JSON", encoding="utf-8")
    _, _, err = extract(videos, tmp_path / "store", "--log-json")
    events = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert {event["event"] for event in events} >= {"progress", "failed"}
    assert all(datetime.fromisoformat(event["time"]).tzinfo for event in events)
    (start,) = [event for event in events if event["event"] == "start"]
    assert (start["videos"], start["there"], start["todo"]) == (3, 0, 3)
    videos = {event["video"]: event for event in events if event["event"] == "video"}
    assert videos["a"]["status"] == {"light/pool": "ok"}
    assert (videos["a"]["rows"], videos["a"]["seconds"]) == (2, 2.0)
    assert videos["c"]["status"] == {"light/pool": "failed"}
    assert events[-1]["event"] == "end"
    assert (events[-1]["reason"], events[-1]["extracted"], events[-1]["failed"]) == ("done", 2, 1)
    progress = [event for event in events if event["event"] == "progress"][-1]
    assert (progress["done"], progress["failed"], progress["total"]) == (2, 1, 3)
    assert len(events) == len(err.splitlines()) - 1  # the last line is the error


@pytest.mark.usefixtures("ffmpeg")
def test_encoders_and_decoders_are_listed():
    _, out, _ = avqa("encoders")
    assert re.search(r"^resnet18/map  +14×14×512  +12\.04  yes", out, re.MULTILINE)
    _, out, _ = avqa("decoders")
    assert "pyav (default)    pyav " in out
    assert "ffmpeg            ffmpeg " in out


def test_an_unexpected_error_exits_1_and_its_traceback_is_kept(videos, tmp_path, monkeypatch):
    monkeypatch.setenv("AVQA_CACHE", str(tmp_path / "cache"))

    def broken(*args, **kwargs):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("avqa.pipelines.extraction.run.extract_folder", broken)
    code, _, err = extract(videos, tmp_path / "store")
    assert code == 1
    told = re.search(
        r"^avqa: internal error: ZeroDivisionError: a defect; expected no such thing; report the"
        r" traceback in '(.*)' with what `avqa info` prints: https://",
        err,
    )
    assert told, err
    assert "Traceback" not in err
    text = Path(told[1]).read_text(encoding="utf-8")
    assert Path(told[1]).is_relative_to(tmp_path / "cache")
    assert text.endswith("ZeroDivisionError: a defect\n")


def test_the_traceback_of_a_run_lies_beside_its_file(videos, tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("avqa.pipelines.extraction.run.find_work", broken)
    code, _, err = extract(videos, tmp_path / "store")
    (file,) = (tmp_path / "store/runs").glob("*-traceback.txt")
    assert (code, f"report the traceback in '{file}' with" in err) == (1, True)
    assert "in broken" in file.read_text(encoding="utf-8")
    shown = avqa("status", tmp_path / "store")[1]
    assert ": failed, internal error: ZeroDivisionError\n" in shown


@real_media
def test_real_clips_end_to_end(tmp_path):
    folder = tmp_path / "media"
    folder.mkdir()
    for file in MEDIA.iterdir():
        if file.name != "v_GGSY1Qvo990.mp4":  # the longest
            shutil.copy(file, folder)
    command = [sys.executable, "-m", "avqa.cli", "extract", "--videos", str(folder)]
    command += ["--out", str(tmp_path / "S"), "--weights", "random:0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = subprocess.run(
        command, capture_output=True, text=True, env=environment, encoding="utf-8"
    )
    assert first.returncode == 0, first.stderr
    assert "ignored: 1 file (.wav)" in first.stderr
    assert "3 videos: 3 extracted, 0 already there; 21 rows" in first.stdout
    import avqa as package

    held = package.open_store(tmp_path / "S")
    rows = {name: len(held.read(name, "clip_vit_b32/patch")) for name in held.video_ids}
    assert rows == {"v_ZNVhz7ctTq0": 14, "vid1": 2, "vid2": 5}
    assert {name: len(held.read(name, "vggish/audio")) for name in held.video_ids} == rows
    sample = ("--level", "sample", "--videos", folder, "--n", "1")
    assert avqa("verify", tmp_path / "S", *sample)[0] == 0
    second = subprocess.run(
        command, capture_output=True, text=True, env=environment, encoding="utf-8"
    )
    assert second.returncode == 0
    assert "3 videos: 0 extracted, 3 already there; 0 rows" in second.stdout


@real_media
def test_frames_of_a_real_clip(tmp_path):
    code, out, _ = avqa("frames", MEDIA / "vid2.mp4", "--out", tmp_path / "frames")
    assert code == 0
    assert len(list((tmp_path / "frames").glob("*.png"))) == 5
    assert json.loads((tmp_path / "frames" / "frames.json").read_text(encoding="utf-8"))["T"] == 5
