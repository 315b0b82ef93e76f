"""Where files of our own and of libraries go, and that everything runs without a home."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from helpers.media import clips

from avqa import caches

ROOT = Path(__file__).resolve().parents[1]
USER = 12345
"""Of nobody's: no name, no home."""
LIBRARIES = {
    "NUMBA_CACHE_DIR": "numba",
    "MPLCONFIGDIR": "matplotlib",
    "TORCH_HOME": "torch",
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",
    "HF_HOME": "huggingface",
}


@pytest.fixture(scope="module", autouse=True)
def clip():
    """Made before any test says where temporary files go."""
    return clips.cached_clip("clip.mp4", sound_codec="aac")


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """Nothing is set but what a test sets; temporary files go to tmp_path/tmp."""
    for name in ("AVQA_CACHE", "XDG_CACHE_HOME", "HOME", *LIBRARIES):
        monkeypatch.setenv(name, "")  # put back what `settle` sets
        monkeypatch.delenv(name)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    caches._temporary.cache_clear()
    yield
    caches._temporary.cache_clear()


@pytest.fixture
def no_home(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)


def unwritable(tmp_path):
    """A place below which nothing can be made, for root either."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "cache"


PLACES = [
    ({"AVQA_CACHE": "/a", "XDG_CACHE_HOME": "/x"}, "/a"),
    ({"XDG_CACHE_HOME": "/x"}, "/x/avqa"),
    ({"AVQA_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/avqa"),
]


@pytest.mark.parametrize(("given", "expected"), PLACES)
def test_cache_is_where_the_environment_says(monkeypatch, given, expected):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert caches.cache_dir() == Path(expected)
    assert caches.cache_dir(Path("/given")) == Path("/given")


def test_without_a_home_it_is_a_temporary_folder_of_this_user(no_home, tmp_path):
    folder = tmp_path / "tmp" / f"avqa-{os.getuid()}"
    assert caches.cache_dir() == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert caches.cache_dir() == folder


@pytest.mark.parametrize("trap", ["link", "open", "file"])
def test_a_folder_that_others_may_have_made_is_not_used(no_home, tmp_path, trap):
    folder = tmp_path / "tmp" / f"avqa-{os.getuid()}"
    if trap == "link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    elif trap == "open":
        folder.mkdir()
        folder.chmod(0o777)
    else:
        folder.touch()
    found = caches.cache_dir()
    assert found != folder
    assert found.parent == tmp_path / "tmp"
    assert stat.S_IMODE(found.stat().st_mode) == 0o700


def settled():
    caches.settle()
    return {name: os.environ.get(name) for name in ("XDG_CACHE_HOME", *LIBRARIES)}


def test_who_can_write_keeps_everything_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "to" / "come"))
    assert set(settled().values()) == {None}


def expected_below(folder):
    below = {name: str(folder / "libraries" / place) for name, place in LIBRARIES.items()}
    return {"XDG_CACHE_HOME": str(folder / "libraries"), **below}


def test_libraries_get_a_place_where_there_is_none(no_home, tmp_path):
    assert settled() == expected_below(tmp_path / "tmp" / f"avqa-{os.getuid()}")
    assert "AVQA_CACHE" not in os.environ


def test_where_nothing_can_be_written_nothing_is_set(no_home, monkeypatch):
    def missing():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", missing)
    assert set(settled().values()) == {None}


def test_what_the_user_set_stays_and_old_weights_are_found(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(unwritable(tmp_path)))
    monkeypatch.setenv("AVQA_CACHE", "")  # as good as none
    monkeypatch.setenv("HF_HOME", "/mine")
    folder = tmp_path / "tmp" / f"avqa-{os.getuid()}"
    assert settled() == {**expected_below(folder), "HF_HOME": "/mine"}
    assert caches.cache_dir() == unwritable(tmp_path) / "avqa"


def test_the_users_own_folder_serves_libraries_too(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(unwritable(tmp_path)))
    monkeypatch.setenv("AVQA_CACHE", str(tmp_path / "own"))
    assert settled() == expected_below(tmp_path / "own")
    assert caches.cache_dir() == tmp_path / "own"


@pytest.fixture
def stranger():
    """Run Python as a user without a name, in a folder of its own: (folder, run)."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv")
    with tempfile.TemporaryDirectory(prefix="avqa-user-", dir="/tmp") as folder:
        place = Path(folder)
        (place / "tmp").mkdir()
        for open_to_all in (place, place / "tmp"):
            open_to_all.chmod(0o777)
        user = ["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups"]

        def run(*arguments, **environ):
            environ |= {"PATH": "/usr/bin:/bin", "PYTHONPATH": ROOT, "TMPDIR": place / "tmp"}
            bare = ["env", "-i", *(f"{name}={value}" for name, value in environ.items())]
            command = [*user, *bare, sys.executable, *arguments]
            return subprocess.run(
                command, cwd=place, capture_output=True, text=True, encoding="utf-8"
            )

        if run("-c", "import encodings, numpy").returncode:
            pytest.skip("another user cannot use this Python")
        yield place, run


def test_a_user_without_a_name_and_a_home_reads_audio(clip, stranger):
    place, run = stranger
    shutil.copy(clip, place / "clip.mp4")
    (place / "clip.mp4").chmod(0o644)
    done = run("-m", "avqa", "frames", "clip.mp4", "--out", "frames")
    assert (done.returncode, done.stderr) == (0, "")
    assert "and audio.wav of 4.00 s" in done.stdout
    (used,) = (place / "tmp").iterdir()
    assert (used.name, used.stat().st_uid) == (f"avqa-{USER}", USER)


def test_a_home_that_may_not_be_looked_into_is_none(stranger):
    place, run = stranger
    closed = place / "home"
    (closed / "user").mkdir(parents=True)
    closed.chmod(0o700)
    done = run("-c", "import avqa, os; print(os.environ['NUMBA_CACHE_DIR'])", HOME=closed / "user")
    assert done.stdout == f"{place}/tmp/avqa-{USER}/libraries/numba\n", done.stderr
