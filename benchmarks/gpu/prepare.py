"""``python3 benchmarks/gpu/prepare.py BUNDLE …``: an environment from wheels alone, then the check.

Runs in the Python that has torch, with nothing but the standard library. Its packages are seen
through a ``.pth`` file rather than by ``--system-site-packages``, which shows those of the
system's Python where the one with torch is itself a virtual environment.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Prepare, and run the check in its place."""
    began = time.time()
    bundle, *rest = sys.argv[1:]
    wheels = sorted((Path(bundle) / "wheels").glob("*.whl"))
    if not wheels:
        print(
            f"avqa: no wheels in {bundle}; expected the folder of `make gpu-bundle`; make it where"
            " there is a network, carry it here, and give BUNDLE=folder",
            file=sys.stderr,
        )
        return 2
    folder = Path(tempfile.mkdtemp(prefix="avqa-gpu-venv-"))
    try:
        python = make(folder, wheels)
        command = [python, "-m", "benchmarks.gpu", "--began", str(began)]
        material = ["--material", str((Path(bundle) / "material").absolute())]
        return subprocess.run([*command, *material, *rest], cwd=ROOT).returncode
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make(folder: Path, wheels: list[Path]) -> str:
    """A virtual environment with the wheels, before what this Python has; its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    packages = site_packages(python)
    (packages / "zz-around.pth").write_text(f"{paths_here()}\n", encoding="utf-8")
    for wheel in wheels:
        unpack(wheel, packages)
    return python


def unpack(wheel: Path, packages: Path) -> None:
    """Install a wheel, but for its commands; without pip, which may be missing."""
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            of_data = re.match(r"[^/]+\.data/(\w+)/(.+)", entry.filename)
            if of_data and of_data[1] not in ("purelib", "platlib"):
                continue
            if of_data:
                entry.filename = of_data[2]
            archive.extract(entry, packages)


def paths_here() -> str:
    """Lines of a ``.pth`` file: where this Python's packages are, with ``.pth`` files of theirs."""
    found = [sysconfig.get_path(kind) for kind in ("purelib", "platlib")]
    found += [path for path in sys.path if path.endswith("-packages")]
    return "\n".join(f"import site; site.addsitedir({path!r})" for path in dict.fromkeys(found))


def site_packages(python: str) -> Path:
    """Of another Python."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run(
        [python, "-c", code], capture_output=True, check=True, text=True, encoding="utf-8"
    )
    return Path(done.stdout.strip())


if __name__ == "__main__":
    sys.exit(main())
