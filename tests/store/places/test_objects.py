"""Stores in a bucket, on a real S3 server on loopback."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import obstore
import pytest
from helpers.store import s3_server, stored
from typer.testing import CliRunner

import avqa
from avqa.cli import app
from avqa.errors import (
    ConfigError,
    EnvironmentFailure,
    FeatureMissing,
    StorageFailure,
    StoreLocked,
    StoreNotFound,
)
from avqa.store import lock as locking
from avqa.store.checks.summary import summary
from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.format.integrity import ChunkChecker
from avqa.store.lock import Holder, Lock
from avqa.store.places import objects
from avqa.store.places.files import store_path
from avqa.store.places.objects import ObjectPath

pytestmark = pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning")


@pytest.fixture
def bucket(s3, request):
    """A prefix of its own in the bucket."""
    return store_path(f"s3://{s3_server.BUCKET}/{request.node.name.partition('[')[0]}")


def test_a_path_in_a_bucket():
    path = store_path("s3://bucket/some//prefix/")
    assert str(path / "ledger") == "s3://bucket/some/prefix/ledger"
    assert (path.name, path.parent, path.absolute()) == (
        "prefix",
        ObjectPath("s3://bucket/some"),
        path,
    )
    assert (path / "000012.jsonl").stem == "000012"
    assert pickle.loads(pickle.dumps(path)) == path


@pytest.mark.parametrize("text", ["s3://", "s3://bucket", "s3://bucket/", "s3:///x", "s3://b/../x"])
def test_an_address_without_bucket_or_prefix(text):
    with pytest.raises(ConfigError, match="expected s3://bucket/prefix with a bucket and a plain"):
        store_path(text)


def test_an_address_of_another_kind():
    with pytest.raises(ConfigError, match="'gs://b/x'; expected a folder or s3://bucket/prefix"):
        store_path("gs://b/x")


def test_what_a_path_does(bucket):
    one = bucket / "a" / "1.json"
    assert not one.exists()
    with pytest.raises(FileNotFoundError):
        one.read_bytes()
    one.write(b"first")
    (bucket / "a" / "2.json").write(b"22")
    (bucket / "ab").write(b"not below a")
    (bucket / "a" / "b" / "3.json").write(b"333")
    assert one.exists()
    assert one.tail(2) == (5, b"st")
    assert sorted(path.name for path in (bucket / "a").glob("*.json")) == ["1.json", "2.json"]
    assert [path.name for path in bucket.glob("a/*/*.json")] == ["3.json"]
    assert (bucket / "a").sizes() == {"1.json": 5, "2.json": 2}
    one.move(bucket / "a" / "4.json")
    assert not one.exists()
    assert (bucket / "a" / "4.json").read_bytes() == b"first"
    (bucket / "a").remove_folder()
    assert [entry["path"] for entry in bucket.listed()] == [f"{bucket.key}/ab"]
    one.unlink(missing_ok=True)


def test_one_of_many_creates(bucket):
    assert (bucket / "list").create(b"mine")
    assert not (bucket / "list").create(b"theirs")
    assert (bucket / "list").read_bytes() == b"mine"
    assert not (bucket / "list").replace_if(b"other", b"new")
    assert (bucket / "list").replace_if(b"mine", b"new")
    assert (bucket / "list").read_bytes() == b"new"


def test_of_two_that_take_over_one_succeeds(bucket, monkeypatch):
    lock, put = bucket / "lock.json", obstore.put
    lock.write(b"dead")

    def too_late(client, key, data, **options):
        put(client, key, b"theirs")
        return put(client, key, data, **options)

    with monkeypatch.context() as patch:
        patch.setattr(obstore, "put", too_late)
        assert not lock.replace_if(b"dead", b"mine")
    assert lock.read_bytes() == b"theirs"


HOLD = """
import sys, time
from avqa.store.places.files import store_path
from avqa.store.format.integrity import ChunkChecker
from avqa.store.lock import Holder, Lock
lock = Lock.acquire(store_path(sys.argv[1]), "theirs")
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_run_is_refused_and_a_dead_one_taken_over(bucket):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(bucket)], stdout=subprocess.PIPE, env=environment
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(
            StoreLocked, match=f"is in use by run_id=theirs host=.*pid={holder.pid}"
        ):
            Lock.acquire(bucket, "mine")
        holder.kill()
    with Lock.acquire(bucket, "mine") as lock:
        assert lock.took_over
        lock.heartbeat()
        (bucket / "lock.json").unlink()
        with pytest.raises(StoreLocked, match="run_id=mine lost its lock, now held by nobody"):
            lock.check()


def test_a_lock_that_was_taken_meanwhile_is_left_alone(bucket, monkeypatch):
    theirs = Holder.me("theirs")
    (bucket / "lock.json").write(json.dumps(asdict(theirs)).encode())
    seen = iter([replace(theirs, run_id="dead", process_start="gone")])
    look = locking.read_holder
    monkeypatch.setattr(locking, "read_holder", lambda store: next(seen, None) or look(store))
    with pytest.raises(StoreLocked, match="is in use by run_id=theirs"):
        Lock.acquire(bucket, "mine")
    assert look(bucket) == theirs


def test_a_store_in_a_bucket_is_that_in_a_folder(tmp_path, bucket):
    lengths = {"a": 3, "b": 12, "c": 5}
    folder = stored.make_store(tmp_path / "S", lengths)
    there = stored.make_store(bucket, lengths)
    root = tmp_path / "S" / "features.zarr"
    theirs = {e["path"].removeprefix(f"{bucket.key}/features.zarr/"): e["size"]
              for e in (bucket / "features.zarr").listed()}  # fmt: skip
    mine = {str(p.relative_to(root)): p.stat().st_size for p in root.rglob("*") if p.is_file()}
    assert theirs == mine
    for name in mine:
        if not name.endswith("zarr.json"):
            assert (bucket / "features.zarr" / name).read_bytes() == (root / name).read_bytes(), (
                name
            )
    assert there.rows() == folder.rows()
    read = avqa.open_store(str(bucket))
    assert read.video_ids == ("a", "b", "c")
    for spec in stored.SPECS:
        values = read.read("b", spec.name)
        expected = stored.values_of(spec, "b", 12).astype(np.float16)
        assert np.array_equal(values, expected)
    assert read.pts("c").tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]
    again = pickle.loads(pickle.dumps(read))
    assert np.array_equal(again.read("a", "clip/frame"), read.read("a", "clip/frame"))
    assert b"avqa-test-secret" not in pickle.dumps(read)


def test_a_run_that_died_before_its_commit_is_recovered(bucket, monkeypatch):
    stored.make_store(bucket, {"a": 3})
    store = Store.open(bucket, Lock.acquire(bucket, "killed"))
    store.recover()
    store.start_run({"argv": ["test"]})
    store.add_rows(["b"])
    writer = stored.ChunkWriter(bucket, stored.SPECS, stored.CHUNK_SECONDS)
    done = stored.extract(writer, "b", 1, 7)
    store.ledger.append("killed", [done])  # the segment is there, the arrays are not
    (bucket / "lock.json").unlink()
    with Lock.acquire(bucket, "next") as lock, monkeypatch.context() as patch:
        patch.setattr(ChunkChecker, "check", None)  # what a bucket has is not read again
        found = Store.open(bucket, lock).recover()
    assert found.replayed == 1
    assert avqa.open_store(str(bucket)).length("b") == 7
    assert not verify(str(bucket)).problems


def test_verify_and_status_look_into_a_bucket(bucket):
    stored.make_store(bucket, {"a": 3, "b": 7})
    report = verify(str(bucket))
    assert (report.videos, report.problems) == (2, [])
    assert f"store '{bucket}': 2 videos" in "\n".join(summary(str(bucket)).lines())
    broken = bucket / "features.zarr" / "clip" / "frame" / "c.1.0.0"
    content = bytearray(broken.read_bytes())
    content[5] ^= 1
    broken.write(bytes(content))
    (bucket / "features.zarr" / "vggish" / "audio" / "c.0.0.0").unlink()
    problems = {(p.kind, p.array, p.row) for p in verify(str(bucket)).problems}
    assert problems == {("crc", "clip/frame", 1), ("missing", "vggish/audio", 0)}
    assert verify(str(bucket), repair=True).repaired
    with pytest.raises(FeatureMissing, match="vggish/audio is pending; expected ok"):
        avqa.open_store(str(bucket)).read("a", "vggish/audio")


def test_no_store_in_the_bucket(s3):
    with pytest.raises(StoreNotFound, match="no store at 's3://features/nothing'"):
        avqa.open_store(f"s3://{s3_server.BUCKET}/nothing")


def fresh_client(monkeypatch, **environment):
    """Settings of the environment are read when a process first asks for a bucket."""
    objects._client.cache_clear()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def refused(monkeypatch):
    """Change the environment of one test."""
    yield lambda **values: fresh_client(monkeypatch, **values)
    objects._client.cache_clear()


def test_a_bucket_that_does_not_exist(s3, refused):
    refused()
    with pytest.raises(StorageFailure, match="expected an existing bucket; create it") as told:
        Lock.acquire(store_path("s3://nowhere/store"), "run")
    assert told.value.exit_code == 5
    assert "\n" not in str(told.value)


def avqa_says(*arguments):
    """As typed: exit code and the last line of what a command says."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.exit_code, done.stderr.rstrip()


@pytest.mark.parametrize(
    "command",
    [
        ("status", "s3://nowhere/store"),
        ("verify", "s3://nowhere/store"),
        ("finalize", "s3://nowhere/store"),
        ("pack", "s3://nowhere/store", "packed"),
        ("compare", "s3://nowhere/store", "s3://nowhere/store"),
        ("export", "npy", "--store", "s3://nowhere/store", "--layout", "pstp", "--out", "npy"),
    ],
)
def test_a_bucket_that_does_not_exist_is_no_lack_of_a_store(s3, refused, command):
    refused()
    assert avqa_says(*command) == (
        5,
        "avqa: s3://nowhere: refused (NoSuchBucket); expected an existing bucket; create it, or"
        " correct the address; nothing stored is lost",
    )


def test_a_prefix_without_a_store(s3, refused):
    refused()
    for command in ("status", "verify"):
        code, line = avqa_says(command, f"s3://{s3_server.BUCKET}/nothing")
        assert (code, f"no store at 's3://{s3_server.BUCKET}/nothing'; expected" in line) == (
            2,
            True,
        )


@pytest.mark.parametrize("lacks", [("ID", "KEY"), ("KEY",)])
def test_without_credentials_nobody_elses_address_is_named(
    s3, bucket, tmp_path, refused, monkeypatch, lacks
):
    for name in lacks:
        monkeypatch.delenv({"ID": "AWS_ACCESS_KEY_ID", "KEY": "AWS_SECRET_ACCESS_KEY"}[name])
    refused(AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "none"))
    code, line = avqa_says("status", bucket)
    assert code == 5
    assert line.startswith("avqa: s3://features")
    assert line.endswith(
        ": no credentials; expected AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile of"
        " ~/.aws/credentials (AWS_PROFILE); set them, then run the same command again; nothing"
        " stored is lost"
    )
    assert "169.254" not in line


def test_wrong_credentials(s3, bucket, refused):
    refused(AWS_SECRET_ACCESS_KEY="wrong")
    code, line = avqa_says("status", bucket)
    assert (code, "refused (SignatureDoesNotMatch); expected credentials that may" in line) == (
        5,
        1,
    )


@pytest.mark.parametrize("endpoint", ["", "nonsense", "ftp://host", "http://", "http://a b"])
def test_an_endpoint_that_is_no_address(s3, bucket, refused, endpoint):
    refused(AWS_ENDPOINT_URL=endpoint)
    assert avqa_says("status", bucket) == (
        2,
        f"avqa: endpoint={endpoint!r} of the S3 server; expected http://host:port or https://host;"
        " correct or unset AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_S3, or endpoint_url in"
        " ~/.aws/config",
    )


def test_a_bucket_that_refuses_to_be_written(bucket, refused):
    refused(AWS_ACCESS_KEY_ID=s3_server.READER_KEY, AWS_SECRET_ACCESS_KEY=s3_server.READER_SECRET)
    with pytest.raises(StorageFailure, match="expected credentials that may read, write") as told:
        Lock.acquire(bucket, "run")
    assert s3_server.READER_SECRET not in str(told.value)


def test_a_full_quota():
    from obstore.exceptions import PermissionDeniedError

    told = objects.refusal("s3://b/x", PermissionDeniedError("403: <Code>QuotaExceeded</Code>"))
    assert "expected room; free space or raise the quota, then run the same command" in str(told)
    assert told.exit_code == 5


def test_a_server_that_is_not_there(bucket, refused, monkeypatch):
    monkeypatch.setattr(objects, "RETRIES", {"max_retries": 1})
    refused(AWS_ENDPOINT_URL="http://127.0.0.1:9")
    code, line = avqa_says("status", bucket)
    assert (
        code,
        "refused (no answer from http://127.0.0.1:9); expected an answer; che" in line,
    ) == (
        5,
        True,
    )


def test_credentials_of_the_standard_files(s3, bucket, tmp_path, refused, monkeypatch):
    (tmp_path / "credentials").write_text(
        f"[default]\naws_access_key_id = wrong\n"
        f"[lab]\naws_access_key_id = {s3_server.KEY}\naws_secret_access_key = {s3_server.SECRET}\n",
        encoding="utf-8",
    )
    (tmp_path / "config").write_text(
        f"[profile lab]\nregion = us-east-1\nendpoint_url = {s3.url}\n", encoding="utf-8"
    )
    for name in list(s3.environment()):
        monkeypatch.delenv(name, raising=False)
    refused(
        AWS_PROFILE="lab",
        AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "credentials"),
        AWS_CONFIG_FILE=str(tmp_path / "config"),
    )
    (bucket / "x").write(b"written")
    assert (bucket / "x").read_bytes() == b"written"


def test_the_environment_goes_before_the_files(bucket, tmp_path, refused):
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = wrong\naws_secret_access_key = wrong\n", encoding="utf-8"
    )
    (tmp_path / "config").write_text(
        "[default]\nendpoint_url = http://127.0.0.1:9\nregion = x\n", encoding="utf-8"
    )
    refused(
        AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "credentials"),
        AWS_CONFIG_FILE=str(tmp_path / "config"),
    )
    (bucket / "x").write(b"written")
    assert (bucket / "x").read_bytes() == b"written"


def test_without_the_extra(monkeypatch):
    objects._client.cache_clear()
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(
        EnvironmentFailure, match="obstore is not installed; expected the extra s3; install"
    ):
        objects.client("bucket")
