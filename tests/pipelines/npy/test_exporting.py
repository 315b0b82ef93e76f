"""A store into the files that published repositories read, and imported files back as they were."""

import numpy as np
import pytest
from helpers.store.dumps import (
    SPECS,
    extracted_store,
    feature_rows,
    file_bytes,
    rows_of,
    write_dump,
)
from numpy.lib import format as npy

from avqa.errors import ConfigError, FeatureMissing, PartialFailure, StorageFailure, UnknownName
from avqa.pipelines.npy.dumps import import_npy
from avqa.pipelines.npy.exporting import export_npy
from avqa.pipelines.npy.kinds import KINDS
from avqa.pipelines.npy.layouts import LAYOUTS, Folder
from avqa.store.format.schema import FeatureSpec


def there_and_back(tmp_path, folder, kind, monkeypatch):
    """Import a folder, export it; both folders' bytes."""
    import_npy(folder, tmp_path / "store", kind=kind)
    monkeypatch.setitem(LAYOUTS, "one", (Folder("back", kind),))
    export_npy(tmp_path / "store", tmp_path / "out", "one")
    return file_bytes(folder), file_bytes(tmp_path / "out/back")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_import_then_export_gives_the_same_bytes(tmp_path, kind, dtype, monkeypatch):
    lengths = {"a": 2, "00000093": 3} if kind == "res18_14x14" else {"a": 60, "b": 61}
    folder = write_dump(tmp_path / "dump", kind, lengths, dtype)
    before, after = there_and_back(tmp_path, folder, kind, monkeypatch)
    assert len(before) == len(lengths)
    assert after == before


def odd_files(folder):
    folder.mkdir()
    rows = rows_of("vggish", 60)
    np.save(folder / "plain.npy", rows)
    np.save(folder / "leading.npy", rows[None])
    np.save(folder / "fortran.npy", np.asfortranarray(rows))
    np.save(folder / "big_endian.npy", rows.astype(">f4"))
    np.save(folder / "negative_zero.npy", -np.zeros_like(rows))
    with (folder / "version2.npy").open("wb") as file:
        npy.write_array(file, rows, version=(2, 0))
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (60L, 128L), }"
    text += b" " * (15 - (10 + len(text)) % 16) + b"\n"
    old = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    (folder / "python2.npy").write_bytes(old + rows.tobytes())
    return folder


def test_unusual_heads_come_back_too(tmp_path, monkeypatch):
    folder = odd_files(tmp_path / "dump")
    before, after = there_and_back(tmp_path, folder, "vggish", monkeypatch)
    assert len(before) == 7
    for name, data in before.items():
        assert after[name] == data, name


def test_fortran_order_of_maps_with_a_leading_1(tmp_path, monkeypatch):
    (tmp_path / "dump").mkdir()
    maps = rows_of("res18_14x14", 3)
    np.save(tmp_path / "dump/a.npy", np.asfortranarray(maps[None]))
    before, after = there_and_back(tmp_path, tmp_path / "dump", "res18_14x14", monkeypatch)
    assert after == before


def test_a_replaced_file_comes_back_as_it_is_now(tmp_path, monkeypatch):
    folder = odd_files(tmp_path / "dump")
    import_npy(folder, tmp_path / "store", kind="vggish")
    np.save(folder / "fortran.npy", rows_of("vggish", 5))
    before, after = there_and_back(tmp_path, folder, "vggish", monkeypatch)
    assert after == before


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("pstp", {"vggish": (128,), "clip_vit_b32": (512,), "clip_patch-level_vit_b32": (50, 512)}),
        ("avaf", {"vggish": (128,), "clip_patch_vit32": (50, 512)}),
    ],
)
def test_extracted_features_are_written_as_float32(tmp_path, layout, expected):
    extracted_store(tmp_path / "store", {"a": 60, "b": 60})
    report = export_npy(tmp_path / "store", tmp_path / "out", layout)
    assert {p.name for p in (tmp_path / "out").iterdir()} == set(expected)
    assert report.lines() == [f"{name}: 2 written, 0 already there" for name in expected]
    for name, row in expected.items():
        values = np.load(tmp_path / "out" / name / "b.npy")
        assert values.dtype == np.float32
        assert values.shape == (60, *row)
    stored = {
        name: feature_rows(spec, 60, 1).astype(np.float16).astype(np.float32)
        for name, spec in SPECS.items()
    }
    tokens = np.load(tmp_path / "out" / list(expected)[-1] / "b.npy")
    np.testing.assert_array_equal(tokens[:, 0], stored["clip_vit_b32/frame"])
    np.testing.assert_array_equal(tokens[:, 1:], stored["clip_vit_b32/patch"])
    audio = np.load(tmp_path / "out/vggish/b.npy")
    np.testing.assert_array_equal(audio, stored["vggish/audio"])


def test_extract_export_import_export_gives_the_same_bytes(tmp_path):
    extracted_store(tmp_path / "store", {"a": 5, "b": 7})
    export_npy(tmp_path / "store", tmp_path / "one", "pstp")
    import_npy(tmp_path / "one", tmp_path / "imported")
    export_npy(tmp_path / "imported", tmp_path / "two", "pstp")
    assert len(file_bytes(tmp_path / "one")) == 6
    assert file_bytes(tmp_path / "two") == file_bytes(tmp_path / "one")


def maps_store(tmp_path, lengths):
    """A store of tiny maps: the shape is data, the rules are the same."""
    map_spec = FeatureSpec("resnet18/map", (14, 14, 512), ("y", "x", "channel"), True, "float16")
    specs = (SPECS["vggish/audio"], map_spec)
    extracted_store(tmp_path / "store", lengths, specs=specs)
    return map_spec


def test_maps_are_channel_first_and_tjstg_reads_every_sixth(tmp_path):
    spec = maps_store(tmp_path, {"a": 14, "b": 61, "c": 9})
    export_npy(tmp_path / "store", tmp_path / "out", "tjstg")
    stored = feature_rows(spec, 14, 0).astype(np.float16).astype(np.float32)
    written = np.load(tmp_path / "out/res18_14x14/a.npy")
    assert written.shape == (3, 512, 14, 14)
    for place, second in enumerate((0, 6, 12)):
        np.testing.assert_array_equal(written[place], stored[second].transpose(2, 0, 1))
    assert np.load(tmp_path / "out/res18_14x14/b.npy").shape == (10, 512, 14, 14)
    assert np.load(tmp_path / "out/vggish/b.npy").shape == (61, 128)
    # Few rows are a published file of ten frames already.
    assert np.load(tmp_path / "out/res18_14x14/c.npy").shape == (9, 512, 14, 14)
    assert np.load(tmp_path / "out/res18_14x14/a.npy").flags.c_contiguous
    report = export_npy(tmp_path / "store", tmp_path / "all", "music-avqa")
    assert np.load(tmp_path / "all/res18_14x14/a.npy").shape == (14, 512, 14, 14)
    assert report.without == [
        "res18: not written, the store has no resnet18/pool",
        "r2plus1d_18: not written, the store has no r2plus1d_18/pool",
    ]


def test_padding_and_cutting_on_request(tmp_path):
    extracted_store(tmp_path / "store", {"a": 3, "b": 9, "c": 6})
    plain = export_npy(tmp_path / "store", tmp_path / "plain", "pstp")
    assert (
        "vggish: 3 videos do not have 60 rows, which the layout's loaders count on;"
        " pad or cut them with --length 60"
    ) in plain.lines()
    report = export_npy(tmp_path / "store", tmp_path / "out", "pstp", length=6)
    assert report.lines() == [
        "vggish: 3 written, 0 already there; length=6: 1 padded, 1 cut",
        "clip_vit_b32: 3 written, 0 already there; length=6: 1 padded, 1 cut",
        "clip_patch-level_vit_b32: 3 written, 0 already there; length=6: 1 padded, 1 cut",
        "length=6: frames are padded with their last row, audio with zeros; nothing in the files"
        " tells padding from features",
    ]
    for folder in ("vggish", "clip_vit_b32", "clip_patch-level_vit_b32"):
        for name in "abc":
            whole = np.load(tmp_path / "plain" / folder / f"{name}.npy")
            fitted = np.load(tmp_path / "out" / folder / f"{name}.npy")
            kept = min(6, len(whole))
            assert len(fitted) == 6
            np.testing.assert_array_equal(fitted[:kept], whole[:kept])
            tail = 0 if folder == "vggish" else whole[-1]
            assert (fitted[kept:] == tail).all()


def test_a_head_is_not_kept_where_rows_are_padded(tmp_path):
    folder = odd_files(tmp_path / "vggish")
    import_npy(folder, tmp_path / "store")
    export_npy(tmp_path / "store", tmp_path / "out", "pstp", folders=("vggish",), length=62)
    for path in folder.iterdir():
        fitted = np.load(tmp_path / "out/vggish" / path.name)
        assert fitted.shape == (62, 128)
        np.testing.assert_array_equal(fitted[:60], rows_or_zeros(path.stem))


def rows_or_zeros(name):
    rows = rows_of("vggish", 60)
    return -np.zeros_like(rows) if name == "negative_zero" else rows


def test_ids_with_slashes_give_their_last_part(tmp_path):
    extracted_store(tmp_path / "store", {"train/a": 3, "test/b": 4})
    export_npy(tmp_path / "store", tmp_path / "out", "pstp", folders=("vggish",))
    assert sorted(file_bytes(tmp_path / "out")) == ["vggish/a.npy", "vggish/b.npy"]
    assert len(np.load(tmp_path / "out/vggish/b.npy")) == 4


def test_ids_whose_last_parts_clash_are_refused(tmp_path):
    extracted_store(tmp_path / "store", {"train/a": 3, "test/a": 4})
    expected = "videos 'train/a' and 'test/a' would share the file 'a.npy'; expected ids whose last"
    with pytest.raises(ConfigError, match=expected):
        export_npy(tmp_path / "store", tmp_path / "out", "pstp")
    assert not (tmp_path / "out").exists()


def test_videos_without_the_feature_are_told(tmp_path):
    extracted_store(
        tmp_path / "store",
        dict.fromkeys("abc", 60),
        absent=(("b", "vggish/audio"),),
        failed=(("c", "clip_vit_b32/patch"),),
    )
    report = export_npy(tmp_path / "store", tmp_path / "out", "pstp")
    assert report.lines() == [
        "vggish: 2 written, 0 already there",
        "vggish: 1 videos left out, the feature is absent; the first is 'b'",
        "clip_vit_b32: 3 written, 0 already there",
        "clip_patch-level_vit_b32: 2 written, 0 already there",
        "clip_patch-level_vit_b32: 1 videos left out, the feature is failed; the first is 'c'",
    ]
    expected = "files missing in clip_patch-level_vit_b32=1: the store has no such features of"
    with pytest.raises(PartialFailure, match=expected):
        report.raise_if_failed()


def test_videos_that_were_not_in_an_imported_folder_are_no_failure(tmp_path):
    write_dump(tmp_path / "f/vggish", "vggish", {"a": 60})
    write_dump(tmp_path / "f/clip_patch_vit32", "clip_patch", {"a": 60, "b": 60})
    import_npy(tmp_path / "f", tmp_path / "store")
    report = export_npy(tmp_path / "store", tmp_path / "out", "avaf")
    assert report.lines()[1] == (
        "vggish: 1 videos left out, the feature is not among the imported files; the first is 'b'"
    )
    report.raise_if_failed()
    assert file_bytes(tmp_path / "out") == file_bytes(tmp_path / "f")


def test_a_second_export_writes_nothing_and_other_files_are_safe(tmp_path):
    extracted_store(tmp_path / "store", {"a": 60, "b": 60})
    export_npy(tmp_path / "store", tmp_path / "out", "avaf")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.npy")}
    report = export_npy(tmp_path / "store", tmp_path / "out", "avaf")
    assert report.lines()[0] == "vggish: 0 written, 2 already there"
    assert before == {path: path.stat().st_mtime_ns for path in before}
    precious = write_dump(tmp_path / "out/vggish", "vggish", {"b": 60}) / "b.npy"
    data = precious.read_bytes()
    expected = "b.npy' is there and holds something else; expected a new folder; give another"
    with pytest.raises(ConfigError, match=expected):
        export_npy(tmp_path / "store", tmp_path / "out", "avaf")
    assert precious.read_bytes() == data
    report = export_npy(tmp_path / "store", tmp_path / "out", "avaf", overwrite=True)
    assert report.lines()[0] == "vggish: 1 written, 1 already there"
    assert precious.read_bytes() != data


def test_a_missing_feature_is_refused_unless_it_is_not_asked_for(tmp_path):
    extracted_store(tmp_path / "store", {"a": 60}, specs=(SPECS["vggish/audio"],))
    expected = (
        "has no clip_vit_b32/frame, which folder 'clip_vit_b32' of layout=pstp holds; expected"
        " it; extract or import it, or name other folders with --folders"
    )
    with pytest.raises(FeatureMissing, match=expected):
        export_npy(tmp_path / "store", tmp_path / "out", "pstp")
    assert not (tmp_path / "out").exists()
    export_npy(tmp_path / "store", tmp_path / "out", "pstp", folders=("vggish",))
    assert list(file_bytes(tmp_path / "out")) == ["vggish/a.npy"]
    with pytest.raises(FeatureMissing, match="has no resnet18/pool, which folder 'res18'"):
        export_npy(tmp_path / "store", tmp_path / "out", "music-avqa", folders=("res18",))


def test_bad_names(tmp_path):
    extracted_store(tmp_path / "store", {"a": 60}, specs=(SPECS["vggish/audio"],))
    with pytest.raises(UnknownName, match="no layout 'psdp'; did you mean 'pstp'?"):
        export_npy(tmp_path / "store", tmp_path / "out", "psdp")
    expected = "folders='vgish' is none of layout=avaf; expected vggish, clip_patch_vit32; check"
    with pytest.raises(ConfigError, match=expected):
        export_npy(tmp_path / "store", tmp_path / "out", "avaf", folders=("vgish",))
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file' is a file; expected a folder; check --out"):
        export_npy(tmp_path / "store", tmp_path / "file", "pstp", folders=("vggish",))


def test_random_weights_are_told(tmp_path):
    specs = (SPECS["vggish/audio"],)
    extracted_store(tmp_path / "store", {"a": 60}, specs=specs, weights="random:0")
    report = export_npy(tmp_path / "store", tmp_path / "out", "pstp", folders=("vggish",))
    assert report.lines()[-1].startswith("RANDOM WEIGHTS: ")


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    extracted_store(tmp_path / "store", {"a": 60}, specs=(SPECS["vggish/audio"],))

    def full(path, target):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", full)
        with pytest.raises(StorageFailure, match="a.npy"):
            export_npy(tmp_path / "store", tmp_path / "out", "pstp", folders=("vggish",))
    assert list((tmp_path / "out/vggish").iterdir()) == []
