"""One file of a store is harmed: nothing good goes, no loss counts, and all of it comes back."""

import random

import pytest
from helpers.store import mutations

FEW = 12
MANY = 2000
SEED = 20261129


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return mutations.build(tmp_path_factory.mktemp("whole") / "S")


def cases(store, number):
    """(file, how, seed): every kind of file in turn, every kind of harm to each."""
    rng = random.Random(SEED)
    kinds = {}
    for file in mutations.files(store):
        kinds.setdefault(mutations.kind_of(store, file), []).append(str(file.relative_to(store)))
    for seed in range(number):
        kind = sorted(kinds)[seed % len(kinds)]
        how = mutations.HOWS[seed // len(kinds) % len(mutations.HOWS)]
        yield rng.choice(kinds[kind]), how, seed


@pytest.mark.parametrize("number", [FEW, pytest.param(MANY, marks=pytest.mark.soak)])
def test_one_harmed_file(store, tmp_path, number):
    step = 13 if number == FEW else 1  # no divisor of the number of kinds or of harms
    chosen = [*cases(store, number * step)][::step]
    failed, tried = [], 0
    for file, how, seed in chosen:
        try:
            packed = seed % 4 == 0
            tried += bool(mutations.trial(store, tmp_path / "T", file, how, seed, packed=packed))
        except Exception as error:  # all of them are told at once
            failed.append(f"{how} {file} seed={seed}: {type(error).__name__}: {error}")
    assert failed == []
    assert tried > 0.8 * number
