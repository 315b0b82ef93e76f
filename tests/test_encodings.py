"""Text is UTF-8 wherever it is read or written: the locale of a machine decides nothing."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("avqa", "benchmarks", "examples", "portability", "tests")
OTHERS = ("os", "av", "wave", "tarfile", "archive")
"""Whose ``open`` opens something else; so does every class's."""


def is_locales(call):
    """Whether a call reads or writes text and names no encoding."""
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    method = isinstance(call.func, ast.Attribute)
    name = call.func.attr if method else getattr(call.func, "id", "")
    owner = ast.unparse(call.func.value).rpartition(".")[2] if method else ""
    if "encoding" in keywords or None in keywords:
        return False
    if name in ("read_text", "write_text"):
        return len(call.args) < (1 if name == "read_text" else 2)
    if name in ("run", "Popen", "check_output"):
        return "text" in keywords or "universal_newlines" in keywords
    if name in ("NamedTemporaryFile", "TemporaryFile") or _opens_file(name, owner):
        temporary = name != "open"
        place = 0 if temporary or (method and owner not in ("io", "gzip")) else 1
        mode = keywords.get("mode", call.args[place] if len(call.args) > place else None)
        if mode is None:
            return not temporary
        return not (isinstance(mode, ast.Constant) and "b" in str(mode.value))
    return False


def _opens_file(name, owner):
    return name == "open" and owner not in OTHERS and not owner[:1].isupper()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("path.read_text()", True),
        ("path.write_text(text)", True),
        ("path.read_text('utf-8'); path.write_text(text, encoding='utf-8')", False),
        ("open(path)", True),
        ("open(path, 'rb'); path.open('wb'); open(path, mode='ab')", False),
        ("path.open()", True),
        ("path.open('w', encoding='utf-8')", False),
        ("subprocess.run(command, text=True)", True),
        ("subprocess.run(command, capture_output=True)", False),
        ("tempfile.NamedTemporaryFile('w')", True),
        ("tempfile.NamedTemporaryFile(dir=folder)", False),
    ],
)
def test_the_scan_sees_text(source, expected):
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    assert [is_locales(call) for call in calls] == [expected] * len(calls)


def test_text_names_its_encoding():
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)[:80]}"
        for part in PARTS
        for path in sorted((ROOT / part).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and is_locales(node)
    ]
    assert found == []
