"""What is read by which convention, as it is typed: it is in the rows and in the recipe."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.extraction.light import AUDIO
from helpers.media import clips
from PIL import Image
from typer.testing import CliRunner

from avqa.cli import app
from avqa.extract.media.types import Limits
from avqa.extract.settings import Settings
from avqa.pipelines.extraction.frames import write_frames
from avqa.store.reader import open_store

pytestmark = [
    pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning"),
    pytest.mark.usefixtures("light", "reused_children"),
]


@pytest.fixture
def opposite(tmp_path: Path) -> Path:
    """A folder with one video whose two channels cancel each other."""
    folder = tmp_path / "videos"
    folder.mkdir()
    command = [
        clips.program(), "-v", "error", "-f", "lavfi", "-i", "testsrc=d=2:r=5:s=64x64",
        "-f", "lavfi", "-i", "aevalsrc=0.5|-0.5:d=2:s=16000:c=stereo", "-c:a", "flac",
    ]  # fmt: skip
    subprocess.run([*command, str(folder / "a.mkv")], check=True)
    return folder


def extract(folder: Path, store: Path, *more: str) -> tuple[int, str]:
    line = ["extract", "--videos", str(folder), "--out", str(store), "--features", AUDIO]
    line += ["--weights", "random:0", "--scheduler", "sync", *more]
    done = CliRunner().invoke(app, line)
    return done.exit_code, done.stderr


def test_a_mix_is_chosen_on_the_command_line(opposite: Path, tmp_path: Path) -> None:
    rows = {}
    for mix in ("mean", "first"):
        assert extract(opposite, tmp_path / mix, "--mix", mix)[0] == 0
        rows[mix] = open_store(tmp_path / mix).read("a", AUDIO)
    assert extract(opposite, tmp_path / "default")[0] == 0
    assert open_store(tmp_path / "default").recipe(AUDIO) == open_store(tmp_path / "mean").recipe(
        AUDIO
    )
    np.testing.assert_array_equal(open_store(tmp_path / "default").read("a", AUDIO), rows["mean"])
    assert np.abs(rows["mean"]).max() < 1e-3
    assert np.abs(rows["first"]).min() > 1
    assert extract(opposite, tmp_path / "first")[0] == 0  # as the store has it
    code, said = extract(opposite, tmp_path / "first", "--mix", "mean")
    assert code == 4
    assert 'encoder.mix: store="first" asked=(none) (light/audio); expected the same' in said
    assert "set --mix as the store has it, or give another --out" in said


def test_what_a_mix_has_lost_is_said(opposite: Path, tmp_path: Path) -> None:
    report = write_frames(opposite / "a.mkv", tmp_path / "out", Settings(), Limits())
    assert list(report.warnings) == [
        "mix=mean of 2 channels has 0.0 % of the energy of the loudest one; expected at least 10 %;"
        " use another --mix"
    ]
    first = Settings(mix="first")
    assert write_frames(opposite / "a.mkv", tmp_path / "out", first, Limits()).warnings == ()


@pytest.mark.parametrize("decoder", ["pyav", "ffmpeg"])
def test_hdr_is_said(decoder: str, tmp_path: Path) -> None:
    hlg = "format=yuv420p10le,setparams=color_trc=arib-std-b67:colorspace=bt2020nc"
    command = [
        clips.program(), "-v", "error", "-f", "lavfi", "-i", "color=white:d=1:r=5:s=64x64",
        "-vf", f"{hlg}:color_primaries=bt2020", "-c:v", "libx264", str(tmp_path / "a.mov"),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    line = ["frames", str(tmp_path / "a.mov"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*line, "--decoder", decoder])
    assert done.exit_code == 0, done.output
    said = "HDR (transfer=arib-std-b67): frames are tone-mapped to BT.709"
    assert f"warning: {said}\n" in done.stdout
    assert json.loads((tmp_path / "out" / "frames.json").read_text(encoding="utf-8"))[
        "warnings"
    ] == [said]
    with Image.open(tmp_path / "out" / "00000.png") as image:
        assert image.getextrema() == ((255, 255),) * 3
