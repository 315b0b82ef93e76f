"""Published .npy files into a store: what is kept, what is refused, what a second run does."""

import contextlib
import io
import os
import pickle
import signal
import struct

import numpy as np
import pytest
from helpers.media import fake_reader
from helpers.store.dumps import extracted_store, rows_of, write_dump
from helpers.store.stores import store_bytes

import avqa
from avqa.errors import (
    ConfigError,
    FeatureMissing,
    PartialFailure,
    RecipeMismatch,
    Stopped,
    StoreLocked,
    UnknownName,
)
from avqa.extract import encoders
from avqa.extract.profiles import profile
from avqa.pipelines.extraction.run import ExtractOptions, extract_folder
from avqa.pipelines.extraction.verify import verify_store
from avqa.pipelines.npy import importing
from avqa.pipelines.npy.dumps import import_npy
from avqa.pipelines.npy.importing import raise_if_failed
from avqa.pipelines.npy.kinds import KINDS
from avqa.pipelines.npy.layouts import LAYOUTS, folder_at
from avqa.pipelines.npy.npy_files import BadFile, fitted_shape, read_header
from avqa.store.checks.verify import verify
from avqa.store.commit import Store
from avqa.store.format.records import Status
from avqa.store.lock import Lock

AUDIO = "vggish/audio"


def refusal(tmp_path, values=None, *, kind="vggish", data=None):
    """The line about a bad file beside a good one."""
    folder = write_dump(tmp_path / "dump", kind, {"good": 3})
    if data is None:
        np.save(folder / "bad.npy", values, allow_pickle=True)
    else:
        (folder / "bad.npy").write_bytes(data)
    said = []
    (report,) = import_npy(folder, tmp_path / "store", kind=kind, say=said.append)
    assert (report.imported, report.failed) == (1, 1)
    with pytest.raises(PartialFailure, match="1 of 2 files were refused; see .*failures.csv; exp"):
        raise_if_failed([report])
    store = avqa.open_store(tmp_path / "store")
    for part in KINDS[kind].parts:
        assert store.status("bad", part.feature) == Status.FAILED
    assert verify(tmp_path / "store").problems == []
    (line,) = said
    start = f"file {str(folder / 'bad.npy')!r}: "
    assert line.startswith(start)
    assert "\n" not in line
    return line.removeprefix(start)


def test_the_kinds_fit_our_own_features():
    parts = {part.feature: part for kind in KINDS.values() for part in kind.parts}
    ours = set(encoders.all_features()) & set(parts)
    assert {"clip_vit_b32/frame", "clip_vit_b32/patch", "resnet18/map", AUDIO} <= ours
    for name in ours:
        tap, part = encoders.tap_of(name), parts[name]
        assert (part.shape, part.dims, part.sparse) == (tap.shape, tap.dims, tap.sparse)


def test_every_folder_of_a_layout_is_known_by_its_name():
    for layout, folders in LAYOUTS.items():
        for folder in folders:
            assert folder_at(folder.name, layout) is folder


@pytest.mark.parametrize("kind", KINDS)
def test_rows_and_dtype_are_kept(tmp_path, kind):
    folder = write_dump(tmp_path / "dump", kind, {"a": 3, "b": 5})
    (report,) = import_npy(folder, tmp_path / "store", kind=kind)
    assert report.line() == f"{kind}: 2 files: 2 imported, 0 already there; 8 rows"
    store = avqa.open_store(tmp_path / "store")
    for name in ("a", "b"):
        file = np.load(folder / f"{name}.npy")
        parts = [store.read(name, part.feature) for part in KINDS[kind].parts]
        assert {part.dtype for part in parts} == {np.dtype("float32")}
        if kind == "res18_14x14":
            np.testing.assert_array_equal(parts[0], file.transpose(0, 2, 3, 1))
        elif kind == "clip_patch":
            np.testing.assert_array_equal(parts[0], file[:, 0])
            np.testing.assert_array_equal(parts[1], file[:, 1:])
        else:
            np.testing.assert_array_equal(parts[0], file)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_float_types_are_kept(tmp_path, dtype):
    folder = write_dump(tmp_path / "vggish", "vggish", {"a": 3}, dtype)
    import_npy(folder, tmp_path / "store")
    rows = avqa.open_store(tmp_path / "store").read("a", AUDIO)
    assert rows.dtype == dtype
    np.testing.assert_array_equal(rows, np.load(folder / "a.npy"))


def test_a_leading_1_is_squeezed_and_all_rows_are_kept(tmp_path):
    folder = write_dump(tmp_path / "vggish", "vggish", {"a": 3})
    long = rows_of("vggish", 130, seed=7)
    np.save(folder / "b.npy", long[None])
    import_npy(folder, tmp_path / "store")
    store = avqa.open_store(tmp_path / "store")
    np.testing.assert_array_equal(store.read("b", AUDIO), long)
    assert store.length("a") == 3


def test_truncation_is_on_request_and_part_of_the_recipe(tmp_path):
    folder = write_dump(tmp_path / "vggish", "vggish", {"a": 3, "b": 6})
    import_npy(folder, tmp_path / "store", truncate=4)
    store = avqa.open_store(tmp_path / "store")
    np.testing.assert_array_equal(store.read("b", AUDIO), np.load(folder / "b.npy")[:4])
    assert store.length("a") == 3
    assert store.recipe(AUDIO)["imported"]["truncate"] == 4
    expected = (
        r"another recipe: imported.truncate: store=4 asked=\(none\) \(vggish/audio\);"
        " expected the same; give another --store"
    )
    with pytest.raises(RecipeMismatch, match=expected):
        import_npy(folder, tmp_path / "store")


def test_provenance_says_imported(tmp_path):
    folder = write_dump(tmp_path / "vggish", "vggish", {"a": 3})
    import_npy(folder, tmp_path / "store")
    recipe = avqa.open_store(tmp_path / "store").recipe(AUDIO)
    assert recipe["imported"] == {"kind": "vggish", "convention": "unknown"}
    assert recipe["weights"] == {"vggish": {"source": "imported"}}
    (record,) = next(iter(Store.open(tmp_path / "store").ledger.segments())).records()
    assert record.relpath == "vggish/a.npy"
    assert record.fingerprint.size == (folder / "a.npy").stat().st_size


def test_a_parent_folder_gives_all_kinds_each_with_its_own_length(tmp_path):
    write_dump(tmp_path / "feats/vggish", "vggish", {"a": 60})
    write_dump(tmp_path / "feats/visual_14x14", "res18_14x14", {"a": 2})
    (tmp_path / "feats/notes").mkdir()
    reports = import_npy(tmp_path / "feats", tmp_path / "store")
    assert sorted(report.kind for report in reports) == ["res18_14x14", "vggish"]
    store = avqa.open_store(tmp_path / "store")
    assert store.read("a", AUDIO).shape == (60, 128)
    assert store.read("a", "resnet18/map").shape == (2, 14, 14, 512)
    assert verify(tmp_path / "store").problems == []


def test_a_second_import_changes_nothing(tmp_path):
    folder = write_dump(tmp_path / "vggish", "vggish", {"a": 3, "b": 5})
    np.save(folder / "c.npy", np.zeros((3, 7), "float32"))
    import_npy(folder, tmp_path / "store")
    before = store_bytes(tmp_path / "store")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "store/features.zarr").rglob("c.*")}
    segments = len(Store.open(tmp_path / "store").ledger.segments())
    said = []
    (report,) = import_npy(folder, tmp_path / "store", say=said.append)
    assert report.line() == (
        "vggish: 3 files: 0 imported, 2 already there, 1 refused before and not changed since;"
        " 0 rows"
    )
    assert said == []
    assert store_bytes(tmp_path / "store") == before
    assert times == {path: path.stat().st_mtime_ns for path in times}
    assert len(Store.open(tmp_path / "store").ledger.segments()) == segments
    with pytest.raises(PartialFailure, match="1 of 3 files were refused; see .*failures.csv; exp"):
        raise_if_failed([report])


def test_a_replaced_file_is_taken_again_and_a_new_kind_joins(tmp_path):
    folder = write_dump(tmp_path / "vggish", "vggish", {"a": 3, "b": 70})
    (folder / "c.npy").write_bytes(b"")
    import_npy(folder, tmp_path / "store")
    for name in ("b", "c"):
        np.save(folder / f"{name}.npy", rows_of("vggish", 4, seed=9))
    (report,) = import_npy(folder, tmp_path / "store")
    assert (report.imported, report.finished_before, report.failed) == (2, 1, 0)
    other = write_dump(tmp_path / "res18", "res18", {"a": 3})
    import_npy(other, tmp_path / "store")
    store = avqa.open_store(tmp_path / "store")
    for name in ("b", "c"):
        np.testing.assert_array_equal(store.read(name, AUDIO), rows_of("vggish", 4, seed=9))
    assert store.read("a", "resnet18/pool").shape == (3, 512)
    assert store.status("b", "resnet18/pool") == Status.PENDING
    assert verify(tmp_path / "store").problems == []


def test_an_interrupted_import_goes_on_where_it_stopped(tmp_path, monkeypatch):
    folder = write_dump(tmp_path / "vggish", "vggish", dict.fromkeys("abcd", 3))
    take = importing._Importer._take

    def stopped_at_b(self, item, row):
        if item.video_id == "b":
            os.kill(os.getpid(), signal.SIGTERM)
        return take(self, item, row)

    with monkeypatch.context() as patch:
        patch.setattr(importing._Importer, "_take", stopped_at_b)
        with pytest.raises(Stopped, match="2 files of vggish left; resume with the same") as found:
            import_npy(folder, tmp_path / "store")
    assert found.value.exit_code == 143
    (report,) = import_npy(folder, tmp_path / "store")
    assert (report.imported, report.finished_before) == (2, 2)
    import_npy(folder, tmp_path / "whole")
    assert store_bytes(tmp_path / "store") == store_bytes(tmp_path / "whole")


def test_rows_about_to_be_replaced_are_pending_on_disk(tmp_path, monkeypatch):
    folder = write_dump(tmp_path / "vggish", "vggish", {"a": 3, "b": 3})
    import_npy(folder, tmp_path / "store")
    np.save(folder / "b.npy", rows_of("vggish", 4, seed=9))

    def die(self, item, row):
        raise KeyboardInterrupt

    monkeypatch.setattr(importing._Importer, "_take", die)
    with pytest.raises(KeyboardInterrupt):
        import_npy(folder, tmp_path / "store")
    store = avqa.open_store(tmp_path / "store")
    assert [store.status(name, AUDIO) for name in "ab"] == [Status.OK, Status.PENDING]


def test_a_held_store_is_refused(tmp_path):
    folder = write_dump(tmp_path / "vggish", "vggish", {"a": 3})
    with Lock.acquire(tmp_path / "store", "other"), pytest.raises(StoreLocked):
        import_npy(folder, tmp_path / "store")


def test_tokens_of_two_networks_are_told_apart(tmp_path):
    """TSPM's, QA-TIGER's and CueSpace's files have one shape and one folder name."""
    name = "visual_tome14"
    with pytest.raises(ConfigError, match="folder 'tome14' may hold"):
        folder_at("tome14")
    inner = write_dump(tmp_path / "feats" / name, "clip_l14_tome14", {"a": 60})
    write_dump(tmp_path / "feats" / "vggish", "vggish", {"a": 60})
    for source in (inner, tmp_path / "feats"):
        with pytest.raises(ConfigError) as caught:
            import_npy(source, tmp_path / "store")
        assert str(caught.value) == (
            f"folder {name!r} may hold tokens of two networks, both [T,14,1024]; expected which;"
            " say --kind vit_l16_tome14 (of TSPM and QA-TIGER) or --kind clip_l14_tome14 (of"
            " CueSpace), or to `avqa import` --from-layout tspm|qa-tiger|cuespace"
        )
    assert not (tmp_path / "store").exists()
    with pytest.raises(UnknownName, match="no layout 'tspn'; did you mean 'tspm'"):
        import_npy(inner, tmp_path / "store", layout="tspn")
    for layout, feature, kinds in (
        ("qa-tiger", "vit_l16_384/tome14", 2),
        ("cuespace", "clip_vit_l14_336/tome14", 1),
    ):
        reports = import_npy(tmp_path / "feats", tmp_path / layout, layout=layout)
        assert len(reports) == kinds
        assert avqa.open_store(tmp_path / layout).read("a", feature).shape == (60, 14, 1024)
    import_npy(inner, tmp_path / "kind", kind="vit_l16_tome14")
    assert avqa.open_store(tmp_path / "kind").features == ("vit_l16_384/tome14",)


class Explosive:
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def test_pickled_objects_are_never_unpickled(tmp_path):
    line = refusal(tmp_path, np.array([Explosive()], dtype=object))
    assert line == (
        "holds pickled objects; expected an array of numbers; avqa never unpickles: save it again"
        " as a plain float32 array"
    )


def test_a_bare_pickle_is_never_unpickled(tmp_path):
    line = refusal(tmp_path, data=pickle.dumps(Explosive()))
    assert line.startswith("is a pickle; expected an array of numbers; avqa never unpickles")


BAD_SHAPES = [
    ("vggish", (128,), "shape=(128,) rank=1; expected [T,128] rank=2"),
    ("vggish", (3, 127), "shape=(3, 127) rank=2; expected [T,128] rank=2"),
    ("vggish", (2, 3, 128), "shape=(2, 3, 128) rank=3; expected [T,128] rank=2"),
    ("clip_patch", (3, 49, 512), "shape=(3, 49, 512) rank=3; expected [T,50,512] rank=3"),
    (
        "res18_14x14",
        (1, 14, 14, 512),
        "shape=(1, 14, 14, 512) rank=4; expected [T,512,14,14] rank=4",
    ),
]


@pytest.mark.parametrize(("kind", "shape", "expected"), BAD_SHAPES)
def test_wrong_rank_or_width(tmp_path, kind, shape, expected):
    line = refusal(tmp_path, np.zeros(shape, "float32"), kind=kind)
    assert line == f"{expected}; check the folder or --kind"


@pytest.mark.parametrize("dtype", ["uint8", "int64", "complex64", "bool"])
def test_no_floating_point_numbers(tmp_path, dtype):
    line = refusal(tmp_path, np.zeros((3, 128), dtype))
    assert line == (f"dtype={dtype}; expected float16, float32, float64; save it again as float32")


def test_another_dtype_than_the_rest_of_the_folder(tmp_path):
    folder = write_dump(tmp_path / "vggish", "vggish", {"b": 3, "c": 3})
    write_dump(folder, "vggish", {"a": 3}, "float16")
    said = []
    (report,) = import_npy(folder, tmp_path / "store", say=said.append)
    assert (report.imported, report.failed) == (2, 1)
    assert said[0].endswith(
        "dtype=float16, most others are float32; expected one dtype per folder; save it again"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path, value):
    rows = np.zeros((200, 128), "float32")
    rows[150, 5] = value
    line = refusal(tmp_path, rows)
    assert line == ("row=150 holds NaN or infinity; expected finite values; make the file again")


def saved(values):
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


GOOD = saved(np.ones((3, 128), "float32"))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is empty; expected an array; copy the file again"),
        (b"hello, world", "has no .npy header; expected one; check what wrote it"),
        (b"\x93NUMPY\x01\x00", "has no .npy header; expected one; check what wrote it"),
        (GOOD[:100], "has no .npy header; expected one; check what wrote it"),
        (b"PK\x03\x04more", "has no .npy header; expected one; it is a zip archive: unpack it"),
        (GOOD.replace(b"(3, 128)", b"(-3,128)"), "has no .npy header; expected one; check what"),
        (
            GOOD[:-1],
            "size=1663 bytes, its header says shape=(3, 128) dtype=float32; expected 1664 bytes;"
            " copy the file again",
        ),
        (
            GOOD + b"x",
            "size=1665 bytes, its header says shape=(3, 128) dtype=float32; expected 1664 bytes;",
        ),
        (
            GOOD.replace(b"(3, 128), }         ", b"(9999999999, 128), }"),
            "size=1664 bytes, its header says shape=(9999999999, 128) dtype=float32;"
            " expected 5119999999616 bytes;",
        ),
        (saved(np.ones((0, 128), "float32")), "shape=(0, 128) holds no row; expected some;"),
        (saved(np.float32(1)), "shape=() holds no row; expected some;"),
    ],
)  # fmt: skip
def test_damaged_files(tmp_path, data, expected):
    assert refusal(tmp_path, data=data).startswith(expected)


def test_a_file_that_cannot_be_opened(tmp_path, monkeypatch):
    folder = write_dump(tmp_path / "vggish", "vggish", {"a": 3, "b": 3})

    def refuse(path, *args, **kwargs):
        if path.name == "b.npy":
            raise PermissionError(13, "Permission denied")
        return io.open(path, *args, **kwargs)  # noqa: UP020

    monkeypatch.setattr("avqa.pipelines.npy.npy_files.Path.open", refuse)
    said = []
    import_npy(folder, tmp_path / "store", say=said.append)
    assert said[0].endswith("b.npy': cannot be read: Permission denied; expected a file; check it")


def test_a_folder_of_which_nothing_can_be_taken(tmp_path):
    folder = tmp_path / "vggish"
    folder.mkdir()
    np.save(folder / "a.npy", np.zeros((3, 7), "float32"))
    with pytest.raises(ConfigError, match=r"a.npy': shape=\(3, 7\) rank=2; expected \[T,128\]"):
        import_npy(folder, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_folders_that_are_refused(tmp_path):
    store = tmp_path / "store"
    with pytest.raises(ConfigError, match=r"no folder '.*none'; expected one that holds <video>"):
        import_npy(tmp_path / "none", store)
    dump = write_dump(tmp_path / "my_feats", "vggish", {"a": 3})
    with pytest.raises(ConfigError, match="has no published name and holds none that has; expecte"):
        import_npy(dump, store)
    with pytest.raises(ConfigError, match="no kind of .npy file 'vgish'; did you mean 'vggish'?"):
        import_npy(dump, store, kind="vgish")
    (tmp_path / "vggish").mkdir()
    with pytest.raises(ConfigError, match="holds no .npy file; expected <video>.npy; check --from"):
        import_npy(tmp_path / "vggish", store)
    for name in ("two/res18", "two/resnet18"):
        write_dump(tmp_path / name, "res18", {"a": 3})
    with pytest.raises(ConfigError, match="'res18' and 'resnet18' in .* hold the same kind=res18;"):
        import_npy(tmp_path / "two", store)
    with pytest.raises(ConfigError, match="is no avqa store and not empty; expected a store or"):
        import_npy(dump, tmp_path / "two", kind="vggish")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file; expected a folder; give another --store"):
        import_npy(dump, tmp_path / "file", kind="vggish")
    os.rename(dump / "a.npy", os.fsencode(dump / "a") + b"\xff.npy")
    with pytest.raises(ConfigError, match=r"a\\\\xff.npy': its name is no UTF-8; expected <video>"):
        import_npy(dump, store, kind="vggish")
    assert not store.exists()


def test_imported_and_extracted_features_do_not_mix(tmp_path):
    folder = write_dump(tmp_path / "vggish", "vggish", {"a": 3})
    extracted_store(tmp_path / "extracted", {"a": 3})
    with pytest.raises(
        RecipeMismatch, match="holds extracted features=clip_vit_b32/frame,.*; expe"
    ):
        import_npy(folder, tmp_path / "extracted")
    import_npy(folder, tmp_path / "store")
    before = store_bytes(tmp_path / "store")
    fake_reader.write_video(tmp_path / "videos/a.mp4")
    for feature in (AUDIO, "resnet18/pool"):
        settings = profile(
            "default", features=(feature,), decoder=fake_reader.DECODER, weights="random:0"
        )
        options = ExtractOptions(tmp_path / "videos", tmp_path / "store", settings, "sync")
        expected = (
            "holds imported features=vggish/audio; expected extracted ones only, since imported"
            " rows may be other seconds; give another --out"
        )
        with pytest.raises(RecipeMismatch, match=expected):
            extract_folder(options)
    assert store_bytes(tmp_path / "store") == before


def test_imported_features_cannot_be_verified_by_extracting_again(tmp_path):
    folder = write_dump(tmp_path / "vggish", "vggish", {"a": 3})
    import_npy(folder, tmp_path / "store")
    with pytest.raises(ConfigError, match="imported features cannot be extracted again; expected"):
        verify_store(
            tmp_path / "store", level="sample", videos=tmp_path, num_videos=1, repair=False
        )


def test_hostile_heads_end_in_one_line(tmp_path):
    """Whatever a head says, there is a line for it and no other error."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(GOOD)
        for place in rng.integers(6, 128, 3):
            data[place] = rng.integers(0, 256)
        path = tmp_path / "a.npy"
        path.write_bytes(bytes(data))
        with contextlib.suppress(BadFile):
            fitted_shape(read_header(path), (128,))


def test_a_head_of_megabytes_is_not_parsed(tmp_path):
    folder = write_dump(tmp_path / "vggish", "vggish", {"good": 3})
    text = b"(" * 2_000_000
    data = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text
    (folder / "bad.npy").write_bytes(data)
    said = []
    import_npy(folder, tmp_path / "store", say=said.append)
    assert "has no .npy header" in said[0]


def test_a_video_without_a_file_is_told_to_be_imported_not_extracted(tmp_path):
    write_dump(tmp_path / "feats/vggish", "vggish", {"a": 5, "b": 5})
    write_dump(tmp_path / "feats/clip_vit_b32", "clip_vit_b32", {"a": 5})
    import_npy(tmp_path / "feats", tmp_path / "store")
    message = "is pending; .*; take its file in with `avqa import npy`"
    with pytest.raises(FeatureMissing, match=message):
        avqa.open_store(tmp_path / "store").read("b", "clip_vit_b32/frame")
