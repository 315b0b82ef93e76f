"""Where avqa uses what Linux alone has, or what other systems have by another meaning.

Each place is named here with its other branch; the test lists every place that is not, and every
line that has outlived its place.
"""

import ast
import re

from test_architecture import FILES

ABSENT = {
    *("memfd_create", "MFD_CLOEXEC", "posix_fallocate", "posix_fadvise", "sched_getaffinity"),
    *("sched_setaffinity", "pidfd_open", "eventfd", "splice", "copy_file_range", "getrandom"),
    *("getxattr", "setxattr", "fdatasync", "pipe2", "O_TMPFILE", "O_DIRECT", "O_PATH", "epoll"),
    *("sigwaitinfo", "sigtimedwait", "SIGRTMIN", "prlimit", "inotify", "prctl", "renameat2"),
    *("F_OFD_SETLK", "sync_file_range", "AF_NETLINK", "CLOCK_BOOTTIME", "MAP_POPULATE"),
}
"""Only Linux has them, of all systems that we mean."""
OTHERWISE = {
    **dict.fromkeys(("fsync", "F_FULLFSYNC"), "reaches the drive's memory, not its disk"),
    "ru_maxrss": "kilobytes there, bytes on macOS",
    "RLIMIT_DATA": "limits nothing on macOS",
    **dict.fromkeys(("fork", "forkserver"), "not safe, and no default, on macOS"),
    "lo": "lo0 on macOS",
    "platform": "asks for a name where the thing itself could be looked for",
}
"""Other systems have them, but they mean something else there."""
PATHS = re.compile(r"(^|/)(proc|sys|dev)(/|$)|cgroup")

ALLOWED = {
    ("extract.parent_death", "", "prctl"): "no such call: the watch on standard input",
    ("extract.decoder.ring", "new_file", "memfd_create"): "an unlinked temporary file",
    ("extract.decoder.ring", "new_file", "MFD_CLOEXEC"): "an unlinked temporary file",
    ("datasets._parts.files", "", "dev"): "a name of the validation split",
    ("datasets._synth.render", "render", "fsync"): "a clip that was cut is rendered again",
    ("extract.decoder.child", "_pages_bytes", "/proc/self/statm"): "None: no limit",
    ("extract.decoder.child", "is_short", "RLIMIT_DATA"): "not asked without a base to add to",
    ("extract.decoder.child", "_limit_data", "RLIMIT_DATA"): "not called without a base to add to",
    ("extract.readers.decord", "_video", "/proc/self/fd/"): "decord has no wheel elsewhere",
    ("machine", "", "/dev"): "no GPU files: no GPU of NVIDIA's",
    ("machine", "num_cores", "sched_getaffinity"): "os.cpu_count",
    ("machine", "control_groups", "proc/self/cgroup"): "no groups, no limits",
    ("machine", "control_groups", "sys/fs/cgroup"): "no groups without /proc/self/cgroup",
    ("machine", "free_memory", "proc/meminfo"): "psutil",
    ("machine", "pid_namespace", "/proc/self/ns/pid"): 'return ""',
    ("machine", "pid_namespace", "/proc/sys/kernel/random/boot_id"): 'return ""',
    ("store.lock", "process_start", "/proc/"): "_start_without_proc",
    ("store.lock", "process_start", "/proc/self/stat"): "_start_without_proc",
    ("store.lock", "process_start", "/proc/sys/kernel/random/boot_id"): "_start_without_proc",
    ("store.places.files", "to_disk", "F_FULLFSYNC"): "fsync where there is no such call",
    ("store.places.files", "to_disk", "fsync"): "F_FULLFSYNC before it",
    ("store.places.files", "take_room", "fsync"): "after zeros: their room is taken, no more",
    ("store.places.files", "take_room", "posix_fallocate"): "zeros are written",
    ("training.data.memory", "", "dev/shm"): "no such folder: nothing is shared beforehand",
    ("training.fitting.processes", "_loopback", "lo"): "the name that the system lists",
    ("training.fitting.waiting", "busy_seconds", "/proc/stat"): "None: threads sleep",
    ("training.fitting.waiting", "busy_seconds", "sched_getaffinity"): "None: threads sleep",
    ("training.fitting.waiting", "_watch", "sched_getaffinity"): "not begun without busy_seconds",
    (
        "pipelines.engine.small",
        "machine",
        "/proc/cpuinfo",
    ): "the processor's kind is not told apart",
    ("pipelines.extraction.run", "machine", "platform"): "told in the log, decides nothing",
    ("pipelines.info", "", "/proc/driver/nvidia/version"): "no such driver: no such line",
    ("pipelines.info", "_platform", "platform"): "told in a report, decides nothing",
    ("pipelines.info", "report", "platform"): "told in a report, decides nothing",
    ("pipelines.info", "version_line", "platform"): "told by --version, decides nothing",
    (
        "pipelines.train.environment",
        "environment",
        "platform",
    ): "told in environment.json, decides nothing",
}
"""(module, function, name) → its other branch."""


def docstrings(tree):
    """The constants that only describe."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def names(node):
    """What a node of the code names: an attribute, an import, a text."""
    if isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.ImportFrom):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def used(source):
    """(function, name) of everything in a file that is not the same on all systems."""
    tree = ast.parse(source)
    described = docstrings(tree)

    def walk(node, function):
        for child in ast.iter_child_nodes(node):
            if child in described:
                continue
            for name in names(child):
                is_path = isinstance(child, ast.Constant) and PATHS.search(name)
                if name in ABSENT or name in OTHERWISE or is_path:
                    yield function, name
            is_def = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from walk(child, child.name if is_def else function)

    return set(walk(tree, ""))


def test_the_scan_sees_names():
    code = '''
"""Reads /proc/meminfo."""
import os, sys
from os import memfd_create
HERE = sys.platform
def f():
    """Of /proc."""
    getattr(os, "posix_fallocate")(1)
    os.fsync(open(f"/proc/{1}/stat"))
    return "a/proctor", "/process"
'''
    assert used(code) == {
        ("", "memfd_create"),
        ("", "platform"),
        ("f", "posix_fallocate"),
        ("f", "fsync"),
        ("f", "/proc/"),
    }


def test_what_other_systems_lack_has_its_other_branch_named():
    found = {
        (module.removeprefix("avqa."), *use)
        for module, path in FILES.items()
        for use in used(path.read_text(encoding="utf-8"))
    }
    assert sorted(found - ALLOWED.keys()) == []
    assert sorted(ALLOWED.keys() - found) == []
