"""Columns are read by their metadata alone where zarr would take it for the same array."""

import copy
import json

import numpy as np
import pytest
from helpers.store.stored import make_store

from avqa.errors import StoreError
from avqa.store.format import schema
from avqa.store.format.arrays import INDEX
from avqa.store.format.decoding import ChunkDecoder, Described

NAMES = (*INDEX, schema.VIDEO_ID, schema.PTS, "status/clip/frame", "length/clip/frame")


@pytest.fixture
def root(tmp_path):
    return make_store(tmp_path / "S", {"a": 3, "b": 12}).path / "features.zarr"


def facts(array):
    of_chunk = ChunkDecoder(array)
    return (
        *(array.shape, array.chunks, array.ndim, array.dtype, repr(array.fill_value)),
        *(of_chunk.shape, of_chunk.dtype, of_chunk._codecs),
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_column_is_what_zarr_says(root, name):
    described = schema.describe(root, name)
    assert isinstance(described, Described)
    assert facts(described) == facts(schema.open_array(root, name))
    assert facts(schema.opened(described)) == facts(described)


def places(value, path=()):
    """Every value in a JSON document, by the keys to it."""
    yield path
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in enumerate(value) if isinstance(value, list) else items:
        yield from places(inner, (*path, key))


def changed(document, path, value):
    made = copy.deepcopy(document)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return made


def outcome(call):
    try:
        return facts(call())
    except StoreError as error:
        return str(error)


@pytest.mark.parametrize("name", [schema.VIDEO_ID, schema.PTS, "status/clip/frame"])
def test_what_was_changed_is_for_zarr_to_judge(root, name):
    """Any value replaced by another: the same array as zarr's, or the same refusal."""
    file = root / name / "zarr.json"
    good = json.loads(file.read_bytes())
    tried = 0
    for path in places(good):
        for value in (None, 0, -1, 1.5, True, "x", [], {}) if path else ():
            file.write(json.dumps(changed(good, path, value)).encode())
            expected = outcome(lambda: schema.open_array(root, name))
            assert outcome(lambda: schema.describe(root, name)) == expected, (path, value)
            tried += 1
    assert tried > 100
    for content in (b"", b"[]", b"{}", b"null", file.read_bytes()[:-9]):
        file.write(content)
        with pytest.raises(StoreError, match="its zarr.json is gone or damaged"):
            schema.describe(root, name)
    file.unlink()
    with pytest.raises(StoreError, match="its zarr.json is gone or damaged"):
        schema.describe(root, name)


def test_arrays_of_values_are_opened(root):
    assert not isinstance(schema.describe(root, "clip/frame"), Described)
    assert np.asarray(schema.describe(root, "clip/frame")[0, :1]).shape == (1, 8)
