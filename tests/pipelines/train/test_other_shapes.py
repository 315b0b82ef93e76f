"""A run and a store of the same recipes whose rows are of other shapes, as typed."""

import pytest
from helpers.extraction.as_typed import avqa
from helpers.questions.question_files import music_row, write
from helpers.runs.run_folders import write_store

from avqa.store.format.schema import FeatureSpec

pytestmark = pytest.mark.usefixtures("one_thread")

VIDEOS = {f"{n:08d}": 3 for n in range(1, 5)}
SET = {"epochs": "1", "width": "16", "visual": "clip_vit_b32", "device": "cpu"}


def store(path, patches, width):
    specs = (
        FeatureSpec("vggish/audio", (4,), ("channel",), False),
        FeatureSpec("clip_vit_b32/patch", (patches, width), ("position", "channel"), False),
    )
    write_store(path, VIDEOS, specs=specs)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    for split in ("train", "val", "test"):
        rows = [music_row(video_id=v, question_id=n) for n, v in enumerate(VIDEOS)]
        write(folder / f"json/avqa-{split}.json", rows)
    chosen = [f"--set={k}={v}" for k, v in SET.items()]
    code, _, err = avqa(
        *("train-head", "avst", "--store", store(folder / "s", 3, 8), "--dataset", "music-avqa"),
        *("--annotations", folder / "json", "--out", folder / "run", *chosen),
    )
    assert code == 0, err
    return folder / "run"


@pytest.mark.parametrize(
    ("patches", "width", "command"), [(3, 6, "evaluate"), (5, 8, "evaluate"), (5, 8, "predict")]
)
def test_other_patches_are_refused_with_both(run, tmp_path, patches, width, command):
    other = store(tmp_path / "other", patches, width)
    more = ("--out", tmp_path / "answers.json") if command == "predict" else ()
    code, _, err = avqa(command, run, "--store", other, *more)
    assert code == 4
    assert err.splitlines()[-1] == (
        f"avqa: store {str(other)!r}: clip_vit_b32/patch has rows of width {width} and {patches}"
        " patches; expected visual_width=8 and 3 patches, as the head was trained on; give the"
        " store of the run with --store, or train on this one"
    )
    assert not (tmp_path / "answers.json").exists()
