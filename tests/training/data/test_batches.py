import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from helpers.heads.head_batches import own_widths
from helpers.store import s3_server
from helpers.store.reading import EVERYTHING, NAMES, ask, expected, question_set, store_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from avqa import heads
from avqa.datasets._parts.labels import instrument_labels
from avqa.datasets._parts.vocabulary import MUSIC_AVQA
from avqa.errors import FeatureMissing
from avqa.store.format.chunks import chunk_path
from avqa.store.places.files import store_path
from avqa.training.data.batches import (
    ShuffledBatches,
    VideoGroupedBatches,
    VideoTogetherBatches,
    make_loader,
)
from avqa.training.data.features import VideoFeatures
from avqa.training.data.questions import QuestionSet
from avqa.training.fitting.progress import TimedBatches


def videos_of(counts):
    """A video id per question, mixed as in a file: first one question of every video."""
    most = max(counts, default=0)
    return [f"v{n}" for turn in range(most) for n, count in enumerate(counts) if turn < count]


COUNTS = st.lists(st.integers(1, 9), max_size=60)


def shuffled(ids, *more, **named):
    return ShuffledBatches(len(ids), *more, **named)


GROUPING = {"grouped": VideoGroupedBatches, "together": VideoTogetherBatches}
ORDERS = {"shuffled": shuffled, **GROUPING}
either = pytest.mark.parametrize("make", ORDERS.values(), ids=ORDERS)


@either
@settings(max_examples=150, deadline=None)
@given(counts=COUNTS, size=st.integers(1, 40), seed=st.integers(0, 3), epoch=st.integers(0, 3))
def test_every_question_comes_once(make, counts, size, seed, epoch):
    ids = videos_of(counts)
    batches = make(ids, size, seed)
    batches.set_epoch(epoch)
    found = list(batches)
    assert sorted(row for batch in found for row in batch) == list(range(len(ids)))
    assert len(found) == len(batches)
    assert all(len(batch) == size for batch in found[:-1])


@pytest.mark.parametrize("make", GROUPING.values(), ids=GROUPING)
@settings(max_examples=150, deadline=None)
@given(counts=COUNTS, size=st.integers(2, 40), seed=st.integers(0, 3))
def test_a_batch_asks_about_two_videos_while_there_are_two(make, counts, size, seed):
    check_two_videos(make, videos_of(counts), size, seed)


@pytest.mark.parametrize("order", ORDERS)
def test_every_epoch_has_an_order_of_its_own(store, order):
    batches = TimedBatches(make_loader(question_set(store, VIDEOS), 4, order=order, seed=3))
    epochs = [[b.rows.tolist() for b in batches.of_epoch(epoch)] for epoch in (0, 1, 0)]
    assert epochs[0] == epochs[2] != epochs[1]
    again = ORDERS[order](VIDEOS, 4, 3)
    again.set_epoch(1)
    assert epochs[1] == list(again)


def check_two_videos(make, ids, size, seed):
    left = Counter(ids)
    for batch in make(ids, size, seed):
        asked = {ids[row] for row in batch}
        assert len(asked) > 1 or len(left) == 1 or len(batch) == 1
        left -= Counter(ids[row] for row in batch)


def test_both_pools_ask_about_two_videos_to_the_end():
    for seed in range(20):
        check_two_videos(VideoGroupedBatches, videos_of([9] * 40), 2, seed)


@either
def test_the_order_follows_from_seed_and_epoch(make):
    ids = videos_of([3] * 50)

    def order(seed, epoch):
        batches = make(ids, 8, seed)
        batches.set_epoch(epoch)
        return list(batches)

    orders = {(seed, epoch): order(seed, epoch) for seed in range(2) for epoch in range(3)}
    assert all(order(*key) == found for key, found in orders.items())
    assert len({str(found) for found in orders.values()}) == 6
    later = make(ids, 8, 1)
    list(later)
    later.set_epoch(2)
    assert list(later) == orders[1, 2]  # whatever was iterated before


def test_the_order_does_not_change_between_versions():
    # Resumed runs and published figures depend on it.
    ids = videos_of([2] * 6)
    assert list(VideoGroupedBatches(ids, 5, 1)) == [
        [9, 4, 2, 10, 8],
        [11, 7, 5, 6, 0],
        [1, 3],
    ]
    assert list(VideoTogetherBatches(ids, 5, 1)) == [
        [10, 4, 0, 6, 8],
        [2, 7, 1, 5, 11],
        [9, 3],
    ]
    assert list(ShuffledBatches(12, 5, 1)) == [[8, 11, 4, 7, 5], [0, 1, 9, 2, 10], [6, 3]]


def test_questions_about_a_video_come_in_a_row():
    ids = videos_of([1, 2, 3, 4, 3, 2])
    asked = [ids[row] for batch in VideoTogetherBatches(ids, 4, 1) for row in batch]
    assert [name for name, _ in itertools.groupby(asked)] == list(dict.fromkeys(asked))


@either
def test_processes_divide_every_batch(make):
    """Ten questions in batches of four: two each, and of the last two one for two of three."""
    ids = [f"v{number // 2}" for number in range(10)]
    whole = list(make(ids, 4, 1))
    shares = [list(make(ids, 4, 1, share=(n, 3))) for n in range(3)]
    for batch, *parts in zip(whole[:2], *shares, strict=False):
        assert sorted(sum(parts, [])) == sorted(batch)
        assert [len(part) for part in parts] == [2, 1, 1]
    # The third has none of its own and is lent the first's.
    assert [part[2] for part in shares] == [whole[2][:1], whole[2][1:], whole[2][:1]]


@pytest.mark.parametrize("size", [16, 32, 64])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_reads_a_video_about_once(size, workers):
    rng = np.random.default_rng(0)
    ids = videos_of(np.maximum(1, rng.poisson(3.5, 500)).tolist())
    kept = [{} for _ in range(workers)]
    reads = 0
    for number, batch in enumerate(VideoGroupedBatches(ids, size)):
        mine = kept[number % workers]  # as a loader deals them
        for video in dict.fromkeys(ids[row] for row in batch):
            reads += video not in mine
            mine[video] = mine.pop(video, None)
            if len(mine) > 64:
                del mine[next(iter(mine))]
    assert 1 <= reads / 500 < 1.06


@pytest.mark.parametrize("size", [16, 64])
def test_batches_mix_videos(size):
    ids = videos_of([4] * 300)
    found = list(VideoGroupedBatches(ids, size))
    plain = [len({ids[row] for row in batch}) for batch in ShuffledBatches(len(ids), size)]
    assert np.mean(plain) == pytest.approx({16: 15.6, 64: 57}[size], abs=1)
    whole = [len({ids[row] for row in batch}) for batch in VideoTogetherBatches(ids, size)]
    assert set(whole[:-1]) == {size // 4}
    # A batch of 64 takes most of a pool's 64 questions.
    assert np.mean([len({ids[row] for row in batch}) for batch in found]) >= {16: 9, 64: 15.5}[size]


LENGTHS = {"a": 3, "b": 5, "c": 4, "d": 5}
VIDEOS = [*"abcdabcdcc"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return store_of(tmp_path_factory.mktemp("batches") / "store", LENGTHS)


def rows_of(loader):
    return [batch.rows.tolist() for batch in loader]


def test_without_shuffling_questions_keep_their_order(store):
    questions = question_set(store, VIDEOS)
    for workers in (0, 2):
        loader = make_loader(questions, 4, order="given", workers=workers)
        assert isinstance(loader, DataLoader)
        assert len(loader) == 3
        assert rows_of(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_shuffled_batches_follow_the_sampler(store):
    loader = make_loader(question_set(store, VIDEOS), 4, order="grouped", seed=3)
    sampler = VideoGroupedBatches(VIDEOS, 4, 3)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        loader.batch_sampler.set_epoch(epoch)
        assert rows_of(loader) == list(sampler)


def check(batch, stride=1):
    """Every question of a batch has its video's rows, 0 behind the end; each video has one."""
    asked = {VIDEOS[row] for row in batch.rows.tolist()}
    assert len(batch.inputs.valid) == len(batch.inputs.patch) == len(asked)
    inputs = batch.inputs.apart()
    longest = max(LENGTHS[VIDEOS[row]] for row in batch.rows.tolist())
    for number, row in enumerate(batch.rows.tolist()):
        seconds = LENGTHS[VIDEOS[row]]
        assert inputs.valid[number].tolist() == [True] * seconds + [False] * (longest - seconds)
        for field in ("audio", "patch"):
            values = getattr(inputs, field)[number]
            assert values.dtype == torch.float32
            right = expected(VIDEOS[row], field, seconds).astype(np.float32)
            np.testing.assert_array_equal(values[:seconds].numpy(), right)
            assert len(values) == longest
            assert not values[seconds:].any()
    assert len(batch) == len(inputs.valid) == len(batch.answers) == len(inputs.tokens)
    same = [[VIDEOS[i] == VIDEOS[j] for j in batch.rows] for i in batch.rows]
    assert (inputs.video[:, None] == inputs.video).tolist() == same


@pytest.mark.parametrize("budget", [0, 500, EVERYTHING])  # nothing, the audio, everything loaded
@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_has_the_rows_of_its_videos(store, budget, workers):
    questions = question_set(store, VIDEOS, budget)
    for batch in make_loader(questions, 4, order="grouped", workers=workers):
        check(batch)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_share_what_is_loaded_and_read_the_rest(store, method):
    questions = question_set(store, VIDEOS, 500)
    loader = make_loader(questions, 4, order="given", workers=1)
    loader.multiprocessing_context = method
    before = store.reads.clone()
    first = list(loader)
    for batch in first:
        check(batch)
    assert (store.reads - before).tolist() == [1, 1, 1, 1]  # the patches of four videos
    questions.features.read("a")["audio"].fill_(-7)
    again = next(iter(loader)).inputs.apart().audio  # the same process, started before the change
    assert again[0, :3].unique().tolist() == [-7]
    assert -7 not in again[1:]


def test_two_workers_read_every_video_once(tmp_path):
    lengths = {f"v{number:02d}": 2 for number in range(40)}
    store = store_of(tmp_path / "store", lengths)
    questions = question_set(store, [*lengths] * 4, 0)
    before = store.reads.clone()
    assert len(rows_of(make_loader(questions, 16, order="grouped", workers=2))) == 10
    reads = store.reads - before
    assert reads.min() == 2  # audio and patches
    assert reads.sum() <= 1.2 * 2 * 40


@pytest.mark.parametrize("workers", [0, 1])
def test_a_feature_that_is_gone_is_one_line(tmp_path, workers):
    store = store_of(tmp_path / "store", {"a": 3, "b": 3})
    questions = question_set(store, ["a", "b"], 0)
    chunk_path(store.path / "features.zarr", "clip/patch", 1, 0, 2).unlink()
    with pytest.raises(FeatureMissing) as caught:
        list(make_loader(questions, 1, order="given", workers=workers))
    assert str(caught.value) == (
        "video 'b': clip/patch has status ok but an object of it is gone; expected all; run"
        " `avqa verify --repair`, then `avqa extract`"
    )


def test_a_worker_reads_from_a_bucket_that_its_parent_read(s3):
    store = store_of(store_path(f"s3://{s3_server.BUCKET}/batches"), LENGTHS)
    for batch in make_loader(question_set(store, VIDEOS, 0), 5, order="given", workers=1):
        check(batch)


def test_a_batch_moves_as_a_whole(store):
    batch = question_set(store, VIDEOS).__getitems__([0, 1, 4])
    moved = batch.to("cpu")
    check(moved)
    for name in ("answers", "rows", "of_video", "lengths"):
        assert torch.equal(getattr(moved, name), getattr(batch, name))
    for name in ("videos", "texts"):
        mine, other = getattr(moved, name), getattr(batch, name)
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[field], other[field]) for field in mine)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_batches_for_a_gpu_are_page_locked(store):
    questions = question_set(store, VIDEOS)
    for workers in (0, 2):
        for batch in make_loader(questions, 4, order="grouped", workers=workers, device="cuda"):
            assert batch.videos["patch"].is_pinned()
            there = batch.to("cuda").inputs
            for name in ("valid", "audio", "patch", "tokens", "video"):
                assert torch.equal(getattr(there, name).cpu(), getattr(batch.inputs, name))


class Texts:
    """In place of a store of texts."""

    def read_texts(self, texts, feature):
        shape = (77, 10) if "/word" in feature else (10,)
        return np.random.default_rng(0).standard_normal((len(texts), *shape), np.float32)

    def eot(self, text):
        return 1 + len(text.split())


@pytest.mark.parametrize("name", heads.names())
def test_every_head_learns_from_a_batch(store, name):
    module = heads.load(name)
    code = heads.build(name).options.time_code
    widths = {"width": 16, "text_width": 10}
    widths |= {
        "audio_width": heads.coded_width(6, code),
        "visual_width": heads.coded_width(8, code),
    }
    widths |= own_widths(name, heads.coded_width(8, code), words=10)
    words = MUSIC_AVQA.num_words(type_words="type_tokens" in heads.build(name, **widths).needs)
    head = heads.build(name, **widths, vocabulary=words).train()
    names = NAMES | {"bands": NAMES["patch"]}  # of which the store has none
    features = VideoFeatures(store, {field: names[field] for field in module.Head.FEATURES})
    asked = ask(VIDEOS)
    questions = QuestionSet(
        asked, VIDEOS, features, Texts(), head, instrument_labels(asked), training=True
    )
    for batch in make_loader(questions, 5, order="grouped"):
        loss = heads.total_loss(head, head(batch.inputs), batch.answers)
        assert bool(loss.isfinite())
        loss.backward()
