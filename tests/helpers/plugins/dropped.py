"""Plug-ins dropped in: as files of the package's folders, or as another installed package.

Commands run in a process of their own, whose `avqa` is the one they were dropped into.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import avqa

PACKAGE = Path(avqa.__file__).parent
PAGE = PACKAGE.parent / "docs" / "plugins.md"
FOLDERS = {
    "avqa.encoders": "extract/encoders",
    "avqa.readers": "extract/readers",
    "avqa.datasets": "datasets",
    "avqa.heads": "heads",
}
"""Group of entry points → folder of the package."""
WAYS = ("folder", "package")


@dataclass(frozen=True)
class Plugin:
    """One file; its name is the plug-in's name."""

    group: str
    name: str
    text: str


def example(group: str, name: str) -> Plugin:
    """The plug-in that docs/plugins.md prints below its file's name."""
    found = re.search(
        rf"^`{name}\.py`[^\n]*(?:\n[^\n]+)*\n\n```python\n(.*?)^```$",
        PAGE.read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    assert found is not None, f"{PAGE} has no {name}.py"
    return Plugin(group, name, found[1])


def drop_in(root: Path, plugins: Sequence[Plugin], way: str) -> str:
    """Write the files below ``root``; the PYTHONPATH with which they are found."""
    if way == "folder":
        shutil.copytree(PACKAGE, root / "avqa")
        for plugin in plugins:
            (root / "avqa" / FOLDERS[plugin.group] / f"{plugin.name}.py").write_text(
                plugin.text, encoding="utf-8"
            )
        return str(root)
    (root / "dropped").mkdir(parents=True)
    for plugin in plugins:
        (root / "dropped" / f"{plugin.name}.py").write_text(plugin.text, encoding="utf-8")
    names: dict[str, dict[str, str]] = {}
    for plugin in plugins:
        public = plugin.name.replace("_", "-") if "datasets" in plugin.group else plugin.name
        names.setdefault(plugin.group, {})[public] = f"dropped.{plugin.name}"
    write_distribution(root, "dropped", names)
    return os.pathsep.join([str(root), str(PACKAGE.parent)])


def write_distribution(site: Path, package: str, groups: Mapping[str, Mapping[str, str]]) -> None:
    """What pip leaves of an installed package: its name, and entry points by group."""
    about = site / f"{package}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8"
    )
    lines = []
    for group, entries in groups.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


RUN = """
import json, sys
from typer.testing import CliRunner
from avqa.cli import app
for line in sys.stdin:
    done = CliRunner().invoke(app, json.loads(line))
    print(json.dumps([done.exit_code, done.stdout, done.stderr]), flush=True)
"""


def run(path: str, cache: Path, *commands: Sequence[object]) -> list[Done]:
    """Run `avqa` commands one after another with this PYTHONPATH and an empty cache."""
    lines = "".join(json.dumps([str(part) for part in command]) + "\n" for command in commands)
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", RUN],
        input=lines,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path, "AVQA_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
        encoding="utf-8",
    )
    return [Done(*json.loads(line)) for line in done.stdout.splitlines()]
