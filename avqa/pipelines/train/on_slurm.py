"""`avqa train-head --scheduler slurm`: the members as the tasks of one SLURM array.

Each task is an `avqa train-head --partition I/N --resume` of its own, in the run's folder. What
submitted them only waits: it trains nothing, and the tasks need nothing of it.
"""

from __future__ import annotations

import shlex
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from avqa.errors import EnvironmentFailure, Stopped
from avqa.pipelines.cluster.slurm_commands import ask_slurm, reason_of
from avqa.pipelines.cluster.slurm_config import ClusterConfig
from avqa.signals import StopSignals
from avqa.training.run import RESULT

POLL_SECONDS = 10.0
"""Between two questions to SLURM."""
LOOK_SECONDS = 0.5
"""Between two looks for a signal."""
NOTE_SECONDS = 60.0


@dataclass(frozen=True)
class Tasks:
    """One SLURM array that trains members."""

    config: ClusterConfig
    words: Sequence[str]
    """Of `avqa train-head`, but for the partition and ``--resume``."""
    members: Sequence[Path]
    """Their folders."""
    name: str
    """Of this array and no other."""

    @classmethod
    def of(cls, config: ClusterConfig, words: Sequence[str], members: Sequence[Path]) -> Tasks:
        """With a new name."""
        return cls(config, words, members, f"avqa-train-{uuid.uuid4().hex[:8]}")

    @property
    def count(self) -> int:
        """How many tasks; none has nothing to do."""
        return min(self.config.jobs, len(self.members))

    @property
    def logs(self) -> str:
        """Where they write."""
        return f"{self.config.log_directory}/{self.name}-*.log"

    def script(self) -> str:
        """What sbatch gets."""
        from avqa.pipelines.cluster.slurm_jobs import job_header  # and with it Dask

        options = self.config.options
        python = options.get("python", shlex.quote(sys.executable))
        lines = [
            options.get("shebang", "#!/usr/bin/env bash"),
            job_header(self.config, self.name),
            f"#SBATCH --array=0-{self.count - 1}",
            *options.get("job_script_prologue", ()),
            # exec: signals reach avqa, not a shell that waits for it.
            f"exec {python} -m avqa train-head {shlex.join(self.words)} --steal-lock --resume"
            f' --partition "$SLURM_ARRAY_TASK_ID/{self.count}"',
        ]
        return "\n".join(lines) + "\n"

    def run(self, say: Callable[[str], None]) -> None:
        """Submit the tasks and wait until none is left; they are cancelled if this is stopped.

        Raises:
            EnvironmentFailure: sbatch refuses, or there is no SLURM here.
            Stopped: Ctrl-C or SIGTERM.
        """
        with StopSignals("the tasks may run on: see squeue; go on with --resume") as stop:
            try:
                self._submit()
                say(f"slurm: {self.count} tasks submitted as {self.name}; logs: {self.logs}")
                self._watch(say, stop)
            except BaseException:
                with suppress(EnvironmentFailure):
                    ask_slurm("scancel", f"--name={self.name}")
                raise

    def _submit(self) -> None:
        folder = Path(self.config.log_directory)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentFailure(
                f"scheduler=slurm: log_directory={str(folder)!r}: {error.strerror}; expected a"
                f" folder to write to; correct {self.config.path!r}"
            ) from error
        code, text = ask_slurm("sbatch", "--parsable", script=self.script())
        if code:
            raise EnvironmentFailure(
                f"slurm: sbatch refused the job script: {reason_of(text)}; expected it to take"
                f" the job; correct {self.config.path!r}"
            )

    def _watch(self, say: Callable[[str], None], stop: StopSignals) -> None:
        told, next_note = "", 0.0
        while states := self._states():
            line = self._line(states)
            if line != told and (time.monotonic() >= next_note):
                say(line)
                told, next_note = line, time.monotonic() + NOTE_SECONDS
            end = time.monotonic() + POLL_SECONDS
            while time.monotonic() < end:
                if stop.received is not None:
                    raise Stopped(
                        stop.received,
                        f"slurm: stopped, tasks of {self.name} cancelled with"
                        f" {self._finished()} of {len(self.members)} members finished; go on with"
                        " the same command and --resume",
                    )
                time.sleep(LOOK_SECONDS)

    def _states(self) -> Mapping[str, int]:
        """State of the tasks that have not ended → how many are in it."""
        code, text = ask_slurm("squeue", "-h", "-r", f"--name={self.name}", "-o", "%T (%r)")
        if code:  # SLURM does not answer: nothing is given up for that
            return {"unknown": self.count}
        return Counter(line.lower().replace(" (none)", "") for line in text.splitlines())

    def lack(self) -> str | None:
        """What to say of the members that no task finished."""
        left = [f"{m.parent.name}/{m.name}" for m in self.members if not (m / RESULT).exists()]
        if not left:
            return None
        return (
            f"slurm: all tasks of {self.name} ended, and {len(left)} of {len(self.members)} members"
            f" are not finished: {', '.join(left)}; expected all; their logs say why: {self.logs};"
            " go on with the same command and --resume"
        )

    def _finished(self) -> int:
        return sum((member / RESULT).exists() for member in self.members)

    def _line(self, states: Mapping[str, int]) -> str:
        tasks = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        return f"slurm: {self._finished()} of {len(self.members)} members finished; tasks: {tasks}"
