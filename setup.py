"""What pyproject.toml cannot say: the page that a package index shows of README.md.

An index shows that file alone, so the links that lead to its neighbours become addresses.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
LINK = re.compile(r"(!?)(\[[^]]*\])\((?![a-z]+:|#)([^)]+)\)")


def absolute(link: re.Match[str]) -> str:
    """A link of README.md, leading to where the project is published."""
    picture, text, target = link.groups()
    path = target.partition("#")[0]
    view = "raw" if picture else "tree" if (ROOT / path).is_dir() else "blob"
    return f"{picture}{text}({SOURCE}/{view}/main/{target})"


SOURCE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"][
    "Source"
]
setup(
    long_description=LINK.sub(absolute, (ROOT / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
)
