"""What is let through to the page, and what is not."""

import asyncio
import json

import pytest

from avqa.pipelines.serve.guard import MOST_BYTES, POLICY, Guard

OURS = ("host", "127.0.0.1:7860")


@pytest.fixture
def uploads(tmp_path):
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "clip.mp4").write_bytes(b"clip")
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (tmp_path / "up" / "link").symlink_to(tmp_path / "secret")
    return tmp_path / "up"


def asked(uploads, path, *headers, method="GET", body=b"", kind="http", cut=10**9):
    """(status, headers, what the application got) of a request whose body comes in pieces."""
    got, sent = [], []
    parts = [body[at : at + cut] for at in range(0, len(body), cut)] or [b""]
    coming = [
        {"type": "http.request", "body": part, "more_body": n + 1 < len(parts)}
        for n, part in enumerate(parts)
    ]

    async def application(scope, receive, send):
        whole, more = b"", True
        while more:
            message = await receive()
            whole, more = whole + message["body"], message["more_body"]
        got.append(whole)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b"page"})

    async def receive():
        return coming.pop(0)

    async def send(message):
        sent.append(message)

    given = [(name.encode(), value.encode()) for name, value in (headers or (OURS,))]
    scope = {"type": kind, "path": path, "method": method, "headers": given}
    asyncio.run(Guard(application, 7860, uploads)(scope, receive, send))
    return sent[0].get("status"), dict(sent[0].get("headers", [])), got


def test_the_page_is_let_through_with_its_policy(uploads):
    for path in ("/", "/assets/index.js", "/gradio_api/queue/data", "/videos/3"):
        status, headers, got = asked(uploads, path)
        assert (status, got) == (200, [b""]), path
        assert headers[b"a"] == b"b"
        assert headers[b"content-security-policy"] == POLICY.encode()


@pytest.mark.parametrize(
    "path",
    [
        *("/gradio_api/proxy=https://example.com/", "/gradio_api/vibe-code", "/monitoring"),
        *("/gradio_api/run/ask", "/gradio_api/call/ask", "/gradio_api/file/etc/passwd", "/docs"),
        *("/config/", "/gradio_api/component_server", "/login", "", "/gradio_api/file"),
    ],
)
def test_no_other_address_is(uploads, path):
    status, headers, got = asked(uploads, path)
    assert (status, got) == (403, [])
    assert b"content-security-policy" in headers


def test_of_files_only_uploaded_ones_are(uploads):
    assert asked(uploads, f"/gradio_api/file={uploads}/clip.mp4")[0] == 200
    for path in (
        *("/etc/passwd", "https://example.com/a.mp4", "etc/passwd", "", "\0", "."),
        *(f"{uploads}/../secret", f"{uploads}/link", f"{uploads}-beside/x", f"{uploads.parent}"),
    ):
        assert asked(uploads, f"/gradio_api/file={path}")[0] == 403, path


def body_with(path):
    """As the page sends it."""
    dropped = {"path": path, "meta": {"_type": "gradio.FileData"}}
    return json.dumps({"data": [None, {"video": dropped}, "Who?"], "fn_index": 3}).encode()


@pytest.mark.parametrize("cut", [7, 10**9])
def test_a_question_names_no_file_but_an_uploaded_one(uploads, cut):
    join = {"path": "/gradio_api/queue/join", "method": "POST", "cut": cut}
    body = body_with(f"{uploads}/clip.mp4")
    assert asked(uploads, body=body, **join)[::2] == (200, [body])
    for path in ("/etc/passwd", "https://example.com/a.mp4", f"{uploads}/link", 3, None, ["x"]):
        assert asked(uploads, body=body_with(path), **join)[::2] == (403, []), path


def test_a_body_that_is_no_question_is_refused(uploads):
    join = {"path": "/gradio_api/queue/join", "method": "POST"}
    for body in (b"", b"{", b"[" * 100_000, b"\xff", b" " * MOST_BYTES + b"{}"):
        assert asked(uploads, body=body, **join)[::2] == (403, []), body[:9]


def test_other_pages_and_other_names_of_this_machine_are_refused(uploads):
    same = ("origin", "http://127.0.0.1:7860")
    assert asked(uploads, "/", OURS, same)[0] == 200
    assert asked(uploads, "/", ("Host", "localhost:7860"))[0] == 200
    for headers in (
        (("host", "evil.example:7860"),),
        (("host", "127.0.0.1"),),
        (("host", "127.0.0.1:7861"),),
        (("accept", "*/*"),),
        (OURS, ("origin", "http://evil.example")),
        (OURS, ("origin", "null")),
        (OURS, ("origin", "http://127.0.0.1:7861")),
    ):
        assert asked(uploads, "/", *headers)[0] == 403, headers


def test_there_are_no_web_sockets(uploads):
    assert asked(uploads, "/", kind="websocket")[2] == []
