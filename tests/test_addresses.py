"""Addresses: all are of one place, and lead to what is in the repository."""

import ast
import re
import tomllib
from pathlib import Path

import avqa
from avqa import addresses, plugins

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FILES = sorted((ROOT / "avqa").rglob("*.py"))
OF_THE_REPOSITORY = re.compile(r"\b(docs|examples|benchmarks|tests)/|\b[A-Z]+\.md\b")


def test_all_are_of_the_place_that_the_project_file_names():
    assert PROJECT["urls"]["Source"] == addresses.SOURCE
    assert [
        name for name, url in PROJECT["urls"].items() if not url.startswith(addresses.SOURCE)
    ] == []
    assert PROJECT["urls"]["Issues"] == addresses.ISSUES


def test_what_the_project_file_names_is_there():
    place = re.compile(rf"{re.escape(addresses.SOURCE)}/(?:tree|blob)/main/(.+)")
    paths = [found[1] for url in PROJECT["urls"].values() if (found := place.fullmatch(url))]
    assert sorted(paths) == ["CHANGELOG.md", "docs"]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_a_page_is_read_where_it_lies(monkeypatch, tmp_path):
    assert str(ROOT / "docs" / "plugins.md") == plugins.PAGE  # in a repository
    monkeypatch.setattr(addresses, "HERE", tmp_path / "avqa")
    assert addresses.page("docs/a.md") == f"{addresses.SOURCE}/blob/main/docs/a.md"
    (tmp_path / "avqa" / "docs").mkdir(parents=True)
    (tmp_path / "avqa" / "docs" / "a.md").touch()
    assert addresses.page("docs/a.md") == str(tmp_path / "avqa" / "docs" / "a.md")  # in a wheel


def strings(tree):
    """Every text of a module that is no docstring."""
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node


def pages(tree):
    """The arguments of `page` in a module."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "page"
        ):
            yield node.args[0]


def test_every_page_that_a_message_names_is_there():
    named = {
        ast.literal_eval(page)
        for file in FILES
        for page in pages(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert named >= {"docs/plugins.md", "docs/decoders.md", "examples/slurm/cluster.yaml"}
    assert sorted(path for path in named if not (ROOT / path).is_file()) == []


def test_messages_name_addresses_not_files_that_only_the_repository_has():
    offenders = []
    for file in FILES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        given = {id(page) for page in pages(tree)}
        offenders += [
            f"{file.relative_to(ROOT)}:{text.lineno}: {text.value!r}"
            for text in strings(tree)
            if OF_THE_REPOSITORY.search(text.value)
            and id(text) not in given
            and file.name != "paper.py"  # a table says the same on every machine
        ]
    assert offenders == []


def test_one_version_is_written_everywhere():
    assert PROJECT["version"] == avqa.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [avqa.__version__]
