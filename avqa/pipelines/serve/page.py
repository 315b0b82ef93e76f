"""The page itself, in gradio's pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from avqa.errors import ConfigError
from avqa.pipelines.ask.answer import RANDOM, Answer
from avqa.pipelines.ask.explain import NUMBERS, PAGE, PICTURE
from avqa.pipelines.serve.choices import Videos
from avqa.pipelines.serve.desk import Desk, told
from avqa.telling import Say
from avqa.training.run import MemberConfig

SHOWN = 5
"""Answers."""
FONTS = ("system-ui", "sans-serif")
"""The system's own: others would be fetched."""
MONOSPACE = ("ui-monospace", "monospace")
STYLE = """
.preview video { width: 100%; max-height: 18rem; background: #000; border-radius: 6px }
.why iframe { width: 100%; height: 80vh; border: 0; border-radius: 6px; background: Canvas }
.told p { margin: 0.2rem 0 } .told .wrong, .told .mark { color: #b00020; font-weight: 600 }
@media (prefers-color-scheme: dark) { .told .wrong, .told .mark { color: #ff8a80 } }
"""
PREVIEW = '<video controls playsinline preload="metadata" src="/videos/{}"></video>'
"""A video of the folder, by its number."""
NO_VIDEO = "no video; expected one; pick or drop one"


@dataclass(frozen=True)
class Offered:
    """What the page is about, and offers."""

    config: MemberConfig
    videos: Videos
    examples: Sequence[str]


class Answering:
    """What the page does when somebody asks."""

    def __init__(self, desk: Desk, videos: Videos, say: Say) -> None:
        """``say`` gets what went wrong, too."""
        self._desk, self._videos, self._say = desk, videos, say

    def ask(
        self, picked: int | None, dropped: str | None, question: str
    ) -> Iterator[tuple[dict[str, float], str, str]]:
        """Answers with probabilities, lines below them, and the explanation as soon as it is drawn.

        Args:
            picked: number of a video of the folder.
            dropped: file that was uploaded; it is taken before the other.
            question: as typed.
        """
        try:
            answer = self._desk.answer(self._video(picked, dropped), question)
        except Exception as error:
            yield {}, _wrong(told(error, self._say)), ""
            return
        best, lines = dict(answer.answers[:SHOWN]), lines_of(answer)
        yield best, lines, "<p>drawing the explanation …</p>"
        try:
            yield best, lines, frame_of(self._desk.explain(answer))
        except Exception as error:
            yield best, lines + _wrong(told(error, self._say)), ""

    def _video(self, picked: int | None, dropped: str | None) -> Path:
        if dropped is not None:
            return Path(dropped)
        if picked is None:
            raise ConfigError(NO_VIDEO)
        return self._videos.path(picked)


def lines_of(answer: Answer) -> str:
    """What stands below the answers."""
    mark = [f'<p class="mark">{escape(RANDOM)}</p>'] if answer.random_weights else []
    lines = [
        f"right: {answer.right}" if answer.right is not None else "",
        f"looked at: {answer.looked_at()}",
        *(f"note: {note}" for note in answer.notes),
        f"{answer.wall_seconds:.1f} s; {answer.origin()}",
    ]
    return "".join([*mark, *(f"<p>{escape(line)}</p>" for line in lines if line)])


def frame_of(number: int) -> str:
    """The explanation within the page."""
    folder = f"/explanations/{number}"
    links = {"as a page of its own": PAGE, "as a picture": PICTURE, "as numbers": NUMBERS}
    shown = " · ".join(
        f'<a href="{folder}/{name}" target="_blank">{words}</a>' for words, name in links.items()
    )
    return f'<iframe src="{folder}/{PAGE}" title="explanation"></iframe><p>{shown}</p>'


def _wrong(line: str) -> str:
    return f'<p class="wrong">{escape(line)}</p>'


def theme(gradio: Any) -> Any:
    """System fonts, quiet colours."""
    return gradio.themes.Base(font=FONTS, font_mono=MONOSPACE, neutral_hue="zinc")


def blocks(gradio: Any, offered: Offered, answering: Answering) -> Any:
    """The page."""
    config, names = offered.config, offered.videos.names
    about = f"{config.head}, {config.variant}, seed {config.seed}, trained on {config.dataset}"
    with gradio.Blocks(title=f"avqa: {config.head}", analytics_enabled=False) as made:
        gradio.Markdown(
            f"# Ask about a video\n`{about}` · on this machine alone: nothing leaves it.",
            sanitize_html=True,
        )
        with gradio.Row():
            with gradio.Column():
                picked, dropped = _videos(gradio, names)
            with gradio.Column():
                question, button = _question(gradio, offered.examples)
                answers = gradio.Label(label="Answers", num_top_classes=SHOWN, show_heading=False)
                lines = gradio.HTML(elem_classes="told")
        why = gradio.HTML(elem_classes="why")
        gradio.on(
            [button.click, question.submit],
            answering.ask,
            [picked, dropped, question],
            [answers, lines, why],
            api_name="ask",
            concurrency_limit=1,
            show_progress_on=[answers],
        )
    return made


def _videos(gradio: Any, names: Sequence[str]) -> tuple[Any, Any]:
    """Where a video is picked, and where one is dropped; the last one counts."""
    picked = gradio.Dropdown(
        choices=[(name, number) for number, name in enumerate(names)],
        value=0 if names else None,
        label="A video of the folder",
        visible=bool(names),
    )
    preview = gradio.HTML(PREVIEW.format(0) if names else "", elem_classes="preview")
    dropped = gradio.Video(
        sources=["upload"], label="Or a video of your own" if names else "A video", height=240
    )
    # In the browser: a question that is asked at once must not be about the other one.
    shown = PREVIEW.format("${number}")
    picked.input(None, [picked], [preview, dropped], js=f"number => [`{shown}`, null]")
    dropped.upload(None, None, [picked, preview], js="() => [null, '']")
    return picked, dropped


def _question(gradio: Any, examples: Sequence[str]) -> tuple[Any, Any]:
    question = gradio.Textbox(
        label="Question",
        placeholder="in the words of the training questions",
    )
    offered = gradio.Dropdown(
        choices=list(examples),
        value=None,
        label="Or a question of the training, to begin with",
        visible=bool(examples),
    )
    offered.input(None, [offered], [question], js="text => text")
    return question, gradio.Button("Ask", variant="primary")
