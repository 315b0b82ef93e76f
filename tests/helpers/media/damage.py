"""Files with zeros where packets were, as preallocated downloads and bad disks leave them."""

from collections.abc import Iterator
from pathlib import Path

import av


def without_packets(path: Path, out: Path, *stretches: tuple[float, float], of: str = "audio"):
    """Write ``path`` with zeros for each packet that begins in these stretches of seconds."""
    data, place = bytearray(path.read_bytes()), 0
    for time, content in _packets(path, of):
        found = data.find(content, place)
        if found < 0:  # of frames, which need not lie in the order of their times
            found = data.index(content)
        place = found
        if any(start <= time < end for start, end in stretches):
            data[found : found + len(content)] = bytes(len(content))
    out.write_bytes(data)
    return out


def _packets(path: Path, of: str) -> Iterator[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        for packet in container.demux(**{of: 0}):
            if packet.size:
                yield float(packet.pts * packet.time_base), bytes(packet)
