"""Loaded by a process that is started with this folder on its path: it tells whom it asks.

Each name that it looks up and each address that it connects to, but this machine's own, is a line
of the file ``TOLD_TO``.
"""

import os
import sys

HERE = ("127.0.0.1", "::1", "localhost", None, "", b"")


def note(event, arguments):
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if host not in HERE:
        with open(os.environ["TOLD_TO"], "a", encoding="utf-8") as file:
            file.write(f"{event} {host}\n")


sys.addaudithook(note)
