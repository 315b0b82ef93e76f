"""What every data set promises, found by name."""

import dataclasses
from pathlib import Path

import pytest
from helpers.questions.question_files import SAMPLES

from avqa import datasets
from avqa.datasets._parts.question import SPLITS, normalise
from avqa.errors import DatasetError, UnknownName


@pytest.fixture(params=datasets.names())
def sample(request, tmp_path):
    """Name of a data set and a folder with a small annotation of it."""
    if request.param not in SAMPLES:
        pytest.skip(f"no rows of {request.param} in tests/helpers/questions/question_files.py")
    SAMPLES[request.param](tmp_path)
    return request.param, tmp_path


def test_every_file_of_the_folder_is_found_and_has_a_sample():
    files = Path(datasets.__file__).parent.glob("[!_]*.py")
    names = {file.stem.replace("_", "-") for file in files}
    assert names <= set(datasets.names())
    assert set(SAMPLES) <= set(datasets.names())


@pytest.mark.parametrize("name", datasets.names())
def test_a_module_says_where_it_comes_from(name):
    module = datasets.load(name)
    assert module.__doc__.strip()
    assert module.BIBTEX.startswith("@")
    assert module.LICENSE
    assert set(module.FILES) <= set(SPLITS)
    assert all(module.FILES.values())
    assert list(module.COLUMNS)[-1] == "All"
    assert all(members <= module.COLUMNS["All"] for members in module.COLUMNS.values())


def test_questions_are_in_the_fields_form(sample):
    name, folder = sample
    questions = datasets.read(name, folder)
    assert len({q.key for q in questions}) == len(questions) > 1
    for q in questions:
        assert q.text == normalise(q.text) != ""
        assert " ".join(q.words) == q.text
        assert (q.modality, q.kind) in datasets.columns(name, questions)["All"]
        assert q.split in SPLITS
        assert (q.answer is None) == bool(q.choices)


def test_reading_again_gives_the_same(sample):
    name, folder = sample
    assert datasets.read(name, folder) == datasets.read(name, folder)


def test_splits_come_in_order_and_as_asked(sample):
    name, folder = sample
    questions = datasets.read(name, folder)
    order = [SPLITS.index(q.split) for q in questions]
    assert order == sorted(order)
    for split in {q.split for q in questions}:
        alone = datasets.read(name, folder, [split])
        assert alone == [q for q in questions if q.split == split]


def test_one_file_gives_what_its_folder_gives(sample):
    name, folder = sample
    module = datasets.load(name)
    questions = datasets.read(name, folder)
    for split, names in module.FILES.items():
        file = next((folder / path for path in names if (folder / path).exists()), None)
        if file is None:
            # That of train holds its questions.
            assert (name, split) == ("music-avqa-v2", "val")
            continue
        ours = {split, "val"} if (name, split) == ("music-avqa-v2", "train") else {split}
        assert datasets.read(name, file) == [q for q in questions if q.split in ours]


def test_the_version_is_a_word_of_the_questions_alone(sample):
    name, folder = sample
    module = datasets.load(name)
    found = module.version(datasets.read(name, folder))
    assert found == module.version(iter(datasets.read(name, folder))) != ""
    assert module.version([])


def test_questions_are_frozen(sample):
    name, folder = sample
    with pytest.raises(dataclasses.FrozenInstanceError):
        datasets.read(name, folder)[0].text = "other"


def test_a_wrong_name_is_refused(tmp_path):
    with pytest.raises(UnknownName) as caught:
        datasets.load("music_avqa")
    assert str(caught.value).startswith("no data set 'music_avqa'; did you mean 'music-avqa'?")
    with pytest.raises(UnknownName, match="no split 'dev'; available: test, train, val"):
        datasets.read("avqa", tmp_path, ["dev"])


def test_a_wrong_variant_is_refused(tmp_path):
    with pytest.raises(UnknownName, match="no subset of music-avqa 'reel'; did you mean 'real'"):
        datasets.read("music-avqa", tmp_path, subset="reel")
    with pytest.raises(DatasetError) as caught:
        datasets.read("avqa", tmp_path, subset="real")
    assert str(caught.value) == (
        "subset='real' is no choice of data set 'avqa'; its choices: none; leave it out"
    )
