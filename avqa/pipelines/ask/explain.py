"""`avqa ask --explain`: where a head looked for its answer, as pictures and as numbers.

    DIR/explanation.html   the video plays, and below it runs where the head looked
    DIR/explanation.png    question, answers, attention over time, the pictures looked at
    DIR/explanation.json   all numbers
    DIR/time.png           attention over time, with the sound's spectrum
    DIR/frames/second-0003.png …    the pictures looked at, with the weights of their patches

The pictures are those that the rows were made from, see `avqa.pipelines.extraction.frames`.
"""

from __future__ import annotations

import json
import math
import re
import tempfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avqa.errors import ConfigError
from avqa.extract.media.types import Limits
from avqa.pipelines.ask.answer import Answer
from avqa.pipelines.ask.heat import (
    draw_heat,
    grid_box,
    is_center,
    strength_of,
    strongest_of,
    with_mark,
)
from avqa.pipelines.ask.plots import (
    Page,
    Spectrum,
    TimeView,
    draw_page,
    draw_time,
    spectrum_of,
)
from avqa.pipelines.extraction.frames import INDEX_FILE, SCRATCH, remove_scratch, write_frames
from avqa.pipelines.pages.explained import (
    Explained,
    chosen_stills,
    explanation_page,
    link_to,
    still,
)
from avqa.store.places.files import storage_errors, write_atomic, write_json
from avqa.training.fitting.curves import RANDOM_MARK

NUM_PICTURES = 4
PICTURES = "frames"
NUMBERS, PAGE, PICTURE = "explanation.json", "explanation.html", "explanation.png"
_CURVES = {"audio_time": "audio", "frame_time": "frames"}


@dataclass(frozen=True)
class _Row:
    """One row of the video that the head was given, whose picture is shown."""

    number: int
    second: int
    picture: Image.Image


@dataclass(frozen=True)
class _Looked:
    """What was decoded of the video once more."""

    index: dict[str, Any]
    """``frames.json``."""
    seconds: tuple[int, ...]
    """Of each row that the head was given."""
    rows: list[_Row]
    """Those whose frames are shown large."""
    stills: dict[int, str]
    """Row → small frame of the page."""
    duration: float
    """Seconds that the head could see."""
    spectrum: Spectrum | None


def prepare_folder(folder: Path) -> None:
    """Make the folder before the work is done.

    Raises:
        ConfigError: it is a file.
        StorageFailure: it cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(
            f"explain={str(folder)!r} is a file; expected a folder; choose another --explain"
        )
    with storage_errors(str(folder)):
        (folder / PICTURES).mkdir(parents=True, exist_ok=True)


def explain(answer: Answer, folder: Path, link: str | None = None) -> list[Path]:
    """Write pictures and numbers; those of an earlier explanation there are replaced.

    Args:
        answer: what to explain.
        folder: where to write.
        link: address of the video for the page; by default its place seen from ``folder``.

    Returns:
        The files, the composite picture first.

    Raises:
        ConfigError: ``folder`` is a file.
        MediaError: the video's pictures cannot be read any more.
        StorageFailure: ``folder`` cannot be written.
    """
    prepare_folder(folder)
    looked = _look(answer, folder)
    seconds, rows, index = looked.seconds, looked.rows, looked.index
    view = TimeView(
        seconds,
        looked.duration,
        _curves(answer),
        tuple(row.second for row in rows),
        looked.spectrum,
    )
    drawn, strongest = _drawn(answer, rows)
    page = Page(
        question=answer.question.text,
        subtitle=_subtitle(answer, index["duration"]),
        answers=answer.answers,
        time=view,
        pictures=[(_caption(answer, row), image) for row, image in zip(rows, drawn, strict=True)],
        footer=_footer(answer, rows, strongest),
        right=answer.right,
        words=_words(answer),
        modality=_modality(answer),
        random_weights=answer.random_weights,
    )
    if answer.random_weights:
        drawn = [with_mark(image, RANDOM_MARK) for image in drawn]
    with storage_errors(str(folder)):
        earlier = _earlier_pictures(folder)
        files = _write_frames(folder / PICTURES, rows, drawn)
        named = [str(file.relative_to(folder)) for file in files]
        numbers = _numbers(answer, seconds, rows, index) | {"pictures": named}
        time = draw_time(view, page.question, random_weights=page.random_weights)
        write_atomic(folder / "time.png", time, durable=False)
        write_atomic(folder / PICTURE, draw_page(page), durable=False)
        write_json(folder / NUMBERS, numbers, durable=False)
        told = _explained(answer, numbers, view, index)
        made = explanation_page(told, looked.stills, link or link_to(answer.video, folder))
        write_atomic(folder / PAGE, made, durable=False)
        for name in earlier - set(named):
            (folder / name).unlink(missing_ok=True)
    written = [folder / name for name in (PICTURE, PAGE, NUMBERS, "time.png")]
    return [*written, *files]


def _look(answer: Answer, folder: Path) -> _Looked:
    """Decode the frames that the rows were made from, and the sound."""
    most = answer.member.config.settings.max_seconds
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder) as scratch:
        remove_scratch(folder, Path(scratch))
        frames = Path(scratch) / "all"
        report = write_frames(answer.video, frames, answer.settings, Limits(), most)
        index = json.loads((frames / INDEX_FILE).read_text(encoding="utf-8"))
        seconds = _seconds(answer, index["T"])
        there = {row["row"]: frames / row["file"] for row in index["rows"]}
        files = {n: there[second] for n, second in enumerate(seconds) if second in there}
        rows = [
            _Row(number, seconds[number], _loaded(files[number]))
            for number in chosen_rows(answer.evidence.get("seconds"), len(seconds))
            if number in files  # damage has taken the others
        ]
        sound = frames / report.audio
        return _Looked(
            index,
            seconds,
            rows,
            {n: still(_loaded(files[n])) for n in chosen_stills(len(seconds)) if n in files},
            min(report.duration, most),
            spectrum_of(sound) if sound.is_file() else None,
        )


def chosen_rows(weights: NDArray[np.float64] | None, num_rows: int) -> list[int]:
    """The rows to show, in the order of time: of most weight, or evenly spread without weights."""
    if weights is None:
        count = min(NUM_PICTURES, num_rows)
        return sorted({round(place) for place in np.linspace(0, num_rows - 1, count)})
    best = np.argsort(-weights, kind="stable")[:NUM_PICTURES]
    return sorted(int(row) for row in best if weights[row] > 0)


def _seconds(answer: Answer, num_rows: int) -> tuple[int, ...]:
    """Second of each row that the head was given, or, if it looks at no video, could be given."""
    settings = answer.member.config.settings
    every = tuple(range(0, min(num_rows, settings.max_seconds), settings.stride_seconds))
    return every[: answer.num_rows]


def _loaded(file: Path) -> Image.Image:
    with Image.open(file) as picture:
        return picture.convert("RGB")


def _curves(answer: Answer) -> dict[str, NDArray[np.float64]]:
    curves = {name: answer.evidence[f] for f, name in _CURVES.items() if f in answer.evidence}
    if not curves and "seconds" in answer.evidence:
        curves["attention"] = answer.evidence["seconds"]
    return curves


def _words(answer: Answer) -> list[tuple[str, float]]:
    """Each word and its weight; none of a head that does not weigh them."""
    weights = answer.evidence.get("words", np.zeros(0))
    return list(zip(answer.words, weights.tolist(), strict=False))


def _modality(answer: Answer) -> tuple[float, float] | None:
    """Shares of frames and audio."""
    found = answer.evidence.get("modality")
    return None if found is None else (float(found[0]), float(found[1]))


def _maps(answer: Answer) -> NDArray[np.float64] | None:
    """Weights of the patches [T, P], where it is known how these lie in a frame."""
    maps = answer.evidence.get("patches")
    square = maps is not None and math.isqrt(maps.shape[1]) ** 2 == maps.shape[1]
    return maps if square and answer.crop is not None else None


def _drawn(answer: Answer, rows: list[_Row]) -> tuple[list[Image.Image], float | None]:
    """The pictures with the weights of their patches; the strongest one, if there are any."""
    maps, crop = _maps(answer), answer.crop
    if maps is None or crop is None:
        return [draw_heat(row.picture, None, "squash", 1.0) for row in rows], None
    strongest = strongest_of(maps[[row.number for row in rows]])
    shown = (maps[row.number] if maps[row.number].any() else None for row in rows)
    pairs = zip(rows, shown, strict=True)
    return [draw_heat(row.picture, weights, crop, strongest) for row, weights in pairs], strongest


def _explained(
    answer: Answer, numbers: dict[str, Any], view: TimeView, index: dict[str, Any]
) -> Explained:
    """What ``explanation.html`` shows."""
    maps, sound = _maps(answer), view.spectrum
    return Explained(
        numbers=numbers,
        subtitle=_subtitle(answer, index["duration"]),
        looked_at=answer.looked_at(),
        duration=view.duration,
        stride=answer.stride,
        size=(index["width"], index["height"]),
        strength=None if maps is None else strength_of(maps, strongest_of(maps)),
        spectrum=None if sound is None else sound.decibels,
        spectrum_seconds=0.0 if sound is None else sound.seconds,
        mark=RANDOM_MARK if answer.random_weights else "",
    )


def _subtitle(answer: Answer, duration: float) -> str:
    config = answer.member.config
    head = f"{config.head}, {config.variant}, seed {config.seed}"
    return f"{head}; {answer.video.name}, {duration:.1f} s"


def _caption(answer: Answer, row: _Row) -> str:
    weights = answer.evidence.get("seconds")
    share = "" if weights is None else f": {100 * weights[row.number]:.0f} % of attention"
    return f"second {row.second}{share}"


def _footer(answer: Answer, rows: list[_Row], strongest: float | None) -> str:
    looked = f"looked at: {answer.looked_at()}"
    if strongest is None:
        return looked
    tint = f"tint: patches over an even share, the strongest has {strongest:.1f} times it"
    width, height = rows[0].picture.size
    cut = is_center(answer.crop) and (width != height or answer.crop != "center")
    return f"{looked}      {tint}{'; dark: outside what the encoder sees' if cut else ''}"


def _earlier_pictures(folder: Path) -> set[str]:
    """Those that an earlier explanation there names; others beside them are not ours."""
    try:
        names = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))["pictures"]
        return {name for name in names if re.fullmatch(rf"{PICTURES}/second-\d{{4,}}\.png", name)}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _write_frames(folder: Path, rows: list[_Row], drawn: list[Image.Image]) -> list[Path]:
    files = []
    for row, image in zip(rows, drawn, strict=True):
        file = BytesIO()
        image.save(file, "png")
        files.append(folder / f"second-{row.second:04d}.png")
        write_atomic(files[-1], file.getvalue(), durable=False)
    return files


def _numbers(
    answer: Answer, seconds: tuple[int, ...], rows: list[_Row], index: dict[str, Any]
) -> dict[str, Any]:
    """Content of ``explanation.json``."""
    config, found = answer.member.config, answer.evidence
    modality, maps = _modality(answer), found.get("patches")

    times = {row["row"]: row["pts_seconds"] for row in index["rows"]}

    def at(name: str, row: int) -> Any:
        return found[name][row].tolist() if name in found else None

    return {
        "video": index["video"],
        "question": answer.question.text,
        "run": str(answer.member.path),
        "head": config.head,
        "variant": config.variant,
        "seed": config.seed,
        "answers": [{"answer": name, "probability": p} for name, p in answer.answers],
        "right": answer.right,
        "random_weights": answer.random_weights,
        "notes": list(answer.notes),
        "modality": None if modality is None else {"pictures": modality[0], "sound": modality[1]},
        "words": [{"word": word, "weight": weight} for word, weight in _words(answer)],
        "shown_seconds": [row.second for row in rows],
        "patch_grid": _grid(answer, maps, index),
        "rows": [
            {
                "second": second,
                "pts_seconds": times.get(second),
                "weight": at("seconds", row),
                "sound": at("audio_time", row),
                "pictures": at("frame_time", row),
                "patches": at("patches", row),
            }
            for row, second in enumerate(seconds)
        ],
    }


def _grid(
    answer: Answer, maps: NDArray[np.float64] | None, index: dict[str, Any]
) -> dict[str, Any] | None:
    """Where the patches lie in the video's pictures, in pixels."""
    if maps is None or answer.crop is None:
        return None
    box = grid_box(answer.crop, index["width"], index["height"])
    return {"patches": int(maps.shape[1]), "order": "row by row", **box._asdict()}
