"""What tests ask of a store's files."""

import hashlib
from pathlib import Path


def store_bytes(store: Path) -> dict[str, str]:
    """Digest of every file of a store's arrays."""
    root = store / "features.zarr"
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
