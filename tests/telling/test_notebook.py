"""A bar in a notebook: with a stand-in of IPython, and in a kernel where there is one."""

import sys
import time
from types import ModuleType, SimpleNamespace

import pytest

import avqa
from avqa.telling import Shown, counting, notebook
from avqa.telling.terminal import Terminal


@pytest.fixture
def displayed(monkeypatch):
    """What IPython was asked to display, one after the other."""
    pictures = []
    handle = SimpleNamespace(update=lambda picture, raw: pictures.append(picture))

    def display(picture, raw, display_id):
        assert (raw, display_id) == (True, True)
        pictures.append(picture)
        return handle

    kernel, shown = ModuleType("IPython"), ModuleType("IPython.display")
    kernel.get_ipython = lambda: SimpleNamespace(kernel=object())
    shown.display = display
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    monkeypatch.setattr(notebook, "SECONDS", 0.001)
    return pictures


def test_a_bar_is_a_display_that_changes_and_goes(displayed, capsys):
    say = Terminal()
    with counting(say, "a <b>", 4, "steps") as count:
        count.step()
        say("a line")
        wait_for(lambda: "1/4 steps" in displayed[-1]["text/plain"])
        count.step(2)
        wait_for(lambda: "3/4 steps" in displayed[-1]["text/plain"])
    assert displayed[0]["text/plain"].startswith("  0% | a <b>: 0/4 steps | time left")
    assert (
        '<progress value="0.7500" max="1"></progress> a &lt;b&gt;: 3/4 steps'
        in (displayed[-2]["text/html"])
    )
    assert displayed[-1] == {"text/plain": "", "text/html": ""}
    assert capsys.readouterr() == ("a line\n", "")
    number = len(displayed)
    time.sleep(0.02)
    assert len(displayed) == number  # nobody draws any more


def test_a_page_that_is_gone_stops_no_work(displayed, monkeypatch):
    def shown():
        if len(displayed) > 1:
            raise ValueError("nobody listens")
        return Shown(None, ("working",))

    end = notebook.draw(shown)
    end()
    assert displayed[0] == {"text/html": "working", "text/plain": "working"}


def test_ipython_in_a_terminal_is_no_notebook(displayed, monkeypatch, capsys):
    sys.modules["IPython"].get_ipython = lambda: SimpleNamespace()
    assert not notebook.there()
    avqa.say("a line")
    assert capsys.readouterr() == ("", "a line\n")
    monkeypatch.delitem(sys.modules, "IPython")
    assert not notebook.there()


def wait_for(condition):
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it did not come")


KERNEL = """
import time
import avqa
from avqa.telling import counting
with counting(avqa.say, "work", 2, "steps") as count:
    count.step()
    time.sleep(1.2)
    avqa.say("a line")
"""


def test_a_kernel_shows_it(tmp_path):
    client = pytest.importorskip("nbclient", reason="no kernel here: nbclient is not installed")
    pytest.importorskip("ipykernel", reason="no kernel here: ipykernel is not installed")
    nbformat = pytest.importorskip("nbformat")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(KERNEL)])
    seen = []

    class Watching(client.NotebookClient):
        def process_message(self, message, cell, index):
            if "display" in message["msg_type"]:
                seen.append(message["content"]["data"]["text/plain"])
            return super().process_message(message, cell, index)

    Watching(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert " 50% | work: 1/2 steps" in " ".join(seen)
    assert seen[-1] == ""
    assert [o.text for o in book.cells[0].outputs if o.output_type == "stream"] == ["a line\n"]
