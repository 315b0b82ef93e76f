"""`avqa status` and `avqa verify` of stores that lack something, as a user types them."""

import csv
import re
import shutil
from pathlib import Path

import pytest
from helpers.extraction.as_typed import avqa, extract, two_videos
from helpers.media import fake_reader

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


def test_by_sample_a_video_that_is_gone_is_nothing_to_repair(videos, store):
    (videos / "a.mp4").unlink()
    for more in ((), ("--repair",)):
        code, out, err = avqa("verify", store, "--level", "sample", "--videos", videos, *more)
        assert (code, "repaired" in out) == (6, False)
        assert err.endswith(
            "problems=1; expected none; give the folder that has these videos with --videos, or see"
            " what became of them: their rows stay as they are\n"
        )


def test_a_store_that_lacks_anything_is_told_of(store, tmp_path):
    whole = tmp_path / "whole"
    store.rename(whole)
    lacking = [path.relative_to(whole) for path in whole.rglob("*") if path.is_dir()]
    lacking += [path.relative_to(whole) for path in whole.rglob("zarr.json")]
    assert Path("features.zarr/light/pool") in lacking
    for name in lacking:
        shutil.copytree(whole, store)
        gone = store / name
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        for command in ("status", "verify"):
            code, _, err = avqa(command, store)
            assert code in (0, 4, 6), (name, command, err)
            assert "internal error" not in err
            if code:
                assert "verify --repair" in err, (name, command, err)
        shutil.rmtree(store)


def test_status_says_that_a_feature_is_gone(store):
    shutil.rmtree(store / "features.zarr/light/pool")
    code, _, err = avqa("status", store)
    assert (code, "array light/pool: its zarr.json is gone or damaged" in err) == (4, True)


def test_the_table_of_failures_has_those_of_earlier_runs(tmp_path, videos):
    store = tmp_path / "store"
    fake_reader.write_video(tmp_path / "one/x.mp4", seconds=2, act="corrupt")
    fake_reader.write_video(tmp_path / "two/y.mp4", seconds=2, seed=1, act="corrupt")

    def failed(folder, *more):
        code, _, err = extract(tmp_path / folder, store, *more)
        table = re.search(r"; see (\S+-failures\.csv); ", err)
        with open(table[1], newline="", encoding="utf-8") as file:
            return code, [row["video_id"] for row in csv.DictReader(file)]

    assert failed("one") == (3, ["x"])
    assert failed("two") == (3, ["y", "x"])
    assert failed("one") == (3, ["x", "y"])  # nothing is tried: it failed before
    fake_reader.write_video(tmp_path / "one/x.mp4", seconds=3)
    assert extract(tmp_path / "one", store, "--retry-failed")[0] == 0
    assert failed("two", "--retry-failed") == (3, ["y"])
    shown = avqa("status", store)[1]
    assert shown.count("failures of the last run that had any: ") == 1


def test_parts_are_verified_as_typed(store):
    code, out, err = avqa("verify", store, "--partition", "1/2")
    assert (code, err) == (0, "")
    assert f"store '{store}' part 1/2 (rows 1 to 1 of 2) level=crc: 1 videos, " in out
    (store / "features.zarr/light/pool/c.1.0.0").unlink()
    code, out, err = avqa("verify", store, "--partition", "0/2", "--level", "size")
    assert (code, out.count("no problem")) == (0, 1)
    code, out, err = avqa("verify", store, "--partition", "1/2")
    assert (code, out.startswith("missing: light/pool video='b' row=1: chunk=0: no obj")) == (
        6,
        True,
    )
    assert err.startswith(
        f"avqa: store '{store}': problems=1; expected none; `avqa verify --repair"
    )
    assert "part 2/9 (no row of 2)" in avqa("verify", store, "--partition", "2/9")[1]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (("2/2",), "partition='2/2'; expected I/N with 0 <= I < N; in a SLURM script with"),
        (("x",), "partition='x'; expected I/N with 0 <= I < N; in a SLURM script with"),
        (("0/2", "--repair"), "--partition 0/2 with --repair; expected one of them: a repair ta"),
        (("0/2", "--level", "sample"), "--partition 0/2 with --level sample; expected --level si"),
    ],
)
def test_a_part_that_cannot_be_verified_is_refused(store, typed, expected):
    code, _, err = avqa("verify", store, "--partition", *typed)
    assert (code, err.startswith(f"avqa: {expected}")) == (2, True)
