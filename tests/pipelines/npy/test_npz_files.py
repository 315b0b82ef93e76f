"""Arrays of other people's .npz files: read as numpy reads them, refused where they lie."""

import io
import zipfile

import numpy as np
import pytest

from avqa.pipelines.npy.npy_files import BadFile
from avqa.pipelines.npy.npz_files import read_arrays

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


def npy_bytes(values):
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


@pytest.mark.parametrize(
    "values", [VALUES, np.asfortranarray(VALUES), VALUES.astype(">f4"), VALUES.astype("f2")]
)
def test_columns_first_and_other_byte_orders_are_read(tmp_path, values):
    np.savez(tmp_path / "a.npz", one=values)
    found = read_arrays(tmp_path / "a.npz", {"one": (2, 3)})["one"]
    np.testing.assert_array_equal(found, VALUES)
    assert found.dtype == values.dtype.newbyteorder("=")


@pytest.mark.parametrize(("cut", "told"), [(-4, 20), (4, 25)])
def test_more_or_less_than_the_head_says_is_refused(tmp_path, cut, told):
    """With a checksum that fits: the archive is sound, the array is not; one byte more is read."""
    data = npy_bytes(VALUES)
    data = data[:cut] if cut < 0 else data + bytes(cut)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("one.npy", data)
    with pytest.raises(BadFile, match=f"one has bytes={told}; expected 24; copy it again"):
        read_arrays(tmp_path / "a.npz", {"one": (2, 3)})
