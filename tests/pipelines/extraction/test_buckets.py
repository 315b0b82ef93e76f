"""The commands on a store in a bucket, served by a real S3 server on loopback."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.extraction import light as light_encoder
from helpers.extraction.light import POOL
from helpers.media import clips, fake_reader
from helpers.store import s3_server
from helpers.store.stores import store_bytes
from pipelines.extraction.test_interruption import assert_all_gone, members

import avqa
from avqa.store.places.files import store_path

pytestmark = pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning")


def run(*arguments, expect=0, **environment):
    """Run a command to its end; what it printed."""
    command = [sys.executable, "-m", "avqa.cli", *map(str, arguments)]
    code, out, err = light_encoder.finished(command, **environment)
    assert code == expect, err
    return out + err


def extraction(videos, store, scheduler="local"):
    return [
        *("extract", "--videos", str(videos), "--out", str(store), "--features", POOL),
        *("--decoder", fake_reader.DECODER, "--weights", "random:0", "--scheduler", scheduler),
    ]


def bucket_bytes(store):
    """As `stores.store_bytes`, of a store in a bucket."""
    root = store_path(store) / "features.zarr"
    digests = {}
    for entry in root.listed():
        name = entry["path"].removeprefix(f"{root.key}/")
        digests[name] = hashlib.sha256((root / name).read_bytes()).hexdigest()
    return digests


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Videos that take a while, one of them broken."""
    folder = tmp_path_factory.mktemp("videos")
    for seed in range(4):
        fake_reader.write_video(folder / f"v{seed}.mp4", seconds=6, seed=seed, act="slow")
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def in_a_folder(videos, tmp_path_factory):
    """Bytes of the store that `videos` give in a folder."""
    store = tmp_path_factory.mktemp("local") / "store"
    run(*extraction(videos, store, "sync"), expect=3)
    return store_bytes(store)


@pytest.mark.parametrize("kills", [1, pytest.param(5, marks=pytest.mark.soak)])
def test_killed_again_and_again_the_bucket_ends_with_the_same_bytes(
    s3, videos, in_a_folder, tmp_path, kills
):
    store = f"s3://{s3_server.BUCKET}/killed-{kills}"
    chooser = random.Random(1)
    for _ in range(kills):
        with (tmp_path / "log").open("w", encoding="utf-8") as log:
            one = subprocess.Popen(
                [sys.executable, "-m", "avqa.cli", *extraction(videos, store)],
                env=light_encoder.environment(), stdout=log, stderr=log, process_group=0,
            )  # fmt: skip
        time.sleep(chooser.uniform(1.0, 6.0))
        everyone = members(one.pid)
        os.killpg(one.pid, signal.SIGKILL)
        one.wait()
        assert_all_gone(everyone)
    text = run(*extraction(videos, store), expect=3)
    assert f"see {store}/runs/" in text
    assert bucket_bytes(store) == in_a_folder
    assert "4 already there" in run(*extraction(videos, store), expect=3)
    assert "no problem" in run("verify", store)
    assert "5 videos" in run("status", store)
    read = avqa.open_store(store)
    assert read.read("v3", POOL).shape == (6, 512)


def test_what_the_user_is_told(s3, videos):
    missing = run(*extraction(videos, "s3://nowhere/store"), expect=5)
    assert "expected an existing bucket; create it, or correct the address" in missing
    assert "expected s3://bucket/prefix with a bucket" in run(
        *extraction(videos, "s3://bucket"), expect=2
    )
    refused = run(
        *extraction(videos, f"s3://{s3_server.BUCKET}/refused"),
        expect=5,
        AWS_ACCESS_KEY_ID=s3_server.READER_KEY,
        AWS_SECRET_ACCESS_KEY=s3_server.READER_SECRET,
    )
    assert "expected credentials that may read, write and list" in refused
    assert s3_server.READER_SECRET not in refused
    assert "no store at 's3://features/none'" in run("status", "s3://features/none", expect=2)


def test_an_array_job_and_a_packed_copy_in_a_bucket(s3, videos, in_a_folder):
    store = f"s3://{s3_server.BUCKET}/array"
    for index in range(2):
        run(
            *extraction(videos, store, "sync"), "--partition", f"{index}/2", expect=3 * (index == 0)
        )
    assert "2 of 2 tasks are finished" in run("status", store)
    assert "4 from 2 parts, 0 already there, 1 failed" in run("finalize", store, expect=3)
    assert bucket_bytes(store) == in_a_folder
    assert not store_path(f"{store}/parts").listed()
    packed = f"{store}-packed"
    run("pack", store, packed)
    assert "no problem" in run("verify", packed)
    ours, theirs = avqa.open_store(store), avqa.open_store(packed)
    for name in theirs.video_ids:
        if name != "broken":
            assert np.array_equal(ours.read(name, POOL), theirs.read(name, POOL))
    assert len(bucket_bytes(packed)) < len(bucket_bytes(store))


def test_videos_of_a_list_may_lie_in_a_bucket(s3, tmp_path):
    clip = clips.numbered_clip(tmp_path / "two.mp4", seconds=2)
    video = store_path(f"s3://{s3_server.BUCKET}/videos/far.mp4")
    video.write(clip.read_bytes())
    listed = tmp_path / "list.csv"
    listed.write_text(f"id,path\nnear,{clip}\nfar,{video}\n", encoding="utf-8")
    command = [
        *("extract", "--videos", listed, "--features", POOL, "--weights", "random:0"),
        *("--scheduler", "sync", "--out", tmp_path / "store"),
    ]
    said = run(*command, TMPDIR=str(tmp_path))
    assert "2 videos: 2 extracted, 0 already there; 4 rows" in said
    assert not list(tmp_path.glob("avqa-video-*"))  # the copy is gone
    store = avqa.open_store(tmp_path / "store")
    assert (store.read("near", POOL) == store.read("far", POOL)).all()
    assert "2 extracted" not in run(*command)
    assert "no problem" in run("verify", tmp_path / "store", "--level", "sample")
    video.unlink()
    listed.write_text(f"id,path\nlost,{video}\n", encoding="utf-8")
    assert "1 of 1 videos failed" in run(*command, expect=3)
    (reason,) = [line for line in run("status", tmp_path / "store").splitlines() if "lost" in line]
    assert reason == (
        f"failed: 'lost' all features: unreadable: no object '{video}'; expected the video; correct"
        " the list"
    )
