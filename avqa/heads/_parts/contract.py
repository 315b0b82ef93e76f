"""What the file of a head defines: `HeadModule`, and what may be wrong with one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from types import NoneType
from typing import Any, Literal, Protocol, get_args, get_origin, get_type_hints

from avqa.heads._parts.head import VIDEO_FEATURES
from avqa.heads._parts.head import Head as BaseHead
from avqa.heads._parts.options import HeadOptions
from avqa.heads._parts.paper import Ablation, OfDataset, Paper, Recipe
from avqa.heads._parts.projected import PROJECTED


class HeadModule(Protocol):
    """What the file of a head defines.

    It may also define ``thop_parameters(head) -> int``: parameters as its paper's counter counts
    them, printed beside ours.
    """

    PAPER: Paper
    """Title, venue, training recipe, published figures and what is wrong with them."""
    ABLATIONS: dict[str, Ablation]
    """The options of every ablation row that the paper reports."""

    @property
    def Options(self) -> type[HeadOptions]:
        """Frozen dataclass of the paper's choices and values, each with a default."""

    @property
    def Head(self) -> type[BaseHead]:
        """The network, built from one ``Options``."""


def complaints(module: HeadModule) -> Iterator[str]:
    """What is wrong with a module that defines everything."""
    if not isinstance(module.PAPER, Paper):
        yield f"PAPER is a {type(module.PAPER).__name__}; expected an avqa.heads.Paper"
    if not issubclass(module.Head, BaseHead):
        yield f"Head has bases {_bases(module.Head)}; expected avqa.heads.Head"
    else:
        yield from _of_features(module.Head.FEATURES)
        yield from _of_projections(module.Head.PROJECTIONS)
    if not issubclass(module.Options, HeadOptions):
        yield f"Options has bases {_bases(module.Options)}; expected avqa.heads.HeadOptions"
        return
    problems = [*_of_options(module.Options)]
    yield from problems or [*_of_ablations(module), *_of_datasets(module)]


def _bases(found: type) -> str:
    return ", ".join(base.__name__ for base in found.__bases__)


def _of_features(features: tuple[str, ...]) -> Iterator[str]:
    unknown = [name for name in features if name not in VIDEO_FEATURES]
    if unknown:
        known = ", ".join(VIDEO_FEATURES)
        yield f"Head.FEATURES has {', '.join(unknown)}; expected some of {known}"


def _of_projections(projections: Any) -> Iterator[str]:
    is_map = isinstance(projections, Mapping)
    if not is_map or not all(isinstance(name, str) for name in projections.values()):
        yield "Head.PROJECTIONS is no mapping of q, a, v to names; expected {'q': 'question'} or so"
    elif unknown := [str(kind) for kind in projections if kind not in PROJECTED]:
        known = ", ".join(PROJECTED)
        yield f"Head.PROJECTIONS has {', '.join(unknown)}; expected some of {known}"


def _of_options(options: type[HeadOptions]) -> Iterator[str]:
    params: Any = vars(options).get("__dataclass_params__")
    if params is None or not params.frozen:
        yield "Options is no dataclass of its own; expected @dataclass(frozen=True, kw_only=True)"
        return
    for name, hint in get_type_hints(options).items():
        kinds = [kind for kind in get_args(hint) or (hint,) if kind is not NoneType]
        if get_origin(hint) is not Literal and not (len(kinds) == 1 and kinds[0] in _VALUES):
            yield f"Options.{name} is a {hint}; expected int, float, bool or Literal, or None too"
        elif name in _TRAINING:
            yield f"Options.{name} has the name of a training setting; expected another name"
    try:
        options()
    except (TypeError, ValueError) as error:
        yield f"Options() fails: {error}; expected a default for each that fits the others"


def _of_datasets(module: HeadModule) -> Iterator[str]:
    known = {field.name for field in fields(module.Options)}
    for name, entry in getattr(module.PAPER, "datasets", {}).items():
        if not isinstance(entry, OfDataset):
            yield f"PAPER.datasets[{name!r}] is a {type(entry).__name__}; expected an OfDataset"
            continue
        if unknown := entry.values.keys() - known - _TRAINING:
            names = ", ".join(sorted(unknown))
            yield f"PAPER.datasets[{name!r}] sets {names}; expected fields of Recipe or Options"
            continue
        try:
            module.Options(**{key: v for key, v in entry.values.items() if key in known})
        except ValueError as error:
            yield f"PAPER.datasets[{name!r}] cannot be: {error}"


_TRAINING = {field.name for field in fields(Recipe)}
_VALUES = (int, float, bool)
"""What a value of ``--set`` can be read as, beside the values of a `Literal`."""


def _of_ablations(module: HeadModule) -> Iterator[str]:
    known = {field.name for field in fields(module.Options)}
    above: list[str] = []
    for name, row in module.ABLATIONS.items():
        if not isinstance(row, Ablation):
            yield f"ABLATIONS[{name!r}] is a {type(row).__name__}; expected an Ablation"
        elif unknown := row.options.keys() - known:
            names = ", ".join(sorted(unknown))
            yield f"ABLATIONS[{name!r}] sets {names}; expected fields of Options"
        elif row.same_as and row.same_as not in above:
            yield f"ABLATIONS[{name!r}] is the same as {row.same_as!r}; expected a row above it"
        else:
            try:
                module.Options(**row.options)
            except ValueError as error:
                yield f"ABLATIONS[{name!r}] cannot be: {error}"
        above.append(name)
