"""``python -m benchmarks.questions``: how long a training file of MUSIC-AVQA takes to read.

The file is invented: as many questions, videos and templates as the released one, slots and
answers drawn with the released ones' shares; every question is filled and keyed, every distinct
text hashed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from avqa import datasets
from avqa.datasets._parts.question import text_key
from avqa.datasets._parts.vocabulary import INSTRUMENTS

NUM_QUESTIONS, NUM_VIDEOS = 32_000, 9_288
TEMPLATES = (
    # share in a thousand, type, text
    (48, "Audio", "Counting", "How many musical instruments were heard throughout the video?"),
    (26, "Audio", "Counting", "Is there a <Object> sound?"),
    (25, "Audio", "Counting", "Are there <Object> and <Object> sound? "),
    (95, "Audio", "Comparative", "Is the <Object> louder than the <Object>?"),
    (66, "Visual", "Counting", "How many types of musical instruments appeared in the video?"),
    (50, "Visual", "Counting", "How many <Object> are in the entire video?"),
    (58, "Visual", "Location", "What is the instrument on the <LR> of <Object>?"),
    (72, "Visual", "Location", "What kind of musical instrument is it?"),
    (95, "Audio-Visual", "Existential", "Is the <Object> in the video always playing?"),
    (60, "Audio-Visual", "Counting", "How many sounding <Object> in the video？"),
    (95, "Audio-Visual", "Counting", "How many instruments are sounding in the video?"),
    (105, "Audio-Visual", "Location", "Where is the <LL> instrument?"),
    (
        *(115, "Audio-Visual", "Comparative"),
        "Is the <Object> on the <LR> louder than the <Object> on the <LR>?",
    ),
    (90, "Audio-Visual", "Temporal", "What is the <TH> instrument that comes in?"),
)
SLOTS = {
    "<Object>": INSTRUMENTS,
    "<LR>": ("left", "right", "middle"),
    "<LL>": ("loudest", "lowest"),
    "<TH>": ("first", "second", "third"),
}


def invented_rows(seed: int = 0) -> list[dict[str, object]]:
    """Rows of a training file."""
    draw = random.Random(seed)
    shares = [template[0] for template in TEMPLATES]
    rows = []
    for number in range(NUM_QUESTIONS):
        _, modality, kind, text = draw.choices(TEMPLATES, shares)[0]
        slots = [draw.choice(SLOTS["<" + part.split(">")[0] + ">"]) for part in text.split("<")[1:]]
        rows.append(
            {
                "video_id": f"{draw.randrange(NUM_VIDEOS):08d}",
                "question_id": number,
                "type": json.dumps([modality, kind]),
                "question_content": text,
                "templ_values": json.dumps(slots),
                "question_deleted": 0,
                "anser": draw.choice(("yes", "no", "two", "violin")),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "avqa-train.json"
        file.write_text(json.dumps(invented_rows(), indent=1), encoding="utf-8")
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            questions = datasets.read("music-avqa", file)
            texts = {text: text_key(text) for text in {q.text for q in questions}}
            seconds.append(time.perf_counter() - start)
    print(f"questions: {len(questions)}, videos: {len({q.video_id for q in questions})}")
    print(f"distinct texts: {len(texts)}")
    print(f"seconds to read, fill and key: {statistics.median(seconds):.3f} (median of {rounds})")


if __name__ == "__main__":
    main()
