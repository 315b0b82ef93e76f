"""What is built for an index: the source distribution is whole, the wheel is the package alone."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from helpers.extraction import light
from helpers.media import clips

from avqa.addresses import SOURCE

ROOT = Path(__file__).resolve().parents[1]
BUILD = "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"
LEFT_OUT = {".ci/run", ".dockerignore", ".gitignore"}
"""What serves the repository alone."""
MADE = re.compile(r"PKG-INFO|setup\.cfg|avqa\.egg-info/.*")
"""What setuptools adds to a source distribution."""


@pytest.fixture(scope="module")
def tracked():
    """The files of the repository, as git knows them."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("no git checkout: nothing says which files there are")
    command = ["git", "ls-files", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        pytest.skip(f"git does not say which files there are: {done.stderr.strip()}")
    return {name for name in done.stdout.split("\0") if name and (ROOT / name).exists()}


@pytest.fixture(scope="module")
def built(tracked, tmp_path_factory):
    """Folder of both distributions, built from those files and nothing else."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    least = int(project["build-system"]["requires"][0].removeprefix("setuptools>="))
    try:
        found = metadata.version("setuptools")
    except metadata.PackageNotFoundError:
        found = "0"
    if int(found.partition(".")[0]) < least:
        pytest.skip(f"setuptools {found} here; building needs {least}")
    copy = tmp_path_factory.mktemp("built")
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    done = subprocess.run(
        [sys.executable, "-c", BUILD], cwd=copy, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return copy / "dist"


@pytest.fixture(scope="module")
def wheel(built):
    """Name → bytes of what is in the wheel."""
    (file,) = built.glob("*.whl")
    with zipfile.ZipFile(file) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_the_source_distribution_is_the_repository(built, tracked):
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as opened:
        members = {member.name.partition("/")[2] for member in opened if member.isfile()}
    found = {name for name in members if not MADE.fullmatch(name)}
    assert sorted(found ^ tracked) == sorted(LEFT_OUT & tracked)
    assert found >= {"tests/conftest.py", "Makefile", "constraints.txt", "docs/plugins.md"}


def test_the_wheel_is_the_package_with_all_its_files(wheel, tracked):
    found = {name for name in wheel if ".dist-info/" not in name}
    pages = {name for name in tracked if name.startswith(("docs/", "examples/"))}
    modules = {name for name in tracked if name.startswith("avqa/")}
    assert found == modules | {f"avqa/{name}" for name in pages}
    assert found >= {"avqa/py.typed", "avqa/docs/plugins.md", "avqa/examples/slurm/cluster.yaml"}


def test_every_link_of_an_index_leads_to_what_is_there(wheel):
    (page,) = (text.decode() for name, text in wheel.items() if name.endswith("/METADATA"))
    links = re.findall(r"(!?)\[[^]]*\]\(([^)]*)\)", page)
    assert len(links) >= 30
    wrong = []
    for picture, target in links:
        view, _, path = target.removeprefix(f"{SOURCE}/").partition("/main/")
        place = ROOT / path.partition("#")[0]
        right = "raw" if picture else "tree" if place.is_dir() else "blob"
        if not target.startswith(SOURCE) or view != right or not place.exists():
            wrong.append(target)
    assert wrong == []
    assert "explanation.png" in {Path(target).name for picture, target in links if picture}


def test_a_clip_is_extracted_by_what_is_in_the_wheel_alone(built, tmp_path):
    (file,) = built.glob("*.whl")
    with zipfile.ZipFile(file) as opened:
        opened.extractall(tmp_path / "installed")
    (tmp_path / "videos").mkdir()
    shutil.copy(clips.cached_clip("hole.mp4", seconds=2, fps=25), tmp_path / "videos")
    words = ("extract", "--videos", "videos", "--out", "store", "--scheduler", "sync")
    words += ("--features", "light/pool,light/audio", "--weights", "random:0")
    shown = os.pathsep.join([str(tmp_path / "installed"), str(light.FOLDER)])
    done = subprocess.run(
        [sys.executable, "-m", "avqa", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": shown},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 video: 1 extracted, 0 already there, 1 without audio; 2 rows")
