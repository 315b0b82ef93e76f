"""From the arguments of `avqa serve` to a server that a signal ends."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avqa.errors import ConfigError, EnvironmentFailure, Stopped
from avqa.pipelines.ask.answer import chosen_member
from avqa.pipelines.serve import site
from avqa.pipelines.serve.choices import Videos, examples
from avqa.pipelines.serve.desk import Desk
from avqa.pipelines.serve.guard import HOST, Guard
from avqa.pipelines.serve.page import Answering, Offered
from avqa.signals import StopSignals
from avqa.telling import Say

SCRATCH = "avqa-serve-"
LOOK_SECONDS = 0.2
END_SECONDS = 2.0
"""For requests that are under way when the server ends; a browser keeps some open for ever."""


@dataclass(frozen=True)
class ServeOptions:
    """Arguments of the command."""

    run: Path
    videos: Path | None = None
    port: int = 7860
    """0 is any free one."""
    device: str = "auto"


def serve(options: ServeOptions, say: Say) -> None:
    """Serve a page on 127.0.0.1 until a signal comes.

    Args:
        options: what to serve.
        say: told the address, and what goes wrong.

    Raises:
        Stopped: a signal came: always, in the end.
        LibraryMissing: gradio is not installed.
        ConfigError: run, folder or port cannot be used.
        RunDamaged: a file of the run is damaged, gone or another's.
    """
    site.check_library()
    member = chosen_member(options.run, say)
    videos = Videos(options.videos, say)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(listening(options.port))
        room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=SCRATCH))).resolve()
        uploads = room / "uploads"
        uploads.mkdir()
        gradio = site.load_gradio(uploads)
        offered = Offered(member.config, videos, examples(member, say))
        desk = Desk(options.run, options.device, room, say)
        stack.callback(desk.close)
        app = site.site(gradio, offered, desk, Answering(desk, videos, say))
        port = opened.getsockname()[1]
        with StopSignals("start it again with the same command") as signals:
            with _running(Guard(app, port, uploads), opened) as server:
                say(f"serving on http://{HOST}:{port}, to this machine alone; Ctrl-C ends it")
                while signals.received is None and server.is_alive():
                    server.join(LOOK_SECONDS)
    if signals.received is None:
        raise EnvironmentFailure(
            "the server ended by itself; expected it to go on; the lines above may say why; start"
            " it again"
        )
    name = signal.Signals(signals.received).name
    raise Stopped(signals.received, f"stopped by {name}; temporary files are removed")


@contextlib.contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    """A socket of this machine alone.

    Raises:
        ConfigError: the port is in use, or not ours to take.
    """
    try:
        opened = socket.create_server((HOST, port))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigError(
            f"port={port} cannot be had on {HOST}: {reason}; expected a free one; give another"
            " --port, or 0 for any"
        ) from error
    with opened:
        yield opened


@contextlib.contextmanager
def _running(app: Any, opened: socket.socket) -> Iterator[threading.Thread]:
    """A thread that serves: signals stay with this one."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=int(END_SECONDS),
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [opened]}, name="avqa-serve", daemon=True
    )
    thread.start()
    try:
        yield thread
    finally:
        # It would tell at length that a page which is open has lost its connection.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        server.should_exit = True
        thread.join()
