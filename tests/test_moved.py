"""Names of version 0.1 that the documentation gave: they work, and say where things are now."""

import importlib
import subprocess
import sys

import pytest

from avqa._moved import MOVED


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_module_of_an_old_name_is_the_new_one_and_warns(old, new):
    sys.modules.pop(old, None)
    before = importlib.import_module(new)
    with pytest.warns(DeprecationWarning, match=rf"^{old} is now {new}$"):
        assert importlib.import_module(old) is before
    assert importlib.import_module(new) is before
    assert before.__name__ == before.__spec__.name == new


def test_asking_by_its_old_name_warns():
    code = "from avqa.pipelines.ask import AskOptions, ask; print(ask.__name__, AskOptions)"
    done = subprocess.run(
        [sys.executable, "-W", "always::DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.stdout == "ask <class 'avqa.pipelines.ask.answer.AskOptions'>\n", done.stderr
    assert "avqa.pipelines.ask.ask is now avqa.ask" in done.stderr
