"""SLURM's own commands, and what they answer."""

from __future__ import annotations

import re
import subprocess

from avqa.errors import EnvironmentFailure

COMMAND_SECONDS = 90.0


def ask_slurm(*command: str, script: str | None = None) -> tuple[int, str]:
    """Run one of SLURM's commands: exit code, and its output or else what it complained of."""
    try:
        done = subprocess.run(
            command,
            input=script,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            encoding="utf-8",
            errors="surrogateescape",
        )
    except FileNotFoundError as error:
        raise EnvironmentFailure(
            f"scheduler=slurm: no command {command[0]!r} here; expected SLURM's commands; run on a"
            " login or compute node of the cluster"
        ) from error
    except subprocess.TimeoutExpired:
        return 1, f"{command[0]} gave no answer in {COMMAND_SECONDS:.0f} s"
    return done.returncode, done.stdout if done.returncode == 0 else done.stderr or done.stdout


def reason_of(text: str) -> str:
    """What sbatch said, as one line without its own name."""
    lines = [re.sub(r"^sbatch: (error: )?", "", line).strip() for line in text.splitlines()]
    return "; ".join(line for line in dict.fromkeys(lines) if line) or "no reason given"
