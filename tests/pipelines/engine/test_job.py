"""What tells a file from another."""

import os

from avqa.pipelines.engine.files import fingerprint


def test_fingerprints_follow_size_and_content(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 4_000_000)
    first = fingerprint(str(path))
    assert first.size == 4_000_000
    os.utime(path, ns=(1, 1))
    touched = fingerprint(str(path), known=first)
    assert touched.mtime_ns == 1
    assert touched.quick_hash == first.quick_hash
    for place in (0, 2_000_000, 3_999_999):  # first, middle and last MiB are looked at
        data = bytearray(b"x" * 4_000_000)
        data[place] = 0
        path.write_bytes(data)
        assert fingerprint(str(path)).quick_hash != first.quick_hash
    known = fingerprint(str(path))
    assert fingerprint(str(path), known=known) is known
    assert fingerprint(str(tmp_path / "none")) is None
