"""A whole SLURM on this machine: munged, slurmctld and slurmd on loopback, up in a second.

Everything lies in one folder with a munge key, a socket and ports of its own, so that several
may run beside each other and beside a real one. The daemons die with the process that started
them. Needs root: they change users and read the munge key.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "setpriv")
NUM_CPUS = 8
"""More than there are: jobs of these tests mostly sleep."""

CONF = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
KillWait=5
NodeName=localhost NodeAddr=127.0.0.1 NodeHostname={host} CPUs={cpus} RealMemory=64000
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why a SLURM cannot be started here; empty if it can."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"needs SLURM's programs, not installed: {', '.join(absent)}"
    return "" if os.geteuid() == 0 else "starting SLURM's daemons needs root"


class SlurmNode:
    """A running SLURM of one node; use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        """``folder``: short and new; nothing is started yet."""
        self.folder = folder
        self.env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        """The environment in which SLURM's commands speak to this one."""
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> SlurmNode:
        """Start the daemons and wait until the node is idle."""
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        controller_port, node_port = _free_ports(2)
        (self.folder / "slurm.conf").write_text(
            CONF.format(
                folder=self.folder,
                host=socket.gethostname().split(".")[0],
                cpus=NUM_CPUS,
                controller_port=controller_port,
                node_port=node_port,
            ),
            encoding="utf-8",
        )
        try:
            files = {"key-file": key, "socket": self.folder / "munge.socket"}
            files |= {f"{name}-file": self.folder / f"munge.{name}" for name in ("pid", "seed")}
            # --force: the folders above are open to others, as those of tests are.
            options = [f"--{name}={path}" for name, path in files.items()]
            log = f"--log-file={self.folder / 'munge.log'}"
            self._start("munged", "--foreground", "--force", log, *options)
            self._wait(lambda: (self.folder / "munge.socket").exists(), "munged")
            self._start("slurmctld", "-D")
            self._start("slurmd", "-D", "-N", "localhost")
            self._wait(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%t"), "the node")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """End all jobs, then the daemons."""
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.ask("scancel", f"--user={os.geteuid()}")
            self._wait(lambda: not self.jobs(), "the end of the jobs")
        for daemon in reversed(self._daemons):  # munged last: the others sign with it
            daemon.terminate()
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def ask(self, *command: str) -> str:
        """Standard output of one of SLURM's commands; empty if it failed."""
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=60, encoding="utf-8"
        )
        return done.stdout if done.returncode == 0 else ""

    def tell(self, *command: str) -> str:
        """Standard output of one of SLURM's commands that has to work: what changes a job."""
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=60, encoding="utf-8"
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """State (PENDING, RUNNING, COMPLETING, …) of every job that has not ended, by id."""
        lines = self.ask("squeue", "-h", "-r", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def log(self) -> str:
        """What the daemons wrote, for the message of a failed test."""
        return "\n".join(
            path.read_text(encoding="utf-8") for path in sorted(self.folder.glob("*.log"))
        )

    def _start(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            self._daemons.append(
                subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", *command],
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )

    def _wait(self, ready, what: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < deadline, f"SLURM: waited in vain for {what}\n{self.log()}"
            time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
