"""The files of a benchmark: question files in MUSIC-AVQA's format, and the truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from avqa.datasets._synth.instruments import INSTRUMENTS, registers
from avqa.datasets._synth.questions import Question
from avqa.datasets._synth.score import Player, Scene, Settings
from avqa.datasets._synth.sound import LOUDEST_RMS

VERSION = 1
"""Of everything that decides the files' content; another one is another benchmark."""
OF_BEFORE = {"questions": 10, "both_orders": False}
"""Settings that benchmarks of before do not name."""
UNFINISHED = "unfinished-"
"""Begin of the name that a file has while it is written."""


def settings_entry(settings: Settings) -> dict[str, Any]:
    """The settings as ``truth.json`` holds them."""
    return {
        "version": VERSION,
        "videos": settings.videos,
        "seconds": settings.seconds,
        "instruments": list(settings.instruments),
        "seed": settings.seed,
        "questions": settings.questions,
        "both_orders": settings.both_orders,
    }


def truth(settings: Settings, splits: Mapping[str, list[Scene]]) -> dict[str, Any]:
    """Who plays what, where, when and how loud, of every clip."""
    bands = registers(settings.instruments)
    return {
        "settings": settings_entry(settings),
        "looks_and_sounds": {
            name: {
                "colour": list(INSTRUMENTS[name].colour),
                "band_hz": [round(edge, 1) for edge in bands[name]],
            }
            for name in settings.instruments
        },
        "loudest_rms": LOUDEST_RMS,
        "videos": {
            scene.video_id: {"split": split, **_scene_entry(scene)}
            for split, scenes in splits.items()
            for scene in scenes
        },
    }


def _scene_entry(scene: Scene) -> dict[str, Any]:
    return {
        "seconds": scene.seconds,
        "background": scene.background,
        "voiceover": [list(interval) for interval in scene.voiceover],
        "distractors": scene.num_distractors,
        "players": [_player_entry(player) for player in scene.players],
    }


def _player_entry(player: Player) -> dict[str, Any]:
    return {
        "instrument": player.instrument,
        "place": player.place,
        "box": player.box and list(player.box),
        "sounds": [list(interval) for interval in player.sounds],
        "level_db": player.level_db,
        "strokes_per_second": player.strokes_per_second,
    }


def annotation_rows(
    splits: Mapping[str, Mapping[str, list[Question]]],
) -> dict[str, list[dict[str, Any]]]:
    """Rows of every split as MUSIC-AVQA has them, its quirks included; ids count through all."""
    rows: dict[str, list[dict[str, Any]]] = {}
    number = 0
    for split, videos in splits.items():
        rows[split] = []
        for video_id in sorted(videos):
            for question in videos[video_id]:
                rows[split].append(
                    {
                        "video_id": video_id,
                        "question_id": number,
                        "type": json.dumps(question.type),
                        "question_content": question.template,
                        "templ_values": json.dumps(question.values),
                        "question_deleted": 0,
                        "anser": question.answer,
                    }
                )
                number += 1
    return rows


def write_json(path: Path, content: object, indent: int) -> None:
    """Write a file that appears only when it is complete."""
    unfinished = path.with_name(UNFINISHED + path.name)
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(path)
