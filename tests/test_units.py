"""Times and sizes as people read them."""

from avqa.units import clock, size


def test_clocks_and_sizes():
    assert [clock(s) for s in (0, 59.6, 3723)] == ["0:00", "1:00", "1:02:03"]
    assert [size(b) for b in (12, 1234, 5.6e6, 7.8e9, 9.1e12)] == [
        "12 B", "1.2 kB", "5.6 MB", "7.8 GB", "9.1 TB",
    ]  # fmt: skip
