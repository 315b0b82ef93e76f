"""A run that needs no features, a folder of videos beside it, and `avqa serve` as typed."""

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from helpers.runs import asked_runs, run_folders

from avqa.extract import weights
from avqa.extract.profiles import profile
from avqa.pipelines.cluster.environment import build_recipes
from avqa.store.format.recipe_diff import recipe_hash
from avqa.store.places.files import write_json
from avqa.training.run import RUN

TESTS = Path(__file__).resolve().parents[2]
ODD = """sub/it's <b>&.mp4"""


def blind_run(root):
    """``run``, its ``annotations``, and ``videos``: two that can be read, a broken one, a link."""
    annotations = asked_runs.annotation(root / "annotations")
    config = run_folders.config(
        "question_only", features={}, weights="none", annotations=str(annotations)
    )
    run_folders.write_member(root / "run", config)
    about = {"head": "question_only", "variants": ["default"], "seeds": 1}
    write_json(root / "run" / RUN, about)
    (root / "videos" / "sub").mkdir(parents=True)
    for name in ("a.mp4", ODD):
        shutil.copy(asked_runs.clip(), root / "videos" / name)
    (root / "videos" / "broken.mp4").write_bytes(b"no video at all " * 99)
    shutil.copy(asked_runs.clip(), root / "outside.mp4")
    (root / "videos" / "link.mp4").symlink_to(root / "outside.mp4")
    return root / "run"


def hearing_run(root):
    """A run that needs audio, by a recipe of this machine with random weights."""
    settings = profile("default", features=("vggish/audio",), weights="random:0")
    (recipe,) = build_recipes(settings, weights.resolve("random:0")).values()
    entry = {"name": "vggish/audio", "recipe": recipe, "recipe_hash": recipe_hash(recipe)}
    config = run_folders.config("avst", features={"audio": entry}, weights="random:0")
    options = {"modalities": "aq", "spatial": False, "audio_width": 128}
    config = dataclasses.replace(config, options={**config.options, **options})
    run_folders.write_member(root / "run", config)
    about = {"head": "avst", "variants": ["default"], "seeds": 1}
    write_json(root / "run" / RUN, about)
    return root / "run"


@dataclass
class Served:
    """A server that runs."""

    url: str
    process: subprocess.Popen
    told_to: Path
    """Whom it asked beside this machine; there is no such file where it asked nobody."""
    errors: Path
    temporary: Path

    def end(self, signum=signal.SIGINT):
        """Its exit code after a signal."""
        self.process.send_signal(signum)
        return self.process.wait(120)


@contextlib.contextmanager
def serving(root, *words):
    """`avqa serve` with these words, until it has told its address; ended in any case."""
    temporary = root / "tmp"
    temporary.mkdir(exist_ok=True)
    path = [TESTS / "helpers" / "offline", TESTS.parent]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "TOLD_TO": str(root / "told_to"),
        "TMPDIR": str(temporary),
        "AVQA_CACHE": str(root / "cache"),
        "MPLCONFIGDIR": str(root / "matplotlib"),
    }
    command = [sys.executable, "-c", STARTED, "serve", *map(str, words), "--port", "0"]
    with (root / "errors").open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, env=environment, cwd=root
        )
    try:
        url = _address(process, root / "errors")
        yield Served(url, process, root / "told_to", root / "errors", temporary)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=120)


STARTED = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    " from avqa.cli import main; main()"
)
"""As `python -m avqa`, also where the tests run in a shell's background, which ignores Ctrl-C."""


def _address(process, errors):
    """Waits for the line that names it."""
    for _ in range(1200):
        text = errors.read_text(encoding="utf-8")
        if found := re.search(r"serving on (http://\S+),", text):
            return found[1]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
            raise AssertionError(f"it ended: {text}")
    raise AssertionError(f"no address within two minutes: {text}")
