"""One file of a store is harmed: nothing good goes, no loss counts, and all of it comes back."""

import random

import pytest
from helpers.store import mutations

MANY = 2000
PARTS = 20
FEW = slice(0, 12 * 13, 13)
"""A step that divides neither the number of kinds nor that of harms."""
SEED = 20261129


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return mutations.build(tmp_path_factory.mktemp("whole") / "S")


def cases(store):
    """(file, how, seed): every kind of file in turn, every kind of harm to each."""
    rng = random.Random(SEED)
    kinds = {}
    for file in mutations.files(store):
        kinds.setdefault(mutations.kind_of(store, file), []).append(str(file.relative_to(store)))
    found = []
    for seed in range(MANY):
        kind = sorted(kinds)[seed % len(kinds)]
        how = mutations.HOWS[seed // len(kinds) % len(mutations.HOWS)]
        found.append((rng.choice(kinds[kind]), how, seed))
    return found


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "part",
    [FEW, *(pytest.param(slice(n, MANY, PARTS), marks=pytest.mark.soak) for n in range(PARTS))],
    ids=["few", *map(str, range(PARTS))],
)
def test_one_harmed_file(store, tmp_path, part):
    chosen = cases(store)[part]
    failed, tried = [], 0
    for file, how, seed in chosen:
        try:
            packed = seed % 4 == 0
            tried += bool(mutations.trial(store, tmp_path / "T", file, how, seed, packed=packed))
        except Exception as error:  # all of them are told at once
            failed.append(f"{how} {file} seed={seed}: {type(error).__name__}: {error}")
    assert failed == []
    assert tried > 0.8 * len(chosen)


@pytest.mark.parametrize("seed", [457, 1133, 1392])
def test_harms_that_once_did_harm(store, tmp_path, seed):
    """Ids for texts and texts for ids, and a shape that let a copy lack an object."""
    (chosen,) = [case for case in cases(store) if case[2] == seed]
    assert mutations.trial(store, tmp_path / "T", *chosen, packed=seed % 4 == 0)
