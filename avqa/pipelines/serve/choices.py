"""What a page offers to pick: the videos of a folder, and questions as training had them."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

from avqa.datasets._parts.question import Question
from avqa.errors import AnnotationWarning, AvqaError, ConfigError
from avqa.pipelines.extraction.collection.sources import discover, printable
from avqa.telling import Say
from avqa.training.data.splits import read_splits
from avqa.training.run import Member

MOST_EXAMPLES = 60
"""Templates of which a question is offered, the most frequent ones."""


class Videos:
    """The videos below a folder; none without one."""

    def __init__(self, folder: Path | None, say: Say) -> None:
        """Look through the folder once; links that lead out of it are left out, and told.

        Raises:
            ConfigError: there is no such folder, or no video in it.
        """
        self._folder = None if folder is None else folder.resolve()
        self._paths: list[tuple[str, Path]] = []
        if folder is None:
            return
        found = discover(folder)
        self._paths = [(printable(one.relpath), Path(one.path)) for one in found.sources]
        if left := len(found.skipped_links):
            say(
                f"note: {left} symbolic links that lead out of videos={printable(str(folder))!r}"
                " are not offered"
            )

    @property
    def names(self) -> list[str]:
        """Paths below the folder, by id."""
        return [name for name, _ in self._paths]

    def path(self, number: int) -> Path:
        """The file of the video number ``number`` of `names`.

        Raises:
            ConfigError: there is none, or by now it lies elsewhere than in the folder.
        """
        if self._folder is None or not 0 <= number < len(self._paths):
            raise ConfigError(
                f"video number {number}; expected one of {len(self._paths)} videos of the folder;"
                " pick one"
            )
        name, path = self._paths[number]
        if not path.resolve().is_relative_to(self._folder):
            raise ConfigError(
                f"video={name!r} leads out of videos={printable(str(self._folder))!r}; expected a"
                " file in it; pick another"
            )
        return path


def examples(member: Member, say: Say) -> list[str]:
    """A training question of each template, those of frequent templates first.

    Options of a multiple choice follow behind ``|``, as they may be typed. Where the run's
    question files are gone, there are none, and a line says so.
    """
    config = member.config
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AnnotationWarning)  # training told them
            how = config.settings
            files = read_splits(
                config.dataset, config.annotations, how.split, config.choices, how.dub
            )
    except AvqaError as error:
        say(f"note: no questions are offered, the run's question files are gone: {error}")
        return []
    counted = Counter(question.template for question in files.train)
    first: dict[str, Question] = {}
    for question in files.train:
        first.setdefault(question.template, question)
    return [_typed(first[template]) for template, _ in counted.most_common(MOST_EXAMPLES)]


def _typed(question: Question) -> str:
    return " | ".join([question.text, *filter(None, question.choices)])
