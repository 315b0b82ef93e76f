"""AVQA's HDF5 files into a store: what is kept, what is missing, what a second run does."""

import os
import signal
import sys

import h5py
import numpy as np
import pytest
from helpers.killed import exit_code
from helpers.questions import question_files
from helpers.store import avqa_files as files
from helpers.store.dumps import extracted_store, write_dump
from helpers.store.stores import store_bytes

import avqa
from avqa.datasets.avqa import video_names
from avqa.errors import (
    ConfigError,
    DatasetError,
    EnvironmentFailure,
    FeatureMissing,
    PartialFailure,
    RecipeMismatch,
    Stopped,
)
from avqa.pipelines.npy import hdf5_files, importing
from avqa.pipelines.npy.dumps import import_npy
from avqa.pipelines.npy.hdf5 import import_hdf5
from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.format.records import Status

MOTION, SOUND = "resnext101/pool", "panns_cnn14/clip"


def taken(source, store, **options):
    """Lines of an import, and what it said."""
    said = []
    return list(import_hdf5(source, store, say=said.append, **options)), said


@pytest.mark.parametrize("name", files.SHAPES)
@pytest.mark.parametrize("dtype", ["float16", "float32", ">f4", "float64"])
def test_rows_and_dtype_are_kept(tmp_path, name, dtype):
    values = files.write(
        tmp_path / "any.name.h5", name, [b"a", b"b"], files.rows_of(name, 2, dtype=dtype)
    )
    lines, said = taken(tmp_path / "any.name.h5", tmp_path / "S")
    rows = 1 if name == "vlaudio_features" else 8
    assert lines == [f"{name}: 2 videos: 2 imported, 0 already there; {2 * rows} rows"]
    assert said == []
    store = avqa.open_store(tmp_path / "S")
    for video, expected in zip("ab", values, strict=True):
        found = store.read(video, files.FEATURES[name])
        assert found.dtype == np.dtype(dtype).newbyteorder("=")
        assert found.shape == (rows, *files.SHAPES[name][-2 if name == "resnet_features" else -1 :])
        assert found.tobytes() == expected.astype(found.dtype).tobytes()
    assert verify(tmp_path / "S").problems == []


def test_the_recipe_says_where_it_came_from(tmp_path):
    for name in files.SHAPES:
        files.write(tmp_path / f"{name}.h5", name, [b"a"])
    taken(tmp_path, tmp_path / "S")
    store = avqa.open_store(tmp_path / "S")
    origin = {"convention": "unknown", "format": "hdf5", "ids": "names"}
    assert {feature: store.recipe(feature)["imported"] for feature in store.features} == {
        "resnet101/pool": {**origin, "kind": "resnet_features", "stream": "visual"},
        MOTION: {**origin, "kind": "resnext_features", "stream": "visual"},
        SOUND: {**origin, "kind": "vlaudio_features", "stream": "audio", "span": "video"},
    }
    assert store.row_layout("resnet101/pool").dims == ("frame", "channel")
    assert store.to_xarray()["resnet101/pool"].shape == (1, 8, 16, 2048)


TEXT = h5py.string_dtype()


@pytest.mark.parametrize(
    "ids",
    [
        np.array([b"x_000030", b"\xc3\xa4"], "S12"),
        np.array(["x_000030", "ä"], TEXT),
        np.array([b"x_000030", "ä".encode()], h5py.string_dtype("utf-8", 12)),
    ],
)
def test_ids_are_texts_of_every_kind(tmp_path, ids):
    files.write(tmp_path / "a.h5", "vlaudio_features", ids)
    assert taken(tmp_path / "a.h5", tmp_path / "S")[1] == []
    assert avqa.open_store(tmp_path / "S").video_ids == ("x_000030", "ä")


def annotations(folder, numbers):
    rows = [question_files.avqa_row(id=n, video_name=v, video_id=n) for v, n in numbers.items()]
    return question_files.write(folder / "train_qa.json", rows).parent


@pytest.mark.parametrize("dtype", ["int64", "uint16", "S4"])
def test_numbers_get_the_names_that_the_questions_have(tmp_path, dtype):
    ids = np.array([341, 7, 12]).astype(dtype)
    values = files.write(tmp_path / "f" / "a.h5", "vlaudio_features", ids)
    given = annotations(tmp_path / "q", {"seven_000030": 7, "first_000000": 341})
    lines, said = taken(tmp_path / "f", tmp_path / "S", annotations=given)
    store = avqa.open_store(tmp_path / "S")
    if dtype == "S4":  # a text may be a name
        assert store.video_ids == ("first_000000", "seven_000030", "12")
        return
    assert store.video_ids == ("first_000000", "seven_000030")
    assert store.read("seven_000030", SOUND).tobytes() == values[1].tobytes()
    assert lines == ["vlaudio_features: 2 videos: 2 imported, 0 already there; 2 rows"]
    assert said == [
        f"file {str(tmp_path / 'f' / 'a.h5')!r}: vlaudio_features: 1 of 3 rows are left out: no"
        " question names the videos of their numbers (12)"
    ]


def test_numbers_without_questions_stay_numbers(tmp_path):
    files.write(tmp_path / "a.h5", "vlaudio_features", [341, 7])
    _, said = taken(tmp_path / "a.h5", tmp_path / "S")
    assert said == [
        f"{str(tmp_path / 'a.h5')!r}: ids are numbers, and become the store's; AVQA's questions go"
        " by names: give --annotations, whose files have both"
    ]
    assert avqa.open_store(tmp_path / "S").video_ids == ("341", "7")
    given = annotations(tmp_path / "q", {"x": 7})
    with pytest.raises(RecipeMismatch, match='imported.ids: store="numbers" asked="names"'):
        taken(tmp_path / "a.h5", tmp_path / "S", annotations=given)
    with pytest.raises(ConfigError, match="no row in .* has an id of use; expected names of"):
        taken(tmp_path / "a.h5", tmp_path / "T", annotations=annotations(tmp_path / "r", {"x": 8}))
    assert not (tmp_path / "T").exists()


def test_question_files_name_every_number_once(tmp_path):
    path = question_files.write(
        tmp_path / "train_qa.json",
        [question_files.avqa_row(id=n, video_name=f"v{n}", video_id=5) for n in range(2)],
    )
    with pytest.raises(DatasetError, match="row=1 id=1: video_id=5 of video_name='v1' is that of"):
        video_names(path)
    question_files.write(path, [question_files.avqa_row(video_id=None)])
    with pytest.raises(DatasetError, match="no row has a number as video_id; expected the"):
        video_names(path)


def test_rows_of_zeros_are_missing(tmp_path):
    values = files.rows_of("resnext_features", 3)
    values[1] = 0
    values[2, 3] = 0  # one clip alone may be black
    files.write(tmp_path / "a.h5", "resnext_features", [b"a", b"b", b"c"], values)
    lines, said = taken(tmp_path / "a.h5", tmp_path / "S")
    assert (lines, said) == (
        [
            "resnext_features: 3 videos: 2 imported, 0 already there, 1 missing (rows of zeros);"
            " 16 rows"
        ],
        [],
    )
    store = avqa.open_store(tmp_path / "S")
    states = [Status.OK, Status.ABSENT, Status.OK]
    assert [store.status(video, MOTION) for video in "abc"] == states
    with pytest.raises(FeatureMissing, match="is absent; expected ok; the video has no such"):
        store.read("b", MOTION)
    assert verify(tmp_path / "S").problems == []
    assert taken(tmp_path / "a.h5", tmp_path / "S")[0] == [
        "resnext_features: 3 videos: 0 imported, 3 already there; 0 rows"
    ]


@pytest.mark.parametrize("block", [1, 3, 1000])
@pytest.mark.parametrize(
    "storage", [{}, {"chunks": (4, 2, 512), "compression": "gzip"}, {"chunks": (5, 8, 2048)}]
)
def test_blocks_of_any_size_give_the_same(tmp_path, monkeypatch, block, storage):
    monkeypatch.setattr("avqa.pipelines.npy.hdf5_files.BLOCK_BYTES", block * 8 * 2048 * 4)
    ids = [f"v{n}".encode() for n in range(11)]
    values = files.write(tmp_path / "a.h5", "resnext_features", ids, **storage)
    taken(tmp_path / "a.h5", tmp_path / "S")
    store = avqa.open_store(tmp_path / "S")
    for number, expected in enumerate(values):
        assert store.read(f"v{number}", MOTION).tobytes() == expected.tobytes()


def test_whole_chunks_are_read_at_once_if_they_fit(monkeypatch):
    monkeypatch.setattr(hdf5_files, "BLOCK_BYTES", 100)
    found = [hdf5_files.block_rows(*of) for of in ((10, 1), (10, 4), (10, 10), (10, 11), (200, 7))]
    assert found == [10, 8, 10, 10, 1]


def test_a_row_in_the_middle_is_read_with_the_whole_of_its_chunk(tmp_path, monkeypatch):
    path, ids = tmp_path / "a.h5", [f"v{n}".encode() for n in range(11)]
    storage = {"chunks": (4, 8, 2048), "compression": "gzip"}
    files.write(path, "resnext_features", ids, **storage)
    monkeypatch.setattr(hdf5_files, "BLOCK_BYTES", 5 * 8 * 2048 * 4)
    with hdf5_files.opened(path) as file:
        table = hdf5_files.Table(path, file, "resnext_features")
        read, seen = table._read, []
        monkeypatch.setattr(table, "_read", lambda *of: (seen.append(of), read(*of))[1])
        for number in (6, 7, 9, 10):
            table.row(number)
    assert seen == [(4, 8), (8, 11)]


def test_a_second_import_takes_what_is_new_or_changed(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    values = files.write(path, "resnext_features", [b"a", b"b", b"c"])
    taken(path, tmp_path / "S")
    before = store_bytes(tmp_path / "S")
    with monkeypatch.context() as patch:  # an untouched file is not read
        patch.setattr("avqa.pipelines.npy.hdf5_files.Table._read", None)
        assert "0 imported, 3 already there" in taken(path, tmp_path / "S")[0][0]
    os.utime(path, ns=(1, 1))
    assert "0 imported, 3 already there" in taken(path, tmp_path / "S")[0][0]
    assert store_bytes(tmp_path / "S") == before
    values = np.concatenate([values, values[:1] + 1])
    values[1] += 1
    files.write(path, "resnext_features", [b"a", b"b", b"c", b"d"], values)
    lines, _ = taken(path, tmp_path / "S")
    assert lines == ["resnext_features: 4 videos: 2 imported, 2 already there; 16 rows"]
    store = avqa.open_store(tmp_path / "S")
    for video, expected in zip("abcd", values, strict=True):
        assert store.read(video, MOTION).tobytes() == expected.tobytes()
    assert verify(tmp_path / "S").problems == []


def test_files_of_a_folder_are_parts_of_one(tmp_path):
    rows = files.rows_of("resnext_features", 5)
    files.write(tmp_path / "f" / "train.h5", "resnext_features", [b"a", b"b"], rows[:2])
    files.write(tmp_path / "f" / "val.HDF5", "resnext_features", [b"b", b"c"], rows[1:3])
    files.write(tmp_path / "f" / "other.h5", "vlaudio_features", [b"c", b"a"])
    (tmp_path / "f" / "._train.h5").write_bytes(b"left by a copy")
    (tmp_path / "f" / "notes.txt").write_bytes(b"")
    with h5py.File(tmp_path / "f" / "glove.h5", "w") as file:
        file["matrix"] = [1.0]
    lines, said = taken(tmp_path / "f", tmp_path / "S")
    assert lines == [
        "resnext_features: 3 videos: 3 imported, 0 already there; 24 rows",
        "vlaudio_features: 2 videos: 2 imported, 0 already there; 2 rows",
    ]
    assert said == [
        f"file {str(tmp_path / 'f' / 'glove.h5')!r}: holds 'matrix'; expected one of the datasets"
        " resnet_features, resnext_features, vlaudio_features; give the file that has it",
        "resnext_features: 1 ids have more than one row, the first is 'b': taken once where the"
        " rows are equal",
    ]
    store = avqa.open_store(tmp_path / "S")
    assert store.status("b", SOUND) == Status.PENDING
    assert store.read("c", MOTION).tobytes() == rows[2].tobytes()


def test_what_is_imported_later_has_room_in_one_object(tmp_path):
    """Chunks of a store that begins with the one row of the sound are of 8 rows, and small."""
    files.write(tmp_path / "a.h5", "vlaudio_features", [b"a"], np.ones((1, 2048), "float32"))
    files.write(tmp_path / "m.h5", "resnext_features", [b"a"])
    taken(tmp_path / "a.h5", tmp_path / "S")
    taken(tmp_path / "m.h5", tmp_path / "S")
    objects = [p for f in (MOTION, SOUND) for p in (tmp_path / "S/features.zarr" / f).glob("c*")]
    assert len(objects) == 2
    assert objects[1].stat().st_size < 1000


def test_rows_that_are_refused(tmp_path):
    values = files.rows_of("resnext_features", 6)
    values[1, 2, 5] = np.nan
    values[3] = values[0]  # a again, equal
    ids = [b"a", b"b", b"c", b"a", b"c", b"\xff"]
    path = tmp_path / "a.h5"
    files.write(path, "resnext_features", ids, values)
    said = []
    with pytest.raises(PartialFailure, match="2 of 3 videos and 1 of what the files hold were ref"):
        list(import_hdf5(path, tmp_path / "S", say=said.append))
    about = "file 'FILE': resnext_features"
    assert [line.replace(str(path), "FILE") for line in said] == [
        f"{about}[5]: its id is empty or no UTF-8 text; expected the name of a video; correct it"
        " in the file",
        "resnext_features: 2 ids have more than one row, the first is 'a': taken once where the"
        " rows are equal",
        f"{about}[1] (id 'b'): row=2 holds NaN or infinity; expected finite values; make the file"
        " again",
        f"{about}[2] (id 'c'): resnext_features[4] of 'FILE' has the same id and other values;"
        " expected one row a video; remove the wrong one",
    ]
    store = avqa.open_store(tmp_path / "S")
    states = [store.status(video, MOTION) for video in "abc"]
    assert states == [Status.OK, Status.FAILED, Status.FAILED]
    values[1], values[4] = 1, values[2]
    files.write(path, "resnext_features", ids[:5], values[:5])
    assert taken(path, tmp_path / "S")[0] == [
        "resnext_features: 3 videos: 2 imported, 1 already there; 16 rows"
    ]
    assert verify(tmp_path / "S").problems == []


def test_of_a_damaged_chunk_only_its_rows_fail(tmp_path):
    path = tmp_path / "a.h5"
    ids = [f"v{n}".encode() for n in range(6)]
    values = files.write(
        path, "resnext_features", ids, chunks=(2, 8, 2048), compression="gzip", fletcher32=True
    )
    with h5py.File(path) as file:
        chunk = file["resnext_features"].id.get_chunk_info(1)
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset + 100)
        raw.write(b"\0" * 100)
    said = []
    with pytest.raises(PartialFailure, match="2 of 6 videos were refused"):
        list(import_hdf5(path, tmp_path / "S", say=said.append))
    assert [line.partition(" cannot be read: ")[0] for line in said] == [
        f"file {str(path)!r}: resnext_features[{n}] (id 'v{n}'):" for n in (2, 3)
    ]
    store = avqa.open_store(tmp_path / "S")
    assert store.read("v4", MOTION).tobytes() == values[4].tobytes()


def test_another_dtype_than_most(tmp_path):
    files.write(tmp_path / "f" / "a.h5", "vlaudio_features", [b"a", b"b"])
    half = files.rows_of("vlaudio_features", 1, dtype="float16")
    files.write(tmp_path / "f" / "b.h5", "vlaudio_features", [b"c"], half)
    said = []
    with pytest.raises(PartialFailure):
        list(import_hdf5(tmp_path / "f", tmp_path / "S", say=said.append))
    assert said == [
        f"file {str(tmp_path / 'f' / 'b.h5')!r}: vlaudio_features has dtype=float16, most others"
        " float32; expected one dtype; save it again"
    ]


def test_stores_of_extracted_features_are_refused_and_npy_files_join(tmp_path):
    files.write(tmp_path / "a.h5", "vlaudio_features", [b"a"])
    extracted_store(tmp_path / "E", {"a": 3})
    with pytest.raises(RecipeMismatch, match="holds extracted features=.*; expected imported ones"):
        taken(tmp_path / "a.h5", tmp_path / "E")
    import_npy(write_dump(tmp_path / "vggish", "vggish", {"a": 10}), tmp_path / "S")
    taken(tmp_path / "a.h5", tmp_path / "S")
    assert avqa.open_store(tmp_path / "S").features == (SOUND, "vggish/audio")


def test_the_library_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(EnvironmentFailure) as caught:
        taken(tmp_path / "a.h5", tmp_path / "S")
    assert str(caught.value) == (
        "HDF5 files: h5py is not installed; expected the extra hdf5; install it with:"
        " pip install h5py"
    )


def test_a_signal_stops_it_and_it_goes_on(tmp_path, monkeypatch):
    files.write(tmp_path / "a.h5", "vlaudio_features", [b"a", b"b", b"c"])
    take = importing._Importer._take

    def stopped_at_b(self, item, row):
        if item.video_id == "b":
            os.kill(os.getpid(), signal.SIGTERM)
        return take(self, item, row)

    with monkeypatch.context() as patch:
        patch.setattr(importing._Importer, "_take", stopped_at_b)
        with pytest.raises(Stopped, match="1 videos of vlaudio_features left; resume with"):
            taken(tmp_path / "a.h5", tmp_path / "S")
    assert "1 imported, 2 already there" in taken(tmp_path / "a.h5", tmp_path / "S")[0][0]


def test_killed_at_any_change_of_the_disk_it_goes_on_to_the_same_bytes(tmp_path):
    for name in ("resnext_features", "vlaudio_features"):
        values = files.rows_of(name, 6)
        values[2] = 0
        files.write(
            tmp_path / "f" / f"{name}.h5", name, [b"a", b"b", b"c", b"d", b"e", b"f"], values
        )
    taken(tmp_path / "f", tmp_path / "whole")
    whole = store_bytes(tmp_path / "whole")
    killed = 0
    for change in range(3, 1000, 17):
        path = tmp_path / str(change)
        ended = exit_code(files.import_and_die, tmp_path / "f", path, change)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        killed += 1
        taken(tmp_path / "f", path)
        assert store_bytes(path) == whole, f"after change {change}"
        assert verify(path).problems == [], f"after change {change}"
    assert killed > 3
    assert Store.open(path).status(MOTION).tolist() == [1, 1, 4, 1, 1, 1]
