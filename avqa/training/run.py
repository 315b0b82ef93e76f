"""The folder of a run: `Run`, its members (one head, one variant, one seed), saving and loading.

    RUN/run.json                      what was asked for, and what all members share
    RUN/table.txt table.csv table.md
    RUN/<variant>/seed-<n>/           variant: "default", an ablation's name, or "question_only",
                                      with - for what no file name should have: `member_path`
        config.json                   `MemberConfig`
        environment.json              machine and versions
        metrics.csv curves.png        per epoch
        model.safetensors             the best epoch's weights on validation
        predictions.json              of the test questions
        result.json                   `MemberResult`; written last: a member with it is finished
        checkpoints/ logs/            what `--resume` and TensorBoard read

``config.json`` and ``model.safetensors`` alone make the head again; nothing is unpickled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from avqa import heads
from avqa.datasets._parts.floors import Score, Table
from avqa.errors import ConfigError
from avqa.heads import Head
from avqa.store.places.files import read_json, storage_errors, write_atomic, write_json
from avqa.training.settings import TrainSettings

RUN, CONFIG, MODEL, RESULT = "run.json", "config.json", "model.safetensors", "result.json"
DEFAULT, QUESTION_ONLY = "default", "question_only"


@dataclass(frozen=True, kw_only=True)
class MemberConfig:
    """Everything that decided a member's numbers; ``config.json``."""

    head: str
    """The head that was trained; ``question_only`` for the floor's row."""
    variant: str
    """``default``, an ablation's name, or ``question_only``."""
    seed: int
    options: dict[str, Any]
    """Every option of the head."""
    settings: TrainSettings
    dataset: str
    annotations: str
    """Absolute path."""
    annotation_version: str
    counts: dict[str, int]
    """Split → questions in use."""
    store: str
    """Absolute path."""
    features: dict[str, dict[str, Any]]
    """Field of `HeadInput` → ``name``, ``recipe_hash`` and ``recipe`` of the store's feature."""
    texts: dict[str, dict[str, Any]]
    """Text feature of the store → ``recipe_hash`` and ``recipe``; empty for an LSTM."""
    weights: str
    """Source of the weights that made the features, empty where there are none; starts with
    ``random:`` where they mean nothing."""
    avqa_version: str
    grounding: str = ""
    """SHA-256 of the file that the grounding started from; empty: from seeded weights."""

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> MemberConfig:
        """Raises TypeError, KeyError or ValueError if fields are missing or strange."""
        return cls(**{**value, "settings": TrainSettings(**value["settings"])})


@dataclass(frozen=True, kw_only=True)
class MemberResult:
    """How a member's training ended, and its score on test; ``result.json``."""

    best_epoch: int
    val_accuracy: float
    """Of the best epoch, in [0, 1]."""
    epochs: int
    seconds: float
    waiting: float
    """Share of the training time spent on waiting for data."""
    scores: Table
    """Column of the data set's table → right answers among test questions."""
    parameters: int
    """Trainable ones."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> MemberResult:
        """Raises TypeError or KeyError if fields are missing or strange."""
        return cls(**{**value, "scores": {k: Score(*v) for k, v in value["scores"].items()}})


@dataclass(frozen=True)
class Member:
    """One trained head: a variant and a seed."""

    path: Path
    config: MemberConfig

    @classmethod
    def load(cls, path: Path) -> Member:
        """Read a member's ``config.json``.

        Raises:
            ConfigError: it is not there, or is no such file.
        """
        config = read_object(path / CONFIG, "a folder of `avqa train-head`")
        try:
            return cls(path, MemberConfig.from_json(config))
        except (TypeError, KeyError, ValueError) as error:
            raise _damaged(path / CONFIG, "as `avqa train-head` writes it", error) from error

    @property
    def finished(self) -> bool:
        """Whether it was trained and tested to the end."""
        return (self.path / RESULT).exists()

    @property
    def result(self) -> MemberResult:
        """How training ended.

        Raises:
            ConfigError: it is not finished.
        """
        value = read_object(self.path / RESULT, "a finished member; finish it with --resume")
        try:
            return MemberResult.from_json(value)
        except (TypeError, KeyError) as error:
            raise _damaged(self.path / RESULT, "as `avqa train-head` writes it", error) from error

    def load_head(self) -> Head:
        """The head with its weights, in eval mode, on the CPU.

        Raises:
            ConfigError: the options are of no head; the file is missing, is a pickle, is damaged,
                or holds another head's weights or weights of other shapes.
        """
        name = self.config.head
        try:
            head = heads.build(name, **self.config.options)
        except ValueError as error:
            raise _damaged(self.path / CONFIG, f"options of {name}", error) from error
        state = read_weights(self.path / MODEL, name)
        check_weights(self.path / MODEL, name, state, head.state_dict())
        head.load_state_dict(state)
        return head.eval()

    def save_head(self, head: Head) -> None:
        """Publish ``model.safetensors``: the weights, with the head's name."""
        state = {name: value.detach().cpu().contiguous() for name, value in _own(head).items()}
        with storage_errors(f"{str(self.path / MODEL)!r}"):
            write_atomic(self.path / MODEL, save(state, {"head": self.config.head}))

    def save_config(self) -> None:
        """Publish ``config.json``."""
        self.write(CONFIG, self.config.to_json())

    def save_result(self, result: MemberResult) -> None:
        """Publish ``result.json``, after which the member counts as finished."""
        self.write(RESULT, asdict(result))

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        """Publish a JSON file of the member."""
        with storage_errors(f"{str(self.path / name)!r}"):
            write_json(self.path / name, value)


@dataclass(frozen=True)
class Run:
    """A run's folder as it is now."""

    path: Path
    members: tuple[Member, ...]
    """Finished ones: by variant in the order in which they were asked for, then by seed."""
    about: dict[str, Any] = field(default_factory=dict)
    """``run.json``: ``head``, ``dataset``, ``annotations``, ``store``, ``variants``, ``same_as``
    (ablation → the variant that has its options), ``seeds`` (how many), ``settings``,
    ``options``, ``notes`` (what was found about the questions, one line each); empty for a
    member's folder that was copied elsewhere."""

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """Open a run, or one member of it.

        Raises:
            ConfigError: ``path`` is neither, or nothing of it is finished.
        """
        path = Path(path).absolute()
        if (path / CONFIG).exists():
            root = path.parent.parent
            about = read_object(root / RUN, "a run") if (root / RUN).exists() else {}
            run = cls(path, _finished([path]), about)
        else:
            about = read_object(path / RUN, "a folder of `avqa train-head`")
            order = [
                member_path(path, variant, seed)
                for variant in about.get("variants", [])
                for seed in range(about.get("seeds", 0))
            ]
            run = cls(path, _finished(order), about)
        if not run.members:
            raise ConfigError(
                f"run {str(path)!r}: nothing is trained to its end; expected a finished member;"
                " finish it with the same `avqa train-head` command and --resume"
            )
        return run

    def of_variant(self, variant: str) -> tuple[Member, ...]:
        """Finished members of one variant, by seed."""
        return tuple(m for m in self.members if m.config.variant == variant)


def member_path(run: Path, variant: str, seed: int) -> Path:
    """Where a member lies; an ablation's name may hold slashes, spaces and brackets."""
    folder = re.sub(r"[^A-Za-z0-9._=+-]+", "-", variant).strip("-")
    return run / folder / f"seed-{seed}"


def _finished(paths: list[Path]) -> tuple[Member, ...]:
    there = [path for path in paths if (path / RESULT).exists()]
    return tuple(Member.load(path) for path in there)


def _own(head: Head) -> dict[str, Tensor]:
    state: dict[str, Tensor] = head.state_dict()
    return state


def read_weights(path: Path, head: str | None = None) -> dict[str, Tensor]:
    """All tensors of a ``model.safetensors``; nothing is unpickled.

    Args:
        path: the file.
        head: the head it has to be of; None takes any.

    Raises:
        ConfigError: it is missing, is no safetensors file, or is of another head.
    """
    if not path.is_file():
        raise ConfigError(
            f"no weights {str(path)!r}; expected those of a finished member; finish it with"
            " --resume"
        )
    try:
        with safe_open(path, framework="pt") as file:
            of_head = (file.metadata() or {}).get("head")
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        start = path.read_bytes()[:2]
        what = "is a pickle, which may run code, and is not read" if start in _PICKLES else error
        raise ConfigError(
            f"weights {str(path)!r}: {what}; expected a safetensors file as `avqa train-head`"
            " writes it; train again or take the right file"
        ) from error
    if head is not None and of_head != head:
        raise ConfigError(
            f"weights {str(path)!r} are of head {of_head!r}; expected {head!r}, as {CONFIG} beside"
            " it says; take both files from one member"
        )
    return state


# A zip archive (torch.save), and pickle protocols 2 to 5.
_PICKLES = {b"PK", *(bytes([0x80, protocol]) for protocol in range(2, 6))}


def check_weights(
    path: Path, head: str, state: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> None:
    """Refuse weights whose names, shapes or types are not those of the head.

    Raises:
        ConfigError: names the first difference.
    """
    for name in sorted(own.keys() | state.keys()):
        found, expected = state.get(name), own.get(name)
        if found is None or expected is None or found.shape != expected.shape:
            raise ConfigError(
                f"weights {str(path)!r}: {name} is {_shape(found)}; expected {_shape(expected)}"
                f" in head {head} with the options of {CONFIG}; take both files from one member"
            )


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else f"{tuple(tensor.shape)}"


def read_object(path: Path, expected: str) -> dict[str, Any]:
    """A JSON file of a run; ``expected`` is what a folder without it is not.

    Raises:
        ConfigError: it is not there or is no JSON object.
    """
    try:
        value = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"no {path.name} in {str(path.parent)!r}; expected {expected}; check the path"
        ) from None
    except (ValueError, OSError) as error:
        raise _damaged(path, "a JSON object", error) from error
    if not isinstance(value, dict):
        raise _damaged(path, "a JSON object", TypeError(type(value).__name__))
    return value


def _damaged(path: Path, expected: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"{str(path)!r} cannot be used: {error}; expected {expected}; train again, or restore the"
        " file"
    )
