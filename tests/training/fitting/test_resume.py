"""A fit that was interrupted ends as if it had not been, and goes on from nothing else."""

import csv
import dataclasses
import errno
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from helpers.runs import tiny_fits
from helpers.runs.tiny_fits import Features, build, tiny_fit

from avqa.errors import ConfigError, RunDamaged, StorageFailure
from avqa.training.fitting import checkpoints
from avqa.training.fitting.checkpoints import identity
from avqa.training.fitting.history import best_epoch

pytestmark = pytest.mark.usefixtures("one_thread")


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def metrics(folder):
    """Rows of metrics.csv without what the clock says."""
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in ("seconds", "waiting")} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted fit of a head with dropout and drawn negatives."""
    folder = tmp_path_factory.mktemp("whole")
    head = build("avst")
    return folder, head, tiny_fit(folder, head)


@pytest.mark.parametrize(
    ("kind", "number", "finished"),
    # 12 videos take 20 to 30 reads an epoch: number 40 is in the second.
    [("reading", 40, 1), ("writing", 2, 1)],
)
def test_a_killed_fit_ends_with_the_same_bits(tmp_path, whole, kind, number, finished):
    folder, head, result = whole
    script = [sys.executable, tiny_fits.__file__, str(tmp_path), kind, str(number)]
    done = subprocess.run(script, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == -signal.SIGKILL, done.stderr
    kept = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert len(kept["avqa"]["history"]) == finished
    assert any(tmp_path.rglob("*.partial")) == (kind == "writing")

    said = []
    again = build("avst", seed=7)  # the checkpoint's weights count, not these
    resumed = tiny_fit(tmp_path, again, resume=True, said=said)
    assert said[0] == "tiny: going on after epoch 1/3 on cpu in fp32"
    assert [line.split(" |")[0] for line in said[1:]] == [
        "tiny: epoch 2/3 done",
        "tiny: epoch 3/3 done",
    ]
    last = "checkpoints/last.ckpt"
    assert same(weights(tmp_path / last), weights(folder / last))
    assert same(again.state_dict(), head.state_dict())
    assert metrics(tmp_path) == metrics(folder)
    assert [row["epoch"] for row in metrics(tmp_path)] == ["1", "2", "3"]
    assert dataclasses.replace(resumed, seconds=0, waiting=0) == dataclasses.replace(
        result, seconds=0, waiting=0
    )
    assert not any(tmp_path.rglob("*.partial"))


def test_bias_learners_are_kept_for_the_next_epoch_and_in_no_best_weights(tmp_path):
    """A killed fit goes on with the learners that it had, and ends with the same bits."""
    folder, head = tmp_path / "whole", build("avst")
    tiny_fit(folder, head, debias="mccd")
    script = [sys.executable, tiny_fits.__file__, str(tmp_path), "reading", "40", "debias=mccd"]
    done = subprocess.run(script, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == -signal.SIGKILL, done.stderr
    half = weights(tmp_path / "checkpoints" / "last.ckpt")

    again = build("avst", seed=7)
    tiny_fit(tmp_path, again, resume=True, debias="mccd")
    kept = weights(tmp_path / "checkpoints" / "last.ckpt")
    assert same(kept, weights(folder / "checkpoints" / "last.ckpt"))
    learners = {name for name in kept if name.startswith("bias.")}
    assert len(learners) == 3 * 6
    assert not any(torch.equal(kept[name], half[name]) for name in learners)
    assert same(again.state_dict(), head.state_dict())
    assert metrics(tmp_path) == metrics(folder)
    (best,) = (tmp_path / "checkpoints").glob("best-*.ckpt")
    assert same(weights(best), again.state_dict())
    with pytest.raises(ConfigError, match="was made with debias=mccd; expected debias=none"):
        tiny_fit(tmp_path, build("avst"), resume=True)


def test_a_finished_fit_does_nothing_more(whole):
    folder, head, result = whole
    before = (folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    features = {split: Features(head.FEATURES) for split in ("train", "val")}
    said = []
    again = build("avst", seed=7)
    assert tiny_fit(folder, again, resume=True, features=features, said=said) == result
    assert said == ["tiny: all 3 epochs are finished"]
    assert features["train"].reads == features["val"].reads == 0
    assert same(again.state_dict(), head.state_dict())
    assert not again.training
    assert (folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before


def test_resume_without_a_checkpoint_begins(tmp_path, whole):
    head = build("avst").eval()  # a fit trains it all the same
    tiny_fit(tmp_path, head, resume=True)
    assert same(head.state_dict(), whole[1].state_dict())


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory):
    """A finished fit of one epoch of `late_fusion`, to be copied or left as it is."""
    folder = tmp_path_factory.mktemp("one_epoch")
    tiny_fit(folder, epochs=1)
    return folder


def copied(folder, to):
    (to / "checkpoints").mkdir(parents=True)
    for path in (folder / "checkpoints").iterdir():
        (to / "checkpoints" / path.name).write_bytes(path.read_bytes())
    return to / "checkpoints" / "last.ckpt"


def test_without_resume_it_starts_anew(tmp_path, one_epoch):
    last = copied(one_epoch, tmp_path)
    (tmp_path / "logs" / "old").mkdir(parents=True)
    (tmp_path / "checkpoints" / "best-9.ckpt").touch()
    said = []
    tiny_fit(tmp_path, seed=2, epochs=1, said=said)
    assert said[0].startswith("tiny: 36 questions to train on in 5 batches, 16 to validate with, 1")
    assert sorted(p.name for p in last.parent.iterdir()) == ["best-1.ckpt", "last.ckpt"]
    assert not (tmp_path / "logs" / "old").exists()
    assert not same(weights(last), weights(one_epoch / "checkpoints" / "last.ckpt"))


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def anew(checkpoint):
    """What every refusal of a checkpoint advises."""
    return (
        f"restore it, or remove the folder {str(checkpoint.parents[1])!r} and run the same command"
        " with --resume, which trains it anew"
    )


def change(path, how):
    state = torch.load(path, weights_only=True)
    how(state)
    torch.save(state, path)


def grow(state):
    next(iter(state["state_dict"].values())).view(-1)[0] += 1


@pytest.mark.parametrize("name", ["last.ckpt", "best-1.ckpt"])
@pytest.mark.parametrize(
    "how", [grow, lambda state: state["avqa"]["history"][0].update(val_accuracy=0.5)]
)
def test_a_checkpoint_with_another_content_is_refused(tmp_path, one_epoch, name, how):
    file = copied(one_epoch, tmp_path).with_name(name)
    change(file, how)
    with pytest.raises(RunDamaged) as caught:
        tiny_fit(tmp_path, resume=True, epochs=1)
    assert str(caught.value) == (
        f"checkpoint {file} is damaged: its content is not that of its digest; expected what"
        f" training wrote; {anew(file)}"
    )


@pytest.mark.parametrize("of_before", [True, False])
def test_the_best_epoch_of_another_fit_is_refused(tmp_path, one_epoch, of_before):
    best = copied(one_epoch, tmp_path).with_name("best-1.ckpt")
    tiny_fit(tmp_path / "other", epochs=1, seed=2)
    shutil.copy(tmp_path / "other" / "checkpoints" / "best-1.ckpt", best)
    if of_before:
        change(best, lambda state: state["avqa"].pop("digest"))
    with pytest.raises(RunDamaged, match=f"{best} was made with seed=2; expected seed=1; resume"):
        tiny_fit(tmp_path, resume=True, epochs=1)
    # The same fit once more, on other features.
    other = {split: Features(build().FEATURES) for split in ("train", "val")}
    other["val"].at[1] = lambda rows: rows["audio"].add_(9)
    other["train"].at[1] = lambda rows: rows["audio"].add_(9)
    tiny_fit(tmp_path / "more", epochs=1, features=other)
    shutil.copy(tmp_path / "more" / "checkpoints" / "best-1.ckpt", best)
    if of_before:
        change(best, lambda state: state["avqa"].pop("digest"))
    with pytest.raises(RunDamaged, match=f"{best} is of another training than last.ckpt beside"):
        tiny_fit(tmp_path, resume=True, epochs=1)


@pytest.mark.parametrize("write", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
def test_a_checkpoint_with_code_is_refused_and_not_run(tmp_path, write):
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    write({"avqa": Runs(tmp_path / "harm")}, last)
    with pytest.raises(ConfigError) as caught:
        tiny_fit(tmp_path, resume=True, epochs=1)
    assert str(caught.value) == (
        f"checkpoint {last} holds more than tensors and plain values, or is no checkpoint;"
        " expected one that this command wrote, nothing in it was run;"
        f" {anew(last)}"
    )
    assert caught.value.exit_code == 4
    assert not (tmp_path / "harm").exists()


def test_a_torn_checkpoint_is_refused(tmp_path, one_epoch):
    last = copied(one_epoch, tmp_path)
    last.write_bytes(last.read_bytes()[:3000])
    with pytest.raises(ConfigError) as caught:
        tiny_fit(tmp_path, resume=True, epochs=1)
    assert str(caught.value) == (
        f"checkpoint {last} cannot be read (RuntimeError); expected a whole file; {anew(last)}"
    )


def test_missing_weights_of_the_best_epoch_show_at_once(tmp_path, one_epoch):
    best = copied(one_epoch, tmp_path).with_name("best-1.ckpt")
    best.unlink()
    said = []
    with pytest.raises(ConfigError, match=rf"{best} cannot be read \(FileNotFoundError\)"):
        tiny_fit(tmp_path, resume=True, epochs=1, said=said)
    assert said == []


@pytest.mark.parametrize("state", [{"state_dict": {}}, [1, 2], {"avqa": 3}])
def test_a_foreign_checkpoint_is_refused(tmp_path, state):
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    torch.save(state, last)
    with pytest.raises(ConfigError, match=f"{last} has no 'avqa' entry; expected one that this"):
        tiny_fit(tmp_path, resume=True, epochs=1)


@pytest.mark.parametrize(
    ("head", "changes", "message"),
    [
        (("question_only", {}), {}, "head=late_fusion; expected head=question_only"),
        (("late_fusion", {"dropout": 0.5}), {}, "dropout=0.1; expected dropout=0.5"),
        (None, {"seed": 2}, "seed=1; expected seed=2"),
        (None, {"learning_rate": 0.5}, "learning_rate=0.1; expected learning_rate=0.5"),
        (None, {"epochs": 2}, "epochs=1; expected epochs=2"),
        (None, {"batches": "shuffled"}, "batches=grouped; expected batches=shuffled"),
    ],
)
def test_another_fits_checkpoint_is_refused(one_epoch, head, changes, message):
    head = head and build(head[0], **head[1])
    last = one_epoch / "checkpoints" / "last.ckpt"
    with pytest.raises(ConfigError) as caught:
        tiny_fit(one_epoch, head, resume=True, **{"epochs": 1, **changes})
    assert str(caught.value) == (
        f"checkpoint {last} was made with {message}; resume with what it was made with,"
        f" {anew(last)}"
    )


def facts(asked=12, **changes):
    head = build()
    train = tiny_fits.question_set(
        tiny_fits.questions("train", asked), head, Features(head.FEATURES), True
    )
    return identity(head, train, train, tiny_fits.settings(**changes), 1)


def test_other_questions_make_another_fit_but_another_machine_does_not():
    assert facts()["training questions"] != facts(asked=11)["training questions"]
    assert facts(device="auto", workers=2) == facts()


def test_checkpoints_of_before_other_encoders_of_sound_are_of_the_same_fit():
    assert not {"audio", "batches"} & facts().keys()
    assert facts(audio="resnet18")["audio"] == "resnet18"
    assert facts(batches="shuffled")["batches"] == "shuffled"
    with pytest.raises(ValueError, match="batches='auto'; expected shuffled, grouped or together"):
        facts(batches="auto")


def test_weights_of_other_shapes_are_refused(tmp_path, one_epoch):
    last = copied(one_epoch, tmp_path)
    state = torch.load(last, weights_only=True)
    state["state_dict"]["head.fuse.weight"] = torch.zeros(3, 3)
    del state["avqa"]["digest"]  # as in files of before
    torch.save(state, last)
    with pytest.raises(ConfigError) as caught:
        tiny_fit(tmp_path, resume=True, epochs=1)
    assert str(caught.value) == (
        f"checkpoint {last} has other weights than this head; expected those of late_fusion;"
        f" {anew(last)}"
    )


def test_a_full_disk_leaves_the_checkpoint_before_it(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    checkpoints.save({"a": 1}, path)

    def full(handle):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("avqa.store.places.files.os.fsync", full)
    with pytest.raises(StorageFailure, match=re.escape(f"cannot write {path}: ENOSPC; disk or")):
        checkpoints.save({"a": 2}, path)
    assert torch.load(path, weights_only=True) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_after_every_write_there_is_something_to_go_on_from(tmp_path, monkeypatch):
    """Weights of the best epoch are there before the checkpoint that speaks of them."""
    save, written = checkpoints.save, []

    def checked(state, path):
        save(state, path)
        written.append(path.name)
        if (path.parent / "last.ckpt").exists():
            best = best_epoch(checkpoints.load(path.parent / "last.ckpt")["avqa"]["history"])
            assert (path.parent / f"best-{best}.ckpt").exists()

    monkeypatch.setattr(checkpoints, "save", checked)
    tiny_fit(tmp_path)
    assert written == ["best-1.ckpt", "last.ckpt", "best-2.ckpt", "last.ckpt", "last.ckpt"]
    left = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert left == ["best-2.ckpt", "last.ckpt"]
