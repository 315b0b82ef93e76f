"""The few bits of coded packets that planning has to see: pure functions of bytes."""

from __future__ import annotations

from collections.abc import Iterator

NAL_HEAD = 8
"""Bytes of each unit that are handed on; enough for a unit's header and a slice's first fields."""


EMPTY_FRAME = 19
"""Bytes of an MPEG-4 frame that codes nothing, with all that may stand before it."""
MANY_ZEROS = 128
"""Zero bytes in a row that no entropy coder writes."""
ZEROS_SHOW = frozenset({"vp8", "vp9", "av1", "qtrle"})
"""Codecs whose frames are one coded stretch; those of others may be padded."""


def nal_length_size(extradata: bytes | None, codec: str) -> int:
    """Bytes of the length before each unit; 0 where units follow start codes.

    The decoder configuration records of mp4 and Matroska begin with version 1.
    """
    place = 21 if codec == "hevc" else 4
    if not extradata or extradata[0] != 1 or len(extradata) <= place:
        return 0
    return (extradata[place] & 3) + 1


def nal_units(packet: memoryview, length_size: int) -> Iterator[bytes]:
    """First bytes of each unit of a packet."""
    if length_size == 0:
        yield from _after_start_codes(bytes(packet))
        return
    place = 0
    while place + length_size < len(packet):
        length = int.from_bytes(packet[place : place + length_size], "big")
        place += length_size
        yield bytes(packet[place : place + min(length, NAL_HEAD)])
        place += length


def _after_start_codes(data: bytes) -> Iterator[bytes]:
    place = data.find(b"\0\0\1")
    while place >= 0:
        yield data[place + 3 : place + 3 + NAL_HEAD]
        place = data.find(b"\0\0\1", place + 3)


def h264_starts_clean(packet: memoryview, length_size: int) -> bool:
    """Whether the first slice of a key packet is intra coded.

    In streams with intra refresh, key packets begin a sweep across several frames: decoding
    may start there, but the frames are right only after the sweep.
    """
    for unit in nal_units(packet, length_size):
        kind = unit[0] & 31 if unit else 0
        if kind == 5:
            return True
        if kind == 1:
            _, rest = _exp_golomb(int.from_bytes(unit[1:].ljust(NAL_HEAD, b"\0"), "big"), 64)
            slice_type, _ = _exp_golomb(*rest)
            return slice_type % 5 in (2, 4)  # I, SI
    return False


def _exp_golomb(bits: int, width: int) -> tuple[int, tuple[int, int]]:
    """Read one unsigned number from the top of ``bits``; the value and what is left."""
    zeros = width - bits.bit_length()
    left = width - 2 * zeros - 1
    if left < 0:
        return 0, (0, width)
    return (bits >> left) - 1, (bits & ((1 << left) - 1), left)


def hevc_has_layers(packet: memoryview, length_size: int) -> bool:
    """Whether a frame belongs to a higher temporal layer.

    Such frames may depend on frames marked as non-reference within a lower layer.
    """
    for unit in nal_units(packet, length_size):
        if len(unit) > 1 and (unit[0] >> 1) & 63 < 32:
            return (unit[1] & 7) > 1
    return False


def mpeg4_frames(packet: memoryview) -> int:
    """Frames in a packet of MPEG-4 part 2; one of a few bytes repeats a frame, or fills a place."""
    return bytes(packet).count(b"\0\0\1\xb6") if len(packet) > EMPTY_FRAME else 0


def holds_zeros(packet: memoryview, codec: str, length_size: int) -> bool:
    """Whether part of a packet was overwritten by zeros, as in a download that broke off.

    Coded frames hold no long run of them, those of H.264 and HEVC not three in a row.
    """
    if codec in ("h264", "hevc"):
        return length_size > 0 and _units_hold_zeros(packet, length_size)
    if codec in ZEROS_SHOW:
        return bytes(MANY_ZEROS) in bytes(packet)
    begins = len(packet) > MANY_ZEROS and not bytes(packet[:MANY_ZEROS]).strip(b"\0")
    return begins and not bytes(packet).strip(b"\0")


def _units_hold_zeros(packet: memoryview, length_size: int) -> bool:
    data = bytes(packet)
    place = 0
    while place + length_size < len(data):
        length = int.from_bytes(data[place : place + length_size], "big")
        place += length_size
        whole = data[place : place + length]
        unit = whole.rstrip(b"\0")  # encoders may pad units, by a few
        if b"\0\0\0" in unit or len(whole) - len(unit) >= MANY_ZEROS:
            return True
        if length == 0 and not data[place:].strip(b"\0"):
            return place < len(data)
        place += length
    return False


def vp8_is_hidden(packet: memoryview) -> bool:
    """Whether a VP8 packet is decoded but never shown."""
    return len(packet) > 0 and not packet[0] & 0x10
