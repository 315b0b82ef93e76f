"""What of a request reaches the page, and what the page may ask for.

Any program of this machine can reach a loopback port, and so can any page of a browser here that
guesses it. Of gradio's many addresses those are let through that the page needs: the others would
fetch addresses of elsewhere, or files. A file is named by a path that whoever asks has written;
gradio looks at it only in servers that it starts itself, so that is looked at here.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
MOST_BYTES = 1_000_000
"""Of a request that is no upload: a question and the name of a video."""
WHOLE = frozenset(
    (
        *("/", "/config", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json"),
        *(
            f"/gradio_api/{name}"
            for name in (
                *("info", "theme.css", "startup-events", "app_id", "reset", "cancel"),
                *("queue/join", "queue/data", "upload", "upload_progress"),
            )
        ),
    )
)
BEGINNINGS = (
    *("/assets/", "/static/", "/svelte/", "/gradio_api/heartbeat/"),
    *("/videos/", "/explanations/"),
)
FILE = "/gradio_api/file="
JSON_BODIES = ("/gradio_api/queue/join", "/gradio_api/reset", "/gradio_api/cancel")
POLICY = (
    "default-src 'self'; script-src 'self' blob: 'unsafe-inline' 'unsafe-eval';"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:;"
    " connect-src 'self' blob:; font-src 'self' data:; worker-src 'self' blob:; object-src 'none';"
    " base-uri 'self'; form-action 'none'; frame-ancestors 'self'"
)
"""Nothing of a page comes from elsewhere, whatever its scripts ask for."""
HEADERS = [
    (b"content-security-policy", POLICY.encode("ascii")),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-dns-prefetch-control", b"off"),
]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Guard:
    """Stands before the application: an ASGI middleware."""

    def __init__(self, app: App, port: int, uploads: Path) -> None:
        """``uploads`` is the one folder whose files gradio may name."""
        self._app, self._uploads = app, uploads.resolve()
        self._hosts = {f"{name}:{port}" for name in NAMES} | (set(NAMES) if port == 80 else set())

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a web socket: the page has none
            await send({"type": "websocket.close", "code": 1008})
            return
        refused = self.refusal(scope)
        if not refused and scope["path"] in JSON_BODIES and scope["method"] == "POST":
            body = await _read(receive)
            refused = self.refusal_of_body(body)
            receive = _once(body, receive)
        if refused:
            await _refuse(send, refused)
            return
        await self._app(scope, receive, _with_headers(send))

    def refusal(self, scope: Message) -> str:
        """Why a request is not let through, by its address and headers; empty if it is."""
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get(b"host", ""), headers.get(b"origin")
        if host not in self._hosts:
            return f"host {host!r}; expected this machine's own"
        if origin is not None and origin.removeprefix("http://") not in self._hosts:
            return f"origin {origin!r}; expected a page of this server"
        path: str = scope["path"]
        if path.startswith(FILE):
            inside = self.is_upload(path.removeprefix(FILE))
            return "" if inside else "file; expected one that was uploaded here"
        known = path in WHOLE or path.startswith(BEGINNINGS)
        return "" if known else "no such address"

    def refusal_of_body(self, body: bytes | None) -> str:
        """Why a request is not let through, by what it says."""
        if body is None:
            return f"more than {MOST_BYTES} bytes; expected a question"
        try:
            said = json.loads(body)
        except (ValueError, RecursionError):
            return "no JSON; expected a question"
        if not all(self.is_upload(path) for path in _paths(said)):
            return "file; expected one that was uploaded here"
        return ""

    def is_upload(self, path: object) -> bool:
        """Whether a path that somebody wrote leads to a file that was uploaded."""
        try:
            return isinstance(path, str) and Path(path).resolve().is_relative_to(self._uploads)
        except (OSError, ValueError, RuntimeError):  # a zero byte, links in a circle
            return False


def _paths(said: object) -> Iterator[object]:
    """The path of everything in it that may be a file to gradio."""
    waiting = [said]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += one.values()
            if "path" in one:
                yield one["path"]
        elif isinstance(one, list):
            waiting += one


async def _read(receive: Receive) -> bytes | None:
    """The body; None of one that is too long, or whose sender has gone."""
    parts, more = b"", True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts += message.get("body", b"")
        if len(parts) > MOST_BYTES:
            return None
        more = message.get("more_body", False)
    return parts


def _once(body: bytes | None, receive: Receive) -> Receive:
    """What was read, given again; then what comes."""
    kept = [{"type": "http.request", "body": body or b"", "more_body": False}]

    async def again() -> Message:
        return kept.pop() if kept else await receive()

    return again


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *HEADERS]
        await send(message)

    return sent


async def _refuse(send: Send, why: str) -> None:
    body = f"refused: {why}\n".encode("utf-8", "backslashreplace")
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
