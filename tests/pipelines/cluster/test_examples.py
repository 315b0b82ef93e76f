"""The example files of clusters and containers: each names what is there and means what it says."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from avqa.cli import app

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "examples"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def text_of(name):
    return (EXAMPLES / name).read_text(encoding="utf-8")


def known_options(command):
    return {name for p in get_command(app).commands[command].params for name in p.opts}


def instructions(text):
    """(instruction, rest) of a Dockerfile, continued lines joined, comments left out."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def test_the_image_is_made_of_files_that_are_there_with_pinned_versions():
    found = instructions(text_of("containers/Dockerfile"))
    assert found[0][0] == "FROM"
    python = re.fullmatch(r"python:3\.(\d+)-slim-\w+", found[0][1])
    assert 11 <= int(python[1]) <= 13
    copied = {name for kind, rest in found if kind == "COPY" for name in rest.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()}
    assert copied <= kept  # nothing else reaches the builder
    installs = [rest for kind, rest in found if kind == "RUN" and "pip install" in rest]
    assert all("constraints.txt" in rest for rest in installs)
    constrained = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert re.search(r"^torch==", constrained, re.M)
    assert re.search(r"^torchvision==", constrained, re.M)
    assert dict(found)["ENTRYPOINT"] == '["avqa"]'


def test_the_package_is_built_from_what_the_image_copies(tmp_path):
    for kind, rest in instructions(text_of("containers/Dockerfile")):
        if kind == "COPY":
            for name in rest.split()[:-1]:
                source = ROOT / name
                if source.is_dir():
                    shutil.copytree(
                        source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__")
                    )
                else:
                    shutil.copy(source, tmp_path / name)
    build = "from setuptools import build_meta as b; print(b.build_wheel('dist'))"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    least = project["build-system"]["requires"][0].removeprefix("setuptools>=")
    try:
        found = metadata.version("setuptools")
    except metadata.PackageNotFoundError:
        found = "0"
    if int(found.partition(".")[0]) < int(least):
        pytest.skip(f"setuptools {found} here; building needs {least}")
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=tmp_path, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"avqa-{VERSION}-")


@pytest.mark.parametrize(
    ("program", "file"), [("docker", "containers/Dockerfile"), ("apptainer", "containers/avqa.def")]
)
def test_it_is_built_where_there_is_a_builder(program, file, tmp_path):
    if shutil.which(program) is None:
        pytest.skip(f"no {program} here")
    if program == "docker" and subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("the docker daemon does not run")
    command = {
        "docker": ["docker", "build", "-f", EXAMPLES / file, "-t", "avqa:test", "."],
        "apptainer": ["apptainer", "build", tmp_path / "avqa.sif", EXAMPLES / file],
    }[program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=3000)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_apptainer_definition_is_that_of_the_image():
    text = text_of("containers/avqa.def")
    sections = dict(re.findall(r"^%(\w+)\n(.*?)(?=^%|\Z)", text, re.M | re.S))
    assert {"files", "post", "runscript", "test"} <= sections.keys()
    found = instructions(text_of("containers/Dockerfile"))
    assert f"From: {found[0][1]}" in text
    copied = {name for kind, rest in found if kind == "COPY" for name in rest.split()[:-1]}
    assert {line.split()[0] for line in sections["files"].splitlines() if line.strip()} == copied
    assert "-c constraints.txt" in sections["post"]
    assert sections["runscript"].strip() == 'exec avqa "$@"'


def test_versions_are_those_of_the_package():
    for name in ("containers/Dockerfile", "containers/avqa.def", "kubernetes/avqa.yaml"):
        assert set(re.findall(r"avqa:(\d+\.\d+\.\d+)|Version (\S+)", text_of(name))) <= {
            (VERSION, ""), ("", VERSION),
        }  # fmt: skip


def test_the_task_of_a_pbs_array_is_the_right_command(tmp_path):
    (tmp_path / "bin").mkdir()
    stub = tmp_path / "bin/avqa"
    stub.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    stub.chmod(0o755)
    env = {
        "PATH": f"{stub.parent}:/usr/bin:/bin", "PBS_O_WORKDIR": str(tmp_path),
        "PBS_ARRAY_INDEX": "3", "VIDEOS": "/data/my clips", "STORE": "/data/S",
        "OPTIONS": "--profile pstp",
    }  # fmt: skip
    script = EXAMPLES / "pbs/array.pbs"
    done = subprocess.run(["bash", script], env=env, capture_output=True, encoding="utf-8")
    assert done.stdout.split("\n")[:-1] == [
        *("extract", "--videos", "/data/my clips", "--out", "/data/S", "--steal-lock"),
        *("--partition", "3/16", "--profile", "pstp"),
    ]
    assert re.search(r"^#PBS -J 0-15$", text_of("pbs/array.pbs"), re.M)


def test_the_parts_of_the_kubernetes_example_fit_together():
    parts = list(yaml.safe_load_all(text_of("kubernetes/avqa.yaml")))
    service, scheduler, worker, job = parts
    kinds = ["Service", "Deployment", "Deployment", "Job"]
    assert [part["kind"] for part in parts] == kinds
    pods = [part["spec"]["template"] for part in (scheduler, worker, job)]
    labels = [pod["metadata"]["labels"] for pod in pods]
    assert service["spec"]["selector"] == labels[0]
    for part, label in zip((scheduler, worker), labels, strict=False):
        assert part["spec"]["selector"]["matchLabels"] == label
    containers = [pod["spec"]["containers"][0] for pod in pods]
    (port,) = service["spec"]["ports"]
    address = f"tcp://{service['metadata']['name']}:{port['port']}"
    assert address in containers[1]["command"]
    arguments = containers[2]["args"]
    assert f"--scheduler={address}" in arguments
    given = {argument.partition("=")[0] for argument in arguments[1:]}
    assert given <= known_options("extract")
    for pod in pods[1:]:
        mounts = {m["name"] for m in pod["spec"]["containers"][0]["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["spec"]["volumes"]}
    codes = job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"]
    assert codes == [2, 3, 4]  # as README.md explains them


def test_the_task_of_a_training_is_the_right_command(tmp_path):
    stub = tmp_path / "avqa"
    stub.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n', encoding="utf-8")
    stub.chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "3"}
    given = ["pstp", "/data/my store", "json", "runs/pstp", "--ablation", "all", "--seeds", "3"]
    done = subprocess.run(
        ["bash", EXAMPLES / "slurm/train.sbatch", *given],
        env=env, capture_output=True, encoding="utf-8",
    )  # fmt: skip
    words = done.stdout.split("\n")[:-1]
    assert words == [
        *("train-head", "pstp", "--store", "/data/my store", "--dataset", "music-avqa"),
        *("--annotations", "json", "--out", "runs/pstp", "--resume", "--steal-lock"),
        *("--partition", "3/8", "--ablation", "all", "--seeds", "3"),
    ]
    assert {word for word in words if word.startswith("--")} <= known_options("train-head")
    assert re.search(r"^#SBATCH --array=0-7 ", text_of("slurm/train.sbatch"), re.M)


def test_options_of_the_scripts_exist():
    for name in ("slurm/array.sbatch", "slurm/extract.sbatch", "pbs/array.pbs"):
        command = re.search(r"exec avqa extract (.*?)(?:\n\n|\Z)", text_of(name), re.S)[1]
        words = shlex.split(command.replace("\\\n", " "))
        assert {word for word in words if word.startswith("--")} <= known_options("extract")
