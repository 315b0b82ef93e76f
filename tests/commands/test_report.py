"""`avqa report` as typed."""

import os
import subprocess
import sys

import pytest
from helpers.extraction.as_typed import avqa
from helpers.pages import reported
from helpers.pages.parsed import Page
from helpers.store import s3_server, stored

from avqa.store.places.files import store_path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    reported.reported_run(root)
    return root


def test_a_run_and_a_store_in_a_process_of_its_own(made, tmp_path):
    command = [sys.executable, "-m", "avqa", "report"]
    more = {"cwd": tmp_path, "capture_output": True, "text": True, "encoding": "utf-8"}
    done = subprocess.run([*command, made / "run"], env=os.environ, **more)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"page: '{made / 'run/report.html'}'\n"
    page = Page((made / "run/report.html").read_bytes())
    assert len(page.data["questions"]["text"]) == 18
    assert len(page.data["attention"]["weights"]) == 18


def test_a_store_writes_beside_you_and_not_into_it(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted((made / "store").rglob("*"))
    assert avqa("report", made / "store") == (0, "page: 'store-report.html'\n", "")
    assert sorted((made / "store").rglob("*")) == before
    page = Page((tmp_path / "store-report.html").read_bytes())
    assert page.data["videos"]["id"] == list(reported.VIDEOS)
    out = tmp_path / "other.html"
    assert avqa("report", made / "store", "--out", out) == (0, f"page: '{out}'\n", "")


def test_what_cannot_be_is_one_line_and_a_code(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stored.make_store(tmp_path / "S", {"a": 2})
    (tmp_path / "S/features.zarr/zarr.json").write_text("{", encoding="utf-8")
    (tmp_path / "videos").mkdir()
    (tmp_path / "lost/default/seed-0").mkdir(parents=True)
    (tmp_path / "lost/default/seed-0/config.json").touch()
    asked = {
        ("nowhere",): (2, "avqa: path='nowhere' is neither a run nor a store; expected a folder"),
        ("videos",): (2, "avqa: path='videos' is neither a run nor a store; expected a folder"),
        ("S",): (4, "avqa: "),
        ("lost",): (4, "avqa: no run.json in "),
        (made / "run", "--search", "a dog"): (2, "avqa: search='a dog' goes with a store;"),
        (made / "run", "--videos", "no"): (2, "avqa: videos folder "),
        (made / "run", "--out", "videos"): (2, "avqa: out='videos' is a folder; expected a file"),
        (made / "store", "--out", "no/p.html"): (2, "avqa: out='no/p.html' lies in a folder"),
        (made / "store", "--videos", "no"): (2, "avqa: videos folder "),
    }
    for arguments, (code, begins) in asked.items():
        found, out, err = avqa("report", *arguments)
        assert (found, out) == (code, ""), arguments
        assert err.splitlines()[-1].startswith(begins), err
        assert "internal error" not in err
    assert not list(tmp_path.glob("*.html"))


def test_a_store_in_a_bucket_has_the_same_page(s3, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = f"s3://{s3_server.BUCKET}/pages/S"
    lengths = {"a": 3, "b": 7, "c": 5}
    stored.make_store(store_path(address), lengths)
    stored.make_store(tmp_path / "S", lengths)
    assert avqa("report", address) == (0, "page: 'S-report.html'\n", "")
    assert avqa("report", "S", "--out", "local.html")[0] == 0
    pages = [Page((tmp_path / name).read_bytes()) for name in ("S-report.html", "local.html")]
    assert pages[0].data == pages[1].data
    assert address in pages[0].text
