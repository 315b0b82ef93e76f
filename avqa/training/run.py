"""The folder of a run: `Run`, its members (one head, one variant, one seed), saving and loading.

    RUN/run.json                      what was asked for, and what all members share
    RUN/table.txt table.csv table.md  confusions.csv
    RUN/lock RUN/locks/             of the processes that work in it
    RUN/<variant>/seed-<n>/           variant: "default", an ablation's name, or "question_only",
                                      with - for what no file name should have: `member_path`
        config.json                   `MemberConfig`
        environment.json              machine and versions
        metrics.csv curves.png        per epoch
        model.safetensors             the best epoch's weights on validation
        predictions.json              of the test questions
        predictions.npz               all probabilities of their answers
        result.json                   `MemberResult`, with the digests of the files above; written
                                      last: a member with it is finished
        logs/                         what TensorBoard reads
        checkpoints/                  what `--resume` goes on from; of a finished member with
                                      `--keep-checkpoints` alone

``config.json`` and ``model.safetensors`` alone make the head again; nothing is unpickled.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from avqa import heads
from avqa.errors import ConfigError, RunDamaged
from avqa.heads import Head
from avqa.store.places.files import read_json, storage_errors, write_atomic, write_json
from avqa.training import digests, typed
from avqa.training.member import FORMAT as FORMAT
from avqa.training.member import MemberConfig as MemberConfig
from avqa.training.member import MemberResult as MemberResult
from avqa.training.tensor_files import read_tensors

RUN, CONFIG, MODEL, RESULT = "run.json", "config.json", "model.safetensors", "result.json"
PREDICTIONS, PROBABILITIES = "predictions.json", "predictions.npz"
CHECKPOINTS = "checkpoints"
DEFAULT, QUESTION_ONLY = "default", "question_only"


_GIVE_BACK = (
    "have it made again by the same `avqa train-head` command and --resume, or restore the file"
)


_ABOUT_TYPES = {
    **dict.fromkeys(("head", "dataset", "annotations", "store", "questions"), str),
    **dict.fromkeys(("variants", "members", "notes"), list[str]),
    **dict.fromkeys(("settings", "options"), dict[str, Any]),
    **dict.fromkeys(("same_as", "choices"), dict[str, str]),
    "seeds": int,
}
"""Of what `Run.about` holds."""


@dataclass(frozen=True)
class Member:
    """One trained head: a variant and a seed."""

    path: Path
    config: MemberConfig

    @classmethod
    def load(cls, path: Path) -> Member:
        """Read a member's ``config.json``.

        Raises:
            ConfigError: it is not there.
            RunDamaged: it is no such file, or is not there beside a ``result.json``.
        """
        if (path / RESULT).exists() and not (path / CONFIG).exists():
            raise RunDamaged(
                f"no {CONFIG} in {str(path)!r}; expected that of a finished member; {_GIVE_BACK}"
            )
        config = read_object(path / CONFIG, "a folder of `avqa train-head`")
        _refuse_later(path / CONFIG, config)
        try:
            return cls(path, MemberConfig.from_json(config))
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise _damaged(path / CONFIG, "as `avqa train-head` writes it", error) from error

    @property
    def name(self) -> str:
        """``default/seed-0``."""
        return f"{self.config.variant}/seed-{self.config.seed}"

    @property
    def label(self) -> str:
        """Of its variant in a table: the head's name, or the ablation's."""
        plain = self.config.variant in (DEFAULT, QUESTION_ONLY)
        return self.config.head if plain else self.config.variant

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
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise _damaged(self.path / RESULT, "as `avqa train-head` writes it", error) from error

    def check(self, *names: str) -> None:
        """Make sure that files of a finished member are those that training wrote.

        Args:
            names: of its files, beside ``config.json`` and ``result.json``; those of which
                training told no digest, as in runs of before, are taken as they are.

        Raises:
            RunDamaged: one is not, or is gone; names both digests.
            ConfigError: it is an imported one, which has no answers of its own.
        """
        result = self.result
        found = digests.of_json(read_object(self.path / CONFIG, "a finished member"))
        if result.config and found != result.config:
            raise self._another(CONFIG, found, result.config)
        for name in names:
            path, expected = self.path / name, result.files.get(name)
            if not path.is_file():
                if self.config.imported and name not in result.files:
                    raise ConfigError(
                        f"no {name} in {str(self.path)!r}; expected that of a member that was"
                        " tested when it was trained; this one is of `avqa import run`: let it"
                        " answer by `avqa evaluate`"
                    )
                raise RunDamaged(
                    f"no {name} in {str(self.path)!r}; expected that of a finished member;"
                    f" {_GIVE_BACK}"
                )
            if expected is not None and (found := digests.of_file(path)) != expected:
                raise self._another(name, found, expected)

    def _another(self, name: str, found: str, expected: str) -> RunDamaged:
        return RunDamaged(
            f"{str(self.path / name)!r} is not the file that training wrote:"
            f" sha256={found[:12]}; expected {expected[:12]}, as {RESULT} beside it says;"
            f" {_GIVE_BACK}"
        )

    def check_place(self, root: Path) -> None:
        """Make sure that the member lies where its run has it.

        Raises:
            RunDamaged: the folder is another member's.
        """
        own = member_path(root, self.config.variant, self.config.seed)
        if own != self.path:
            raise RunDamaged(
                f"{str(self.path / CONFIG)!r} is of variant={self.config.variant!r},"
                f" seed={self.config.seed}; expected {str(own.relative_to(root))!r} to hold it;"
                " give the folders back their names, or restore the file"
            )

    def load_head(self) -> Head:
        """The head with its weights, in eval mode, on the CPU.

        Raises:
            ConfigError: the options are of no head; the file is missing, is a pickle, or holds
                another head's weights or weights of other shapes.
            RunDamaged: it is damaged, or not the file that training wrote.
        """
        if self.finished:
            self.check(MODEL)
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

    def save_result(self, result: MemberResult, *, keep_checkpoints: bool = True) -> None:
        """Publish ``result.json`` with its digests; the member counts as finished then.

        Its checkpoints go after that, unless they are kept.
        """
        checkpoints = sorted(self.path.glob("checkpoints/*.ckpt")) if keep_checkpoints else []
        named = (MODEL, PREDICTIONS, PROBABILITIES)
        files = [*(self.path / name for name in named), *checkpoints]
        told = replace(
            result,
            config=digests.of_json(self.config.to_json()),
            files={str(p.relative_to(self.path)): digests.of_file(p) for p in files if p.exists()},
        )
        self.write(RESULT, digests.sealed(asdict(told)))
        self.drop_unnamed_checkpoints()

    def drop_unnamed_checkpoints(self) -> None:
        """Remove the checkpoints of a finished member whose ``result.json`` names none of them.

        A process that was killed after it wrote the result leaves them. Results of before name no
        files at all; theirs stay.
        """
        files = self.result.files
        if files and not any(name.startswith(f"{CHECKPOINTS}/") for name in files):
            shutil.rmtree(self.path / CHECKPOINTS, ignore_errors=True)

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
    """``run.json``: ``head``, ``dataset``, ``choices`` (the data set's own), ``annotations``,
    ``store``, ``variants``, ``same_as`` (ablation → the variant that has its options), ``seeds``
    (how many), ``members`` (folders of all that were asked for), ``settings``, ``options``,
    ``notes`` (what was found about the questions, one line each); empty for a member's folder
    that was copied elsewhere."""
    missing: tuple[str, ...] = ()
    """Members that were asked for and are not finished, as ``default/seed-1``."""

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """Open a run, or one member of it.

        Raises:
            ConfigError: ``path`` is neither, or nothing of it is finished.
        """
        path = Path(path).absolute()
        if (path / CONFIG).exists():
            root = path.parent.parent
            about = read_about(root, "a run") if (root / RUN).exists() else {}
            run = cls(path, _finished([path], root if about else None), about)
        else:
            about = read_about(path, "a folder of `avqa train-head`")
            order = [
                member_path(path, variant, seed)
                for variant in about.get("variants", [])
                for seed in range(about.get("seeds", 0))
            ]
            there = _finished(order, path)
            found = {member.path for member in there}
            missing = tuple(m for m in about.get("members", ()) if path / m not in found)
            run = cls(path, there, about, missing)
        if not run.members:
            raise ConfigError(
                f"run {str(path)!r}: nothing is trained to its end; expected a finished member;"
                " finish it with the same `avqa train-head` command and --resume"
            )
        return run

    def gaps(self) -> str | None:
        """A line that names the members that are missing, if any are."""
        if not self.missing:
            return None
        asked = len(self.missing) + len(self.members)
        return (
            f"run {str(self.path)!r}: {len(self.missing)} of {asked} members are not finished:"
            f" {', '.join(self.missing)}; expected all; finish them with the same `avqa train-head`"
            " command and --resume"
        )

    def of_variant(self, variant: str) -> tuple[Member, ...]:
        """Finished members of one variant, by seed."""
        return tuple(m for m in self.members if m.config.variant == variant)


def member_path(run: Path, variant: str, seed: int) -> Path:
    """Where a member lies; an ablation's name may hold slashes, spaces and brackets."""
    folder = re.sub(r"[^A-Za-z0-9._=+-]+", "-", variant).strip("-")
    return run / folder / f"seed-{seed}"


def _finished(paths: list[Path], root: Path | None) -> tuple[Member, ...]:
    """Those of the members that are finished, each where ``root`` has it and with its config."""
    members = [Member.load(path) for path in paths if (path / RESULT).exists()]
    for member in members:
        if root is not None:
            member.check_place(root)
        member.check()
    return tuple(members)


def save_about(root: Path, about: Mapping[str, Any]) -> None:
    """Publish ``run.json``."""
    with storage_errors(f"{str(root / RUN)!r}"):
        write_json(root / RUN, digests.sealed(about))


def refuse_lost(root: Path) -> None:
    """Refuse a folder with members and no ``run.json``.

    Raises:
        RunDamaged: it is one.
    """
    member = next(root.glob(f"*/seed-*/{CONFIG}"), None)
    if member is not None and not (root / RUN).exists():
        raise RunDamaged(
            f"no {RUN} in {str(root)!r}; expected that of the run whose members are there; restore"
            f" it, or evaluate and ask one member alone, such as {str(member.parent)!r}"
        )


def read_about(root: Path, expected: str) -> dict[str, Any]:
    """What `save_about` wrote; ``expected`` is what a folder without it is not.

    Raises:
        ConfigError: it is not there.
        RunDamaged: it is gone from a run, is no JSON object, or another than was written.
    """
    refuse_lost(root)
    about = read_object(root / RUN, expected)
    _refuse_later(root / RUN, about)
    try:
        about = digests.unsealed(about)
        typed.require(about, _ABOUT_TYPES)
    except (TypeError, ValueError) as error:
        raise _damaged(root / RUN, "as `avqa train-head` writes it", error) from error
    return about


_ENVIRONMENT: dict[str, Any] = {
    "python": str,
    "cores": int,
    "gpu": str | None,
    "packages": dict[str, str],
}


def read_environment(member: Path) -> dict[str, Any]:
    """A member's ``environment.json``.

    Raises:
        ConfigError, RunDamaged: it is gone, or is none.
    """
    path = member / "environment.json"
    value = read_object(path, "a finished member")
    try:
        typed.require(value, _ENVIRONMENT)
        if lacking := _ENVIRONMENT.keys() - value.keys():
            raise ValueError(f"it has no {', '.join(sorted(lacking))}")
    except (TypeError, ValueError) as error:
        raise _damaged(path, "as `avqa train-head` writes it", error) from error
    return value


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
        raise RunDamaged(
            f"no weights {str(path)!r}; expected those of a finished member; finish it with"
            " --resume"
        )
    try:
        state, metadata = read_tensors(path)
    except (SafetensorError, ValueError, OSError) as error:
        start = path.read_bytes()[:2]
        what = "is a pickle, which may run code, and is not read" if start in _PICKLES else error
        raise ConfigError(
            f"weights {str(path)!r}: {what}; expected a safetensors file as `avqa train-head`"
            " writes it; train again or take the right file"
        ) from error
    of_head = metadata.get("head")
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
    except (ValueError, OSError, RecursionError) as error:
        raise _damaged(path, "a JSON object", error) from error
    if not isinstance(value, dict):
        raise _damaged(path, "a JSON object", TypeError(type(value).__name__))
    return value


def _refuse_later(path: Path, value: Mapping[str, Any]) -> None:
    """Refuse a file that a later version of avqa wrote, whatever else it holds.

    Raises:
        ConfigError: it is one.
    """
    if isinstance(found := value.get("format", FORMAT), int) and found > FORMAT:
        raise ConfigError(
            f"{str(path)!r} has format={found}; expected {FORMAT} at most; it was written by"
            f" avqa {value.get('avqa_version', 'of a later version')}: use that one"
        )


def _damaged(path: Path, expected: str, error: Exception) -> RunDamaged:
    if path.name == RESULT:
        advice = f"remove it and {_GIVE_BACK}"
    else:
        advice = "restore the file, or train again in another --out"
    return RunDamaged(f"{str(path)!r} cannot be used: {error}; expected {expected}; {advice}")
