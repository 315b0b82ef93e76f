"""`avqa train-head` as typed, in a process of its own that may be killed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from avqa.cli import app
from avqa.pipelines.train import train


def typed(log: Path, *words: str) -> None:
    """Run a command; what it says goes to ``log``, with its exit code in the last line."""
    done = CliRunner().invoke(app, words)
    log.write_text(f"{done.stderr}{done.exit_code}\n", encoding="utf-8")
    sys.exit(done.exit_code)


def typed_until(gate: Path, word: str, *words: str) -> None:
    """Run a command that makes the file ``gate`` and hangs when a fit says ``word``."""
    fit = train.fit

    def hanging(*arguments: Any, say: Callable[[str], None], **more: Any) -> Any:
        def told(line: str) -> None:
            say(line)
            if word in line:
                gate.touch()
                time.sleep(600)

        return fit(*arguments, say=told, **more)

    train.fit = hanging
    CliRunner().invoke(app, words)
