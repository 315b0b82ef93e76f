"""Whether torch and torchvision fit together.

torchvision holds compiled operators for one torch, of one release and one kind (CPU or CUDA). With
another it cannot be imported, in words that name neither: the commonest broken installation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import metadata

from avqa.addresses import page
from avqa.errors import EnvironmentFailure

_PIN = re.compile(r"torch ?\(?(==|>=)([\w.]+)\)?")
"""torchvision's requirement. It is not read with `packaging`, which takes long to load."""


def check() -> None:
    """Refuse builds that do not fit, before any work; imports neither where their versions agree.

    Raises:
        EnvironmentFailure: so it is.
    """
    try:
        torch, torchvision = metadata.version("torch"), metadata.version("torchvision")
        needed = metadata.requires("torchvision") or []
    except metadata.PackageNotFoundError:
        return  # built by hand: `load` says what is wrong with it
    if not _fits(needed, torch) or torch.endswith("+cpu") != torchvision.endswith("+cpu"):
        load()


def _fits(needed: Iterable[str], torch: str) -> bool:
    """Whether a version of torch is among those that requirements name, as releases name them."""
    own = _numbers(torch.partition("+")[0])
    pins = [pin for line in needed if (pin := _PIN.fullmatch(line))]
    return all(
        own == _numbers(pin[2]) if pin[1] == "==" else own >= _numbers(pin[2]) for pin in pins
    )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def load() -> None:
    """Import torchvision.

    Raises:
        EnvironmentFailure: it cannot be, with both versions.
    """
    try:
        import torchvision  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise EnvironmentFailure(
            f"torch {_version('torch')} and torchvision {_version('torchvision')} do not fit"
            f" together ({what}); expected one release of both, and one kind (CPU or CUDA);"
            f" install both anew in one command, see {page('docs/install.md')}"
        ) from error


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "(not installed)"
