"""What a process takes over from who started it: variables that no run goes by, closed streams.

A variable of the shell, a batch system's or another program's, may change a number (TF32), the
training (Fabric), what is stored (zarr), or stop a run (ranks of a launcher). `leave_out` is called
before a command loads any library, so that neither this process nor those that it starts have them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping

_LIBRARIES = (
    *("LT_", "PL_", "LIGHTNING_"),
    *("TORCH", "PYTORCH_", "ATEN_", "ONEDNN_", "DNNL_", "GLOO_"),
    *("ZARR_", "DASK_"),
)
"""How names of variables begin that a library takes settings from."""
_SINGLE = frozenset(
    (
        *("NVIDIA_TF32_OVERRIDE", "POSSIBLE_USER_WARNINGS", "USE_LIBUV", "DISABLE_MPS"),
        # What a launcher tells the processes of one training: ours start their own.
        *("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "ROLE_RANK"),
        *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "STANDALONE_PORT"),
        *("SLURM_PROCID", "JSM_NAMESPACE_RANK"),
        # Of a notebook's cells, or for windows: pictures are files.
        *("MPLBACKEND", "MATPLOTLIBRC"),
        # Which instructions MKL computes with; its numbers of threads stay.
        *("MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE", "MKL_VML_MODE"),
    )
)
_KEPT = (
    # Where files go, and how memory is shared out: no number follows from them.
    *("TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR", "PYTORCH_KERNEL_CACHE_PATH"),
    *("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"),
    # Who may talk to a scheduler that is there already: `pipelines/cluster/dask_library.py`.
    *("DASK_CONFIG", "DASK_ROOT_CONFIG", "DASK_DISTRIBUTED__COMM__TLS__"),
    *("DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION", "DASK_DISTRIBUTED__CLIENT__SECURITY_LOADER"),
)
"""How those begin that stay all the same; `docs/install.md` lists them."""


def is_left_out(name: str) -> bool:
    """Whether no run goes by the variable of this name."""
    return name in _SINGLE or (name.startswith(_LIBRARIES) and not name.startswith(_KEPT))


def leave_out(environ: MutableMapping[str, str] = os.environ) -> None:
    """Take them out of the environment of this process, and so of those that it starts."""
    for name in [name for name in environ if is_left_out(name)]:
        del environ[name]


SPINS = "300000"
"""Looks of a thread that waits before it sleeps: GNU OpenMP's own count where nothing is set."""
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def let_threads_sleep(environ: MutableMapping[str, str] = os.environ) -> None:
    """Have threads that wait for each other sleep, in this process and those it starts.

    torch's (GNU OpenMP) spin instead, at the end of every operation: where another program has one
    of the cores, training takes many times as long (docs/benchmarks_beside.md). Heeded until
    torch is imported; a policy of the user's stays.
    """
    if not any(name in environ for name in _WAITING):
        environ["OMP_WAIT_POLICY"] = "PASSIVE"


def let_threads_spin_while_alone(environ: MutableMapping[str, str] = os.environ) -> None:
    """Have them spin as long as `avqa.training.fitting.waiting` lets them, in this process.

    For what trains; without effect once torch is imported. A policy or count of the user's stays.
    """
    if environ.get("OMP_WAIT_POLICY") == "PASSIVE" and "torch" not in sys.modules:
        environ.setdefault("GOMP_SPINCOUNT", SPINS)


def spins_while_alone(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether threads spin or sleep by whether there are more of them than cores."""
    return [environ.get(name) for name in _WAITING] == ["PASSIVE", SPINS]


def settle() -> None:
    """Put ``/dev/null`` in the place of each standard stream that is closed.

    A file that is opened later would get the number of the one that is missing: a decoder process
    would lose it to its own standard streams, and what is printed would land in it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
