"""What of a finished member is damaged or gone, and what it is made again from.

Answers come from the weights, weights from the best checkpoint where checkpoints were kept, else
from training anew, ``config.json`` from the command that is given again, where ``result.json``
vouches for it. A configuration that nothing vouches for is refused.
"""

from __future__ import annotations

from avqa.errors import ConfigError, RunDamaged
from avqa.heads import Head
from avqa.store.places.files import storage_errors
from avqa.training import digests
from avqa.training.fitting.fit import FitResult
from avqa.training.run import (
    CHECKPOINTS,
    MODEL,
    PREDICTIONS,
    PROBABILITIES,
    RESULT,
    Member,
    MemberResult,
)


def mend_config(member: Member) -> str | None:
    """Write ``config.json`` again where it is not what it was; a line that says so.

    Args:
        member: with the config of this command.

    Raises:
        RunDamaged: nothing tells that this command's is the same.
    """
    if not member.finished:
        return None
    result = _result(member)
    try:
        there = Member.load(member.path)
        there.check_place(member.path.parents[1])
        if result is not None:
            there.check()
    except RunDamaged as error:
        lost = _what(str(error))
    else:
        return None
    if result is None or result.config != digests.of_json(member.config.to_json()):
        raise RunDamaged(f"{lost}; expected what training wrote; {_anew(member)}")
    member.save_config()
    return f"{lost}; written again from this command, whose digest {RESULT} tells"


def what_is_lost(member: Member) -> str | None:
    """A line that names what of a finished member is made again; None if it is whole.

    Raises:
        RunDamaged: a checkpoint is another's.
    """
    result = _result(member)
    for name in result.files if result else ():
        if name.startswith(f"{CHECKPOINTS}/") and (member.path / name).exists():
            _check_checkpoint(member, name)
    # Members of before have no probabilities beside their answers.
    told = [PROBABILITIES] if result is not None and PROBABILITIES in result.files else []
    try:
        member.check(MODEL, PREDICTIONS, *told)
    except RunDamaged as error:
        how = (
            "trained anew, since nothing is left to make it from"
            if _is_lost(member)
            else "made again"
        )
        return f"{_what(str(error))}; {how}"
    return None


def _check_checkpoint(member: Member, name: str) -> None:
    try:
        member.check(name)
    except RunDamaged as error:
        raise RunDamaged(
            f"{_what(str(error))}; expected the file that {RESULT} names; restore it, or remove it:"
            " a finished member does without"
        ) from error


def kept_fit(member: Member, head: Head) -> FitResult | None:
    """How a member's training ended, and its weights into the head, if both are whole.

    None where it is still to be trained, or to be made again from its checkpoints, or anew: then
    it counts as finished no longer.
    """
    if not member.finished:
        return None
    if _is_lost(member):
        with storage_errors(repr(str(member.path))):
            (member.path / RESULT).unlink()
        return None
    result, trained = _result(member), _trained(member)
    if result is None or trained is None:
        return None
    head.load_state_dict(trained.state_dict())
    head.eval()
    return FitResult(**{name: getattr(result, name) for name in FitResult.__dataclass_fields__})


def _is_lost(member: Member) -> bool:
    """Whether there is nothing to make a finished member again from."""
    if (member.path / CHECKPOINTS / "last.ckpt").exists():
        return False
    return _result(member) is None or _trained(member) is None


def _trained(member: Member) -> Head | None:
    """A finished member's head; None if its weights are damaged or gone."""
    try:
        return member.load_head()
    except ConfigError as error:
        _refuse_unread(error)
        return None


def _result(member: Member) -> MemberResult | None:
    try:
        return member.result
    except RunDamaged as error:
        _refuse_unread(error)
        return None


def _refuse_unread(error: ConfigError) -> None:
    """What the machine cannot read now may be whole: it is not made again for that."""
    if isinstance(error.__cause__, OSError):
        raise error


def _what(message: str) -> str:
    """The beginning of a message: what is wrong."""
    return message.partition(";")[0]


def _anew(member: Member) -> str:
    return (
        f"restore the file, or remove the folder {str(member.path)!r} and run the same command with"
        " --resume, which trains it anew"
    )
