"""What pyproject.toml cannot say: the page that an index shows, and the pages in the wheel.

An index shows README.md alone, so the links that lead to its neighbours become addresses. The pages
that messages name go into the package, for who has nothing else and no connection.
"""

import re
import shutil
import tomllib
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
LINK = re.compile(r"(!?)(\[[^]]*\])\((?![a-z]+:|#)([^)]+)\)")


def absolute(link: re.Match[str]) -> str:
    """A link of README.md, leading to where the project is published."""
    picture, text, target = link.groups()
    path = target.partition("#")[0]
    view = "raw" if picture else "tree" if (ROOT / path).is_dir() else "blob"
    return f"{picture}{text}({SOURCE}/{view}/main/{target})"


class WithPages(build_py):
    """Puts `PAGES` beside the modules; where it is installed to be edited, they are there."""

    def run(self) -> None:
        """Build; see setuptools."""
        super().run()
        if not self.editable_mode:
            for folder in PAGES:
                shutil.copytree(
                    ROOT / folder, Path(self.build_lib, "avqa", folder), dirs_exist_ok=True
                )


PAGES = ("docs", "examples")
SOURCE = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"][
    "Source"
]
setup(
    long_description=LINK.sub(absolute, (ROOT / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
    cmdclass={"build_py": WithPages},
)
