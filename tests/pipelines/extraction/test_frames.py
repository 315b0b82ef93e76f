"""`write_frames` on clips that number their frames and seconds."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.media import clips
from helpers.media.moved_sound import move_sound
from PIL import Image

import avqa
from avqa.errors import ConfigError, MediaError, StorageFailure
from avqa.extract.decoder.process import DecoderProcess
from avqa.extract.media.types import Limits
from avqa.extract.settings import Settings
from avqa.pipelines.extraction.frames import FramesReport, write_frames

pytestmark = pytest.mark.usefixtures("reused_children")
FAKES = Path(__file__).parents[2] / "helpers" / "media"


def frames(video: Path, out: Path, **settings: str) -> FramesReport:
    return write_frames(video, out, Settings(**settings), Limits())


def numbers(out: Path) -> list[int]:
    found = []
    for file in sorted(out.glob("*.png")):
        with Image.open(file) as image:
            found.append(clips.read_number(np.array(image)))
    return found


def audio(out: Path) -> np.ndarray:
    with wave.open(str(out / "audio.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return pcm.astype(np.float32) / 32768


def index(out: Path) -> dict:
    return json.loads((out / "frames.json").read_text(encoding="utf-8"))


@pytest.fixture
def clip() -> Path:
    return clips.cached_clip("clip.mp4", sound_codec="aac")


def test_the_first_rows_alone(clip: Path, tmp_path: Path) -> None:
    report = write_frames(clip, tmp_path, Settings(), Limits(), max_rows=2)
    assert (report.num_rows, report.num_frames) == (2, 2)
    assert numbers(tmp_path) == [15, 45]
    assert [clips.read_second(s, 16_000) for s in audio(tmp_path).reshape(2, -1)] == [0, 1]
    assert index(tmp_path)["T"] == 2


def test_pictures_sound_and_times(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    report = frames(clip, out)

    assert sorted(file.name for file in out.iterdir()) == [
        "00000.png", "00001.png", "00002.png", "00003.png", "audio.wav", "frames.json"
    ]  # fmt: skip
    assert numbers(out) == [15, 45, 75, 105]
    with Image.open(out / "00000.png") as image:
        assert image.size == clips.SIZE
    samples = audio(out)
    assert samples.size == 4 * 16_000
    assert [clips.read_second(s, 16_000) for s in samples.reshape(4, -1)] == [0, 1, 2, 3]
    assert index(out) == {
        "video": "clip.mp4",
        "T": 4,
        "duration": 4.0,
        "width": 160,
        "height": 96,
        "codec": "h264",
        "decoder": {"name": "pyav", "version": index(out)["decoder"]["version"]},
        "mode": "mid",
        "sound": "audio.wav",
        "audio_start_seconds": pytest.approx(0, abs=0.05),
        "audio_end_seconds": pytest.approx(4, abs=0.05),
        "partial": False,
        "restarts": [],
        "warnings": [],
        "rows": [
            {
                "row": k,
                "file": f"0000{k}.png",
                "index": 15 + 30 * k,
                "pts_seconds": k + 0.5,
                "mode": "mid",
            }
            for k in range(4)
        ],
    }
    assert index(out)["decoder"]["version"].startswith("pyav ")
    assert (report.num_rows, report.num_frames, report.audio) == (4, 4, "audio.wav")
    assert report.summary() == f"wrote 4 frames and audio.wav of 4.00 s to {out}"


def test_mode_is_obeyed(clip: Path, tmp_path: Path) -> None:
    frames(clip, tmp_path, frame_at="start")
    assert numbers(tmp_path) == [0, 30, 60, 90]
    assert {row["mode"] for row in index(tmp_path)["rows"]} == {"start"}


def test_late_sound_lies_where_it_is_heard(clip: Path, tmp_path: Path) -> None:
    late = move_sound(clip, tmp_path / "late.mp4", 2.0)
    out = tmp_path / "out"
    frames(late, out)
    seconds = [clips.read_second(s, 16_000) for s in audio(out).reshape(4, -1)]
    assert seconds == [None, None, 0, 1]
    assert index(out)["audio_start_seconds"] == pytest.approx(2, abs=0.05)


def test_frozen_picture_is_written_for_every_second(tmp_path: Path) -> None:
    clip = clips.cached_clip("freeze.mkv", times_ms=(0, 100, 3100, 3200))
    report = frames(clip, tmp_path)
    assert report.num_rows == len(numbers(tmp_path)) == 3
    assert numbers(tmp_path) == [1, 1, 1]
    assert [row["pts_seconds"] for row in index(tmp_path)["rows"]] == [0.1, 0.1, 0.1]


def test_no_sound_is_said(tmp_path: Path) -> None:
    clip = clips.cached_clip("mute.mp4")
    report = frames(clip, tmp_path)
    assert not (tmp_path / "audio.wav").exists()
    assert index(tmp_path)["sound"] == report.audio == "no audio stream"
    assert "4 frames but no audio (no audio stream) of 4.00 s" in report.summary()


def test_earlier_output_is_replaced(clip: Path, tmp_path: Path) -> None:
    frames(clip, tmp_path)
    (tmp_path / ".frames-left-by-a-kill").mkdir()
    (tmp_path / ".frames-left-by-a-kill" / "00000.png").touch()
    frames(clips.cached_clip("short.mp4", seconds=1.0), tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["00000.png", "frames.json"]
    assert numbers(tmp_path) == [15]


def test_other_files_are_never_mixed_with_ours(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "holiday.png").touch()
    (tmp_path / "z.txt").touch()
    with pytest.raises(ConfigError) as caught:
        frames(clip, tmp_path)
    assert str(caught.value) == (
        f"out={str(tmp_path)!r} holds 'holiday.png' and 1 more; expected an empty folder or an "
        "earlier output of `avqa frames`; choose another --out"
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["holiday.png", "z.txt"]


def test_frames_of_somebody_else_are_never_ours(clip: Path, tmp_path: Path) -> None:
    """Numbered pictures are what everybody has, and some have a `frames.json` too."""
    for name in ("00000.png", "000123.png", "audio.wav"):
        (tmp_path / name).write_text("precious", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"holds '00000.png' and 2 more; expected an empty fold"):
        frames(clip, tmp_path)
    (tmp_path / "frames.json").write_text('{"frames": ["00000.png"]}', encoding="utf-8")
    with pytest.raises(ConfigError, match="holds '00000.png' and 3 more"):
        frames(clip, tmp_path)
    assert {(tmp_path / n).read_text(encoding="utf-8") for n in ("00000.png", "000123.png")} == {
        "precious"
    }


def test_an_index_claims_no_files_that_are_never_written(clip: Path, tmp_path: Path) -> None:
    """Neither files of other names, nor any outside the folder."""
    out, outside = tmp_path / "out", tmp_path / "00000.png"
    out.mkdir()
    outside.write_text("precious", encoding="utf-8")
    (out / "notes.txt").write_text("precious", encoding="utf-8")
    strange = {"rows": [{"file": "../00000.png"}, {"file": "notes.txt"}], "sound": "."}
    (out / "frames.json").write_text(json.dumps(strange), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"holds 'notes.txt'; expected an empty folder"):
        frames(clip, out)
    (out / "notes.txt").rename(tmp_path / "notes.txt")
    frames(clip, out)
    assert numbers(out) == [15, 45, 75, 105]
    assert (
        outside.read_text(encoding="utf-8")
        == (tmp_path / "notes.txt").read_text(encoding="utf-8")
        == "precious"
    )


def test_a_picture_beside_an_earlier_output_is_refused(clip: Path, tmp_path: Path) -> None:
    frames(clip, tmp_path)
    (tmp_path / "00007.png").write_text("precious", encoding="utf-8")  # there are four
    with pytest.raises(ConfigError, match=r"holds '00007.png'; expected"):
        frames(clip, tmp_path)
    assert numbers_but(tmp_path, "00007.png") == [15, 45, 75, 105]


def numbers_but(out: Path, other: str) -> list[int]:
    kept = (out / other).read_bytes()
    (out / other).unlink()
    found = numbers(out)
    (out / other).write_bytes(kept)
    return found


@pytest.mark.parametrize("absolute", [False, True])
def test_a_relative_folder(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absolute: bool
) -> None:
    """Temporary folders have absolute names since Python 3.12, before it those they were given."""
    monkeypatch.chdir(tmp_path)
    made = tempfile.mkdtemp
    if absolute:
        monkeypatch.setattr(tempfile, "mkdtemp", lambda *a, **o: os.path.abspath(made(*a, **o)))
    for _ in range(2):
        frames(clip, Path("out"))
        assert numbers(tmp_path / "out") == [15, 45, 75, 105]
        assert len(list((tmp_path / "out").iterdir())) == 6


class Killed(Exception):
    """The process ends here, as far as the folder can tell."""


def test_killed_at_any_change_the_next_run_makes_it_right(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long output gives way to a short one, and that to the long one again."""
    short = clips.cached_clip("short.mp4", seconds=1.0)
    kept = {}
    for name, video in (("long", clip), ("short", short)):
        frames(video, tmp_path / name)
        kept[name] = {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()}
    for before, after, video in (("long", "short", short), ("short", "long", clip)):
        for change in range(50):
            out = tmp_path / f"{before}-{change}"
            shutil.copytree(tmp_path / before, out)
            if killed_before(change, video, out, monkeypatch):
                break
            if (out / "frames.json").exists():  # then all of what it lists is there
                listed = index(out)
                whole = kept["long" if listed["T"] == 4 else "short"]
                assert {n: (out / n).read_bytes() for n in whole} == whole, change
            frames(video, out)
            assert {p.name: p.read_bytes() for p in out.iterdir()} == kept[after], change
        assert change >= 5


@contextlib.contextmanager
def left_behind(prefix: str, dir: Path) -> Iterator[str]:
    """A kill cleans nothing up."""
    yield tempfile.mkdtemp(prefix=prefix, dir=dir)


def killed_before(change: int, video: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Write frames, cut off before a change of the folder; whether it came to its end."""
    left = [change]

    def guarded(work: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return work(*args, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", guarded(os.replace))
        patch.setattr(Path, "unlink", guarded(Path.unlink))
        patch.setattr(tempfile, "TemporaryDirectory", left_behind)
        try:
            frames(video, out)
        except Killed:
            return False
    return True


def test_out_must_be_a_folder(clip: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigError, match=r"out='.*file' is a file; expected an empty folder"):
        frames(clip, file)
    with pytest.raises(StorageFailure, match=r"cannot write frames: out='.*sub': Not a directory"):
        frames(clip, file / "sub")


def test_no_such_video(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file: video='.*gone.mp4'; expected one video"):
        frames(tmp_path / "gone.mp4", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_failure_leaves_an_earlier_output_alone(clip: Path, tmp_path: Path) -> None:
    frames(clip, tmp_path / "out")
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video at all", encoding="utf-8")
    with pytest.raises(MediaError) as caught:
        frames(bad, tmp_path / "out")
    assert caught.value.reason == "not_media"
    assert numbers(tmp_path / "out") == [15, 45, 75, 105]
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_odd_names(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    odd = Path(os.fsdecode(b"-dash \n\xff.mp4"))
    odd.write_bytes(clip.read_bytes())
    frames(odd, Path("-out"))
    assert numbers(tmp_path / "-out") == [15, 45, 75, 105]
    assert index(tmp_path / "-out")["video"] == "-dash \n\ufffd.mp4"


def fake(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> FramesReport:
    monkeypatch.syspath_prepend(str(FAKES))
    (folder / name).touch()
    return frames(folder / name, folder / "out", decoder="fake_readers:READER")


def test_bad_sound_leaves_pictures_and_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = fake("9_audiocorrupt", tmp_path, monkeypatch)
    assert report.num_frames == 9
    assert report.audio == "corrupt: it is broken"
    assert not (tmp_path / "out" / "audio.wav").exists()


def test_a_frame_that_does_not_decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = fake("9_gap", tmp_path, monkeypatch)
    assert (report.num_rows, report.num_frames) == (9, 8)
    assert report.summary().endswith("\nwarning: decoded 8 of 9 rows; lost seconds: 3")
    found = index(tmp_path / "out")
    assert (found["T"], len(found["rows"]), found["partial"]) == (9, 8, True)
    assert [row["file"] for row in found["rows"]] == sorted(
        file.name for file in (tmp_path / "out").glob("*.png")
    )


def test_full_disk_is_not_the_videos_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageFailure, match=r"cannot write: .*No space left.*; make room there"):
        fake("9_full", tmp_path, monkeypatch)


# Torch takes seconds to import and a gigabyte; looking at frames needs none of it.


def test_torch_is_not_imported_here(clip: Path, tmp_path: Path) -> None:
    program = f"""
        import sys
        from pathlib import Path
        from avqa.extract.media.types import Limits
        from avqa.extract.settings import Settings
        from avqa.pipelines.extraction.frames import write_frames
        write_frames(Path({str(clip)!r}), Path({str(tmp_path)!r}), Settings(), Limits())
        print(sorted({{"torch", "dask", "av", "soxr"}} & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(avqa.__file__).parents[1])},
    )
    assert done.stdout == b"[]\n"


def test_torch_is_not_imported_in_the_child(clip: Path, tmp_path: Path) -> None:
    with DecoderProcess("pyav") as decoder:
        list(decoder.write_frames(str(clip), str(tmp_path), Settings(), Limits()))
        mapped = Path(f"/proc/{decoder.pid}/maps").read_text(encoding="utf-8")
    assert "libavcodec" in mapped
    assert "libtorch" not in mapped
