"""``docs/python.md`` and the public functions: every block runs, on real clips."""

import inspect
import re
from pathlib import Path

import pytest
from helpers.old_version import unpack

import avqa
from avqa.datasets._parts.vocabulary import ANSWERS

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
FUNCTIONS = [
    name
    for name in avqa.__all__
    if name not in {"__version__", "errors"} and not isinstance(getattr(avqa, name), type)
]


@pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning")
def test_every_block_of_the_page_runs(tmp_path, monkeypatch, capsys, kept_weights, reused_children):
    unpack(tmp_path, "videos", "annotations")
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), names)
    printed, told = capsys.readouterr()
    assert "no such folder' does not exist; expected" in told
    assert told.count("exit code 2") == 1
    assert "4 videos: 4 extracted" in printed
    assert "00000001 (2, 128)" in printed
    assert "4 True 2 [0.5 1.5]" in printed
    assert "\n(128,)\n" in printed
    assert "'00000004'] torch.Size([4, 2, 128]) torch.Size([4, 2])" in printed
    assert "distinct texts: " in printed
    assert list(names["answers"]) == ["100", "101", "102", "103"]
    assert set(names["answers"].values()) <= set(ANSWERS)
    assert {name for name, _ in names["answer"].answers} == set(ANSWERS)
    assert names["files"][0].is_file()
    assert printed.rstrip().endswith("torch.Size([2, 42]) ['av', 'qa', 'qv']")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_is_documented_with_a_call_of_it(name):
    function = getattr(avqa, name)
    text = inspect.getdoc(function if name != "extract" else avqa.api.extract)
    assert (f"avqa.{name}(" if name != "say" else "say=avqa.say)") in text
    assert f"avqa.{name}(" in PAGE.read_text(encoding="utf-8")


def test_an_unknown_name_of_the_package():
    with pytest.raises(AttributeError, match="module 'avqa' has no attribute 'extracts'"):
        avqa.extracts  # noqa: B018
    assert set(FUNCTIONS) <= set(dir(avqa))


def test_extract_is_a_package_and_a_function():
    import avqa.extract.settings

    assert avqa.extract.settings.Settings().frame_at == "mid"
    with pytest.raises(TypeError, match="missing 2 required positional arguments"):
        avqa.extract()
