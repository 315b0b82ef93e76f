"""A published checkpoint's tensors as those of our head, by the head's ``PAPER.released``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from avqa import heads
from avqa.errors import ConfigError, UnknownName
from avqa.heads import Head, Released

_SHOWN = 3


@dataclass(frozen=True)
class Converted:
    """What a head takes of a checkpoint."""

    state: dict[str, Tensor]
    """Our names, in float32."""
    left_out: Mapping[str, int]
    """Their modules that are no part of the head → tensors."""


def released(head: str) -> Released:
    """How a head's published checkpoint is read.

    Raises:
        UnknownName: there is no such head, or nothing is known of its checkpoint.
    """
    known = heads.load(head).PAPER.released
    if known is None:
        raise UnknownName("head with a published checkpoint", head, _with_one())
    return known


def _with_one() -> list[str]:
    return [name for name in heads.names() if heads.load(name).PAPER.released is not None]


def convert(
    path: Path,
    theirs: Mapping[str, Tensor],
    head: Head,
    dataset: str,
    answers: Sequence[str],
) -> Converted:
    """Their tensors under our names, the answers' rows in our order.

    Args:
        path: of the checkpoint, for messages.
        theirs: its tensors.
        head: ours, of the shapes that are expected.
        dataset: whose answers the rows are, a key of ``PAPER.released.answers``.
        answers: of our vocabulary.

    Raises:
        ConfigError: names or shapes do not fit; names the first that does not.
    """
    known = released(head.name)
    left_out = {module: _under(module, theirs) for module in known.left_out}
    frozen = {name for names in left_out.values() for name in names}
    given = {name: tensor for name, tensor in theirs.items() if name not in frozen}
    own: dict[str, Tensor] = head.state_dict()
    sources = {name: _their_names(head, known, name) for name in own}
    _require_names(path, given, [name for names in sources.values() for name in names], head)
    state = {}
    for name, names in sources.items():
        _require_shapes(path, given, names, own[name], head)
        state[name] = torch.cat([given[part].float() for part in names])
    order = known.answers[dataset]
    rows = torch.tensor([order.index(answer) for answer in answers])
    for name in _under(known.answer, state):
        state[name] = state[name][rows]
    return Converted(state, {module: len(names) for module, names in left_out.items() if names})


def _under(module: str, state: Mapping[str, Tensor]) -> list[str]:
    return [name for name in state if name.startswith(f"{module}.")]


def _their_names(head: Head, known: Released, name: str) -> list[str]:
    """Of the tensors that ours is made of, one below the other.

    Raises:
        ConfigError: the published network has no such module.
    """
    for ours, theirs in known.modules.items():
        found = re.fullmatch(rf"{re.escape(ours)}\.(.+)".replace(r"\*", r"(\d+)"), name)
        if found is None:
            continue
        *number, tail = found.groups()
        if number or "*" not in theirs:
            return [f"{theirs.replace('*', ''.join(number))}.{tail}"]
        count = getattr(head.options, known.counted)
        return [f"{theirs.replace('*', str(n))}.{tail}" for n in range(count)]
    raise ConfigError(
        f"head {head.name} has {name} with these options, and its published network has nothing"
        " like it; expected the options of that one; leave out the --set that makes it"
    )


def _require_names(
    path: Path, given: Mapping[str, Tensor], expected: Sequence[str], head: Head
) -> None:
    missing = sorted({*expected} - given.keys())
    extra = sorted(given.keys() - {*expected})
    if not missing and not extra:
        return
    count = getattr(head.options, released(head.name).counted)
    own = f"{head.name} with {released(head.name).counted}={count}"
    if len(missing) == len({*expected}):
        raise ConfigError(
            f"checkpoint {str(path)!r} has {_some(extra)}, and none of the"
            f" {len(missing)} names of {own}; expected those, such as {missing[0]};"
            f" {_nearest(given, head.name)}"
        )
    parts = [f"lacks {_some(missing)}"] * bool(missing) + [f"also has {_some(extra)}"] * bool(extra)
    raise ConfigError(
        f"checkpoint {str(path)!r} {' and '.join(parts)}; expected the names of {own}; give the"
        " options that it was trained with by --set, or take the whole file"
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _nearest(given: Mapping[str, Tensor], asked: str) -> str:
    """Of which head the names are, if of any."""

    def fits(head: str) -> int:
        modules = released(head).modules.values()
        patterns = [re.escape(m).replace(r"\*", r"\d+") + r"\..+" for m in modules]
        return sum(any(re.fullmatch(p, name) for p in patterns) for name in given)

    others = [name for name in _with_one() if name != asked and fits(name)]
    if not others:
        return "take the published checkpoint of this head"
    return f"it has names of {max(others, key=fits)}: give that as --head"


def _require_shapes(
    path: Path, given: Mapping[str, Tensor], names: Sequence[str], own: Tensor, head: Head
) -> None:
    rows, *rest = own.shape
    expected = (rows // len(names), *rest)
    for name in names:
        tensor = given[name]
        if tensor.shape != expected:
            raise ConfigError(
                f"checkpoint {str(path)!r}: {name} is {tuple(tensor.shape)}; expected {expected},"
                f" as head {head.name} has it with these options and this store; give the options"
                " that it was trained with by --set, or the store of the features it was trained on"
            )
        if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
            what = str(tensor.dtype).removeprefix("torch.")
            what = "not finite everywhere" if tensor.is_floating_point() else what
            raise ConfigError(
                f"checkpoint {str(path)!r}: {name} is {what}; expected finite numbers of floating"
                " point; take the published file as it is"
            )
