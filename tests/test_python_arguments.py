"""What the public functions take, and what they refuse: by an error of avqa, in one line."""

from pathlib import Path

import numpy as np
import pytest
from helpers.extraction.light import POOL
from helpers.media import fake_reader

import avqa
from avqa.extract.media.types import Limits

HEAD = ("late_fusion", "S", "music-avqa", "annotations", "run")


def extracting(*arguments, **options):
    return lambda: avqa.extract(*(arguments or ("videos", "S")), **options)


def in_run(**fields):
    return extracting(run=fields)


REFUSED = {
    "videos=None; expected a path, as str or pathlib.Path": extracting(None, "S"),
    "videos=''; expected a path": extracting("", "S"),
    "videos=['a.mp4']; expected a path": extracting(["a.mp4"], "S"),
    "out=b'S'; expected a path": extracting("videos", b"S"),
    "features=3; expected a name, or a sequence of names as str": extracting("videos", "S", 3),
    "no feature 'vggish/audi'; did you mean 'vgg": extracting("videos", "S", "vggish/audi"),
    "features=''; expected at least one <encoder>/<tap>": extracting("videos", "S", np.array([])),
    "no choice 'wieghts'; did you mean 'weights'": extracting(wieghts="random:0"),
    "chunk_seconds='60'; expected 1 to 3600": extracting(chunk_seconds="60"),
    "chunk_seconds=2.5; expected 1 to 3600": extracting(chunk_seconds=2.5),
    "weights=3; expected text": extracting(weights=3),
    "frame_at=array(['mid', 'x'], dtype='<U3'); expected": extracting(
        frame_at=np.array(["mid", "x"])
    ),
    "options=['x']; expected a mapping of <encoder>.<option>": extracting(options=["x"]),
    "vggish.audio_hop=array([1, 2]); expected one of": extracting(
        options={"vggish.audio_hop": np.array([1, 2])}
    ),
    "device=0; expected auto, cpu or cuda": extracting(device=0),
    "scheduler=None; expected text": extracting(scheduler=None),
    "no profile '3'; available: avaf": extracting(profile=3),
    "run=['x']; expected a mapping of a field to its value": extracting(run=["x"]),
    "no field of run 'limt'; did you mean 'limit'": in_run(limt=3),
    "no field of run 'settings'": in_run(settings=3),
    "limit=inf; expected a whole number, 1 or more": in_run(limit=float("inf")),
    "ids=[1]; expected a name, or a sequence of names": in_run(ids=[1]),
    "root=3; expected text": in_run(root=3),
    "partition='2/2'; expected I/N with 0 <= I < N": in_run(partition="2/2"),
    "limits=3; expected a avqa.extract.media.types.Limits": in_run(limits=3),
    "max_lost_sound=nan; expected a number, 0 to 1": in_run(max_lost_sound=float("nan")),
    "wait_workers=inf; expected a number, 0 or more": in_run(wait_workers=np.inf),
    "prune='no'; expected True or False": in_run(prune="no"),
    "path=None; expected a path": lambda: avqa.extract_video(None),
    "limits=3; expected a Limits of": lambda: avqa.extract_video("a.mp4", limits=3),
    "path=3; expected a path": lambda: avqa.open_store(3),
    "dataset=3; expected text": lambda: avqa.questions(3, "annotations", "S"),
    "annotations=None; expected a path": lambda: avqa.questions("music-avqa", None, "S"),
    "weights=1; expected a path": lambda: avqa.questions("music-avqa", "a", "S", weights=1),
    "head=3; expected text": lambda: avqa.train(3, *HEAD[1:]),
    "settings=['x']; expected a mapping of a setting": lambda: avqa.train(*HEAD, settings=["x"]),
    "epochs=0; expected 1 or more": lambda: avqa.train(*HEAD, settings={"epochs": np.int64(0)}),
    "seeds='2'; expected a whole number, 1 or more": lambda: avqa.train(*HEAD, seeds="2"),
    "resume=3; expected True or False": lambda: avqa.train(*HEAD, resume=3),
    "run=None; expected a path": lambda: avqa.evaluate(None),
    "split=3; expected text": lambda: avqa.predict("run", 3),
    "question=3; expected text": lambda: avqa.ask("run", "a.mp4", 3),
    "choices=3; expected a name, or": lambda: avqa.ask("run", "a.mp4", "?", choices=3),
    "answer='no'; expected what `avqa.ask` gave": lambda: avqa.explain("no", "why"),
    "ours=None; expected a path": lambda: avqa.compare(None, "S"),
    "feature=3; expected text": lambda: avqa.compare("S", "S", feature=3),
}
"""How its message begins → a call."""


@pytest.mark.parametrize("text", REFUSED)
def test_wrong_arguments_are_refused_in_one_line(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/a.mp4").touch()
    with pytest.raises(avqa.AvqaError) as caught:
        REFUSED[text]()
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]  # nothing was made


@pytest.mark.filterwarnings("ignore::avqa.store.reader.RandomWeightsWarning")
def test_whatever_a_path_a_sequence_and_a_number_are(tmp_path, light):
    """With an encoder of another package on videos that are JSON: light, through the whole run."""
    (tmp_path / "videos").mkdir()
    for seed, name in enumerate("abc"):
        fake_reader.write_video(tmp_path / f"videos/{name}.mp4", seconds=2, seed=seed)
    out, chosen = tmp_path / "S", {"decoder": fake_reader.DECODER, "weights": "random:0"}
    report = avqa.extract(
        tmp_path / "videos",
        out,
        POOL,
        scheduler=np.str_("sync"),
        chunk_seconds=np.int64(5),
        run={"ids": np.array(["c", "a"]), "limits": Limits(), "prune": np.bool_(False)},
        **chosen,
    )
    assert repr(report).startswith(f"<RunReport of {str(out)!r}: 2 videos: 2 extracted, 0 already")
    store = avqa.open_store(out)
    assert list(store) == ["a", "c"]
    (tmp_path / "ids.txt").write_text("b\n", encoding="utf-8")
    again = {"ids": str(tmp_path / "ids.txt"), "limit": np.int32(1)}
    avqa.extract(str(tmp_path / "videos"), str(out), (POOL,), scheduler="sync", run=again, **chosen)
    store.reload()
    assert list(store) == ["a", "c", "b"]
    rows = avqa.extract_video(tmp_path / "videos/a.mp4", np.array([POOL]), **chosen)[POOL]
    np.testing.assert_allclose(store["a"][POOL], rows, rtol=1e-3)
    assert repr(avqa.compare(out, str(out))).endswith("every cosine at least 0.999")


def test_every_error_is_at_hand():
    exported = {name for name in avqa.__all__ if isinstance(getattr(avqa, name), type)}
    kinds = [kind for kind in vars(avqa.errors).values() if isinstance(kind, type)]
    assert exported == {kind.__name__ for kind in kinds if issubclass(kind, avqa.AvqaError)}
    for name in exported:
        assert getattr(avqa, name) is getattr(avqa.errors, name)
        assert issubclass(getattr(avqa, name), avqa.AvqaError)
    for call in (lambda: avqa.open_store(Path("nowhere")), lambda: avqa.evaluate("nowhere")):
        with pytest.raises(avqa.AvqaError):
            call()


def test_numbers_and_flags_of_numpy_are_typed_as_after_set():
    typed = avqa.api._as_typed
    assert [typed(v) for v in (np.bool_(True), np.float64(0.1), np.int64(3), None, Path("a"))] == [
        *("true", "0.1", "3", "none", "a")
    ]
