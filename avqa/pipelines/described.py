"""What `avqa heads NAME` and `avqa profiles` print: choices with their reasons."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from avqa import heads
from avqa.addresses import page
from avqa.extract.media.grid import MODES, build_grid
from avqa.extract.media.types import TimeTable
from avqa.extract.profiles import PROFILES, WHY
from avqa.heads import Figures, OfDataset
from avqa.training.settings import DERIVED, TrainSettings, resolve
from avqa.training.table.published import merged

_WIDTH = 100
_CLIP_SECONDS, _CLIP_FPS, _CLIP_KEYS, _PLACES = Fraction(46, 10), 25, 30, 12
"""Of the clip that is drawn, and characters per second."""


def head_page(name: str) -> list[str]:
    """A head's paper, recipe, settings, options, ablations and printed figures.

    Raises:
        UnknownName: there is no such head.
        PluginError: it breaks the contract.
    """
    module = heads.load(name)
    paper, head = module.PAPER, heads.build(name)
    settings, options = resolve(name)
    recipe = {key: getattr(settings, key) for key in vars(paper.recipe) if hasattr(settings, key)}
    own = {key: value for key, value in options.items() if key not in DERIVED}
    others = {key: value for key, value in vars(settings).items() if key not in recipe}
    return [
        f"{name}: {paper.title} ({paper.venue})",
        f"  {paper.url}",
        f"  reads {', '.join(head.needs)}; {heads.count_parameters(head):,} parameters",
        "",
        "recipe of the paper, each value to be changed with --set NAME=VALUE",
        *_documented(TrainSettings, recipe),
        *_wrapped(f"note: {paper.recipe.note}" if paper.recipe.note else ""),
        *(line for name, entry in paper.datasets.items() for line in _of_dataset(name, entry)),
        "",
        "other settings, with --set",
        *_documented(TrainSettings, others),
        "",
        "options of the head, with --set",
        *_documented(module.Options, own),
        "",
        "rows of the paper's ablations, with --ablation NAME or all; [printed A / V / AV / All]",
        *_ablations(module.ABLATIONS),
        "",
        "printed figures, in percent",
        *(line for figures in paper.figures for line in _figures(figures)),
        "",
        *_references(merged(paper.references)),
        f"more: {page('docs/heads.md')}",
    ]


def _documented(owner: type, values: Mapping[str, Any]) -> Iterator[str]:
    """Name, value, other values, and what the field's docstring says."""
    docs, hints = field_docs(owner), get_type_hints(owner)
    for name, value in values.items():
        kind = hints[name]
        choices = get_args(kind) if get_origin(kind) is Literal else ()
        others = [_text(choice) for choice in choices if choice != value]
        if kind is bool:
            others = [_text(not value)]
        head = f"  {name}={'|'.join([_text(value), *others])}"
        yield from textwrap.wrap(
            f"{head}  {docs.get(name, '')}".rstrip(),
            _WIDTH,
            subsequent_indent="      ",
            break_on_hyphens=False,
        )


def field_docs(owner: type) -> dict[str, str]:
    """Field of a dataclass → the string below it, its base classes' included."""
    found: dict[str, str] = {}
    for one in reversed(owner.__mro__[:-1]):
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
        except (OSError, SyntaxError, IndexError):  # of a class whose source is not at hand
            continue
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(below, ast.Expr)
                and isinstance(below.value, ast.Constant)
            ):
                found[field.target.id] = " ".join(str(below.value.value).replace("``", "").split())
    return found


def _ablations(rows: Mapping[str, heads.Ablation]) -> Iterator[str]:
    for name, row in rows.items():
        chosen = " ".join(f"{key}={_text(value)}" for key, value in row.options.items())
        of = f" visual={row.visual}" if row.visual else ""
        printed = f"  [{_averages(row.values, row.consistent)}]" if row.values else ""
        yield from textwrap.wrap(
            f"  {name}: {(chosen + of).strip() or 'as it is'}{printed}",
            _WIDTH,
            subsequent_indent="      ",
        )


def _of_dataset(name: str, entry: OfDataset) -> Iterator[str]:
    values = " ".join(f"{key}={_text(value)}" for key, value in entry.values.items())
    yield ""
    yield f"otherwise with --dataset {name}, each value to be changed with --set NAME=VALUE"
    yield from _wrapped(values)
    yield from _wrapped(f"note: {entry.note}")


def _references(rows: Sequence[Figures]) -> Iterator[str]:
    """What the paper's tables print of other methods: averages alone, one line a row."""
    if not rows:
        return
    yield "other methods in the paper's tables, A / V / AV / All; all cells: avqa table --published"
    for row in rows:
        about = "; ".join(part for part in (row.annotation, row.source, row.note) if part)
        yield from _wrapped(f"{row.name}: {_averages(row.values, row.consistent)} ({about})")
    yield ""


def _averages(values: Mapping[str, float], consistent: bool) -> str:
    """``A / V / AV / All``, or what there is of them; ``!`` where they do not follow."""
    columns = ["A-Avg", "V-Avg", "AV-Avg", "All"]
    if not values.keys() & set(columns[:-1]):
        columns = ["All"]
    told = []
    if values.keys() & set(columns):
        shown = (f"{values[column]:.2f}" if column in values else "–" for column in columns)
        told.append(" / ".join(shown) + ("" if consistent else " !"))
    if "AVQA" in values:
        told.append(f"AVQA {values['AVQA']}")
    return ", ".join(told)


def _figures(figures: Figures) -> Iterator[str]:
    cells = "  ".join(
        f"{column} {value if column == 'AVQA' else f'{value:.2f}'}"
        for column, value in figures.values.items()
    )
    marks = f"annotation {figures.annotation}" if figures.annotation else ""
    doubt = "its averages do not follow from its cells" if not figures.consistent else ""
    about = "; ".join(part for part in (figures.source, marks, doubt, figures.note) if part)
    for line in (f"  {figures.name}: {cells}", f"      ({about})"):
        yield from textwrap.wrap(line, _WIDTH, subsequent_indent="      ", break_on_hyphens=False)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="      ")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def profile_lines() -> list[str]:
    """Each profile, and which frame each mode takes for a row, drawn for a short clip."""
    lines = ["profiles, with --profile; what they do not say is as the store has it"]
    for name, settings in PROFILES.items():
        lines += [
            f"  {name}: {WHY[name]}",
            f"      --features {','.join(settings.features)}",
            f"      --frame-at {settings.frame_at} --resample {settings.resample}"
            + "".join(f" --set {key}={value}" for key, value in settings.options.items()),
        ]
    return [*lines, "", *frame_mode_lines()]


def frame_mode_lines() -> list[str]:
    """The modes of ``--frame-at``, computed for a clip of 4.6 s at 25 frames a second.

    Every 30th of its frames is a key frame.
    """
    ticks = np.arange(int(_CLIP_SECONDS * _CLIP_FPS), dtype=np.int64)
    table = TimeTable(ticks, int(_CLIP_SECONDS * _CLIP_FPS), Fraction(1, _CLIP_FPS))
    table = table.with_keys(ticks[::_CLIP_KEYS])
    seconds = int(_CLIP_SECONDS) + 1
    ruler = "".join(f"|{second} s".ljust(_PLACES) for second in range(seconds))
    lines = [
        f"frames of the rows of a clip of {float(_CLIP_SECONDS)} s with a key frame every"
        f" {_CLIP_KEYS / _CLIP_FPS} s, with --frame-at: the digit k stands where row k's frame is",
        f"  {'':12}{ruler[: int(_CLIP_SECONDS * _PLACES)]}|",
    ]
    for mode in MODES:
        grid = build_grid(table, mode, Fraction(_CLIP_FPS))
        drawn = [" "] * (int(_CLIP_SECONDS * _PLACES) + 1)
        repeated = 0
        for row, time in enumerate(grid.pts.tolist()):
            place = int(time * _PLACES)
            if drawn[place] == " " and row < 10:
                drawn[place] = str(row)
            else:
                repeated += 1
        more = f", {repeated} of them repeat frames" if repeated else ""
        lines.append(f"  {mode:12}{''.join(drawn)}  T={len(grid)}{more}")
    return lines
