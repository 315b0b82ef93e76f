"""Every writing command on small inputs: what is typed, how it is gone on with, what counts.

INPUTS/                 read by all tries, written once: `make_inputs`
PLACE/                  what one try writes to; begins as a copy of INPUTS/<starts_from>
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from helpers.extraction.light import AUDIO, POOL
from helpers.media import fake_reader
from helpers.questions import asking, question_files
from helpers.reliability.typed import Done, typed
from helpers.runs import run_folders
from helpers.store import dumps, mutations
from helpers.store.stores import store_bytes

from avqa.store.checks.verify import verify

Words = list[object]
VOLATILE = ("seconds", "waiting", "sha256")
"""Of a ``result.json``: how long it took, and the digest of all of it."""


@dataclass(frozen=True)
class Command:
    """A writing command in one situation."""

    name: str
    words: Callable[[Path, Path], Words]
    """(INPUTS, PLACE) → what is typed behind ``avqa``."""
    told: Callable[[Path, Path], object]
    """(INPUTS, PLACE) → what an undisturbed run leaves, to the byte or in every value."""
    starts_from: str = ""
    """Folder of INPUTS that PLACE begins as; empty: an empty one."""
    again: Callable[[Done, Words], Words] = lambda last, words: words
    """What the page of the command, or its last line, says is to be typed after a kill."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """``{inputs}`` and ``{place}`` stand for the folders."""
    stand_in: str = ""
    code: int = 0
    """Exit code of an undisturbed run."""
    kills: int = 8
    is_there: str = ""
    """What it says, and refuses, where all of it is there already."""

    def run(self, inputs: Path, place: Path, words: Words | None = None, **kill: Any) -> Done:
        """Type it."""
        return typed(
            self.words(inputs, place) if words is None else words,
            place,
            environ=self.environment(inputs, place),
            stand_in=self.stand_in,
            **kill,
        )

    def environment(self, inputs: Path, place: Path) -> dict[str, str]:
        """Variables with the folders put in."""
        folders = {"inputs": inputs, "place": place}
        if "LIGHT_DIGEST" in self.environ:
            folders["digest"] = light_digest(inputs)
        return {name: value.format(**folders) for name, value in self.environ.items()}

    def begin(self, inputs: Path, place: Path) -> Path:
        """PLACE as it is before the command; what a try before left there is gone."""
        empty(place)
        if self.starts_from:
            shutil.copytree(inputs / self.starts_from, place, symlinks=True, dirs_exist_ok=True)
        return place


def empty(folder: Path) -> None:
    """Make the folder, or remove what is in it: it may be a mounted file system."""
    folder.mkdir(exist_ok=True)
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


# What counts.


def digest(data: bytes) -> str:
    """Short, to be read in a difference."""
    return hashlib.sha256(data).hexdigest()[:16]


def files(folder: Path, *left_out: str) -> dict[str, str]:
    """Digest of every file below a folder but those of these shell patterns."""
    return {
        str(path.relative_to(folder)): digest(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(path.match(pattern) for pattern in left_out)
    }


def store(path: Path) -> dict[str, object]:
    """Of a store: its arrays to the byte, its ledger, nothing wrong, nothing left over."""
    report = verify(path)
    assert report.problems == [], [str(problem) for problem in report.problems]
    left = [str(p.relative_to(path)) for p in path.rglob("*.partial")]
    assert left == [], left
    assert not (path / "lock.json").exists()
    return {"bytes": store_bytes(path), "ledger": mutations.told(path)}


def run_folder(path: Path) -> dict[str, object]:
    """Of a run of training: all but times, the machine and the steps' logs."""
    volatile = ("result.json", "run.json", "environment.json", "metrics.csv", "*.ckpt")
    shown = ("table.txt", "table.md", "curves.png", "lock")
    logs = ("*tfevents*", "logs/*/*/*", "hparams.yaml")  # of every start one
    found: dict[str, object] = dict(files(path, *volatile, *shown, *logs))
    for file in sorted(path.rglob("result.json")):
        value = json.loads(file.read_text(encoding="utf-8"))
        value["files"] = {k: v for k, v in value["files"].items() if not k.endswith(".ckpt")}
        found[str(file.relative_to(path))] = {k: value[k] for k in value.keys() - set(VOLATILE)}
    # Checkpoints and logs hold times: that they are there is compared.
    for name in (*volatile, *shown):
        there = (p for p in path.rglob(name) if p.name != "result.json" and "logs" not in p.parts)
        found |= {str(p.relative_to(path)): "there" for p in there}
    return found


def cache_of_weights(folder: Path) -> dict[str, object]:
    """The converted file, and its record but for the file's time."""
    record = json.loads((folder / "light.json").read_text(encoding="utf-8"))
    record.pop("mtime_ns")
    return {"files": files(folder, "light.json"), "record": record}


def difference(found, expected):
    """What two tellings differ in."""
    if isinstance(found, dict) and isinstance(expected, dict):
        keys = sorted(found.keys() | expected.keys())
        return [k for k in keys if found.get(k) != expected.get(k)]
    return f"{found} and not {expected}"


# Inputs.

LENGTHS = {"a": 3, "b": 7, "c": 12, "d": 5}
QUESTION = "Is there a violin sound?"
TINY = ("epochs=2", "width=8", "batch_size=2", "visual=clip_vit_b32")
GROUNDED = {"00000001": 6, "00000002": 3, "00000003": 4, "00000004": 4, "00000005": 3}


def sets(*pairs: str) -> Words:
    """As ``--set`` each."""
    return [word for pair in pairs for word in ("--set", pair)]


def extract(videos: Path, out: Path, *more: object) -> Words:
    """Extraction of scripted videos with the light encoder, in this process."""
    return [
        *("extract", "--videos", videos, "--out", out, "--features", f"{POOL},{AUDIO}"),
        *("--decoder", fake_reader.DECODER, "--weights", "random:0", "--chunk-seconds", 5),
        *("--scheduler", "sync", "--decoders", 1, *more),
    ]


def train(inputs: Path, out: Path, *more: object) -> Words:
    """A tiny AVST, two epochs."""
    return [
        *("train-head", "avst", "--store", inputs / "seen/store", "--dataset", "music-avqa"),
        *("--annotations", inputs / "seen/annotations", "--out", out, "--device", "cpu"),
        *sets(*TINY, "question=lstm"),
        *more,
    ]


def resumed(last: Done, words: Words) -> Words:
    """With ``--resume``: the page and the command's own line say so."""
    return [*words, "--resume"]


def make_inputs(folder: Path) -> Path:
    """Everything that commands read, made by commands where that is cheap."""
    for seed, (name, seconds) in enumerate(LENGTHS.items()):
        fake_reader.write_video(folder / "videos" / f"{name}.mp4", seconds=seconds, seed=seed)
    shutil.copytree(folder / "videos", folder / "more")
    fake_reader.write_video(folder / "more" / "e.mp4", seconds=6, seed=9)
    fake_reader.write_video(folder / "more" / "bad.mp4", seconds=6, seed=9, act="corrupt")
    (folder / "ids").write_text("a\nc\n", encoding="utf-8")
    _good(extract(folder / "videos", folder / "extracted/S"), folder)
    _failed_and_new(folder)
    for part in (0, 1):
        words = extract(folder / "videos", folder / "parted/S", "--partition", f"{part}/2")
        _good(words, folder)
        if part == 0:
            shutil.copytree(folder / "parted", folder / "first-part")
    texts = [("a", f"Where is thing {number}?", []) for number in range(40)]
    asking.music(folder / "many", texts)
    shutil.copytree(folder / "extracted/S", folder / "damaged/S")
    _damage(folder / "damaged/S")
    lengths = {"a": 5, "b": 9, "c": 4}
    dumps.write_dump(folder / "npy/vggish", "vggish", lengths)
    dumps.write_dump(folder / "npy/res18", "res18", lengths)
    _good(["import", "npy", "--from", folder / "npy", "--store", folder / "imported/S"], folder)
    _seen(folder / "seen")
    _good(train(folder, folder / "trained/run"), folder)
    _hearing(folder)
    for reserve in folder.rglob(".reserve"):
        reserve.unlink()  # 64 MB, which the next run takes again
    torch.manual_seed(0)
    torch.save(random_light(), folder / "light.pth")
    return folder


def random_light() -> dict[str, torch.Tensor]:
    """Tensors of the light encoder's network."""
    return {"mix": torch.rand(64, 512), "bend": torch.rand(64, 128)}


def light_digest(inputs: Path) -> str:
    """Of the published weights of the light encoder."""
    return hashlib.sha256((inputs / "light.pth").read_bytes()).hexdigest()


def _good(words: Words, folder: Path, *codes: int) -> None:
    done = typed(words, folder)
    assert done.code in (codes or (0,)), done.said


def _failed_and_new(folder: Path) -> None:
    """A store of some of ``more`` in which one failed that is whole by now, and one fails still."""
    ids = folder / "ids-of-before"
    ids.write_text("a\nb\nbad\n", encoding="utf-8")
    fake_reader.write_video(folder / "more/b.mp4", seconds=7, seed=1, act="corrupt")
    _good(extract(folder / "more", folder / "failed/S", "--ids", ids), folder, 3)
    fake_reader.write_video(folder / "more/b.mp4", seconds=7, seed=1)


def _damage(path: Path) -> None:
    """A cut object, a lost column, a flipped line of the ledger."""
    chunk = sorted((path / f"features.zarr/{POOL}").glob("c.*"))[1]
    chunk.write_bytes(chunk.read_bytes()[:-9])
    (path / f"features.zarr/status/{AUDIO}/c.0").unlink()
    segment = next((path / "ledger").rglob("*.jsonl"))
    raw = bytearray(segment.read_bytes())
    raw[len(raw) // 2] ^= 1
    segment.write_bytes(raw)


def _seen(folder: Path) -> None:
    """A store, and questions of its videos, for training."""
    run_folders.write_store(folder / "store", GROUNDED)
    *learnt, last = GROUNDED
    for split, videos in {"train": learnt, "val": [last], "test": [last]}.items():
        rows = [
            question_files.music_row(video_id=video, question_id=number)
            for number, video in enumerate(videos)
        ]
        question_files.write(folder / "annotations" / f"avqa-{split}.json", rows)


def _hearing(folder: Path) -> None:
    """A head on audio of the light encoder, so that asking extracts within a second."""
    for split, video in {"train": "a", "val": "b", "test": "c"}.items():
        rows = [question_files.music_row(video_id=video)]
        question_files.write(folder / "heard" / f"avqa-{split}.json", rows)
    words = [
        *("train-head", "avst", "--store", folder / "extracted/S", "--dataset", "music-avqa"),
        *("--annotations", folder / "heard", "--out", folder / "hearing", "--device", "cpu"),
        *sets("epochs=1", "width=8", "audio=light", "modalities=aq", "spatial=false"),
        *sets("question=lstm"),
    ]
    _good(words, folder)


# The commands.


def _finalized(inputs: Path, place: Path) -> object:
    """A part is a store; made whole with the other one it is that of one extraction."""
    done = typed(["finalize", place / "S"], place)
    assert done.code == 0, done.said
    assert not (place / "S/parts").exists()
    return store(place / "S")


def _repaired(inputs: Path, place: Path) -> object:
    """Nothing is wrong any more, all good objects are there, and extraction gives all of it."""
    report = verify(place / "S")
    assert report.problems == [], [str(problem) for problem in report.problems]
    kept = mutations.digests(place / "S")
    broken = (
        mutations.digests(inputs / "damaged/S").items()
        - mutations.digests(inputs / "extracted/S").items()
    )
    good = {
        d: n for d, n in mutations.digests(inputs / "damaged/S").items() if (d, n) not in broken
    }
    assert [n for d, n in good.items() if d not in kept and "/light/" in n] == []
    done = typed(extract(inputs / "videos", place / "S"), place)
    assert done.code == 0, done.said
    return store(place / "S")["bytes"]


EXTRACT = Command(
    "extract",
    lambda inputs, place: extract(inputs / "videos", place / "S"),
    lambda inputs, place: store(place / "S"),
    kills=10,
)
COMMANDS = {
    command.name: command
    for command in (
        EXTRACT,
        Command(
            "extract --retry-failed, with more videos",
            lambda inputs, place: extract(inputs / "more", place / "S", "--retry-failed"),
            lambda inputs, place: store(place / "S"),
            starts_from="failed",
            code=3,
        ),
        Command(
            "extract --partition",
            lambda inputs, place: extract(inputs / "videos", place / "S", "--partition", "1/2"),
            _finalized,
            starts_from="first-part",
        ),
        Command(
            "finalize",
            lambda inputs, place: ["finalize", place / "S"],
            lambda inputs, place: store(place / "S"),
            starts_from="parted",
            kills=14,
        ),
        Command(
            "questions",
            lambda inputs, place: [
                *("questions", "--dataset", "music-avqa", "--store", place / "S"),
                *("--annotations", inputs / "many", "--weights", "random:0"),
            ],
            lambda inputs, place: store(place / "S"),
            starts_from="extracted",
            stand_in="text",
            kills=12,
        ),
        Command(
            "remove",
            lambda inputs, place: ["remove", place / "S", "--ids", inputs / "ids"],
            lambda inputs, place: store(place / "S"),
            starts_from="extracted",
            kills=14,
        ),
        Command(
            "verify --repair",
            lambda inputs, place: ["verify", place / "S", "--repair"],
            _repaired,
            starts_from="damaged",
            kills=14,
        ),
        Command(
            "pack",
            lambda inputs, place: ["pack", inputs / "extracted/S", place / "packed"],
            lambda inputs, place: files(place),
            is_there="expected a new name",
            kills=14,
        ),
        Command(
            "import npy",
            lambda inputs, place: [
                "import",
                "npy",
                "--from",
                inputs / "npy",
                "--store",
                place / "S",
            ],
            lambda inputs, place: store(place / "S"),
            kills=14,
        ),
        Command(
            "export npy",
            lambda inputs, place: [
                *("export", "npy", "--store", inputs / "imported/S", "--layout", "music-avqa"),
                *("--folders", "vggish,res18", "--out", place / "npy"),
            ],
            lambda inputs, place: files(place),
            kills=12,
        ),
        Command(
            "train-head",
            lambda inputs, place: train(inputs, place / "run", "--seeds", 2),
            lambda inputs, place: run_folder(place / "run"),
            again=resumed,
            kills=12,
        ),
        Command(
            "train-head --resume, with more seeds",
            lambda inputs, place: train(inputs, place / "run", "--seeds", 2, "--resume"),
            lambda inputs, place: run_folder(place / "run"),
            starts_from="trained",
            kills=10,
        ),
        Command(
            "pretrain-grounding",
            lambda inputs, place: [
                *("pretrain-grounding", "--store", inputs / "seen/store"),
                *("--dataset", "music-avqa", "--annotations", inputs / "seen/annotations"),
                *("--out", place / "grounding.safetensors"),
                *sets(*TINY, "device=cpu"),
            ],
            lambda inputs, place: files(place),
        ),
        Command(
            "predict",
            lambda inputs, place: [
                *("predict", inputs / "trained/run", "--out", place / "answers.json"),
            ],
            lambda inputs, place: files(place),
        ),
        Command(
            "ask --explain",
            lambda inputs, place: [
                *("ask", inputs / "hearing", inputs / "videos/b.mp4", QUESTION),
                *("--explain", place / "why"),
            ],
            lambda inputs, place: files(place, "cache/asked/*.npz", "libraries/*"),
            environ={"AVQA_CACHE": "{place}/cache"},
        ),
        Command(
            "frames",
            lambda inputs, place: [
                *("frames", inputs / "videos/b.mp4", "--out", place / "frames"),
                *("--decoder", fake_reader.DECODER),
            ],
            lambda inputs, place: files(place),
        ),
        Command(
            "synth",
            lambda inputs, place: [
                *("synth", place / "made", "--videos", 3, "--seconds", 2, "--instruments", 4),
            ],
            lambda inputs, place: files(place),
            kills=10,
        ),
        Command(
            "weights import",
            lambda inputs, place: ["weights", "import", "light", inputs / "light.pth"],
            lambda inputs, place: cache_of_weights(place / "cache"),
            environ={"AVQA_CACHE": "{place}/cache", "LIGHT_DIGEST": "{digest}"},
        ),
        Command(
            "weights fetch",
            lambda inputs, place: ["weights", "fetch", "light"],
            lambda inputs, place: cache_of_weights(place / "cache"),
            environ={
                "AVQA_CACHE": "{place}/cache",
                "LIGHT_DIGEST": "{digest}",
                "LIGHT_ADDRESS": "file://{inputs}/light.pth",
            },
        ),
    )
}
