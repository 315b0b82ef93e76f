"""`avqa import run`: QA-TIGER's names and answers, what is refused, and the run, as typed."""

import dataclasses
import json
import pickle
import zipfile
from hashlib import sha256

import pytest
import torch
from helpers.extraction.as_typed import avqa
from helpers.heads.head_batches import make_inputs
from helpers.heads.tiger_release import exported
from helpers.questions.question_files import write
from helpers.runs import run_folders
from helpers.store.clip_texts import add_texts
from safetensors.torch import load_file, save_file

from avqa import datasets, heads
from avqa.datasets._parts.vocabulary import ANSWERS
from avqa.errors import ConfigError
from avqa.heads import Released
from avqa.pipelines.runs_in.names import convert
from avqa.store.format.schema import FeatureSpec
from avqa.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")

VIDEOS = {"00000001": 3, "00000002": 2, "00000003": 4}
SPECS = (
    FeatureSpec("vggish/audio", (4,), ("channel",), False),
    FeatureSpec("clip_vit_b32/frame", (8,), ("channel",), False),
    FeatureSpec("clip_vit_b32/patch", (3, 8), ("position", "channel"), False),
)
SMALL = {"width": 16, "experts": 3, "topk": 2, "audio_width": 4, "visual_width": 8}
SMALL |= {"patch_width": 8, "text_width": 8, "word_width": 8, "mask_words": False}
SET = {"width": 16, "experts": 3, "topk": 2, "visual": "clip_vit_b32"}
SET |= {"patch": "clip_vit_b32", "text": "clip_vit_b32", "device": "cpu"}
RELEASED = heads.load("qa_tiger").PAPER.released
ORDER = RELEASED.answers["music-avqa"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A store of three videos, with the texts of the questions about them."""
    folder = tmp_path_factory.mktemp("data")
    run_folders.write_store(folder / "store", VIDEOS, specs=SPECS)
    for split in ("train", "val", "test"):
        rows = [r for r in run_folders.rows_of(split) if r["video_id"] in VIDEOS]
        write(folder / "annotations" / f"avqa-{split}.json", rows)
    questions = datasets.read("music-avqa", folder / "annotations", ["train", "val", "test"])
    add_texts(folder / "store", sorted({question.text for question in questions}))
    return folder


def tiger(seed=0, **options):
    torch.manual_seed(seed)
    head = heads.build("qa_tiger", **{**SMALL, **options})
    with torch.no_grad():
        for weights in head.parameters():
            weights.add_(torch.randn_like(weights) * 0.3)
    return head.eval()


@pytest.fixture(scope="module")
def head():
    return tiger()


@pytest.fixture(scope="module")
def published(head):
    return exported(head, ANSWERS, ORDER)


def imported(data, file, out, *more, head="qa_tiger", dataset="music-avqa", **changed):
    chosen = [word for k, v in {**SET, **changed}.items() for word in ("--set", f"{k}={v}")]
    return avqa(
        *("import", "run", file, "--head", head, "--store", data / "store"),
        *(
            "--dataset",
            dataset,
            "--annotations",
            data / "annotations",
            "--out",
            out,
            *chosen,
            *more,
        ),
    )


def saved(state, path):
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


FORMS = {
    "tensors.safetensors": lambda state: state,
    "tensors.pth": lambda state: state,
    "more.pt": lambda state: {"epoch": 14, "model": state, "optimizer": {"state": {}}},
    "parallel.pth": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "half.safetensors": lambda state: {name: tensor.half() for name, tensor in state.items()},
}


@pytest.mark.parametrize("name", FORMS)
def test_the_run_answers_as_the_head_whose_weights_were_published(
    data, head, published, tmp_path, name
):
    file = saved(FORMS[name](published), tmp_path / name)
    code, out, err = imported(data, file, tmp_path / "run")
    assert code == 0, err
    (member,) = Run.load(tmp_path / "run").members
    found, inputs = member.load_head(), make_inputs(head, seed=1)
    assert not found.options.mask_words
    atol = 0.2 if name.startswith("half") else 0
    torch.testing.assert_close(found(inputs).logits, head(inputs).logits, atol=atol, rtol=0)


def test_every_answer_keeps_its_row(published, head):
    for place, answer in enumerate(ORDER):
        state = dict(published) | {"head.bias": torch.zeros(42)}
        state["head.bias"][place] = 9.0
        found = convert("f", state, head, "music-avqa", ANSWERS).state["answer.layer.bias"]
        assert ANSWERS[int(found.argmax())] == answer
        assert int((found == 9).sum()) == 1


def test_the_orders_are_of_the_answers_that_there_are():
    for dataset, order in RELEASED.answers.items():
        assert sorted(order) == sorted(datasets.fixed_vocabulary(dataset).answers)
    assert ORDER[:4] == ("two", "cello", "congas", "zero")
    assert ORDER[20] == "more than ten"
    assert RELEASED.answers["music-avqa-v2"][0] == "three"
    # Compared once with the order of the training files as it was written down.
    digests = {n: sha256(",".join(o).encode()).hexdigest() for n, o in RELEASED.answers.items()}
    assert digests["music-avqa"].startswith("170c7a3b3f3fc2fb")
    assert digests["music-avqa-v2"].startswith("93020c8c5760b1f8")


def test_as_many_numbers_as_published():
    head = tiger(audio_width=128, visual_width=768, patch_width=1024, text_width=768, width=512,
                 word_width=768, experts=7, topk=7)  # fmt: skip
    state = exported(head, ANSWERS, ORDER)
    assert state["at_aggregator.experts.6.0.weight"].shape == (256, 512)
    found = convert("f", state, head, "music-avqa", ANSWERS)
    assert sum(tensor.numel() for tensor in found.state.values()) == 14_960_212
    assert found.left_out == {"quest_encoder": 2}
    for name, tensor in head.state_dict().items():
        assert torch.equal(found.state[name], tensor), name


def test_a_planted_answer_is_measured_again(data, published, tmp_path):
    state = dict(published) | {"head.bias": torch.zeros(42)}
    state["head.bias"][ORDER.index("yes")] = 1e4
    file = saved(state, tmp_path / "tiger.pth")
    code, out, err = imported(data, file, tmp_path / "run")
    assert code == 0, err
    digest = Run.load(tmp_path / "run").about["imported"]
    assert out.splitlines()[:5] == [
        f"imported from tiger.pth, SHA-256 {digest}: trained elsewhere, no history",
        f"taken: 96 tensors of qa_tiger, {_numbers(state)} numbers",
        "left out: 2 tensors of quest_encoder, which is no part of the head",
        "answers: in the order of the training file of music-avqa, put into ours",
        "options otherwise than by default: mask_words=false",
    ]
    code, table, err = avqa("evaluate", tmp_path / "run", "--json")
    assert code == 0, err
    told = json.loads(table)
    assert (
        f"imported from tiger.pth, SHA-256 {digest}: trained elsewhere, no history" in told["notes"]
    )
    assert (
        f"weights: of a published checkpoint, SHA-256 {digest}; not trained here" in told["notes"]
    )
    assert avqa("predict", tmp_path / "run", "--out", tmp_path / "answers.json")[0] == 0
    answers = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    assert len(answers) == 9
    assert {*answers.values()} == {"yes"}


def _numbers(state):
    return sum(t.numel() for name, t in state.items() if not name.startswith("quest_encoder"))


class Touches:
    """Creates a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("form", ["zip", "old", "plain"])
def test_code_in_a_pickle_is_not_run(data, published, tmp_path, form):
    file, trap = tmp_path / "tiger.pth", tmp_path / "trap"
    value = {"model": published, "config": Touches(trap)}
    if form == "plain":
        file.write_bytes(pickle.dumps(value))
    else:
        torch.save(value, file, _use_new_zipfile_serialization=form == "zip")
    code, out, err = imported(data, file, tmp_path / "run")
    assert (code, trap.exists(), (tmp_path / "run").exists()) == (2, False, False), err
    assert err.startswith(f"avqa: checkpoint {str(file)!r} ")
    assert len(err.splitlines()) == 1
    if form != "plain":
        assert "would have to be unpickled, which may run code, and was not: it holds" in err


def without(state, name):
    return {key: tensor for key, tensor in state.items() if key != name}


BAD = {
    "lacks one": (
        lambda s: without(s, "crs_attn.norm1.bias"),
        "lacks crs_attn.norm1.bias; expected the names of qa_tiger with experts=3",
    ),
    "has more": (lambda s: s | {"x.y": torch.ones(1)}, "also has x.y; expected the names"),
    "none of them": (
        lambda s: {"fc.weight": torch.ones(1)},
        "has fc.weight, and none of the 104 names of qa_tiger",
    ),
    "another shape": (
        lambda s: s | {"patch_proj.proj.weight": torch.ones(16, 9)},
        "patch_proj.proj.weight is (16, 9); expected (16, 8), as head qa_tiger has it",
    ),
    "other answers": (lambda s: s | {"head.bias": torch.ones(41)}, "head.bias is (41,); expected"),
    "not finite": (
        lambda s: s | {"head.bias": torch.full((42,), torch.nan)},
        "head.bias is not finite everywhere; expected finite numbers",
    ),
    "whole numbers": (
        lambda s: s | {"head.bias": torch.ones(42, dtype=torch.int64)},
        "head.bias is int64; expected finite numbers",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_another_network_is_refused_by_the_first_difference(data, published, tmp_path, name):
    change, told = BAD[name]
    file = saved(change(dict(published)), tmp_path / "tiger.safetensors")
    code, out, err = imported(data, file, tmp_path / "run")
    assert (code, len(err.splitlines())) == (2, 1), err
    assert told in err
    assert not (tmp_path / "run").exists()


def test_the_head_whose_names_these_are_is_named(head, monkeypatch):
    other = Released(
        modules={"audio": "fc_a", "rows": "parts.*.fc"}, counted="width", answer="x", answers={}
    )
    paper = dataclasses.replace(heads.load("tspm").PAPER, released=other)
    monkeypatch.setattr(heads.load("tspm"), "PAPER", paper)
    with pytest.raises(ConfigError) as refused:
        convert("f", {"parts.11.fc.bias": torch.ones(1)}, head, "music-avqa", ANSWERS)
    assert str(refused.value).endswith("; it has names of tspm: give that as --head")


def test_other_options_are_refused(data, published, tmp_path):
    file = saved(published, tmp_path / "tiger.safetensors")
    code, _, err = imported(data, file, tmp_path / "run", experts=4)
    assert code == 2
    assert "lacks at_aggregator.experts.3.0.bias" in err
    assert "by --set" in err
    code, _, err = imported(data, file, tmp_path / "run", question="positions")
    assert code == 2
    assert "question.embedding.weight with these options" in err
    code, _, err = imported(data, file, tmp_path / "run", head="avst")
    assert code == 2
    assert "no head with a published checkpoint 'avst'; available: cuespace, qa_tiger" in err
    code, _, err = imported(data, file, tmp_path / "run", dataset="avqa")
    assert code == 2
    assert "is not known of dataset='avqa'; expected one of music-avqa" in err


def test_what_is_no_checkpoint_is_refused(data, tmp_path):
    cases = {"text.pth": b"no weights", "empty.pth": b"", "cut.safetensors": b"\x10" + b"\0" * 7}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("a", "b")
    torch.save(torch.ones(2), tmp_path / "tensor.pth")
    torch.save({"a": {"x": torch.ones(1)}, "b": {"x": torch.ones(1)}}, tmp_path / "two.pth")
    for name in (*cases, "other.zip", "tensor.pth", "two.pth", "none.pth"):
        code, _, err = imported(data, tmp_path / name, tmp_path / "run")
        assert (code, len(err.splitlines())) == (2, 1), (name, err)
        assert str(tmp_path / name) in err
        assert "expected" in err
        assert not (tmp_path / "run").exists()
    assert imported(data, tmp_path, tmp_path / "run")[0] == 2


def test_a_run_is_not_written_over_nor_trained_on(data, published, tmp_path):
    file = saved(published, tmp_path / "tiger.safetensors")
    assert imported(data, file, tmp_path / "run")[0] == 0
    before = load_file(tmp_path / "run/default/seed-0/model.safetensors")
    code, _, err = imported(data, file, tmp_path / "run")
    assert code == 2
    assert "holds a run; expected a new or empty folder" in err
    chosen = [word for k, v in SET.items() for word in ("--set", f"{k}={v}")]
    code, _, err = avqa(
        *("train-head", "qa_tiger", "--store", data / "store", "--dataset", "music-avqa"),
        *("--annotations", data / "annotations", "--out", tmp_path / "run", *chosen, "--resume"),
    )
    assert code == 2
    assert "is a run of `avqa import run`; expected one that was begun by training" in err
    after = load_file(tmp_path / "run/default/seed-0/model.safetensors")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_run_that_was_stopped_is_begun_anew(data, published, tmp_path):
    file = saved(published, tmp_path / "tiger.safetensors")
    assert imported(data, file, tmp_path / "run")[0] == 0
    (tmp_path / "run/default/seed-0/result.json").unlink()
    assert imported(data, file, tmp_path / "run")[0] == 0
    assert Run.load(tmp_path / "run").members[0].finished


def test_it_has_no_answers_of_its_own(data, published, tmp_path):
    file = saved(published, tmp_path / "tiger.safetensors")
    assert imported(data, file, tmp_path / "run")[0] == 0
    code, _, err = avqa("report", tmp_path / "run", "--out", tmp_path / "page.html")
    assert code == 0, err
    assert "this one is of `avqa import run`: let it answer by `avqa evaluate`" in err
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Weights of a published checkpoint: trained elsewhere." in page
    assert "default, seed 0</td><td>0 of 0" not in page


def test_it_is_compared_with_a_trained_run_by_answers_of_now(data, published, tmp_path):
    file, run, trained = saved(published, tmp_path / "t.pth"), tmp_path / "run", tmp_path / "own"
    assert imported(data, file, run)[0] == 0
    chosen = [word for k, v in (SET | {"epochs": 1}).items() for word in ("--set", f"{k}={v}")]
    code, _, err = avqa(
        *("train-head", "qa_tiger", "--store", data / "store", "--dataset", "music-avqa"),
        *("--annotations", data / "annotations", "--out", trained, *chosen),
    )
    assert code == 0, err
    assert avqa("predict", run, "--out", tmp_path / "answers.json")[0] == 0
    rows = json.loads((trained / "default/seed-0/predictions.json").read_text(encoding="utf-8"))
    answers = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    right = sum(answers[row["question_id"]] == row["answer"] for row in rows)
    of_trained = sum(row["prediction"] == row["answer"] for row in rows)
    told = f"{run}: imported, without answers of its own: answering its test questions with store"
    for sides in ((run, trained), (trained, run)):
        code, out, err = avqa("compare-runs", *sides, "--json")
        assert code == 0, err
        assert f"{told} {str(data / 'store')!r}" in err.splitlines()
        (whole,) = (c for c in json.loads(out)["columns"] if c["name"] == "All")
        assert whole["questions"] == len(rows)
        found = [
            round(share * len(rows) / 100) for share in (whole["a_percent"], whole["b_percent"])
        ]
        assert found == ([right, of_trained] if sides[0] == run else [of_trained, right])
    code, _, err = avqa("compare-runs", run, trained, "--store", tmp_path / "gone")
    assert code == 2
    assert err.splitlines()[-1].startswith(
        f"avqa: no store at {str(tmp_path / 'gone')!r}; expected"
    )


@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        (MemoryError("no room"), 5, "out of memory"),
        (KeyError("storage"), 2, "is damaged or no torch"),
    ],
)
def test_want_of_memory_is_no_damage(data, published, tmp_path, monkeypatch, raised, code, told):
    file = saved(published, tmp_path / "tiger.pth")

    def broken(*arguments, **more):
        raise raised

    monkeypatch.setattr(torch, "load", broken)
    found, _, err = imported(data, file, tmp_path / "run")
    assert found == code, err
    assert told in err
