"""The public functions, as `import avqa` shows them: the commands, with Python's own values.

Each does what the command of its name does and raises what makes the command fail; ``say`` gets
the lines that the command prints while it works. `docs/python.md` shows them at work.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avqa.errors import ConfigError, UnknownName
from avqa.pipelines.extraction.single import extract_video
from avqa.store.places.files import store_path
from avqa.store.places.path import StorePath
from avqa.store.reader import open_store
from avqa.telling.terminal import say
from avqa.units import names_of, number_of, path_text, text_of, whole_number

if TYPE_CHECKING:
    from avqa.pipelines.ask.answer import Answer
    from avqa.pipelines.extraction.report import RunReport
    from avqa.pipelines.npy.compare import CompareReport
    from avqa.pipelines.questions.encode import QuestionReport
    from avqa.pipelines.train.evaluate import EvaluateOptions
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
    "say",
    "train",
]

AnyPath = str | os.PathLike[str]
Say = Callable[[str], None]


def _silent(line: str) -> None:
    """Say nothing."""


def _path(argument: str, value: object) -> Path:
    return Path(path_text(argument, value))


def _place(argument: str, value: object) -> StorePath:
    """Of a store."""
    return value if isinstance(value, StorePath) else store_path(path_text(argument, value))


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
            ``{"limit": 10}`` or ``{"ids": ["a", "b"]}``.
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

    folder, store = _path("videos", videos), _place("out", out)
    more = _of_run(run or {}, [field.name for field in fields(ExtractOptions)])
    settings, followed = settings_for(
        store,
        profile,
        choose_device(device, remote=is_remote(text_of("scheduler", scheduler))),
        auto=device == "auto",
        features=None if features is None else names_of("features", features),
        **choices,
    )
    options = ExtractOptions(
        folder, store, settings, followed=followed, scheduler=scheduler, **more
    )
    return extract_folder(options, say)


def _of_run(run: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """Fields of `ExtractOptions` as it has them."""
    from avqa.extract.media.types import Limits
    from avqa.pipelines.cluster.slurm_config import ClusterConfig
    from avqa.pipelines.extraction.array_job import Partition, partition_of

    if not isinstance(run, Mapping):
        raise ConfigError(f"run={run!r}; expected a mapping of a field to its value")
    own = ("videos", "store", "settings", "followed", "scheduler")
    if unknown := [name for name in run if name not in known or name in own]:
        raise UnknownName("field of run", str(unknown[0]), [n for n in known if n not in own])
    shapes: dict[str, Callable[[str, Any], Any]] = {
        "ids": lambda name, ids: (_path if isinstance(ids, str | os.PathLike) else names_of)(
            name, ids
        ),
        "extensions": names_of,
        "limit": whole_number,
        "decoders": whole_number,
        "root": text_of,
        "id_rule": text_of,
        "wait_workers": number_of,
        "max_lost_sound": functools.partial(number_of, most=1.0),
        "partition": lambda name, value: (
            value if isinstance(value, Partition) else partition_of(text_of(name, value))
        ),
        "limits": functools.partial(_instance, Limits),
        "slurm": functools.partial(_instance, ClusterConfig),
    }
    return {n: shapes.get(n, _flag)(n, value) for n, value in run.items() if value is not None}


def _flag(argument: str, value: object) -> bool:
    if str(value) not in ("True", "False"):  # also of numpy
        raise ConfigError(f"{argument}={value!r}; expected True or False")
    return bool(value)


def _ids(argument: str, value: object) -> Path | tuple[str, ...]:
    """A file of them, or the ids themselves."""
    if isinstance(value, str | os.PathLike):
        return _path(argument, value)
    return names_of(argument, value)


def _instance(kind: type, argument: str, value: object) -> object:
    if not isinstance(value, kind):
        raise ConfigError(f"{argument}={value!r}; expected a {kind.__module__}.{kind.__name__}")
    return value


def _choices(**given: str | None) -> dict[str, str]:
    """Those of a data set's own choices that are made."""
    return {name: text_of(name, value) for name, value in given.items() if value is not None}


def questions(
    dataset: str,
    annotations: AnyPath,
    store: AnyPath,
    *,
    edition: str | None = None,
    group: str | None = None,
    subset: str | None = None,
    prompts: bool = False,
    with_options: bool = False,
    features: Sequence[str] | None = None,
    weights: AnyPath | None = None,
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
        edition: of music-avqa-v2: ``balance`` or ``bias``.
        group: of music-avqa-r and fortisavqa: ``head``, ``tail`` or ``all``.
        subset: of music-avqa: ``real``, ``synthetic``, ``multi`` or ``all``.
        prompts: the questions' prompts too, which TSPM reads.
        with_options: each question with each of its options behind it, too, as CueSpace reads.
        features: ``<encoder>/<tap>`` of texts, all of one encoder; by default CLIP ViT-B/32's
            ``sentence`` and ``word``.
        weights: ``pretrained``, a folder or ``random:SEED``; by default those of the frames.
        device: ``auto``, ``cpu`` or ``cuda``.
        say: gets progress lines.

    Raises:
        UnknownName, DatasetError: the questions cannot be read.
        StoreError: the store refuses.
        WeightsUnavailable, StorageFailure: the machine is at fault.
    """
    from avqa.extract.text import FEATURES
    from avqa.pipelines.questions.encode import QuestionOptions, encode_questions, text_settings

    chosen = FEATURES if features is None else names_of("features", features)
    options = QuestionOptions(
        text_of("dataset", dataset),
        _path("annotations", annotations),
        _place("store", store),
        text_settings(device=device, features=chosen),
        None if weights is None else path_text("weights", weights),
        _flag("prompts", prompts),
        _flag("with_options", with_options),
        choices=_choices(edition=edition, group=group, subset=subset),
    )
    return encode_questions(options, say)


def train(
    head: str,
    store: AnyPath,
    dataset: str,
    annotations: AnyPath,
    out: AnyPath,
    *,
    edition: str | None = None,
    group: str | None = None,
    subset: str | None = None,
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
        edition: of music-avqa-v2: ``balance`` or ``bias``.
        group: of music-avqa-r and fortisavqa: ``head``, ``tail`` or ``all``.
        subset: of music-avqa: ``real``, ``synthetic``, ``multi`` or ``all``.
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

    if not isinstance(settings, Mapping | None):
        raise ConfigError(f"settings={settings!r}; expected a mapping of a setting to its value")
    options = TrainOptions(
        head=text_of("head", head),
        store=_place("store", store),
        dataset=text_of("dataset", dataset),
        annotations=_path("annotations", annotations),
        out=_path("out", out),
        choices=_choices(edition=edition, group=group, subset=subset),
        assignments={str(key): _as_typed(value) for key, value in (settings or {}).items()},
        ablation=None if ablation is None else text_of("ablation", ablation),
        seeds=whole_number("seeds", seeds),
        resume=_flag("resume", resume),
        overwrite=_flag("overwrite", overwrite),
        keep_checkpoints=_flag("keep_checkpoints", keep_checkpoints),
    )
    table = train_head(options, say)
    assert table is not None, "without a partition something is finished, or StoreLocked"
    return table


def _as_typed(value: object) -> str:
    """As it is typed after ``--set``."""
    if getattr(value, "shape", None) == ():
        value = value.item()  # type: ignore[attr-defined]  # a number of numpy, or of torch
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def evaluate(
    run: AnyPath,
    split: str = "test",
    *,
    store: AnyPath | None = None,
    annotations: AnyPath | None = None,
    edition: str | None = None,
    group: str | None = None,
    subset: str | None = None,
    without: str | Sequence[str] = (),
    swap: str | Sequence[str] = (),
    missing_rate: float | None = None,
    seed: int = 0,
    say: Say = _silent,
) -> ResultTable:
    """Answer a split's questions with every saved head of a run; nothing is written.

        print(avqa.evaluate("run", "val", without="audio").text())

    Args:
        run: folder of a run, or of one head in it.
        split: ``train``, ``val`` or ``test``.
        store: by default the one that the run was trained on.
        annotations: by default those that the run was trained on.
        edition: of music-avqa-v2: ``balance`` or ``bias``; by default the run's, as the next two.
        group: of music-avqa-r and fortisavqa: ``head``, ``tail`` or ``all``.
        subset: of music-avqa: ``real``, ``synthetic``, ``multi`` or ``all``.
        without: ``audio``, ``frames``, ``patches``, or several by comma; each gives more rows.
        swap: likewise, of another video.
        missing_rate: share of the videos whose audio is missing, for more rows.
        seed: which videos these are.
        say: gets progress lines.

    Raises:
        ConfigError, UnknownName: there is no such run or split.
        RecipeMismatch: the store's features were made by another recipe.
    """
    from avqa.pipelines.train import evaluate as evaluation

    options = replace(
        _evaluation(run, split, store, annotations),
        choices=_choices(edition=edition, group=group, subset=subset),
        without=names_of("without", without),
        swap=names_of("swap", swap),
        missing_rate=None
        if missing_rate is None
        else number_of("missing_rate", missing_rate, most=1),
        seed=whole_number("seed", seed, least=0),
    )
    return evaluation.evaluate(options, say).table


def predict(
    run: AnyPath,
    split: str = "test",
    *,
    store: AnyPath | None = None,
    annotations: AnyPath | None = None,
    edition: str | None = None,
    group: str | None = None,
    subset: str | None = None,
    say: Say = _silent,
) -> dict[str, str]:
    """Question id → answer of a run's head, for questions with or without a right answer.

        answers = avqa.predict("run", "test")

    The head is the run's own with its first seed, or the one whose folder is given. Questions
    whose id is missing or occurs twice stand under their key.

    Args and errors as in `evaluate`.
    """
    from avqa.pipelines.train import evaluate as evaluation

    options = replace(
        _evaluation(run, split, store, annotations),
        choices=_choices(edition=edition, group=group, subset=subset),
    )
    return evaluation.answers(options, say).answers


def _evaluation(
    run: AnyPath, split: str, store: AnyPath | None, annotations: AnyPath | None
) -> EvaluateOptions:
    from avqa.pipelines.train.evaluate import EvaluateOptions

    return EvaluateOptions(
        run=_path("run", run),
        split=text_of("split", split),
        store=None if store is None else _place("store", store),
        annotations=None if annotations is None else _path("annotations", annotations),
    )


def ask(
    run: AnyPath,
    video: AnyPath,
    question: str,
    *,
    choices: Sequence[str] = (),
    answer: str | None = None,
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
        answer: the right one, if it is known.
        device: ``auto`` (the run's kind, if it is here), ``cpu`` or ``cuda``.
        say: gets progress lines.

    Raises:
        ConfigError: run, video or question cannot be used.
        RecipeMismatch: features cannot be made here as the run's were.
        MediaError: the video cannot be read.
    """
    from avqa.pipelines.ask import answer as asking

    options = asking.AskOptions(
        _path("run", run),
        _path("video", video),
        text_of("question", question),
        names_of("choices", choices),
        device,
        answer,
    )
    return asking.ask(options, say)


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
    from avqa.pipelines.ask.answer import Answer

    if not isinstance(answer, Answer):
        raise ConfigError(f"answer={answer!r}; expected what `avqa.ask` gave")
    return explaining.explain(answer, _path("folder", folder))


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

    return comparison.compare(
        _place("ours", ours),
        _place("theirs", theirs),
        feature=None if feature is None else text_of("feature", feature),
        kind=None if kind is None else text_of("kind", kind),
    )
