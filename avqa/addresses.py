"""Where who has installed only the package finds what lies in the repository."""

from __future__ import annotations

SOURCE = "https://github.com/avqa/avqa"
"""`project.urls.Source` of pyproject.toml; written twice since a package not installed has none."""
ISSUES = f"{SOURCE}/issues"


def page(path: str) -> str:
    """The address of a file of the repository: ``docs/plugins.md``."""
    return f"{SOURCE}/blob/main/{path}"
