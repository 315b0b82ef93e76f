"""Commands on a system that is no Linux, as far as avqa can see (``other_system/``)."""

import os
import subprocess
import sys
from pathlib import Path

from helpers.extraction import light

FOLDER = Path(__file__).parent / "other_system"


def environment():
    """Of a process that shall have no Linux, and of those that it starts."""
    path = light.environment()["PYTHONPATH"]
    return {**light.environment(), "PYTHONPATH": os.pathsep.join([str(FOLDER), path])}


def avqa(*arguments, **environ):
    """Exit code and output of a command there."""
    command = [sys.executable, "-m", "avqa", *map(str, arguments)]
    return light.finished(command, PYTHONPATH=environment()["PYTHONPATH"], **environ)


def python(code, *arguments):
    """What a program prints there; it counts as avqa's own code where it says so.

    ``<avqa>`` is the file name that the hiding takes for avqa's.
    """
    start = "import sys; exec(compile(sys.stdin.read(), '<avqa>', 'exec'))"
    done = subprocess.run(
        [sys.executable, "-c", start, *map(str, arguments)],
        input=code, capture_output=True, text=True, env=environment(), check=False, encoding="utf-8"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
