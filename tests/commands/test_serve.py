"""`avqa serve` as a user types it."""

import errno
import os
import signal
import socket
import sys
from urllib.parse import quote

import psutil
import pytest
from helpers.ended import wait_until_gone
from helpers.runs import served
from typer.testing import CliRunner

from avqa.cli import app
from avqa.pipelines.serve import serving, site

TEXT = "Is there a violin sound?"


def avqa(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return served.blind_run(tmp_path_factory.mktemp("run"))


def test_without_the_extra_one_line_says_so(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    expected = (
        "avqa: avqa serve: gradio is not installed; expected the extra demo; install it with:"
        " pip install gradio\n"
    )
    assert avqa("serve", run, "--port", 0) == (5, expected)


@pytest.fixture
def gradio_there(monkeypatch):
    """As if it were installed: what is refused before it is loaded."""
    monkeypatch.setattr(site, "check_library", lambda: None)


def test_a_port_in_use_is_refused(run, gradio_there):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, err = avqa("serve", run, "--port", port)
    assert (code, err) == (
        2,
        f"avqa: port={port} cannot be had on 127.0.0.1: {os.strerror(errno.EADDRINUSE)}; expected"
        " a free one; give another --port, or 0 for any\n",
    )
    assert avqa("serve", run, "--port", 65536)[0] == 2


def test_a_port_of_this_machine_alone_is_opened():
    with serving.listening(0) as opened:
        host, port = opened.getsockname()
    assert host == "127.0.0.1"
    assert port > 0
    with serving.listening(port) as again:
        assert again.getsockname() == (host, port)


def test_what_is_not_there_is_refused_before_anything_is_served(run, gradio_there, tmp_path):
    code, err = avqa("serve", tmp_path / "gone")
    assert (code, err.startswith("avqa: ")) == (2, True)
    code, err = avqa("serve", run, "--videos", tmp_path / "gone")
    assert (code, "expected a folder of videos" in err) == (2, True)


@pytest.fixture(scope="module")
def server(run):
    pytest.importorskip("gradio", reason="gradio is not installed (the extra demo)")
    with served.serving(run.parent, run, "--videos", run.parent / "videos") as started:
        yield started


@pytest.fixture(scope="module")
def client(server):
    from gradio_client import Client

    return Client(server.url, verbose=False)


def get(server, path, **headers):
    import httpx

    return httpx.get(server.url + path, headers=headers)


def test_a_question_is_answered_and_explained(server, client):
    answers, lines, why = client.predict(0, None, TEXT, api_name="/ask")
    found = answers["confidences"]
    assert len(found) == 5
    assert [one["confidence"] for one in found] == sorted(
        (one["confidence"] for one in found), reverse=True
    )
    assert "looked at: the question alone" in lines
    assert 'src="/explanations/1/explanation.html"' in why
    page = get(server, "/explanations/1/explanation.html").text
    assert found[0]["label"] in page
    assert get(server, "/explanations/1/explanation.png").content[:4] == b"\x89PNG"
    video = get(server, "/explanations/1/video", Range="bytes=0-7")
    assert (video.status_code, len(video.content)) == (206, 8)


def test_the_server_goes_on_after_what_cannot_be_asked(client):
    for picked, text, message in (
        (0, "xyzzy", "avqa: no word of the question is known to this head"),
        (1, TEXT, "is not a video we read"),
        (None, TEXT, "avqa: no video; expected one"),
    ):
        answers, lines, why = client.predict(picked, None, text, api_name="/ask")
        assert (answers, why) == ({}, "")
        assert message in lines
    assert client.predict(2, None, TEXT, api_name="/ask")[0]["confidences"]


def test_a_dropped_video_is_asked_about(server, client, run):
    from gradio_client import handle_file

    dropped = handle_file(str(run.parent / "outside.mp4"))
    answers, lines, why = client.predict(None, dropped, TEXT, api_name="/ask")
    assert answers["confidences"], lines
    number = why.split("/explanations/")[1].split("/")[0]
    here = (run.parent / "outside.mp4").read_bytes()
    assert get(server, f"/explanations/{number}/video").content == here


def test_no_file_but_what_was_given_is_served(server, run):
    """Not by an address, and not by a question that names a file as if it had been uploaded."""
    import httpx

    assert get(server, "/videos/0").status_code == 200
    secret = run / "run.json"
    (uploads,) = server.temporary.glob("avqa-serve-*/uploads")
    for path in ("/etc/passwd", secret, f"{uploads}/../../../run/run.json", run.parent / "videos"):
        for form in (str(path), quote(str(path), safe="")):
            found = get(server, f"/gradio_api/file={form}")
            assert (found.status_code, found.text[:8]) == (403, "refused:"), form
    for path in ("/videos/3", "/videos/..%2f..%2foutside.mp4", "/explanations/1/..%2f..%2f..%2fx"):
        assert get(server, path).status_code == 404, path
    assert get(server, "/gradio_api/file=https://example.com/").status_code == 403
    assert get(server, "/", Host="evil.example").status_code == 403
    for path in ("/etc/passwd", str(secret), "https://example.com/a.mp4"):
        dropped = {"path": path, "meta": {"_type": "gradio.FileData"}}
        said = {"data": [None, dropped, TEXT], "fn_index": 0, "session_hash": "x"}
        found = httpx.post(f"{server.url}/gradio_api/queue/join", json=said)
        assert (found.status_code, "uploaded here" in found.text) == (403, True), path


def test_no_other_machine_can_ask(server):
    (one,) = (
        found.laddr
        for found in psutil.Process(server.process.pid).net_connections()
        if found.status == psutil.CONN_LISTEN
    )
    assert one.ip == "127.0.0.1"


def test_nobody_elsewhere_is_asked_and_ctrl_c_leaves_nothing(server, client, run):
    """The last one: it ends the server."""
    client.predict(0, None, TEXT, api_name="/ask")
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert server.end(signal.SIGINT) == 130
    said = server.errors.read_text(encoding="utf-8")
    assert said.endswith("avqa: stopped by SIGINT; temporary files are removed\n")
    assert "Traceback" not in said
    assert not server.told_to.exists(), server.told_to.read_text(encoding="utf-8")
    assert all(wait_until_gone(child.pid) for child in children)
    assert [name for name in os.listdir(server.temporary) if name.startswith("avqa-serve-")] == []
