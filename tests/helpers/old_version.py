"""What version 0.1 wrote (see ``tests/data/v0_1/make.py``), unpacked."""

import tarfile
from pathlib import Path

ARCHIVE = Path(__file__).parents[1] / "data" / "v0_1" / "v0_1.tar.xz"
RESERVE = "ledger/.reserve"


def unpack(folder, *names):
    """Some of the archive's entries, whole, into a folder."""
    with tarfile.open(ARCHIVE) as archive:
        wanted = [m for m in archive if m.name.partition("/")[0] in names]
        assert {m.name.partition("/")[0] for m in wanted} == set(names)
        # Python 3.11.4 and later want to be told; earlier ones know no filters.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(folder, wanted)
    return folder
