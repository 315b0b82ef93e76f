"""The arrows of the design: who may import whom, who loads Dask, how light the entrances are.

Every test lists all offenders.
"""

import ast
import json
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "avqa"

BASE = {"errors", "addresses"}
PARTS = {
    "addresses": set(),
    "errors": set(),
    "faults": BASE,
    "units": BASE,
    "_moved": set(),
    "signals": BASE,
    "plugins": BASE,
    "machine": BASE,
    "programs": BASE,
    "caches": {"machine"},
    "surroundings": set(),
    "telling": {"units", *BASE},
    "extract": {*BASE, "caches", "faults", "machine", "plugins", "programs"},
    "store": {*BASE, "caches", "faults", "machine", "signals", "telling", "units"},
    "datasets": {*BASE, "plugins", "programs"},
    "heads": {*BASE, "plugins"},
}
PARTS["training"] = {*PARTS}
PARTS["pipelines"] = {*PARTS}
PARTS["api"] = {*PARTS}
PARTS["_contracts"] = {"extract", "datasets", "heads"}
PARTS["commands"] = {*PARTS} - {"_contracts"}
PARTS["cli"] = {"commands", "signals", "surroundings", *BASE}
PARTS["__main__"] = {"cli"}
PARTS["demo"] = {*PARTS} - {"_contracts"}
"""Part of avqa → the parts that its files may import besides their own."""

LOWER = ["extraction", "cluster", "engine"]
ROOMS = {
    "engine": set(),
    "cluster": {"engine"},
    "extraction": {"cluster", "engine"},
    "npy": {*LOWER, "questions"},
    "questions": {*LOWER},
    "ask": {*LOWER, "pages", "questions"},
    "pages": {"engine", "extraction", "train"},
    "serve": {"ask", "engine", "extraction"},
    "train": {*LOWER},
    "runs_in": {"train"},
    "reproduce": {*LOWER, "questions", "train"},
    "score": {"train"},
    "synth": set(),
    "listings": set(),
    "described": {"listings"},
    "info": set(),
}
"""Folder or file of avqa/pipelines → those that it may import."""

LOADS_DASK = {
    "avqa.pipelines.cluster.dask_library": {"dask", "distributed"},
    "avqa.pipelines.cluster.on_dask": {"distributed"},
    "avqa.pipelines.cluster.slurm_jobs": {"dask_jobqueue"},
}
DASK = set().union(*LOADS_DASK.values())
WITHOUT_DASK = {
    "ask": ["avqa.pipelines.ask.answer", "avqa.pipelines.ask.explain"],
    "verify": ["avqa.pipelines.extraction.verify"],
    "questions": ["avqa.pipelines.questions.encode", "avqa.pipelines.questions.show"],
    "compare": ["avqa.pipelines.npy.compare"],
    "import npy": ["avqa.pipelines.npy.dumps", "avqa.pipelines.npy.questions"],
    "import hdf5": ["avqa.pipelines.npy.hdf5"],
    "frames": ["avqa.pipelines.extraction.frames"],
    "extract_video": ["avqa.pipelines.extraction.single"],
}
"""Command or function → the modules that it enters by."""

HEAVY = {"torch", "torchvision", "zarr", "soxr", "av", "open_clip", "numpy", *DASK}
SLOW = {"librosa", "numba", "scipy", "packaging", "urllib.request", "http.client", "matplotlib"}
STARTS = {
    "extract": (
        "avqa.cli, avqa.pipelines.cluster.connect, avqa.pipelines.extraction.run, avqa.store.reader"
        ", avqa.extract.decoder.work",  # in the decoder's process
        SLOW,
    ),
    "train-head": (
        "avqa.cli, avqa.pipelines.cluster.slurm_config, avqa.pipelines.train.options",
        {*SLOW, "avqa.pipelines.cluster.worker", "avqa.extract.decoder.process"},
    ),
}
"""Command → what it loads before it has begun its work, and what it does without until then."""
NETWORKS = """
import torch
from avqa.extract.text import tokenise
from avqa.extract.encoders import ast, clip_vit_b32, resnet18, vggish, vit_l16_384
with torch.device("meta"):
    clip_vit_b32.CLIP.visual_places(), clip_vit_b32.CLIP.text_places(), ast.AST.places()
    resnet18._places(), vggish.architecture(), vit_l16_384.VIT.places()
tokenise(["what is it"])
"""
STAGES = {
    "import avqa": "import avqa",
    "help": "from typer.testing import CliRunner; from avqa.cli import app;"
    " assert CliRunner().invoke(app, ['extract', '--help']).exit_code == 0",
    "encoders": "from avqa.pipelines.listings import encoders; encoders().lines()",
    "extract": "import avqa.pipelines.extraction.run, avqa.store.reader, avqa.store.checks.verify;"
    " from types import SimpleNamespace; from avqa.pipelines.cluster.connect import connect;"
    " connect('sync', SimpleNamespace(expected=None), ())",
    **{name: f"import {', '.join(entered)}" for name, entered in WITHOUT_DASK.items()},
    "train-head": "import avqa.pipelines.train.train",
    "networks": NETWORKS,
}
"""What one process does, one after the other."""


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def imports(module):
    """All modules that a module imports, also inside functions and for types alone."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else node.module for name in names}
    return found


def ours(module):
    """The modules of avqa among them; the package itself is only asked for its version."""
    return (imports(module) & FILES.keys()) - {module, "avqa"}


@cache
def reached(module):
    """All modules that a module imports, and those that they import, and so on."""
    found, waiting = set(), [module]
    while waiting:
        new = ours(waiting.pop()) - found
        found |= new
        waiting += new
    return found


def wrong(arrows, allowed):
    """The arrows ``(module, from, to, module)`` that no table allows."""
    return [
        f"{start} -> {end}"
        for start, here, there, end in sorted(arrows)
        if here != there and there not in allowed[here]
    ]


def arrows(depth):
    """All imports between modules that have a folder or file at a depth of avqa."""
    for start in FILES:
        for end in ours(start):
            here, there = start.split("."), end.split(".")
            if len(here) > depth < len(there) and here[1:depth] == there[1:depth]:
                yield start, here[depth], there[depth], end


def test_the_scan_sees_imports():
    assert "avqa.store.format.records" in ours("avqa.pipelines.engine.files")
    assert "avqa.pipelines.cluster.on_dask" in ours("avqa.pipelines.cluster.connect")  # in a def
    assert "numpy" in imports("avqa.store.reader")
    assert wrong([("a.b", "store", "extract", "c.d")], PARTS) == ["a.b -> c.d"]


def test_arrows_between_parts_point_down():
    # The package that may be called as the public function of its name.
    assert wrong(arrows(1), PARTS) == ["avqa.extract -> avqa.api"]


def test_arrows_between_the_rooms_of_pipelines_point_down():
    inside = [arrow for arrow in arrows(2) if arrow[0].startswith("avqa.pipelines.")]
    assert wrong(inside, ROOMS) == []


def test_there_are_no_circles():
    circles = {
        tuple(sorted({module, *(other for other in reached(module) if module in reached(other))}))
        for module in FILES
        if module in reached(module)
    }
    assert sorted(circles) == []


def test_who_imports_dask():
    found = {module: {name.split(".")[0] for name in imports(module)} & DASK for module in FILES}
    assert {module: names for module, names in found.items() if names} == LOADS_DASK


def test_where_nothing_is_scheduled_nothing_leads_to_dask():
    leads = {
        f"{name}: {entered} -> {module}"
        for name, entrances in WITHOUT_DASK.items()
        for entered in entrances
        for module in reached(entered) & LOADS_DASK.keys()
    }
    assert sorted(leads) == []


@pytest.fixture(scope="module")
def loaded():
    """Stage → the heavy packages loaded by then, and what went before."""
    script = ["import sys, json", "loaded = {}"]
    for name, code in STAGES.items():
        script += [code, f"loaded[{name!r}] = sorted({HEAVY} & sys.modules.keys())"]
    script.append("print(json.dumps(loaded))")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(script)],
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    return {name: set(found) for name, found in json.loads(done.stdout.splitlines()[-1]).items()}


def test_the_package_and_help_load_nothing_heavy(loaded):
    assert loaded["import avqa"] == loaded["help"] == set()


def test_encoders_are_listed_and_extraction_is_driven_without_torch(loaded):
    assert "torch" not in loaded["encoders"]
    assert "numpy" in loaded["extract"]  # the scan sees what is loaded
    assert not loaded["extract"] & {"torch", "zarr", *DASK}


def test_where_nothing_is_scheduled_dask_is_not_loaded(loaded):
    assert {name: loaded[name] & DASK for name in WITHOUT_DASK if loaded[name] & DASK} == {}
    assert not loaded["train-head"] & DASK  # its SLURM jobs do, in a function


@pytest.mark.parametrize("name", STARTS)
def test_a_start_does_not_wait_for_what_it_may_not_need(name):
    entered, slow = STARTS[name]
    code = f"import sys, json, {entered}; print(json.dumps([*sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, encoding="utf-8"
    )
    found = set(json.loads(done.stdout))
    assert {*entered.split(", ")} <= found
    assert found & slow == set()


def test_networks_are_loaded_without_the_libraries_that_define_them(loaded):
    assert not loaded["networks"] & {"open_clip", "torchvision"}


def test_only_the_demo_imports_the_command_line():
    users = {module.split(".")[1] for module in FILES if "avqa.cli" in imports(module)}
    assert users == {"demo", "__main__"}


def test_commands_refuse_nothing_themselves():
    """Who refuses has decided: that is work, and belongs below.

    But for what no command takes, whatever it does.
    """
    deciding = {
        module
        for module, path in FILES.items()
        if module.startswith("avqa.commands.")
        and module not in ("avqa.commands.reporting", "avqa.commands.values")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Raise | ast.Try | ast.While | ast.ClassDef)
    }
    assert sorted(deciding) == []


def test_files_stay_short():
    sources = [
        path for part in ("avqa", "benchmarks", "tests") for path in (ROOT / part).rglob("*.py")
    ]
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources
    }
    assert {name: count for name, count in lines.items() if count > 500} == {}


def test_folders_stay_small():
    count = Counter(str(path.parent.relative_to(ROOT)) for path in FILES.values())
    assert {folder: number for folder, number in count.items() if number - 1 > 15} == {}
