"""Where a page can be read that a message names: in the repository, or with the package alone."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
SOURCE = "https://github.com/avqa/avqa"
"""`project.urls.Source` of pyproject.toml; written twice since a package not installed has none."""
ISSUES = f"{SOURCE}/issues"


def page(path: str) -> str:
    """Where ``docs/plugins.md`` lies on this machine; its address if it does not.

    A wheel has the pages in the package, a repository beside it.
    """
    for folder in (HERE, HERE.parent):
        if (folder / path).is_file():
            return str(folder / path)
    return f"{SOURCE}/blob/main/{path}"
