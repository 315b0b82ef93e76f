"""Small invented question files in the format of each data set, and where real ones may lie."""

import json
from pathlib import Path

import pytest

from avqa.datasets import Question

REAL = Path(__file__).resolve().parents[4] / "shared" / "annotations" / "music_avqa"
needs_real = pytest.mark.skipif(
    not (REAL / "avqa-test.json").exists(),
    reason="the real MUSIC-AVQA question files are not beside the repository",
)


def make_question(**changes):
    """A question that no file holds."""
    words = {"text": "Is it", "words": ("Is", "it"), "template": "Is it?", "slots": ()}
    kind = {"modality": "Audio", "kind": "Counting", "answer": "yes"}
    names = {"key": "k", "question_id": "1", "video_id": "v", "split": "train"}
    return Question(**{**names, **words, **kind, **changes})


def music_row(**changes):
    """A row of MUSIC-AVQA; a value of None removes the key."""
    row = {
        "video_id": "00000007",
        "question_id": 1,
        "type": '["Audio", "Counting"]',
        "question_content": "Is there a <Object> sound?",
        "templ_values": '["violin"]',
        "question_deleted": 0,
        "anser": "yes",
        **changes,
    }
    return {key: value for key, value in row.items() if value is not None}


def validation_row(**changes):
    """A row of the v2.0 authors' validation files: every key, null or not, and ids as floats."""
    spare = ("unmatch_audio", "audio_instrument", "video_instrument", "person")
    row = {**music_row(question_id=None), "question_id": 7.0, "question_deleted": 0.0}
    return {**row, **dict.fromkeys(spare), **changes}


def avqa_row(**changes):
    """A row of AVQA."""
    return {
        "id": 5,
        "video_name": "-HG3Omg_89c_000030",
        "video_id": 17,
        "question_text": "What makes the sound in the video?",
        "multi_choice": ["dog", "Cat", None, "3"],
        "answer": 1,
        "question_relation": "Both",
        "question_type": "Which",
        **changes,
    }


def write(path, rows):
    """Write rows as JSON, making the folder; gives the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def _music(folder):
    write(folder / "avqa-train.json", [music_row(question_id=i) for i in range(3)])
    write(folder / "avqa-val.json", [music_row(video_id="va00000001")])
    write(folder / "avqa-test.json", [music_row(type='["Visual", "Counting"]', anser="no")])


def _rephrased(folder):
    _music(folder)
    texts = ("Can one hear a violin?", "Does a violin play in it?")
    rows = [music_row(question_content=text, templ_values=None) for text in texts]
    write(folder / "avqa-test-headtail.json", rows)


def _balanced(folder):
    rows = [music_row(video_id=f"{i:08d}", question_id=None) for i in range(60)]
    write(folder / "data/balance_full_set/train_balance.json", rows)
    write(
        folder / "data/balance_full_set/test_balance.json",
        [music_row(video_id="iveNvQ4jCis_flip", question_id=None, person="two")],
    )


def fortis_row(**changes):
    """A test row of FortisAVQA, the first of whose file explains its fields."""
    plain = {"templ_values": None, "question_deleted": None, "split": "head", "x": 0.75}
    row = music_row(**plain | {"question_content": "Does a violin play in it?"} | changes)
    return {**row, "_comment_split": "head or tail split", "_comment_type": ["not", 1]}


def valor_row(**changes):
    """A question of Valor32k-AVQA v2.0, flattened; a value of None removes the key."""
    row = {
        "caption": "A dog runs.",
        "video_id": "-uGHAvfqs2I",
        "question": "What runs?",
        "options": ["A dog", "A cat", "A car", "A man with a hat"],
        "correct_answer_idx": 0,
        "rephrased_answers": ["It is a dog", "A dog does", "The dog"],
        "quality_rating": "obvious",
        "modality": "audio-visual",
        "category": "action",
        "source_tags": ["frames", "audio"],
        "id": 7,
        "oid": 3,
        "model": "gpt4o",
        **changes,
    }
    return {key: value for key, value in row.items() if value is not None}


def _fortis(folder):
    _music(folder)
    write(folder / "FortisAVQA-test.json", [fortis_row(), fortis_row(split="tail", anser="no")])


def _valor(folder):
    for split in ("train", "val", "test"):
        rows = [valor_row(id=n, question=f"What runs {split} {n}?") for n in range(2)]
        write(folder / f"combined_dataset_{split}_flattened.json", rows)


def _avqa(folder):
    write(folder / "data/annotation/train_qa.json", [avqa_row(id=i) for i in range(3)])
    write(folder / "data/annotation/val_qa.json", [avqa_row(answer=0)])


def _custom(folder):
    rows = [{"video": "a.mp4", "question": text, "answer": "yes"} for text in ("Is it?", "Was it?")]
    write(folder / "train.json", rows)
    (folder / "val.csv").write_text(
        "video,question,answer,type\nb,Is it?,no,how\n", encoding="utf-8"
    )
    (folder / "test.jsonl").write_text(json.dumps(rows[0] | {"video": "c"}), encoding="utf-8")


SAMPLES = {
    "avqa": _avqa,
    "custom": _custom,
    "fortisavqa": _fortis,
    "music-avqa": _music,
    "music-avqa-r": _rephrased,
    "music-avqa-v2": _balanced,
    "valor32k": _valor,
}
"""Data set → what writes a small annotation of it into a folder."""
