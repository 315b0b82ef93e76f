"""Checkpoints of one fit: what is in them, who may go on from them, how they are written and read.

``last.ckpt`` is the state after the last finished epoch (weights, those of bias learners too, Adam,
schedule, under the names that Lightning has for them) with the history of all epochs and the
identity of the fit; ``best-N.ckpt`` holds the head's weights of epoch N. The best one is published
before the last one that speaks of it, and an older one is removed after: whenever the process is
killed, ``last.ckpt`` and the file it names are both there.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import LRScheduler

from avqa.errors import RunDamaged
from avqa.heads import Head, HeadOptions, options_before
from avqa.store.places.files import storage_errors, write_atomic
from avqa.training import digests
from avqa.training.data.questions import QuestionSet
from avqa.training.fitting.history import Row, best_epoch
from avqa.training.settings import LATER, TrainSettings

KEY = "avqa"
"""Where history and identity stand."""
_SCALER = "MixedPrecision"
"""Where fp16's loss scale stands."""
_WITHOUT_EFFECT = {"device", "workers"}
_DIGEST = "digest"
"""Beside them: SHA-256 of all else, since torch does not look at the checksums of its files."""


def identity(
    head: Head, train: QuestionSet, val: QuestionSet, settings: TrainSettings, seed: int
) -> dict[str, str]:
    """Everything that the weights of an epoch follow from, as name → value in words."""
    chosen = {k: v for k, v in asdict(settings).items() if k not in _WITHOUT_EFFECT}
    chosen["batches"] = settings.order  # nobody goes on by what was not decided
    for name, before in LATER.items():  # checkpoints of before have no such setting
        if chosen[name] == before:
            del chosen[name]
    options = asdict(head.options)
    for name, before in options_before(type(head.options)).items():
        if options[name] == before:
            del options[name]
    facts = {"head": head.name, "seed": seed}
    facts |= chosen | options
    facts |= {"training questions": _digest(train), "validation questions": _digest(val)}
    return {name: str(value) for name, value in facts.items()}


def _digest(questions: QuestionSet) -> str:
    keys = "".join(question.key for question in questions.questions)
    return f"{len(questions.questions)} ({hashlib.sha256(keys.encode()).hexdigest()[:12]})"


def save(state: Mapping[str, Any], path: Path) -> None:
    """Publish a checkpoint: a reader sees all of it or the old one.

    Raises:
        StorageFailure: disk full, read-only.
    """
    buffer = io.BytesIO()
    if KEY in state:
        state = {**state, KEY: {**state[KEY], _DIGEST: digests.of_state(state)}}
    torch.save(state, buffer)
    with storage_errors(str(path)):
        write_atomic(path, buffer.getvalue())


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint, without running anything that is in it.

    Raises:
        RunDamaged: it holds more than tensors and plain values, or is damaged, or is none of ours.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch thinks of the file, it then refuses
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise RunDamaged(
            f"checkpoint {path} holds more than tensors and plain values, or is no checkpoint;"
            f" expected one that this command wrote, nothing in it was run; {_anew(path)}"
        ) from error
    except Exception as error:  # torch raises nearly anything about a torn file
        raise RunDamaged(
            f"checkpoint {path} cannot be read ({type(error).__name__}); expected a whole file;"
            f" {_anew(path)}"
        ) from error
    if not isinstance(state, dict) or not isinstance(state.get(KEY), dict):
        raise RunDamaged(
            f"checkpoint {path} has no {KEY!r} entry; expected one that this command wrote;"
            f" {_anew(path)}"
        )
    told = state[KEY].pop(_DIGEST, None)  # there is none in files of before
    if told is not None and digests.of_state(state) != told:
        raise RunDamaged(
            f"checkpoint {path} is damaged: its content is not that of its digest; expected what"
            f" training wrote; {_anew(path)}"
        )
    return state


def _anew(path: Path) -> str:
    """What to do about a checkpoint that cannot be used."""
    member = path.parent.parent
    return (
        f"restore it, or remove the folder {str(member)!r} and run the same command with --resume,"
        " which trains it anew"
    )


@dataclass(frozen=True)
class TrainState:
    """What the next epoch follows from."""

    trained: nn.Module
    """Names of its weights begin with ``head.`` or ``bias.``."""
    adam: Adam
    schedule: LRScheduler
    precision: Any
    """Fabric's; has a state in fp16 only, the scale of the loss."""


class Checkpoints:
    """The checkpoint folder of one fit."""

    def __init__(
        self, folder: Path, identity: Mapping[str, str], options: type[HeadOptions] = HeadOptions
    ) -> None:
        """Nothing is read or written before `begin` or `clear`; ``options`` are the head's."""
        self.folder = folder
        self._then = LATER | options_before(options)  # of what checkpoints of before have not
        self.last = folder / "last.ckpt"
        self._identity = dict(identity)

    def clear(self) -> None:
        """Remove all checkpoints."""
        self._remove("*.ckpt")
        self._remove("*.partial")

    def begin(self, trained: nn.Module) -> list[Row]:
        """History of the epochs that need not be trained again; empty without a checkpoint.

        Raises:
            RunDamaged: the checkpoint is none of ours, or of another head, options, settings,
                seed or questions.
        """
        self._remove("*.partial")  # a process killed while writing leaves one
        if not self.last.exists():
            return []
        state = load(self.last)
        self._check_identity(self.last, state[KEY])
        self._check_shapes(state.get("state_dict"), trained)
        history = list(state[KEY]["history"])
        self.load_best(history)  # a missing one shows now, not after the last epoch
        return history

    def history(self) -> list[Row]:
        """Rows of the epochs that are kept.

        Raises:
            RunDamaged: the checkpoint cannot be read.
        """
        return list(load(self.last)[KEY]["history"]) if self.last.exists() else []

    def _check_identity(self, path: Path, ours: Mapping[str, Any]) -> None:
        found = ours.get("identity", {})
        for name in dict.fromkeys((*self._identity, *found)):
            absent = str(self._then.get(name, "none"))
            was, now = found.get(name, absent), self._identity.get(name, absent)
            if was != now:
                raise RunDamaged(
                    f"checkpoint {path} was made with {name}={was}; expected {name}={now};"
                    f" resume with what it was made with, {_anew(path)}"
                )

    def _check_shapes(self, weights: Any, trained: nn.Module) -> None:
        expected = {name: tensor.shape for name, tensor in trained.state_dict().items()}
        if {name: tensor.shape for name, tensor in (weights or {}).items()} != expected:
            raise RunDamaged(
                f"checkpoint {self.last} has other weights than this head; expected those of"
                f" {self._identity['head']}; {_anew(self.last)}"
            )

    def _note(self, history: Sequence[Row]) -> dict[str, Any]:
        return {"identity": self._identity, "history": list(history)}

    def load_last(self, state: TrainState) -> None:
        """Go on from the last finished epoch.

        Raises:
            RunDamaged: the checkpoint cannot be read.
        """
        found = load(self.last)
        state.trained.load_state_dict(found["state_dict"])
        state.adam.load_state_dict(found["optimizer_states"][0])
        state.schedule.load_state_dict(found["lr_schedulers"][0])
        state.precision.load_state_dict(found.get(_SCALER, {}))

    def save_last(self, state: TrainState, history: Sequence[Row]) -> None:
        """Publish the state after the newest epoch.

        Raises:
            StorageFailure: disk full, read-only.
        """
        scaler = state.precision.state_dict()
        found = {
            "state_dict": state.trained.state_dict(),
            "optimizer_states": [state.adam.state_dict()],
            "lr_schedulers": [state.schedule.state_dict()],
            KEY: self._note(history),
        }
        save(found | ({_SCALER: scaler} if scaler else {}), self.last)

    def save_best(self, head: Head, history: Sequence[Row]) -> None:
        """Publish the weights of the newest epoch."""
        with storage_errors(str(self.folder)):
            self.folder.mkdir(exist_ok=True)
        state = {"state_dict": head.state_dict(), KEY: self._note(history)}
        save(state, self._best(int(history[-1]["epoch"])))

    def load_best(self, history: Sequence[Row]) -> dict[str, Tensor]:
        """Weights of the best epoch, on the CPU.

        Raises:
            RunDamaged: they are not there, cannot be read, or are of another fit or epoch.
        """
        best = best_epoch(history)
        path = self._best(best)
        state = load(path)
        self._check_identity(path, state[KEY])
        if digests.of_state(state[KEY].get("history")) != digests.of_state(history[:best]):
            raise RunDamaged(
                f"checkpoint {path} is of another training than {self.last.name} beside it;"
                f" expected the weights of epoch {best}; {_anew(path)}"
            )
        weights: dict[str, Tensor] = state["state_dict"]
        return weights

    def drop_older(self, history: Sequence[Row]) -> None:
        """Remove the weights of epochs that are no longer the best."""
        keep = self._best(best_epoch(history))
        for path in self.folder.glob("best-*.ckpt"):
            if path != keep:
                path.unlink()

    def _best(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch}.ckpt"

    def _remove(self, pattern: str) -> None:
        for path in self.folder.glob(pattern):
            path.unlink()
