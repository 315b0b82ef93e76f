"""HDF5 files that hold something else than AVQA publishes: one line each, whatever it is."""

import os

import h5py
import numpy as np
import pytest
from helpers.store import avqa_files as files

import avqa
from avqa.errors import ConfigError, PartialFailure
from avqa.pipelines.npy.hdf5 import import_hdf5
from avqa.store.format.records import Status

SOUND = "panns_cnn14/clip"


def taken(source, store):
    """Lines of an import."""
    return list(import_hdf5(source, store))


def refused(tmp_path, path, told, good=2):
    """A bad dataset beside a good file: one line, exit code 3, and the good one is in."""
    files.write(tmp_path / "f" / "good.h5", "vlaudio_features", [b"a", b"b"])
    said = []
    lines = []
    with pytest.raises(PartialFailure, match="1 of what the files hold were refused; expected all"):
        lines.extend(import_hdf5(tmp_path / "f", tmp_path / "S", say=said.append))
    assert [line.replace(str(path), "FILE") for line in said] == [f"file 'FILE': {told}"]
    assert avqa.open_store(tmp_path / "S").counts(SOUND)[Status.OK] == good
    said.clear()
    with pytest.raises(ConfigError) as alone:
        taken(path, tmp_path / "T")
    assert str(alone.value).replace(str(path), "FILE") == f"file 'FILE': {told}"
    assert not (tmp_path / "T").exists()


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((2, 8, 2047), "[n,T,2048]"), ((2, 2048), "[n,T,2048]"), ((2, 0, 2048), "[n,T,2048]")],
)
def test_another_width_or_rank(tmp_path, shape, wanted):
    path = tmp_path / "f" / "bad.h5"
    files.write(path, "resnext_features", [b"a", b"b"], np.zeros(shape, "float32"))
    told = f"resnext_features has shape={shape}; expected {wanted}, no size 0; check what wrote it"
    refused(tmp_path, path, told)


def test_the_widths_of_the_others(tmp_path):
    for name, shape, wanted in (
        ("resnet_features", (2, 8, 15, 2048), "[n,T,16,2048]"),
        ("vlaudio_features", (2, 8, 2048), "[n,2048]"),
    ):
        files.write(tmp_path / "a.h5", name, [b"a", b"b"], np.zeros(shape, "float32"))
        with pytest.raises(ConfigError) as caught:
            taken(tmp_path / "a.h5", tmp_path / "S")
        assert f"{name} has shape={shape}; expected {wanted}, no size 0" in str(caught.value)


def edited(path, edit):
    files.write(path, "resnext_features", [b"a", b"b"])
    with h5py.File(path, "r+") as file:
        edit(file)


def replaced(name, value=None, link=None):
    def edit(file):
        del file[name]
        if link is not None:
            file[name] = link
        elif value is not None:
            file.create_dataset(name, data=value)

    return edit


def grouped(file):
    del file["resnext_features"]
    file.create_group("resnext_features")["part"] = [1.0]


def virtual(file):
    del file["resnext_features"]
    layout = h5py.VirtualLayout((2, 8, 2048), "float32")
    layout[:] = h5py.VirtualSource("secret.h5", "x", (2, 8, 2048))
    file.create_virtual_dataset("resnext_features", layout)


def external(file):
    del file["resnext_features"]
    where = [("secret", 0, h5py.h5f.UNLIMITED)]
    file.create_dataset("resnext_features", (2, 8, 2048), "float32", external=where)


ELSEWHERE = (
    "resnext_features has its values in other files; expected them in this one; avqa follows no"
    " link in files of others: copy the values into the file"
)
OBJECTS = np.array([[1], [1, 2]], dtype=object)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (replaced("ids"), "has no dataset 'ids'; expected it; give the whole file"),
        (
            replaced("ids", [b"a"]),
            "ids has shape=(1,) and resnext_features 2 rows; expected one id a row; make the file"
            " again",
        ),
        (
            replaced("ids", [[b"a"], [b"b"]]),
            "ids has shape=(2, 1) and resnext_features 2 rows; expected one id a row; make the"
            " file again",
        ),
        (
            replaced("ids", [1.0, 2.0]),
            "ids has dtype=float64; expected texts or whole numbers; make the file again",
        ),
        (
            replaced("resnext_features", np.zeros((2, 8, 2048), "int8")),
            "resnext_features has dtype=int8; expected float16, float32, float64; save it again as"
            " float32",
        ),
        (grouped, "resnext_features is a group; expected a dataset; check the file"),
        (
            replaced("resnext_features", link=h5py.SoftLink("/elsewhere")),
            "resnext_features is a link to '/elsewhere'; expected a dataset of this file; avqa"
            " follows no link in files of others: copy the values into the file",
        ),
        (
            replaced("ids", link=h5py.ExternalLink("secret.h5", "/x")),
            "ids is a link to '/x' in 'secret.h5'; expected a dataset of this file; avqa follows"
            " no link in files of others: copy the values into the file",
        ),
        (virtual, ELSEWHERE),
        (external, ELSEWHERE),
    ],
)  # fmt: skip
def test_files_that_are_something_else(tmp_path, edit, told):
    edited(tmp_path / "f" / "bad.h5", edit)
    refused(tmp_path, tmp_path / "f" / "bad.h5", told)


def test_objects_are_no_features(tmp_path):
    def edit(file):
        del file["resnext_features"]
        kind = h5py.vlen_dtype(np.float32)
        file.create_dataset("resnext_features", (2, 8, 2048), kind)

    edited(tmp_path / "f" / "bad.h5", edit)
    told = "resnext_features has dtype=object; expected float16, float32, float64; save it again"
    refused(tmp_path, tmp_path / "f" / "bad.h5", f"{told} as float32")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is empty; expected an HDF5 file; copy the file again"),
        (b"hello, world", "is no HDF5 file; expected one; check what wrote it"),
    ],
)
def test_no_hdf5_file(tmp_path, data, told):
    path = tmp_path / "f" / "bad.h5"
    path.parent.mkdir()
    path.write_bytes(data)
    refused(tmp_path, path, told)


def test_a_truncated_file(tmp_path):
    path = tmp_path / "a.h5"
    files.write(path, "resnext_features", [b"a", b"b"])
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(ConfigError, match="a.h5': is not complete .*; expected all of it; copy"):
        taken(path, tmp_path / "S")


def test_nothing_to_take(tmp_path):
    with pytest.raises(ConfigError, match="no file or folder '.*none'; expected an HDF5 file,"):
        taken(tmp_path / "none", tmp_path / "S")
    with pytest.raises(ConfigError, match=r"holds no file \*.h5 or \*.hdf5; expected some; check"):
        taken(tmp_path, tmp_path / "S")
    assert list(tmp_path.iterdir()) == []
