"""What tests of packed copies share."""

LENGTHS = {"a": 12, "long": 42, "b": 3, "silent": 7, "bad": 0, "c": 5, "half": 4}
"""Videos of the copy, in order, in chunks of 5 s."""
SHARD_VIDEOS = 2


def damage(path, byte=17):
    raw = bytearray(path.read_bytes())
    raw[byte] ^= 4
    path.write_bytes(raw)
