"""What the file of an encoder defines: the contract as types, and what they cannot say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from avqa.extract.encoders._parts.weights import read_state_dict

if TYPE_CHECKING:
    from torch import Tensor

Device = Literal["cpu", "cuda"]
Precision = Literal["fp32", "bf16", "fp16", "openai-fp16"]
USUAL_PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
"""Those that every encoder has."""
Kind = Literal["frame", "audio"]
Dtype = Literal["uint8", "float32"]
OptionValue = str | float
Options = Mapping[str, OptionValue]
"""Every option of one encoder → its value."""
SHARED_OPTIONS = ("resample", "mix")
"""Keys that the recipe of every tap of audio may get: all of them see the same samples."""


@dataclass(frozen=True)
class Input:
    """One prepared block type: what travels from the decoder process to the network."""

    kind: Kind
    shape: tuple[int, ...]
    """Shape of one row."""
    dtype: Dtype
    window: int = 0
    """Samples of 16 kHz audio ``prepare`` gets for one row; audio only."""
    hop: str = ""
    """Option that says how many seconds lie between two rows; without one it is 1. Audio only."""


@dataclass(frozen=True)
class Tap:
    """One array a network gives: its shape per second, dimension names and storage."""

    input: str
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    sparse: bool
    """Many exact zeros (after a ReLU): stored with zstd; dense ones are not compressed."""
    weights: tuple[str, ...] | None = None
    """Those of ``WEIGHTS`` that it needs; None: all."""
    dtype: Literal["uint8"] | None = None
    """How it is stored, of whole numbers, which no head reads; None: as ``--dtype`` says."""


@dataclass(frozen=True)
class TextTap:
    """One array that a tower gives of a text: its shape and dimension names."""

    shape: tuple[int, ...]
    dims: tuple[str, ...]
    what: str
    """Where in the tower it is from: part of the recipe."""


class Tokeniser(Protocol):
    """What turns texts into the tokens of a tower whose tokens are not CLIP's."""

    def about(self) -> str:
        """What it is, for the recipe; of files, with their digest.

        Raises:
            WeightsUnavailable: it needs files that are not there.
        """

    def tokenise(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Tokens ``[n, tokens]`` of the tower."""


@dataclass(frozen=True)
class TextTower:
    """The tower of an encoder that reads texts, into the space of its frames."""

    taps: Mapping[str, TextTap]
    """``sentence``, which is the row of ``word`` at the end of a text, ``word``, ``word_state``;
    a feature's name is ``<encoder>/<tap>``."""
    tokens: int
    """Of a text."""
    network: str
    """What it is, for the recipe."""
    weights: str
    """Name of its weights, which are the encoder's."""
    build: Callable[[Mapping[str, Tensor], Device, Precision, int], Network]
    """The frozen tower, given its weights as float32 CPU tensors, device, precision and texts per
    forward. It takes tokens ``[B, tokens]`` and gives ``word`` and ``word_state``; with a
    tokeniser of its own ``sentence``, its only tap: a store has one end of each text, CLIP's."""
    tokeniser: Tokeniser | None = None
    """None: CLIP's byte pairs, 77 of them."""


@dataclass(frozen=True)
class Option:
    """One choice that an encoder leaves to its user, as ``--set <encoder>.<option>=VALUE``."""

    default: OptionValue
    choices: tuple[OptionValue, ...]
    """All values there are."""
    what: str
    """What it chooses, for `avqa encoders`."""
    was: str = ""
    """Name of the setting that it was before options stood with their encoders."""

    def parse(self, value: object) -> OptionValue | None:
        """The choice that a value is, as itself or as text; None if it is none of them."""
        number = _number(value) if isinstance(value, str) else None
        return next((c for c in self.choices if c in (value, number)), None)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


@dataclass(frozen=True)
class Weights:
    """One set of weights: at random, and as its authors publish it."""

    random: Callable[[], Mapping[str, Tensor]]
    """Named tensors, drawn from torch's own generator. Called on the meta device, too: names and
    shapes are those that a published file must have once it is converted."""
    address: str
    digest: str
    """SHA-256 of the published file, or its first characters where the publisher gives no more;
    empty where none is given: then names and shapes of the tensors are all that is checked."""
    licence: str
    convert: Callable[[Path], Mapping[str, Any]] = read_state_dict
    """Tensors of the published file, whose digest matched, named as ``random`` names them; what
    the network does not have is left out afterwards. By default a pickled dictionary of tensors,
    of which nothing is run."""
    check: Callable[[dict[str, Tensor]], str] | None = None
    """What `avqa weights verify` asks of them besides: words for its report. Raises ValueError
    with what is wrong."""

    @property
    def file_name(self) -> str:
        """Last part of the address."""
        return self.address.rpartition("/")[2]


class Network(Protocol):
    """A frozen network on its device."""

    def forward(self, name: str, batch: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Run one prepared batch ``[B, *shape]`` of the input ``name``, all rows at once.

        Returns float32 CPU tensors ``[B, *tap shape]`` for the taps asked for.
        """


class EncoderModule(Protocol):
    """The file of an encoder; it imports torch inside its functions only.

    Where it has a tower that reads texts, ``TEXT`` is its `TextTower`, and where it is None
    ``NO_TEXT`` may say why; where it computes in more
    ways than `USUAL_PRECISIONS`, ``PRECISIONS`` are the others.
    """

    WEIGHTS: Mapping[str, Weights]
    """Name → weights that it can need, ``{}`` for none. A name is that of the cached file."""
    INPUTS: Mapping[str, Input]
    """What ``prepare`` makes of a second of video."""
    TAPS: Mapping[str, Tap]
    """What can be stored: a feature's name is ``<encoder>/<tap>``. Heads are trained on the first
    tap of the shape that they need."""
    BATCH: Mapping[str, int]
    """Rows per forward by kind of device, ``cpu`` and ``cuda``; part of the recipe."""
    OPTIONS: Mapping[str, Option]
    """What the user can choose; the values are part of every tap's recipe, under their names."""

    def recipe(self, tap: str) -> dict[str, Any]:
        """Everything else of this encoder that changes a number of ``tap``, as plain data."""

    def prepare(self, name: str, seconds: Any, options: Options) -> NDArray[Any]:
        """Rows ``[rows, *INPUTS[name].shape]`` of one `Input`; runs in the decoder process.

        ``seconds`` are RGB frames, uint8 ``[H, W, 3]`` of any size, or audio at 16 kHz, float32
        ``[rows, window]``. A row must not depend on the others.
        """

    def build(
        self, state: Mapping[str, Tensor], options: Options, device: Device, precision: Precision
    ) -> Network:
        """The frozen network, given its weights as float32 CPU tensors.

        Raises:
            WeightsUnavailable: names or shapes are not this architecture's.
        """


class EncoderFamily(Protocol):
    """A file that stands for many encoders; it imports torch inside its functions only."""

    HOW: str
    """How one is named, for listings: ``open_clip:NAME[:TAG]``."""
    ABOUT: str
    """What there is, in a line."""

    def full_name(self, written: str) -> str:
        """What is written behind ``<file>:`` as what its members are called behind ``<file>/``.

        Raises:
            UnknownName: there is no such member.
        """

    def member(self, rest: str) -> EncoderModule:
        """The encoder ``<file>/<rest>``.

        Raises:
            UnknownName: there is none.
        """


def complaints(module: EncoderModule) -> Iterator[str]:
    """What is wrong with a module that defines everything."""
    values = {"WEIGHTS": Weights, "INPUTS": Input, "TAPS": Tap, "OPTIONS": Option, "BATCH": int}
    for name, kind in values.items():
        for key, value in getattr(module, name).items():
            if not isinstance(value, kind):
                found = type(value).__name__
                yield f"{name}[{key!r}] is a {found}; expected {kind.__name__}"
                return
    if not module.TAPS:
        yield "TAPS is empty; expected one tap or more"
    if module.BATCH.keys() != {"cpu", "cuda"} or min(module.BATCH.values()) < 1:
        yield f"BATCH={dict(module.BATCH)}; expected rows per forward of cpu and of cuda"
    if not isinstance(getattr(module, "TEXT", None), TextTower | None):
        yield f"TEXT is a {type(getattr(module, 'TEXT')).__name__}; expected TextTower"  # noqa: B009
    for key, option in module.OPTIONS.items():
        if option.default not in option.choices:
            yield f"OPTIONS[{key!r}] has default={option.default!r}; expected one of its choices"
    for key, spec in module.INPUTS.items():
        yield from (f"INPUTS[{key!r}] {problem}" for problem in _of_input(spec, module))
    sizes: dict[str, int] = {}
    for key, tap in module.TAPS.items():
        problem = _of_tap(tap, module, sizes) or _of_recipe(key, module)
        if problem:
            yield f"TAPS[{key!r}] {problem}"
    tower = getattr(module, "TEXT", None)
    for key, text in tower.taps.items() if isinstance(tower, TextTower) else ():
        if not _are_new(text, module, sizes):
            yield f"TEXT.taps[{key!r}] has dims={text.dims}; {_NAMES}"


def _of_input(spec: Input, module: EncoderModule) -> Iterator[str]:
    if spec.kind not in get_args(Kind):
        yield f"has kind={spec.kind!r}; expected one of {', '.join(get_args(Kind))}"
    if spec.dtype not in get_args(Dtype):
        yield f"has dtype={spec.dtype!r}; expected one of {', '.join(get_args(Dtype))}"
    if spec.kind == "audio" and spec.window < 1:
        yield f"has window={spec.window}; expected the samples of one row"
    hops = module.OPTIONS[spec.hop].choices if spec.hop in module.OPTIONS else ("",)
    if spec.hop and not all(isinstance(hop, int | float) and hop > 0 for hop in hops):
        yield f"has hop={spec.hop!r}; expected the name of an option of seconds"


def _of_tap(tap: Tap, module: EncoderModule, sizes: dict[str, int]) -> str | None:
    """``sizes``: of the dimensions seen so far; added to."""
    if tap.input not in module.INPUTS:
        return f"has input={tap.input!r}; expected one of INPUTS: {', '.join(module.INPUTS)}"
    if not tap.shape or len(tap.dims) != len(tap.shape) or len({*tap.dims}) != len(tap.dims):
        return f"has shape={tap.shape} dims={tap.dims}; expected a name for each axis"
    if not _are_new(tap, module, sizes):
        return f"has dims={tap.dims}; {_NAMES}"
    for name in tap.weights or ():
        if name not in module.WEIGHTS:
            return f"has weights={tap.weights}; expected names of WEIGHTS"
    return None


_NAMES = "expected names that are no taps, with one size each"


def _are_new(tap: Tap | TextTap, module: EncoderModule, sizes: dict[str, int]) -> bool:
    """Whether each dimension has one size in all features of an encoder, and a name of its own."""
    return all(
        name not in module.TAPS and sizes.setdefault(name, size) == size
        for name, size in zip(tap.dims, tap.shape, strict=True)
    )


def _of_recipe(tap: str, module: EncoderModule) -> str | None:
    """Ask for it: it is plain data, quickly made."""
    try:
        found = module.recipe(tap)
    except Exception as error:  # whatever it is, its author is told
        return f"has no recipe ({type(error).__name__}: {error}); expected one for each tap"
    try:
        plain = json.loads(json.dumps(found, allow_nan=False)) == found and bool(found)
    except (TypeError, ValueError):
        plain = False
    if not plain or not isinstance(found, dict):
        return f"has recipe={found!r}; expected keys with values that JSON has"
    if taken := sorted(found.keys() & {*module.OPTIONS, *SHARED_OPTIONS}):
        return f"has recipe keys {', '.join(taken)}; expected others: options are added to it"
    return None
