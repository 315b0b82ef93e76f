"""Many small segments of a ledger as one: the same lines, in the same order.

    S/ledger/folded/<number>.jsonl   the lines of all segments after the one before it, up to this
                                     number
    S/ledger/folded/<number>.json    where in it each of them lies

The segments go once their lines are there under the new name; until then, and after a kill, those
that a folded one covers do not count. Who listed segments before finds their lines by the index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from avqa.store.places.files import StorePath

FOLDED = "folded"
FOLD_SEGMENTS = 128
"""Small segments from which on they are folded: after 64,000 videos of a run that is fast."""
FOLD_BYTES = 16 * 2**20
"""A folded segment is no larger than this and one more segment: it is read as a whole."""


def listed(folder: StorePath) -> tuple[list[StorePath], list[StorePath]]:
    """The segments of a ledger's ``folder`` that count, oldest first, and those that do not."""
    # Folded ones last: what they cover may be gone by then, and must not be missed.
    small = [file for file in _segments(folder, "*") if file.parent.name != FOLDED]
    folded = _segments(folder, FOLDED)
    covered = max(map(number_of, folded), default=0)
    counting = folded + [file for file in small if number_of(file) > covered]
    return sorted(counting, key=number_of), [f for f in small if number_of(f) <= covered]


def _segments(folder: StorePath, run: str) -> list[StorePath]:
    return [file for file in folder.glob(f"{run}/*.jsonl") if file.stem.isdecimal()]


def number_of(file: StorePath) -> int:
    """Number of a segment, of a folded one that of its last."""
    return int(file.stem)


def read_segment(file: StorePath) -> bytes:
    """The lines of a segment, also of one that was folded since it was listed.

    Raises:
        FileNotFoundError: it is in no folded one either.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError:
        folder = file.parent.parent
        holding = [f for f in _segments(folder, FOLDED) if number_of(f) >= number_of(file)]
        if not holding or file.parent.name == FOLDED:
            raise
        whole = min(holding, key=number_of)
        index = (whole.parent / f"{whole.stem}.json").read_json()
        place = index["segments"].get(_name(file))
        if place is None or whole.tail(1)[0] != index["n_bytes"]:  # `avqa verify --repair`
            raise
        return whole.read_range(*place)


def _name(file: StorePath) -> str:
    """Of a segment in an index: several runs may have one of a number."""
    return f"{file.parent.name}/{file.stem}"


def fold(folder: StorePath, files: Sequence[StorePath]) -> None:
    """Fold these segments, which are all small ones up to a number, oldest first.

    An empty one ends it, for nothing may hide that records were lost.

    Raises:
        OSError: the disk refuses; nothing is lost.
    """
    for group in _groups(files):
        _fold_group(folder, group)


def _groups(files: Sequence[StorePath]) -> Iterator[list[tuple[StorePath, bytes]]]:
    group: list[tuple[StorePath, bytes]] = []
    for file in files:
        data = file.read_bytes()
        if not data.strip():
            break
        group.append((file, data if data.endswith(b"\n") else data + b"\n"))
        if sum(len(data) for _, data in group) >= FOLD_BYTES:
            yield group
            group = []
    if len(group) > 1:
        yield group


def _fold_group(folder: StorePath, group: Sequence[tuple[StorePath, bytes]]) -> None:
    lengths = [len(data) for _, data in group]
    starts = [0, *accumulate(lengths)]
    places = {
        _name(file): [start, length]
        for (file, _), start, length in zip(group, starts, lengths, strict=False)
    }
    target = folder / FOLDED / f"{group[-1][0].stem}.jsonl"
    index = {"segments": places, "n_bytes": starts[-1]}
    (target.parent / f"{target.stem}.json").write_json(index)
    target.write(b"".join(data for _, data in group))
    remove([file for file, _ in group])


def remove(files: Sequence[StorePath]) -> None:
    """Remove segments that a folded one covers."""
    for file in files:
        file.unlink(missing_ok=True)
