"""What a reproduction is asked for, and the file that says so to the next one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from avqa import datasets, heads
from avqa.errors import ConfigError, RunDamaged, UnknownName
from avqa.heads import HeadModule
from avqa.pipelines.cluster.slurm_config import ClusterConfig
from avqa.pipelines.extraction.array_job import Partition
from avqa.store.places.files import read_json, storage_errors, write_json
from avqa.training import digests, typed
from avqa.training.table.published import Scope, published_rows

ASKED = "reproduce.json"
FORMAT = 1
OURS = {"plan.json", "questions.json", "costs.json", "features", "runs"}
"""What a command that was killed early, or of which this file was removed, has left there."""
SAME = ("dataset", "questions", "weights", "settings")
"""What one folder has one value of; the rest may be added."""


ADDRESS = re.compile(r"[a-z0-9]+:/")
_ELSEWHERE = {
    "device": "use --device",
    "seed": "use --seeds",
    "split": "papers are of the data set's own splits; train others with `avqa train-head`",
}
"""Settings that are no choice here → what to do."""


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions:
    """What the user asks for."""

    videos: Path
    annotations: Path
    out: Path
    heads: tuple[str, ...] = ()
    """Empty: all whose papers report figures on the data set."""
    dataset: str = "music-avqa"
    seeds: int = 3
    ablations: bool = False
    """Also every row of the papers' ablation tables."""
    weights: str = "pretrained"
    device: str = "auto"
    assignments: Mapping[str, str] = field(default_factory=dict)
    """Setting or option of every head → value as text: a departure, which the pages name."""
    accept_missing: bool = False
    """Go on without videos that are absent or cannot be read."""
    slurm: ClusterConfig | None = None
    partition: Partition | None = None
    steal_lock: bool = False
    """Take over what a process elsewhere holds that gave no sign of life for ten minutes."""

    def check(self) -> None:
        """Refuse options that contradict each other or name what is not there.

        Raises:
            ConfigError, UnknownName: they do.
        """
        if self.slurm is not None and self.partition is not None:
            raise ConfigError(
                f"--partition {self.partition} with --scheduler slurm; expected one of them: the"
                " jobs get partitions of their own; leave one out"
            )
        for name, advice in _ELSEWHERE.items():
            if name in self.assignments:
                raise ConfigError(
                    f"--set {name}={self.assignments[name]}; expected a setting or option of the"
                    f" heads; {advice}"
                )
        if ADDRESS.match(str(self.out)):
            raise ConfigError(
                f"--out {str(self.out)!r} is an address; expected a folder of this machine; give"
                " another --out"
            )


_PATHS = {
    "videos": "the folder of the data set's videos",
    "annotations": "its question files",
    "out": "a folder for features, runs and pages",
}


def needed(option: str, value: Path | None) -> Path:
    """The path that an option gives.

    Raises:
        ConfigError: it was not given.
    """
    if value is None:
        raise ConfigError(f"no --{option}; expected {_PATHS[option]}; give it")
    return value


def refuse_beside(option: str, others: Mapping[str, object]) -> None:
    """Refuse what plays no role beside an option.

    Raises:
        ConfigError: names it.
    """
    if given := [name for name, value in others.items() if value]:
        raise ConfigError(
            f"{option} with {', '.join(given)}; expected it alone, since nothing is reproduced"
            " then; leave it out, or the others"
        )


def with_figures(dataset: str) -> tuple[str, ...]:
    """Heads whose papers report figures on a data set."""
    datasets.load(dataset)
    return tuple(name for name in heads.names() if _reports(heads.load(name), dataset))


def _reports(module: HeadModule, dataset: str) -> bool:
    scope = Scope(dataset, "", "test", official=True)
    return any(True for _ in published_rows(module.PAPER, scope))


def chosen(options: ReproduceOptions) -> tuple[str, ...]:
    """The heads to reproduce, each once.

    Raises:
        UnknownName: a name is of no head whose paper reports figures on the data set.
        ConfigError: no paper reports any.
    """
    known = with_figures(options.dataset)
    if not known:
        raise ConfigError(
            f"dataset={options.dataset}: no paper of avqa's heads reports figures on it; expected"
            " music-avqa, avqa or a variant of theirs; train with `avqa train-head`"
        )
    for name in options.heads:
        if name not in known:
            raise UnknownName(f"paper with figures on {options.dataset}", name, known)
    return tuple(dict.fromkeys(options.heads)) or known


def joined(options: ReproduceOptions, names: tuple[str, ...], questions: str) -> dict[str, Any]:
    """What is asked for now with what earlier commands asked for in the same folder.

    Args:
        options: of this command.
        names: of the heads.
        questions: digest of all questions, splits and answers.

    Raises:
        ConfigError: the folder holds something else, or was begun otherwise; says what differs.
        RunDamaged: its file is damaged.
    """
    now: dict[str, Any] = {
        "format": FORMAT,
        "dataset": options.dataset,
        "questions": questions,
        "weights": options.weights,
        "settings": dict(options.assignments),
        "accept_missing": options.accept_missing,
        "heads": list(names),
        "seeds": options.seeds,
        "ablations": options.ablations,
    }
    before = _before(options.out)
    if before is not None:
        _require_same(options.out, before, now)
        now["heads"] = list(dict.fromkeys([*before["heads"], *now["heads"]]))
        now["seeds"] = max(before["seeds"], now["seeds"])
        for flag in ("ablations", "accept_missing"):
            now[flag] = before[flag] or now[flag]
    return now


def write_asked(out: Path, asked: Mapping[str, Any]) -> None:
    """Publish what is asked for."""
    with storage_errors(f"{str(out / ASKED)!r}"):
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / ASKED, digests.sealed(asked))


def widened(options: ReproduceOptions, asked: Mapping[str, Any]) -> ReproduceOptions:
    """The options with what the folder's earlier commands asked for beyond them."""
    flags = {name: asked[name] for name in ("seeds", "ablations", "accept_missing")}
    return replace(options, **flags)


def _before(out: Path) -> dict[str, Any] | None:
    for place in (out, *out.absolute().parents):
        if place.exists() and not place.is_dir():
            raise ConfigError(
                f"--out {str(out)!r}: {str(place)!r} is a file; expected a folder; give another"
                " --out"
            )
    if (out / ASKED).exists():
        return read_asked(out)
    if out.is_dir() and {path.name for path in out.iterdir()} - OURS:
        raise ConfigError(
            f"folder {str(out)!r} is not empty and holds no {ASKED}; expected a new folder, or that"
            " of an `avqa reproduce`; give another --out"
        )
    return None


_TYPES: dict[str, Any] = {
    **dict.fromkeys(("dataset", "questions", "weights"), str),
    **dict.fromkeys(("accept_missing", "ablations"), bool),
    **dict.fromkeys(("seeds", "format"), int),
    "settings": dict[str, str],
    "heads": list[str],
}


def read_asked(out: Path) -> dict[str, Any]:
    """What `begin` wrote.

    Raises:
        ConfigError: it is not there, or of a later version.
        RunDamaged: it cannot be read, or another was written.
    """
    path = out / ASKED
    try:
        asked = digests.unsealed(_not_later(path, read_json(path)))
        typed.require(asked, _TYPES)
        if lacking := _TYPES.keys() - asked.keys():
            raise ValueError(f"it has no {', '.join(sorted(lacking))}")
    except FileNotFoundError as error:
        raise ConfigError(
            f"no {ASKED} in {str(out)!r}; expected a folder of `avqa reproduce`; check the path"
        ) from error
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise RunDamaged(
            f"{str(path)!r} cannot be used: {error}; expected what `avqa reproduce` writes; remove"
            " it and give the same command again: what is finished stays"
        ) from error
    return asked


def _not_later(path: Path, value: dict[str, Any]) -> dict[str, Any]:
    if isinstance(found := value.get("format", FORMAT), int) and found > FORMAT:
        raise ConfigError(
            f"{str(path)!r} has format={found}; expected {FORMAT} at most; it was written by a"
            " later version of avqa: use that one"
        )
    return value


def _require_same(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    differing = [
        f"{name}: {_shown(before[name])} there, {_shown(now[name])} now"
        for name in SAME
        if before[name] != now[name]
    ]
    if differing:
        raise ConfigError(
            f"--out {str(out)!r} is of another command: {'; '.join(differing)}; expected the same"
            " but for heads, --seeds, --ablations and --accept-missing; give another --out"
        )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{k}={v}" for k, v in value.items()) or "nothing"
    text = str(value)
    return text[:12] if len(text) == 64 else text
