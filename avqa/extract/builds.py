"""Whether torch and torchvision fit together.

torchvision holds compiled operators for one torch, of one release and one kind (CPU or CUDA). With
another it cannot be imported, in words that name neither: the commonest broken installation.
"""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement

from avqa.addresses import page
from avqa.errors import EnvironmentFailure


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
    pins = [pin for pin in map(Requirement, needed) if pin.name == "torch"]
    of_release = all(pin.specifier.contains(torch, prereleases=True) for pin in pins)
    if not of_release or torch.endswith("+cpu") != torchvision.endswith("+cpu"):
        load()


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
