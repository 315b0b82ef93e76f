"""What commands leave, with one file of it lost or cut; who reads it, and what makes it anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers.reliability import commands
from helpers.reliability.commands import COMMANDS, Words, train
from helpers.reliability.typed import Done, typed

HOWS = ("lose", "half", "empty")


@dataclass(frozen=True)
class Kept:
    """What some command left, and is relied on."""

    name: str
    make: Callable[[Path, Path], None]
    """(INPUTS, PLACE)."""
    tries: int
    readers: Sequence[Callable[[Path, Path], Words]] = ()
    """Commands that read it and write into OUT, beside PLACE."""
    mend: Sequence[Callable[[Path, Path], Words]] = ()
    """What the pages say is to be typed, in this order."""
    told: Callable[[Path, Path], object] = lambda inputs, place: commands.files(place)
    left_alone: tuple[str, ...] = ()
    """Patterns of files that nothing is promised of."""
    ends_with: Callable[[Path, Path], Words] | None = None
    """What is to be typed to have from it what `told` compares, if nothing is lost."""
    tells_of_lost: bool = True
    """Readers know which files there have to be."""
    for_ever: tuple[str, ...] = ()
    """Patterns of files whose loss cannot be made good: who reads it refuses."""
    environ: dict[str, str] = field(default_factory=dict)

    def type(self, words: Words, inputs: Path, place: Path) -> Done:
        """With this tree's environment."""
        folders = {"inputs": inputs, "place": place, "digest": commands.light_digest(inputs)}
        return typed(
            words, place, environ={k: v.format(**folders) for k, v in self.environ.items()}
        )


def out(place: Path, name: str = "") -> Path:
    """Where readers write."""
    return place.with_name("out") / name


def harm(file: Path, how: str) -> None:
    """Lose it, or cut it to half or to nothing."""
    data = file.read_bytes()
    if how == "lose":
        file.unlink()
    else:
        file.write_bytes(data[: len(data) // 2 if how == "half" else 0])


def by(name: str) -> Callable[[Path, Path], None]:
    """Made by one of `COMMANDS`."""

    def make(inputs: Path, place: Path) -> None:
        command = COMMANDS[name]
        command.begin(inputs, place)
        done = command.run(inputs, place)
        assert done.code == command.code, done.said

    return make


def typing(name: str) -> Callable[[Path, Path], Words]:
    """The words of one of `COMMANDS`."""
    return COMMANDS[name].words


def copy_of(folder: str) -> Callable[[Path, Path], None]:
    """A folder of INPUTS."""
    return lambda inputs, place: None or shutil.copytree(inputs / folder, place) and None


def export(store: str) -> Callable[[Path, Path], Words]:
    return lambda inputs, place: [
        *("export", "npy", "--store", place / store, "--layout", "music-avqa"),
        *("--folders", "vggish,res18", "--out", out(place, "npy")),
    ]


def _packed(inputs: Path, place: Path) -> None:
    place.mkdir()
    done = typed(["pack", inputs / "imported/S", place / "P"], place)
    assert done.code == 0, done.said


def _stopped_training(inputs: Path, place: Path) -> None:
    """Killed in the second epoch of the first of two seeds, of which nothing is finished."""
    place.mkdir()
    words = train(inputs, place / "run", "--seeds", 2)
    for change in range(40, 200, 4):
        typed(words, place, before_change=change)
        if list(place.rglob("best-*.ckpt")):
            return
        shutil.rmtree(place / "run")
    raise AssertionError("nothing was trained")


def _finished_run(inputs: Path, place: Path) -> object:
    """A finished member does without its checkpoints."""
    told = commands.run_folder(place / "run")
    return {name: value for name, value in told.items() if not name.endswith(".ckpt")}


def resume(inputs: Path, place: Path) -> Words:
    return train(inputs, place / "run", "--seeds", 2, "--resume")


def _part(index: int, *more: str) -> Callable[[Path, Path], Words]:
    return lambda inputs, place: commands.extract(
        inputs / "videos", place / "S", "--partition", f"{index}/2", *more
    )


RUN_LEFT_ALONE = (
    *("environment.json", "metrics.csv", "curves.png", "*tfevents*", "table.*", "lock"),
    *("last.ckpt", "hparams.yaml"),
)
KEPT = {
    kept.name: kept
    for kept in (
        Kept(
            "packed copy",
            _packed,
            tries=44,
            readers=(
                lambda inputs, place: ["verify", place / "P"],
                export("P"),
            ),
            for_ever=("*",),
        ),
        Kept(
            "run folder",
            by("train-head"),
            tries=36,
            readers=(
                lambda inputs, place: ["evaluate", place / "run"],
                lambda inputs, place: [
                    *("predict", place / "run/default/seed-0", "--out", out(place, "a.json")),
                ],
            ),
            mend=(resume,),
            told=_finished_run,
            left_alone=RUN_LEFT_ALONE,
            for_ever=("run.json", "*.ckpt"),
        ),
        Kept(
            "training under way",
            _stopped_training,
            tries=14,
            ends_with=resume,
            mend=(resume,),
            told=lambda inputs, place: commands.run_folder(place / "run"),
            left_alone=("environment.json", "metrics.csv", "curves.png", "*tfevents*", "lock"),
            for_ever=("run.json", "*.ckpt", "config.json", "lock.json"),
        ),
        Kept(
            "parts of an array job",
            copy_of("parted"),
            tries=20,
            readers=(),
            ends_with=typing("finalize"),
            mend=(
                typing("finalize"),
                lambda inputs, place: ["verify", place / "S/parts/0-of-2", "--repair"],
                lambda inputs, place: ["verify", place / "S/parts/1-of-2", "--repair"],
                _part(0),
                _part(1),
                typing("finalize"),
            ),
            told=lambda inputs, place: commands.store(place / "S")["bytes"],
            left_alone=(".reserve",),
        ),
        Kept(
            "exported files",
            by("export npy"),
            tries=12,
            tells_of_lost=False,
            readers=(
                lambda inputs, place: [
                    *("import", "npy", "--from", place / "npy", "--store", out(place, "S")),
                ],
                lambda inputs, place: ["compare", inputs / "imported/S", place / "npy/vggish"],
                lambda inputs, place: ["compare", inputs / "imported/S", place / "npy/res18"],
            ),
            mend=(lambda inputs, place: [*typing("export npy")(inputs, place), "--overwrite"],),
        ),
        Kept(
            "cache of weights",
            by("weights import"),
            tries=6,
            readers=(lambda inputs, place: ["weights", "verify"],),
            mend=(typing("weights import"),),
            told=lambda inputs, place: commands.cache_of_weights(place / "cache"),
            environ=dict(COMMANDS["weights import"].environ),
        ),
        Kept(
            "grounding",
            by("pretrain-grounding"),
            tries=3,
            readers=(
                lambda inputs, place: train(
                    inputs,
                    out(place, "run"),
                    "--init-grounding",
                    place / "grounding.safetensors",
                ),
            ),
            for_ever=("*",),
        ),
        Kept(
            "cache of asked videos",
            by("ask --explain"),
            tries=9,
            readers=(),
            mend=(typing("ask --explain"),),
            told=COMMANDS["ask --explain"].told,
            environ=dict(COMMANDS["ask --explain"].environ),
        ),
        Kept(
            "synthetic benchmark",
            by("synth"),
            tries=14,
            readers=(),
            mend=(typing("synth"),),
            for_ever=("truth.json",),
        ),
        Kept(
            "frames",
            by("frames"),
            tries=6,
            readers=(),
            mend=(typing("frames"),),
            for_ever=("frames.json",),
        ),
    )
}
"""158 tries in all."""
