"""torch and torchvision that do not fit together are one line, as early as it can be known."""

import os
import sys
from importlib import metadata
from pathlib import Path

import pytest
from helpers.extraction import light
from helpers.media import fake_reader

from avqa.extract import builds

ROOT = Path(__file__).resolve().parents[2]
WHY = "operator torchvision::nms does not exist"


@pytest.fixture
def extract(tmp_path):
    """`avqa extract` as typed, beside a torchvision of this version that cannot be imported."""
    fake_reader.write_video(tmp_path / "videos" / "a.mp4", seconds=2)

    def run(version):
        broken = tmp_path / "broken"
        info = broken / f"torchvision-{version}.dist-info"
        info.mkdir(parents=True)
        (broken / "torchvision").mkdir()
        (broken / "torchvision" / "__init__.py").write_text(
            f"raise RuntimeError({WHY!r})", encoding="utf-8"
        )
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: torchvision\nVersion: {version}\nRequires-Dist: torch\n",
            encoding="utf-8",
        )
        path = os.pathsep.join([str(broken), light.environment()["PYTHONPATH"]])
        options = ("--decoder", fake_reader.DECODER, "--features", "resnet18/pool")
        videos = ("--videos", str(tmp_path / "videos"), "--out", str(tmp_path / "store"))
        command = (sys.executable, "-m", "avqa", "extract", *videos, *options)
        return light.finished([*command, "--weights", "random:0"], PYTHONPATH=path)

    return run


@pytest.mark.parametrize("local", ["", "+cpu"])
def test_builds_that_do_not_fit_are_named(extract, tmp_path, local):
    if metadata.version("torch").endswith("+cpu"):
        local = "" if local else "+cpu"
    code, out, err = extract(f"0.99.0{local}")
    assert code == 5, out + err
    assert err.splitlines()[-1].removeprefix("avqa: ") == (
        f"torch {metadata.version('torch')} and torchvision 0.99.0{local} do not fit together"
        f" ({WHY}); expected one release of both, and one kind (CPU or CUDA); install both anew in"
        f" one command, see {ROOT / 'docs' / 'install.md'}"
    )
    assert "failed" not in out
    # Where the versions tell, nothing was begun.
    assert (tmp_path / "store").exists() == (local == "")


@pytest.mark.parametrize(
    ("torch", "torchvision", "needed", "odd"),
    [
        ("2.15.0", "0.29.2", "torch==2.15.0", False),
        ("2.15.0", "0.29.2", "torch (>=2.14.0)", False),
        ("2.9.0", "0.29.2", "torch (>=2.14.0)", True),
        ("2.15.0+cu130", "0.29.2", "torch==2.15.0", False),
        ("2.15.0+cpu", "0.29.2+cpu", "torch==2.15.0", False),
        ("2.15.0a0+git1", "0.29.2", "torch", False),
        ("2.14.0", "0.29.2", "torch==2.15.0", True),
        ("2.15.0+cpu", "0.29.2", "torch==2.15.0", True),
        ("2.15.0", "0.29.2+cpu", "torch==2.15.0", True),
    ],
)
def test_the_import_is_tried_only_where_versions_are_odd(
    monkeypatch, torch, torchvision, needed, odd
):
    versions = {"torch": torch, "torchvision": torchvision}
    monkeypatch.setattr(metadata, "version", versions.get)
    monkeypatch.setattr(metadata, "requires", lambda name: ["numpy", needed])
    tried = []
    monkeypatch.setattr(builds, "load", lambda: tried.append(True))
    builds.check()
    assert bool(tried) == odd
