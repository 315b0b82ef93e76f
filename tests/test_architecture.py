"""The arrows of the design: who may import whom, and how light the command line is."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "avqa"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAY_IMPORT = {
    "extract": {"extract", "errors"},
    "store": {"store", "errors"},
    "datasets": {"datasets", "errors"},
    "heads": {"heads", "errors"},
    "training": {"training", "store", "datasets", "heads", "errors", "signals", "machine"},
    "pipelines": {
        "pipelines",
        "training",
        "store",
        "extract",
        "datasets",
        "heads",
        "errors",
        "signals",
        "machine",
    },
    "commands": {
        "commands",
        "pipelines",
        "training",
        "store",
        "extract",
        "datasets",
        "heads",
        "errors",
        "machine",
    },
}


def imports(path):
    """Every avqa module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("avqa"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("avqa"):
            if node.module == "avqa":
                yield from (f"avqa.{alias.name}" for alias in node.names)
            else:
                yield node.module


def test_the_scan_sees_imports():
    assert "avqa.store.format.records" in set(
        imports(PACKAGE / "pipelines" / "engine" / "ticket.py")
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows_point_one_way(path):
    part = path.relative_to(PACKAGE).parts[0]
    allowed = MAY_IMPORT.get(part)
    if allowed is None:
        return
    parts = {name.split(".")[1] for name in imports(path) if "." in name}
    assert parts <= allowed, f"{part} imports {parts - allowed}"


def test_only_the_sample_and_the_demo_import_the_command_line():
    users = [p.name for p in MODULES if "avqa.cli" in set(imports(p))]
    assert users == ["demo.py", "sample.py"]


SOURCES = [
    p for part in ("avqa", "benchmarks", "tests") for p in (PACKAGE.parent / part).rglob("*.py")
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE.parent)))
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= 500


def loaded_by(code):
    script = f"import sys; {code}; print(' '.join(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"torch", "dask", "distributed", "zarr", "librosa", "av", "open_clip", "numpy"}


def test_help_loads_nothing_heavy():
    code = "from typer.testing import CliRunner; from avqa.cli import app;"
    code += " assert CliRunner().invoke(app, ['extract', '--help']).exit_code == 0"
    assert not HEAVY & loaded_by(code)


def test_the_package_loads_nothing_heavy():
    assert not HEAVY & loaded_by("import avqa")


def test_the_driver_and_the_store_do_without_torch():
    loaded = loaded_by(
        "import avqa.pipelines.extraction.run, avqa.store.reader, avqa.store.checks.verify"
    )
    assert "zarr" in loaded
    assert "torch" not in loaded


def test_encoders_are_listed_without_torch():
    loaded = loaded_by("from avqa.pipelines.listings import encoder_lines; encoder_lines()")
    assert "torch" not in loaded
