"""A part of the GPU check that finds something, starts a process, and hangs."""

import subprocess
import sys
import time


def measure(run):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    run.row("Figures", what="child", value=child.pid)
    time.sleep(600)
