"""The folder of a training run: begun by one process, gone on with by any number of them."""

from __future__ import annotations

import errno
import fcntl
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

from avqa import datasets, heads
from avqa.caches import is_unfinished
from avqa.errors import ConfigError, StoreLocked
from avqa.pipelines.extraction.array_job import Partition
from avqa.pipelines.train.members import LOCKS, is_held
from avqa.pipelines.train.replacing import emptied
from avqa.store.format.recipe_diff import diff_recorded, require_same
from avqa.store.lock import LOCK as OWN_LOCK
from avqa.store.lock import STEAL_AFTER_SECONDS, Lock, heartbeat_age, read_holder
from avqa.store.places.files import storage_errors, store_path
from avqa.training.run import (
    CONFIG,
    QUESTION_ONLY,
    RESULT,
    RUN,
    Member,
    MemberConfig,
    read_about,
    refuse_lost,
    save_about,
)
from avqa.training.settings import LATER, of_dataset, of_paper

LOCK = "lock"
PATIENCE_SECONDS = 600.0
"""With a process that begins or sums up the run: mostly seconds."""
LOOK_SECONDS = 0.2
_NO_FLOCK = frozenset(
    {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.EREMOTE}
)
"""Of flock where there is none: Lustre without ``-o flock``, NFS without its lock service."""
_OF_LOCKS = {LOCK, OWN_LOCK, LOCKS, "runs"}
"""Names that locks leave in the folder."""
MAY_DIFFER = ("device", "workers")
"""Settings that a resumed run may have otherwise: they do not change what is trained."""


def begin(
    out: Path,
    now: Mapping[str, Any],
    *,
    resume: bool = False,
    overwrite: bool = False,
    partition: Partition | None = None,
    left_open: Sequence[str] = (),
) -> dict[str, Any]:
    """Begin a run in its folder, or go on with the one that is there; gives its ``run.json``.

    Other processes may work in it at the same time: ``run.json`` is written by the first one, and
    again only where members are added or ``overwrite`` is set.

    Args:
        out: the folder.
        now: what this process would write.
        resume: go on with a run that is there.
        overwrite: replace it.
        partition: of the members, for this process.
        left_open: settings that are the run's where there is one, whatever ``now`` has.

    Raises:
        ConfigError: it holds a run and none of the three is set, another run, or something else.
        RunDamaged: its ``run.json`` is damaged or gone.
        StorageFailure: it cannot be made.
    """
    with alone(out):
        before = _run_there(out)
        if before is not None and not (resume or overwrite or partition) and nothing_is_kept(out):
            before = None  # it diverged, or was stopped, in its first epoch: begun anew
        if before is None:
            save_about(out, now)
            return dict(now)
        if overwrite:
            with emptied(out, before):
                save_about(out, now)
            return dict(now)
        if not (resume or partition):
            raise ConfigError(
                f"out={str(out)!r} holds a run; expected an empty folder; go on with it by"
                " --resume, replace it by --overwrite, or choose another --out"
            )
        about = continued(out, before, _following(before, now, left_open))
        if partition is not None:
            _require_members(out, before, now, partition, resume=resume)
            if about["members"] == before.get("members"):
                return before
        if _facts(about) != _facts(before):
            save_about(out, about)
        return about


def _following(
    before: Mapping[str, Any], now: Mapping[str, Any], names: Sequence[str]
) -> dict[str, Any]:
    """``now`` with these settings as the run has them."""
    were = LATER | before["settings"]
    return {**now, "settings": now["settings"] | {name: were[name] for name in names}}


def defaults_then(out: Path, head: str) -> dict[str, Any]:
    """What the run in a folder has by the defaults of an earlier version, as it has it.

    Among them what a head takes otherwise on a data set, which earlier versions did not.

    Raises:
        RunDamaged: its ``run.json`` is damaged or gone.
    """
    about = _run_there(out) if out.is_dir() else None
    if about is None or about["head"] != head:
        return {}
    module = heads.load(head)
    kind = module.Options
    its = heads.options_before(kind) | about["options"] | LATER | about["settings"]
    usual = of_paper(module) | {f.name: f.default for f in fields(kind)}
    then = {name: usual[name] for name in of_dataset(module, about["dataset"])}
    then |= heads.defaults_before(kind)
    if "dub" not in about["settings"]:
        then["dub"] = LATER["dub"]
    return {name: old for name, old in then.items() if its[name] == old}


def nothing_is_kept(out: Path) -> bool:
    """Whether no member of a run has finished an epoch, and none is being trained."""
    members = [path.parent for path in out.glob(f"*/seed-*/{CONFIG}")]
    taken = [out / lock.parent.name / lock.name for lock in (out / LOCKS).glob("*/seed-*")]
    return not any(map(is_held, taken)) and not any(
        (member / RESULT).exists() or any(member.glob("checkpoints/*.ckpt")) for member in members
    )


def require_still(out: Path, about: Mapping[str, Any]) -> None:
    """Make sure that the run was not replaced by another one meanwhile.

    Raises:
        ConfigError: names what differs.
        RunDamaged: it is gone.
    """
    _require_same(out, read_about(out, "a run"), about)


def _facts(about: Mapping[str, Any]) -> dict[str, Any]:
    """All but how it was typed."""
    return {name: value for name, value in about.items() if name != "command"}


def _run_there(out: Path) -> dict[str, Any] | None:
    is_run = (out / RUN).is_file()
    refuse_lost(out)
    # A kill at the first file leaves it unfinished.
    ours = {p.name for p in out.glob("*.partial") if is_unfinished(p.name)}
    if not is_run and (strange := sorted({p.name for p in out.iterdir()} - _OF_LOCKS - ours)):
        raise ConfigError(
            f"out={str(out)!r} holds {strange[0]!r} and no {RUN}; expected an empty folder or"
            " a run; choose another --out"
        )
    return read_about(out, "a run") if is_run else None


def _require_members(
    out: Path,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    partition: Partition,
    *,
    resume: bool,
) -> None:
    """Tasks divide one list of members among them: all must have the same."""
    old, new = before.get("members", now["members"]), now["members"]
    left = [name for name in old if name not in new]
    added = [] if resume else [name for name in new if name not in old]
    if left or added:
        differ = [
            f"{what} {', '.join(names)}"
            for what, names in (("not asked for here:", left), ("not in the run:", added))
            if names
        ]
        raise ConfigError(
            f"--partition {partition} {str(out)!r}: {'; '.join(differ)}; expected the members that"
            " the run began with; give every task the same --ablation and --seeds, or --resume"
            " to add some"
        )
    begun = [name for name in partition.share(new) if (out / name / CONFIG).exists()]
    if begun and not resume:
        raise ConfigError(
            f"--partition {partition} {str(out)!r}: {begun[0]} was begun before; expected none of"
            " this task's; go on with them by --resume, or choose another --out"
        )


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Begin, replace or sum up the run in this folder alone; waits while another process does.

    Raises:
        ConfigError: it is a file, or another process takes too long.
        StorageFailure: it cannot be made.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"out={str(out)!r} is a file; expected a folder; choose another --out")
    with storage_errors(f"{str(out)!r}"):
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / LOCK).open("w", encoding="utf-8")
    with lock, ExitStack() as held:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (taken := _taken(lock, out)) is None:
            if time.monotonic() > deadline:
                raise _in_use(out)
            time.sleep(LOOK_SECONDS)
        held.enter_context(taken)
        yield


def _taken(lock: IO[str], out: Path) -> AbstractContextManager[object] | None:
    """What holds the folder now; None if another process does."""
    with storage_errors(f"{str(out)!r}"):
        try:
            # Given back by the system when this process ends, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
            return _own_lock(out)
        # The folder may be mounted otherwise where another process works in it.
        return nullcontext() if _is_free(out) else None


def _is_free(out: Path) -> bool:
    holder = read_holder(store_path(out))
    return (
        holder is None
        or holder.is_gone()
        or heartbeat_age(store_path(out) / OWN_LOCK) > STEAL_AFTER_SECONDS
    )


def _own_lock(out: Path) -> Lock | None:
    """The lock that stores have: a file of its own."""
    try:
        return Lock.acquire(store_path(out), uuid.uuid4().hex, steal=True)
    except StoreLocked:
        return None


def _in_use(out: Path) -> ConfigError:
    holder = read_holder(store_path(out))
    who = f" (host={holder.host}, pid={holder.pid}, since {holder.started})" if holder else ""
    return ConfigError(
        f"out={str(out)!r}: another process{who} has held its lock for"
        f" {PATIENCE_SECONDS:.0f} s; expected moments; end it if it hangs, or, if it is known to be"
        f" dead, remove {str(out / OWN_LOCK)!r}"
    )


def continued(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """``run.json`` of a resumed run: that of now, with the variants and seeds of before too.

    Raises:
        ConfigError: names what differs otherwise.
    """
    if absent := sorted(now.keys() - before.keys() - {"members", "format", "choices"}):
        raise ConfigError(
            f"{str(out / RUN)!r} has no {', '.join(absent)}; expected a file of this version of"
            " avqa; choose another --out"
        )
    _refuse_imported(out, before)
    _require_same(out, before, now)
    return {
        **now,
        "variants": _in_order([*before["variants"], *now["variants"]]),
        "same_as": before["same_as"] | now["same_as"],
        "seeds": max(before["seeds"], now["seeds"]),
        # Runs of before do not tell.
        "members": [*dict.fromkeys([*before.get("members", ()), *now["members"]])],
    }


def _refuse_imported(out: Path, before: Mapping[str, Any]) -> None:
    if before.get("imported"):
        raise ConfigError(
            f"{str(out)!r} is a run of `avqa import run`; expected one that was begun by training;"
            " choose another --out"
        )


def _in_order(variants: Sequence[str]) -> list[str]:
    """Each once; ``question_only`` last."""
    return sorted(dict.fromkeys(variants), key=lambda name: name == QUESTION_ONLY)


def _require_same(out: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    differ = []
    for part in ("head", "dataset", "grounding"):
        if before[part] != now[part]:
            differ.append(f"{part} (run: {before[part]}, now: {now[part]})")
    differ += _other_choices(before, now)
    if before["questions"] != now["questions"]:
        differ.append("questions (other files, answers or videos)")
    for part in ("settings", "options"):
        old, new = before[part], now[part]
        if part == "settings":  # runs of before have not every setting
            old = LATER | old
        elif before["head"] in heads.names():
            then = heads.options_before(heads.load(before["head"]).Options)
            old, new = then | old, then | new
        differ += [
            f"{key} (run: {old.get(key)}, now: {new.get(key)})"
            for key in dict.fromkeys((*old, *new))
            if old.get(key) != new.get(key) and key not in MAY_DIFFER
        ]
    if differ:
        anew = "leave --resume out: no epoch is kept" if nothing_is_kept(out) else ""
        raise ConfigError(
            f"--resume {str(out)!r}: {', '.join(differ)}; expected what the run began with; give"
            f" the same settings, or {anew or 'choose another --out'}"
        )


def _other_choices(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Of one data set; runs of before had its defaults."""
    old, new = before.get("choices", {}), now.get("choices", {})
    if before["dataset"] != now["dataset"] or old == new:
        return []
    old = datasets.chosen(now["dataset"], old)
    return [f"{k} (run: {old[k]}, now: {new[k]})" for k in new if old[k] != new[k]]


def require_vocabulary(before: Member, now: MemberConfig) -> None:
    """Refuse to go on with another vocabulary: version 0.1 had MUSIC-AVQA's for every data set.

    Raises:
        ConfigError: it is another.
    """
    if before.config.vocabulary != now.vocabulary:
        old, new = before.config.words, now.words
        raise ConfigError(
            f"--resume {str(before.path)!r}: vocabulary (run: {len(old.answers)} answers,"
            f" {len(old.words)} words, now: {len(new.answers)} answers, {len(new.words)} words);"
            " expected what the run began with; choose another --out"
        )


def require_recipes(before: Member, now: MemberConfig) -> None:
    """Refuse to go on with features of another recipe.

    Raises:
        RecipeMismatch: names every differing key with both values, and its features.
    """
    old, new = (
        {entry.get("name", key): entry for key, entry in {**of.features, **of.texts}.items()}
        for of in (before.config, now)
    )
    require_same(
        f"{str(before.path)!r} and store {now.store!r}",
        diff_recorded(old, new),
        "give the store of before, or choose another --out",
        sides=("run", "store"),
    )
