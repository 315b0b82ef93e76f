"""The specifications' counts on the real files, where they lie beside the repository."""

import hashlib
from collections import Counter

import pytest
from helpers.questions.question_files import REAL

from avqa import datasets
from avqa.datasets._parts.question import num_alike
from avqa.datasets._parts.taxonomy import NAMES

ORDER = [*NAMES]
"""A-C A-Cp V-C V-L E C L Cp T."""


def real(name, *files):
    """The folder of a data set's files; the test is skipped without one of them."""
    folder = REAL.parent / name
    lacking = [file for file in files if not (folder / file).exists()]
    if lacking:
        pytest.skip(f"{name}/{lacking[0]} is not beside the repository")
    return folder


def per_type(questions):
    counts = Counter((q.modality, q.kind) for q in questions)
    return [counts[NAMES[name]] for name in ORDER]


V2 = {
    # Test, validation: digest; questions, videos; per type; without an id; dubbed.
    "balance": (
        (
            "78e854694bc5944f63a49b26a2a95bfe672ed7de6a455a8a097f1731d98a70a0",
            (10819, 7138),
            [1382, 643, 1505, 1338, 1223, 1740, 920, 1101, 967],
            (1724, 226, 14),
        ),
        (
            "2b8ad91e181bc76e23d89bc029f04fa0f6c37c87584ebf60e217d3f7e932efbe",
            (5346, 4317),
            [686, 314, 737, 664, 594, 861, 460, 549, 481],
            (826, 101, None),
        ),
    ),
    "bias": (
        (
            "cbf5e8096eaa94271061d37d273a7f2977d2b82e0c69a1194bcebd816aa5455b",
            (9119, 6456),
            [1022, 607, 1222, 1230, 901, 1292, 920, 1101, 824],
            (600, 29, 2),
        ),
        (
            "d8a4308564ba79afd79be93e0e9015e085e7bbfd7183f5e44b551a055570e30e",
            (4499, 3757),
            [506, 295, 596, 611, 433, 638, 460, 549, 411],
            (259, 20, None),
        ),
    ),
}


@pytest.mark.parametrize("edition", V2)
@pytest.mark.parametrize("split", ["test", "val"])
def test_music_avqa_v2(edition, split):
    name = f"test_{edition}.json" if split == "test" else f"{edition}_valid.json"
    file = real("music_avqa_v2", name) / name
    digest, size, types, (missing, dubbed, alike) = V2[edition][split == "val"]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
    questions = datasets.read("music-avqa-v2", file, [split], edition=edition)
    assert (len(questions), len({q.video_id for q in questions})) == size
    assert per_type(questions) == types
    assert sum(q.question_id is None for q in questions) == missing
    assert sum(q.sound_id is not None for q in questions) == dubbed
    assert all(q.answer == "no" for q in questions if q.sound_id)
    assert alike in (None, num_alike(questions))


GROUPS = {
    # heads-2025.md 3.6, whose order has L before C.
    ("music-avqa-r", "head"): [19033, 7519, 24738, 16270, 13311, 17976, 17464, 11718, 10124],
    ("music-avqa-r", "tail"): [4074, 5987, 3129, 16779, 11738, 8589, 4082, 11403, 7638],
    ("fortisavqa", "head"): [19033, 7519, 20618, 20949, 13311, 22659, 14890, 11718, 11851],
    ("fortisavqa", "tail"): [4074, 5987, 7249, 12100, 11738, 3906, 6656, 11403, 5911],
}


@pytest.mark.parametrize("name", ["music-avqa-r", "fortisavqa"])
def test_head_and_tail(name):
    test = {"music-avqa-r": "avqa-test-headtail.json", "fortisavqa": "FortisAVQA-test.json"}[name]
    questions = datasets.read(name, real(name.replace("-", "_"), test), ["test"])
    found = {g: per_type(q for q in questions if q.group == g) for g in ("head", "tail")}
    assert found == {group: GROUPS[name, group] for group in found}
    assert datasets.load(name).version(questions) == "released"


def test_the_counts_of_both_groupings_agree_per_type():
    for group in zip(*GROUPS.values(), strict=True):
        assert group[0] + group[1] == group[2] + group[3]
    totals = {key: sum(counts) for key, counts in GROUPS.items()}
    assert [*totals.values()] == [138153, 73419, 142548, 69024]


def test_valor32k():
    files = [f"combined_dataset_{split}_flattened.json" for split in ("train", "val", "test")]
    questions = datasets.read("valor32k", real("valor32k", *files))
    counts = Counter(q.split for q in questions)
    assert counts == {"train": 177140, "val": 22267, "test": 26088}
    videos = {s: len({q.video_id for q in questions if q.split == s}) for s in counts}
    assert videos == {"train": 22456, "val": 2942, "test": 3465}
    assert datasets.load("valor32k").version(questions) == "v2.0"
    assert len({(q.modality, q.kind) for q in questions if q.split != "train"}) == 17
