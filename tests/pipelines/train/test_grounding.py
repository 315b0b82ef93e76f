"""Grounding pre-training: what is trained on, what is written, and heads that start from it."""

import json

import pytest
import torch
from helpers.extraction import as_typed
from helpers.questions import question_files
from helpers.runs import run_folders
from safetensors.torch import load_file, save_file

from avqa import heads
from avqa.errors import ConfigError, DatasetError, RecipeMismatch
from avqa.heads._parts.grounding import grounding_state
from avqa.heads.avst import Head as Avst
from avqa.pipelines.train.grounding import GroundingOptions, pretrain_grounding
from avqa.pipelines.train.train import TrainOptions, train_head
from avqa.training.grounding import Grounding, _batches
from avqa.training.run import Member

pytestmark = pytest.mark.usefixtures("one_thread")

VIDEOS = {"00000001": 12, "00000002": 3, "00000003": 11, "va00000004": 4, "00000005": 3}
TINY = {"width": "8", "visual": "clip_vit_b32", "batch_size": "2", "device": "cpu"}
TINY |= {"learning_rate": "0.01"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three real videos and a synthetic one in train, a real one in val and test."""
    folder = tmp_path_factory.mktemp("data")
    run_folders.write_store(folder / "store", VIDEOS)
    *train, last = VIDEOS
    for split, videos in {"train": train, "val": [last], "test": [last]}.items():
        rows = [question_files.music_row(video_id=video) for video in videos]
        question_files.write(folder / "annotations" / f"avqa-{split}.json", rows)
    return folder


def given(data, out, **changes):
    common = {"store": data / "store", "dataset": "music-avqa"}
    return {**common, "annotations": data / "annotations", "out": out, **changes}


def pretrain(data, out, epochs=20, **changes):
    lines = []
    assignments = {**TINY, "epochs": str(epochs), **changes.pop("more", {})}
    asked = given(data, out, assignments=assignments, **changes)
    return pretrain_grounding(GroundingOptions(**asked), lines.append), lines


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "grounding.safetensors"
    return out, *pretrain(data, out)


def test_it_learns_from_real_training_videos(trained):
    _, loss, lines = trained
    assert lines[0] == "grounding: 3 real training videos, 10 s of each"
    first = float(lines[1].rpartition(" ")[2])
    assert loss < first
    assert lines[-1] == f"grounding: epoch 20/20 done | match loss {loss:.4f}"


def test_it_learns_from_the_edition_that_is_chosen_as_typed(data, tmp_path):
    for edition, videos in (("balance", 2), ("bias", 3)):
        for split in ("train", "valid", "test"):
            rows = [question_files.music_row(video_id=v) for v in [*VIDEOS][:videos]]
            question_files.write(tmp_path / f"v2/{edition}_{split}.json", rows)
    asked = ("pretrain-grounding", "--store", data / "store", "--dataset", "music-avqa-v2")
    asked = (*asked, "--annotations", tmp_path / "v2", "--out", tmp_path / "g.safetensors")
    words = [f"--set={name}={value}" for name, value in (TINY | {"epochs": "1"}).items()]
    code, out, err = as_typed.avqa(*asked, *words, "--edition", "bias")
    assert code == 0, err
    line = "grounding: 3 real training videos, 10 s of each; edition=bias"
    assert line in err.splitlines(), err
    assert "match loss" in out
    code, _, err = as_typed.avqa(*asked, "--group", "tail", "--out", tmp_path / "other")
    assert code == 2
    assert "group='tail' is no choice of data set 'music-avqa-v2'; its choices: edition" in err


def test_it_reads_rows_as_the_head_will(data, tmp_path, monkeypatch):
    """Standardised by the videos that it learns from, with the code of time."""
    seen, loss_of = [], Avst.grounding_loss

    def grounding_loss(head, inputs):
        seen.append(inputs.audio[inputs.valid])
        return loss_of(head, inputs)

    monkeypatch.setattr(Avst, "grounding_loss", grounding_loss)
    more = {"standardise": "true", "time_code": "clock"}
    pretrain(data, tmp_path / "g.safetensors", epochs=1, more=more)
    rows = torch.cat(seen)
    plain = rows.shape[1] - 60
    torch.testing.assert_close(rows[:, :plain].mean(0), torch.zeros(plain), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows[:, :plain].std(0, correction=0), torch.ones(plain))
    assert torch.equal(rows[:, plain:].sum(1), torch.ones(len(rows)))


def test_the_file_holds_the_grounding_alone_and_is_the_same_again(trained, data, tmp_path):
    state = load_file(trained[0])
    of_head = heads.build("avst", width=8, audio_width=4, visual_width=8)
    assert state.keys() == grounding_state(of_head).keys()
    loss, _ = pretrain(data, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == trained[0].read_bytes()
    assert loss == trained[1]
    pretrain(data, tmp_path / "other.safetensors", seed=1)
    assert (tmp_path / "other.safetensors").read_bytes() != trained[0].read_bytes()


@pytest.mark.parametrize("size", [1, 2, 3, 64])
def test_no_batch_is_of_one_video(size):
    videos = [str(n) for n in range(7)]
    batches = list(_batches(videos, size, (0, 1)))
    assert sorted(v for batch in batches for v in batch) == videos
    assert min(map(len, batches)) >= 2
    assert max(map(len, batches)) <= max(size, 2) + 1


def train(data, out, head="avst", **changes):
    assignments = {**TINY, "epochs": "1", "learning_rate": "1e-30", "stride_seconds": "1"}
    asked = {"assignments": assignments, **given(data, out), **changes}
    return train_head(TrainOptions(head=head, **asked))


def test_heads_start_from_it_and_the_table_says_so(trained, data, tmp_path):
    table = train(data, tmp_path / "run", init_grounding=trained[0], ablation="q")
    digest = Grounding.load(trained[0]).digest
    member = Member.load(tmp_path / "run" / "default" / "seed-0")
    # At this learning rate nothing moves.
    for name, value in grounding_state(member.load_head()).items():
        assert torch.allclose(value, load_file(trained[0])[name], atol=1e-6), name
    assert member.config.grounding == digest
    assert Member.load(tmp_path / "run" / "q" / "seed-0").config.grounding == ""
    assert f"grounding starts from grounding.safetensors, sha256={digest[:8]}" in table.notes
    with pytest.raises(ConfigError, match=r"grounding \(run: .*, now: \); expected what the run"):
        train(data, tmp_path / "run", ablation="q", resume=True)
    # A run is taken like a file.
    of_run = Grounding.load(tmp_path / "run")
    assert of_run.state.keys() == load_file(trained[0]).keys()
    assert of_run.recipes.keys() == {"vggish/audio", "clip_vit_b32/patch"}


def test_what_does_not_fit_is_refused_before_anything_is_made(trained, data, tmp_path):
    with pytest.raises(ConfigError, match="--init-grounding .* grounding weights differ from"):
        train(data, tmp_path / "out", "late_fusion", init_grounding=trained[0])
    other = tmp_path / "store"
    run_folders.write_store(other, VIDEOS, "random:0")
    told = r'another recipe: weights.\w+.source: grounding="pretrained" store="random:0"'
    with pytest.raises(RecipeMismatch, match=told):
        train(data, tmp_path / "out", init_grounding=trained[0], store=other)
    with pytest.raises(ConfigError, match="no weights .*nowhere"):
        train(data, tmp_path / "out", init_grounding=tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()


def test_a_head_that_reads_maps_otherwise_is_refused(tmp_path):
    avst, tjstg = (heads.build(name, width=8) for name in ("avst", "tjstg"))
    path = tmp_path / "g.safetensors"
    save_file({k: v.contiguous() for k, v in grounding_state(avst).items()}, path)
    grounding = Grounding.load(path)
    grounding.start(avst)
    with pytest.raises(ConfigError) as caught:
        grounding.start(tjstg)
    assert str(caught.value) == (
        f"--init-grounding '{path}' was trained with ground_score=cosine ground_on=norm;"
        " head=tjstg has ground_score=dot ground_on=raw, to which what it learnt is nothing;"
        " have it read maps alike (ground_score and ground_on, sa_norm of sasr), or leave it out"
    )
    alike = heads.build("tjstg", width=8, ground_score="cosine", ground_on="norm")
    grounding.start(alike)
    grounding.start(heads.build("sasr", width=8))
    with pytest.raises(ConfigError, match="head=sasr has ground_score=dot ground_on=raw, to which"):
        grounding.start(heads.build("sasr", width=8, sa_norm="dot"))
    assert torch.equal(alike.audio[0].weight, avst.audio[0].weight)


def test_of_a_file_of_before_the_hash_alone_is_known(tmp_path):
    path, features = tmp_path / "g.safetensors", {"audio": {"name": "vggish/audio", "recipe": {}}}
    recipes = json.dumps({"vggish/audio": "ab" * 32})
    save_file({"weight": torch.zeros(1)}, path, {"recipes": recipes})
    grounding = Grounding.load(path)
    grounding.require_recipes({"audio": {**features["audio"], "recipe_hash": "ab" * 32}})
    told = r"recipe_hash \(all that was recorded\): grounding=abababababab store=cdcdcdcdcdcd"
    with pytest.raises(RecipeMismatch, match=told):
        grounding.require_recipes({"audio": {**features["audio"], "recipe_hash": "cd" * 32}})


def test_pretraining_refuses_what_it_cannot_use(trained, data, tmp_path):
    with pytest.raises(ConfigError, match="is there already; expected a new file"):
        pretrain(data, trained[0])
    with pytest.raises(ConfigError, match="spatial=false; expected spatial=true"):
        pretrain(data, tmp_path / "x", more={"spatial": "false"})
    for missing in ("zeros", "masked"):
        with pytest.raises(ConfigError, match=f"missing={missing}; expected error or skip: gro"):
            pretrain(data, tmp_path / "x", more={"missing": missing})
    with pytest.raises(ConfigError, match="loss=nan in epoch=2, step=1; expected a finite"):
        pretrain(data, tmp_path / "x", more={"learning_rate": "1e30"})
    rows = [question_files.music_row(video_id=v) for v in ("00000001", "va00000004")]
    for split in ("train", "val"):
        question_files.write(tmp_path / "one" / f"avqa-{split}.json", rows)
    with pytest.raises(DatasetError, match="1 real training videos to learn grounding from"):
        pretrain(data, tmp_path / "x", annotations=tmp_path / "one")
    assert not (tmp_path / "x").exists()
