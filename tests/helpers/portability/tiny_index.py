"""A package index in a folder, of wheels of a few bytes: what pip does with them is real."""

from __future__ import annotations

import zipfile
from pathlib import Path

BACKEND = """
import pathlib, zipfile

WHEEL = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"

def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "avqa-0.1-py3-none-any.whl"
    needs = "".join(f"Requires-Dist: {line}\\n" for line in ("torch", "torchvision"))
    extras = "".join(f"Provides-Extra: {extra}\\n" for extra in ("test", "check", "bench"))
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        info = "avqa-0.1.dist-info/"
        head = "Metadata-Version: 2.1\\nName: avqa\\nVersion: 0.1\\n"
        wheel.writestr(info + "METADATA", head + needs + extras)
        wheel.writestr(info + "WHEEL", WHEEL)
        wheel.writestr(info + "RECORD", "")
    return name
"""
"""Builds the project that a tiny checkout holds; needs nothing from any index."""
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def add_wheel(index: Path, name: str, version: str, source: str, requires: str = "") -> None:
    """Put a package of one module into the index; ``requires``: what it needs, if anything."""
    folder = index / name
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", source)
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    links = (f'<a href="{path.name.replace("+", "%2B")}">x</a>' for path in folder.glob("*.whl"))
    (folder / "index.html").write_text("\n".join(links), encoding="utf-8")


def add_torch(index: Path, version: str, vision: str, build: str) -> None:
    """Put torch and torchvision of a build (``cpu``, ``13.0``) into the index."""
    local = "+cpu" if build == "cpu" else ""
    cuda = None if build == "cpu" else build
    add_wheel(
        *(index, "torch", version + local),
        f"__version__ = {version + local!r}\nclass version: cuda = {cuda!r}\n",
    )
    add_wheel(index, "torchvision", vision + local, "", f"torch=={version}")
