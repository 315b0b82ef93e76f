"""Which part of the store imports which: no arrow goes back."""

import ast
from pathlib import Path

STORE = Path(__file__).resolve().parents[2] / "avqa" / "store"
BELOW = {
    "zarr_library": set(),
    "dtypes": set(),
    "places": set(),
    "format": {"dtypes", "places", "zarr_library"},
    "lock": {"format", "places"},
    "views": {"dtypes", "format", "places"},
    "reader": {"views", "dtypes", "format", "places"},
    "writer": {"dtypes", "format", "places"},
    "recovery": {"format", "places"},
    "text_writer": {"lock", "format", "places"},
    "sealing": {"format", "places"},
    "commit": {"recovery", "sealing", "lock", "format", "places"},
    "collection": {"places"},
    "renaming": {"commit", "format", "places"},
    "adopting": {"commit", "format", "places"},
    "running": {"commit", "format", "lock", "places"},
    "checks": {
        *("commit", "running", "text_writer", "reader", "lock", "format", "places"),
        "zarr_library",
    },
    "packing": {"checks", "commit", "lock", "format", "places", "zarr_library"},
}


def arrows(folder):
    """(file, part of the store that it imports), also those for types alone."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("avqa.store"):
                parts = node.module.split(".")[2:]
                names = [parts[0]] if parts else [alias.name for alias in node.names]
                yield from ((path, name) for name in names)


def entry(path):
    return path.relative_to(STORE).parts[0].removesuffix(".py")


def test_every_part_of_the_store_imports_only_what_lies_below_it():
    found = {(entry(path), name) for path, name in arrows(STORE)}
    upward = {(start, end) for start, end in found if start != end and end not in BELOW[start]}
    assert upward == set()
    assert {start for start, _ in found} | {"places"} <= set(BELOW)
    assert ("commit", "format") in found


def test_the_order_of_the_parts_has_no_circle():
    order = list(BELOW)
    for name, below in BELOW.items():
        assert all(order.index(other) < order.index(name) for other in below)
