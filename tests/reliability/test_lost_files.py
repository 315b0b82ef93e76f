"""One file lost or cut: who reads it says so or gives what it gave, then it is made anew."""

import random
import shutil

import pytest
from helpers.reliability import commands, losses
from helpers.reliability.losses import KEPT

SEED = 20261201
REFUSALS = {2, 3, 4, 5, 6}
"""Exit codes of who refuses, or found a difference."""


def cases(kept, made):
    """(file, how): every file in turn, every way to harm it."""
    files = [
        path.relative_to(made)
        for path in sorted(made.rglob("*"))
        if path.is_file() and not any(path.match(pattern) for pattern in kept.left_alone)
    ]
    every = [(file, how) for how in losses.HOWS for file in files]
    random.Random(f"{SEED} {kept.name}").shuffle(every)
    return every[: kept.tries]


@pytest.mark.soak
@pytest.mark.parametrize("name", KEPT)
def test_one_file_lost_or_cut(inputs, tmp_path, name):
    kept, made, place = KEPT[name], tmp_path / "made", tmp_path / "place"
    kept.make(inputs, place)
    whole = read(kept, inputs, place)
    assert all(code == 0 for code, *_ in whole), whole
    shutil.copytree(place, made)
    if kept.ends_with is not None:
        done = kept.type(kept.ends_with(inputs, place), inputs, place)
        assert done.code == 0, done.said
    expected = kept.told(inputs, place)
    failed, chosen = [], cases(kept, made)
    for file, how in chosen:
        shutil.rmtree(place)
        shutil.copytree(made, place)
        losses.harm(place / file, how)
        try:
            trial(kept, inputs, place, file, how, whole, expected)
        except AssertionError as error:
            failed.append(f"{how} {file}: {str(error)[:2000]}")
    print(f"{name}: {len(chosen)} tries")
    assert not failed, "\n".join(failed)


def read(kept, inputs, place):
    """What each reader says and writes: (exit code, said, files)."""
    told = []
    for words in kept.readers:
        shutil.rmtree(losses.out(place), ignore_errors=True)
        losses.out(place).mkdir()
        done = kept.type(words(inputs, place), inputs, place)
        written = commands.files(losses.out(place), "runs/*", "*.jsonl", "result.json", "run.json")
        told.append((done.code, done.said, written))
    return told


def trial(kept, inputs, place, file, how, whole, expected):
    readers = [] if how == "lose" and not kept.tells_of_lost else read(kept, inputs, place)
    for (code, said, written), (_, _, before) in zip(readers, whole, strict=False):
        assert "internal error" not in said, said
        assert "Traceback" not in said, said
        if code == 0:
            assert written == before, f"another result with exit code 0: {said}"
        else:
            assert code in REFUSALS, f"exit code {code}: {said}"
            assert names(said, file), f"does not name it: {said}"
    last = None
    for words in kept.mend:
        last = kept.type(words(inputs, place), inputs, place)
        assert "internal error" not in last.said, last.said
        assert "Traceback" not in last.said, last.said
        if last.code:
            assert last.code in REFUSALS, f"exit code {last.code}: {last.said}"
    if last is None:
        return
    if last.code and any(file.match(pattern) for pattern in kept.for_ever):
        assert names(last.said, file), f"does not name it: {last.said}"
        return
    assert last.code == 0, last.said
    found = kept.told(inputs, place)
    assert found == expected, commands.difference(found, expected)


def names(said, file):
    """Whether a message tells which file it is: by its name, its array or its video."""
    parts = file.as_posix().split("/")
    array = "/".join(parts[2:-1]) if "features.zarr" in parts else "/"
    return file.name in said or file.stem in said or array in said or f"/{parts[0]};" in said
