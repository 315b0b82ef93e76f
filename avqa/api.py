"""The public functions, as `import avqa` shows them: the commands, with Python's own values.

Each does what the command of its name does and raises what makes the command fail; ``say`` gets
the lines that the command prints while it works. `docs/python.md` shows them at work.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avqa.pipelines.extraction.single import extract_video
from avqa.store.places.files import store_path
from avqa.store.reader import open_store

if TYPE_CHECKING:
    from avqa.pipelines.ask.answer import Answer
    from avqa.pipelines.extraction.run import RunReport
    from avqa.pipelines.npy.compare import CompareReport
    from avqa.pipelines.questions.encode import QuestionReport
    from avqa.training.table.table import ResultTable

__all__ = [
    "ask",
    "compare",
    "evaluate",
    "explain",
    "extract",
    "extract_video",
    "open_store",
    "predict",
    "questions",
    "train",
]

AnyPath = str | os.PathLike[str]
Say = Callable[[str], None]


def _silent(line: str) -> None:
    """Say nothing."""


def extract(
    videos: AnyPath,
    out: AnyPath,
    features: Sequence[str] | None = None,
    *,
    profile: str | None = None,
    device: str = "auto",
    scheduler: str = "local",
    say: Say = _silent,
    run: Mapping[str, Any] | None = None,
    **choices: Any,
) -> RunReport:
    """Extract every video of a folder into a store; call it again to resume or to add videos.

        report = avqa.extract("videos", "features", ["clip_vit_b32/frame", "vggish/audio"])
        print(report.summary())

    Args:
        videos: the folder, searched recursively, or a list of videos.
        out: the store to create, resume or extend: a folder, or ``s3://bucket/prefix``.
        features: ``<encoder>/<tap>`` names; those of the store or profile if not given.
        profile: a named recipe; without one, what is not given is as the store has it.
        device: ``auto``, ``cpu`` or ``cuda``.
        scheduler: ``local`` (Dask workers of this machine; guard a script's calls by
            ``if __name__ == "__main__":``), ``sync`` (this process), or a Dask address.
        say: gets progress lines.
        run: other fields of `avqa.pipelines.extraction.run.ExtractOptions`, such as
            ``{"limit": 10}``.
        **choices: replace single values of the recipe (``weights="random:0"``,
            ``frame_at="start"``, …); see `avqa.extract.settings.Settings`.

    Returns:
        Counts and time. Videos that failed are counted and recorded in the store, not raised:
        ``report.raise_if_failed()`` turns them into `avqa.errors.PartialFailure`.

    Raises:
        ConfigError: the folder, a name or a value cannot be used.
        StoreLocked, RecipeMismatch: the store refuses.
        WeightsUnavailable, StorageFailure: the machine is at fault.
    """
    from avqa.machine import choose_device
    from avqa.pipelines.cluster.connect import is_remote
    from avqa.pipelines.extraction.as_stored import settings_for
    from avqa.pipelines.extraction.run import ExtractOptions, extract_folder

    store = store_path(out)
    settings, followed = settings_for(
        store,
        profile,
        choose_device(device, remote=is_remote(scheduler)),
        auto=device == "auto",
        features=features and tuple(features),
        **choices,
    )
    options = ExtractOptions(
        Path(videos), store, settings, followed=followed, scheduler=scheduler, **(run or {})
    )
    return extract_folder(options, say)


def questions(
    dataset: str,
    annotations: AnyPath,
    store: AnyPath,
    *,
    weights: str | None = None,
    device: str = "auto",
    say: Say = _silent,
) -> QuestionReport:
    """Encode every distinct text of a data set's questions into a store.

        report = avqa.questions("music-avqa", "annotations", "features")
        print(report.lines()[-1])

    Args:
        dataset: a name of `avqa.datasets.names`.
        annotations: folder of the question files, or one file.
        store: of the videos' features.
        weights: ``pretrained``, a folder or ``random:SEED``; by default those that the store's
            CLIP frames were made with.
        device: ``auto``, ``cpu`` or ``cuda``.
        say: gets progress lines.

    Raises:
        UnknownName, DatasetError: the questions cannot be read.
        StoreError: the store refuses.
        WeightsUnavailable, StorageFailure: the machine is at fault.
    """
    from avqa.pipelines.questions.encode import QuestionOptions, encode_questions, text_settings

    settings = text_settings(device=device)
    return encode_questions(
        QuestionOptions(dataset, Path(annotations), store_path(store), settings, weights), say
    )


def train(
    head: str,
    store: AnyPath,
    dataset: str,
    annotations: AnyPath,
    out: AnyPath,
    *,
    settings: Mapping[str, object] | None = None,
    ablation: str | None = None,
    seeds: int = 1,
    resume: bool = False,
    overwrite: bool = False,
    keep_checkpoints: bool = False,
    say: Say = _silent,
) -> ResultTable:
    """Train a paper's head with its recipe and test it once.

        table = avqa.train("pstp", "features", "music-avqa", "annotations", "run",
                           settings={"epochs": 10})
        print(table.text())

    Args:
        head: a name of `avqa.heads.names`.
        store: of the videos' and questions' features.
        dataset: a name of `avqa.datasets.names`.
        annotations: folder of the question files, or one file.
        out: folder of the run: new or empty, or with ``resume`` one to go on with.
        settings: a setting of `avqa.training.settings.TrainSettings` or an option of the head
            → its value.
        ablation: a row of the head's ablations to train too, or ``all``.
        seeds: train each row so often, with the seeds 0, 1, …
        resume: go on with the run in ``out``.
        overwrite: replace the run in ``out``.
        keep_checkpoints: also of heads that are finished.
        say: gets progress lines.

    Returns:
        The field's result table; ``table.text()`` is what the command prints.

    Raises:
        ConfigError: a name, a value or the folder cannot be used.
        DatasetError: the questions cannot be read, or a split has none left.
        FeatureMissing, RecipeMismatch: the store lacks something, or is another.
        StoreLocked: other processes train all of it, and nothing is finished yet.
    """
    from avqa.pipelines.train.options import TrainOptions
    from avqa.pipelines.train.train import train_head

    options = TrainOptions(
        head=head,
        store=store_path(store),
        dataset=dataset,
        annotations=Path(annotations),
        out=Path(out),
        assignments={key: _as_typed(value) for key, value in (settings or {}).items()},
        ablation=ablation,
        seeds=seeds,
        resume=resume,
        overwrite=overwrite,
        keep_checkpoints=keep_checkpoints,
    )
    table = train_head(options, say)
    assert table is not None, "without a partition something is finished, or StoreLocked"
    return table


def _as_typed(value: object) -> str:
    """As it is typed after ``--set``."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def evaluate(
    run: AnyPath,
    split: str = "test",
    *,
    store: AnyPath | None = None,
    annotations: AnyPath | None = None,
    say: Say = _silent,
) -> ResultTable:
    """Answer a split's questions with every saved head of a run; nothing is written.

        print(avqa.evaluate("run", "val").text())

    Args:
        run: folder of a run, or of one head in it.
        split: ``train``, ``val`` or ``test``.
        store: by default the one that the run was trained on.
        annotations: by default those that the run was trained on.
        say: gets progress lines.

    Raises:
        ConfigError, UnknownName: there is no such run or split.
        RecipeMismatch: the store's features were made by another recipe.
    """
    from avqa.pipelines.train import evaluate as evaluation

    return evaluation.evaluate(_evaluation(run, split, store, annotations), say)


def predict(
    run: AnyPath,
    split: str = "test",
    *,
    store: AnyPath | None = None,
    annotations: AnyPath | None = None,
    say: Say = _silent,
) -> dict[str, str]:
    """Question id → answer of a run's head, for questions with or without a right answer.

        answers = avqa.predict("run", "test")

    The head is the run's own with its first seed, or the one whose folder is given. Questions
    whose id is missing or occurs twice stand under their key.

    Args and errors as in `evaluate`.
    """
    from avqa.pipelines.train import evaluate as evaluation

    return evaluation.answers(_evaluation(run, split, store, annotations), say).answers


def _evaluation(
    run: AnyPath, split: str, store: AnyPath | None, annotations: AnyPath | None
) -> Any:
    from avqa.pipelines.train.evaluate import EvaluateOptions

    return EvaluateOptions(
        run=Path(run),
        split=split,
        store=None if store is None else store_path(store),
        annotations=None if annotations is None else Path(annotations),
    )


def ask(
    run: AnyPath,
    video: AnyPath,
    question: str,
    *,
    choices: Sequence[str] = (),
    device: str = "auto",
    say: Say = _silent,
) -> Answer:
    """Answer a question about any video with a trained head.

        answer = avqa.ask("run", "clip.mp4", "How many instruments are sounding in the video?")
        print(answer.answers[0])  # the best one with its probability

    Args:
        run: folder of a run, or of one head in it.
        video: one video file.
        question: in the words of the head's data set.
        choices: options of a multiple choice.
        device: ``auto`` (the run's kind, if it is here), ``cpu`` or ``cuda``.
        say: gets progress lines.

    Raises:
        ConfigError: run, video or question cannot be used.
        RecipeMismatch: features cannot be made here as the run's were.
        MediaError: the video cannot be read.
    """
    from avqa.pipelines.ask import answer as asking

    return asking.ask(
        asking.AskOptions(Path(run), Path(video), question, tuple(choices), device), say
    )


def explain(answer: Answer, folder: AnyPath) -> list[Path]:
    """Draw where a head looked for its answer: pictures and numbers in a folder.

        files = avqa.explain(avqa.ask("run", "clip.mp4", "Is the flute always playing?"), "why")

    Returns:
        The files, the composite picture first.

    Raises:
        ConfigError: ``folder`` is a file.
        MediaError: the video's frames cannot be read any more.
    """
    from avqa.pipelines.ask import explain as explaining

    return explaining.explain(answer, Path(folder))


def compare(
    ours: AnyPath, theirs: AnyPath, *, feature: str | None = None, kind: str | None = None
) -> CompareReport:
    """Say whether two sets of features are the same, and if not, how they differ.

        report = avqa.compare("features", "feats/vggish")
        print(report.lines()[-1])

    Args:
        ours: a store, a folder of ``<video>.npy``, or a .npy file.
        theirs: what to compare it with, likewise.
        feature: compare this one only; all that both have by default.
        kind: what files are, where the folder's name does not say it.

    Raises:
        ConfigError: a side cannot be read, or they have nothing in common.
    """
    from avqa.pipelines.npy import compare as comparison

    return comparison.compare(store_path(ours), store_path(theirs), feature=feature, kind=kind)
