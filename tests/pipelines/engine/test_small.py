"""Small last batches: computed small only where the bits were seen to be those of whole ones."""

import json

import numpy as np
import pytest
import torch

from avqa.pipelines.engine import small
from avqa.pipelines.engine.batching import Batch, Segment
from avqa.pipelines.engine.small import SmallBatches, size_for


class Network:
    """A row's result is made of the row alone, but for ``drift`` in batches that are not whole."""

    def __init__(self, drift=0.0, values=100):
        self.sizes = []
        self.drift, self.values = drift, values

    def forward(self, name, batch, taps):
        self.sizes.append(len(batch))
        made = batch.float()[:, :1] + torch.arange(self.values) + 1
        return {tap: made + (self.drift if len(batch) < 16 else 0) for tap in taps}


def batch(*rows, size=16):
    return Batch("e/frame", size, [Segment(None, 0, np.array(rows, np.uint8)[:, None])])


def forward(network, cache, *rows):
    return SmallBatches("cpu", "fp32", cache).forward(network, batch(*rows), ["tap"])["tap"]


def known(cache):
    (file,) = (cache / small.FOLDER).iterdir()
    return json.loads(file.read_text(encoding="utf-8"))


def test_sizes_are_few():
    assert [size_for(rows) for rows in (1, 2, 3, 4, 5, 9, 16, 17)] == [1, 2, 4, 4, 8, 16, 16, 32]


def test_the_first_of_a_size_is_compared_and_the_next_run_computes_no_more_than_it(tmp_path):
    network = Network()
    first = forward(network, tmp_path, 7, 9)
    assert network.sizes == [16, 2]
    second = forward(network, tmp_path, 7, 9)
    assert network.sizes == [16, 2, 2]
    assert torch.equal(first[:2], second[:2])
    forward(network, tmp_path, 1, 2, 3)
    assert network.sizes[3:] == [16, 4]  # another size is another question
    assert known(tmp_path) == {
        "e/frame 2 of 16, cpu fp32: tap": True,
        "e/frame 4 of 16, cpu fp32: tap": True,
    }


def test_where_one_bit_differs_batches_stay_whole(tmp_path):
    network = Network(drift=2.0**-20)
    for _ in range(2):
        rows = forward(network, tmp_path, 7)
        assert rows[0, :2].tolist() == [8.0, 9.0]
    assert network.sizes == [16, 1, 16]
    assert list(known(tmp_path).values()) == [False]


def test_a_network_that_takes_whole_batches_only_gets_them(tmp_path):
    class Whole(Network):
        def forward(self, name, batch, taps):
            assert len(batch) == 16
            return super().forward(name, batch, taps)

    network = Whole()
    assert forward(network, tmp_path, 7)[0, 0] == 8
    assert forward(network, tmp_path, 7)[0, 0] == 8
    assert network.sizes == [16, 16]


@pytest.mark.parametrize("rows", [(7,) * 16, (7,) * 9])
def test_nothing_is_compared_of_batches_that_are_whole(tmp_path, rows):
    network = Network()
    forward(network, tmp_path, *rows)
    assert network.sizes == [16]
    assert not (tmp_path / small.FOLDER).exists()


def test_what_tells_nothing_is_not_kept(tmp_path):
    network = Network(values=3)
    forward(network, tmp_path, 7)
    assert network.sizes == [16]
    assert not (tmp_path / small.FOLDER).exists()


@pytest.mark.parametrize("text", ["", "[]", '{"e/frame 1 of 16, cpu fp32: tap": "yes"}'])
def test_a_damaged_file_is_asked_nothing(tmp_path, text):
    forward(Network(), tmp_path, 7)
    (file,) = (tmp_path / small.FOLDER).iterdir()
    file.write_text(text, encoding="utf-8")
    network = Network()
    forward(network, tmp_path, 7)
    assert network.sizes == [16, 1]
    assert known(tmp_path) == {"e/frame 1 of 16, cpu fp32: tap": True}


def test_a_cache_that_cannot_be_written_stops_nobody(tmp_path):
    (tmp_path / small.FOLDER).write_text("a file", encoding="utf-8")
    assert forward(Network(), tmp_path, 7)[0, 0] == 8
