"""CueSpace's files of multiple choice: ``mcq_text_clip/<question_id>.npz``.

    quest_global [768], quest_words [77,768]     the question's text, without its mark
    cand_global [O,768], cand_words [O,77,768]   the same with each option behind it; words may lack

The store keys texts by their content, as of `avqa.pipelines.npy.questions`: what one text has in
several files is the same.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from avqa.datasets._parts.question import Question, choice_texts, normalise, text_key
from avqa.errors import ConfigError, FeatureMissing
from avqa.extract.text import encoder_of, text_tap
from avqa.pipelines.npy.kinds import Dtype
from avqa.pipelines.npy.layouts import CHOICES
from avqa.pipelines.npy.npy_files import BadFile
from avqa.pipelines.npy.npz_files import Packed, npz_bytes, packed, read_arrays
from avqa.pipelines.npy.questions import Annotations, add_texts, write_once
from avqa.store.format.runs import new_run_id
from avqa.store.format.schema import FeatureSpec
from avqa.store.format.texts import questions_command
from avqa.store.lock import Lock
from avqa.store.places.files import StorePath
from avqa.store.reader import FeatureStore
from avqa.store.running import running
from avqa.store.text_writer import Texts, check_text_recipes

FOLDER = CHOICES["cuespace"]
SENTENCE, WORDS = "clip_vit_l14_336/sentence", "clip_vit_l14_336/word_state"
FEATURES = (SENTENCE, WORDS)
OF_QUESTION = {SENTENCE: "quest_global", WORDS: "quest_words"}
OF_OPTIONS = {SENTENCE: "cand_global", WORDS: "cand_words"}
"""Feature → the array of a file that holds it."""
KNOWN = (*OF_QUESTION.values(), *OF_OPTIONS.values())


class Place(NamedTuple):
    """Where a text's numbers lie: a file, and the option's number; None: the question."""

    path: Path
    option: int | None


def _texts(question: Question) -> tuple[str, tuple[str | None, ...]]:
    """Normal forms of the question's text, and of it with each option behind."""
    behind = choice_texts(question, asked=True)
    return normalise(question.text), tuple(None if t is None else normalise(t) for t in behind)


@dataclass(frozen=True)
class _Files:
    """The files of questions of these annotations."""

    shapes: Mapping[Path, Mapping[str, tuple[int, ...]]]
    """File → its arrays."""
    of_text: Mapping[str, tuple[Place, ...]]
    packed: Packed
    """As most files are."""
    others: int
    """Files that are packed otherwise."""
    dtypes: Mapping[str, Dtype]
    missing: Mapping[Path, tuple[int, ...]]
    """File → options that its question has not."""

    @property
    def has_words(self) -> bool:
        """Whether options have words, too."""
        return OF_OPTIONS[WORDS] in self.packed.names

    def notes(self) -> Iterator[str]:
        """What does not come out as it went in."""
        unknown = [n for n in self.packed.names if n not in KNOWN]
        if unknown:
            yield (
                f"{FOLDER}: {', '.join(unknown)} of the files: passed over; expected some of"
                f" {', '.join(KNOWN)}"
            )
        if self.others:
            yield (
                f"{FOLDER}: {self.others} of {len(self.shapes)} files have other arrays than most,"
                " or another order or compression: what most have is taken, and comes out as most"
                " have it"
            )

        arrays = ((_read(path, self.shapes[path]), rows) for path, rows in self.missing.items())
        held = sum(
            bool(np.frombuffer(a[OF_OPTIONS[SENTENCE]][list(r)], "u1").any()) for a, r in arrays
        )
        if held:
            yield (
                f"{FOLDER}: {held} files have numbers for options that their questions have not:"
                " they are not kept, and come out as zeros"
            )

    def features(self, text: str) -> tuple[str, ...]:
        """What there is of a text."""
        is_question = any(place.option is None for place in self.of_text[text])
        return FEATURES if is_question or self.has_words else (SENTENCE,)

    def read(self, text: str) -> dict[str, NDArray[Any]]:
        """Feature → ``[*shape]`` of a text, the same in all files that have it.

        Raises:
            ConfigError: a file cannot be taken, or two of them differ.
        """
        first, *others = self.of_text[text]
        found = self._at(first)
        for place in others:
            other = self._at(place)
            if any(not np.array_equal(other[name], found[name]) for name in {*other} & {*found}):
                raise ConfigError(
                    f"files {first.path.name!r} and {place.path.name!r} in"
                    f" {str(first.path.parent)!r} differ in text={text!r}; expected the same"
                    " numbers; check that --annotations belongs to these files"
                )
            found = other | found
        return found

    def _at(self, place: Place) -> dict[str, NDArray[Any]]:
        arrays = _read(place.path, self.shapes[place.path])
        names = OF_QUESTION if place.option is None else OF_OPTIONS
        here = {feature: arrays[name] for feature, name in names.items() if name in arrays}
        for feature, values in here.items():
            if values.dtype.name != self.dtypes[feature]:
                raise ConfigError(
                    f"file {str(place.path)!r}: {names[feature]} has dtype={values.dtype};"
                    f" expected {self.dtypes[feature]}, as the other files; make it again"
                )
        return here if place.option is None else {f: v[place.option] for f, v in here.items()}


def _read(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[Any]]:
    try:
        return read_arrays(path, shapes)
    except BadFile as error:
        raise ConfigError(f"file {str(path)!r}: {error}") from error


def _packed(path: Path) -> Packed:
    try:
        return packed(path)
    except BadFile as error:
        raise ConfigError(f"file {str(path)!r}: {error}") from error


def _find(folder: Path, by_id: Mapping[str, Question]) -> _Files:
    named = {name: folder / f"{name}.npz" for name, q in by_id.items() if any(q.choices)}
    there = {name: path for name, path in named.items() if path.is_file()}
    if not there:
        raise ConfigError(
            f"folder {str(folder)!r} holds no file of the {len(named)} questions with an id and"
            " options; expected <question_id>.npz; check --dataset and --annotations"
        )
    kinds = {name: _packed(path) for name, path in there.items()}
    usual, count = Counter(kinds.values()).most_common(1)[0]
    of_text: dict[str, tuple[Place, ...]] = {}
    shapes, missing = {}, {}
    for name, path in there.items():
        text, behind = _texts(by_id[name])
        missing[path] = tuple(n for n, each in enumerate(behind) if each is None)
        shapes[path] = _shapes(len(behind), words=OF_OPTIONS[WORDS] in usual.names)
        places = [(text, Place(path, None)), *((t, Place(path, n)) for n, t in enumerate(behind))]
        for each, place in places:
            if each is not None:
                of_text[each] = (*of_text.get(each, ()), place)
    first = next(iter(there.values()))
    arrays = _read(first, shapes[first])
    dtypes = {f: cast(Dtype, arrays[name].dtype.name) for f, name in OF_QUESTION.items()}
    missing = {path: rows for path, rows in missing.items() if rows}
    return _Files(shapes, of_text, usual, len(kinds) - count, dtypes, missing)


def _shapes(options: int, *, words: bool) -> dict[str, tuple[int, ...]]:
    shapes = {name: text_tap(feature).shape for feature, name in OF_QUESTION.items()}
    for feature, name in OF_OPTIONS.items():
        if feature == SENTENCE or words:
            shapes[name] = (options, *text_tap(feature).shape)
    return shapes


def import_choices(
    folder: Path,
    store: StorePath,
    annotations: Annotations,
    say: Callable[[str], None] = lambda line: None,
) -> list[str]:
    """Take in the folder's files; returns what was done, a line.

    Texts that are there already are left alone, so a second run changes nothing.

    Raises:
        ConfigError: no file is of a known question, or one cannot be taken.
        RecipeMismatch: the store's texts were encoded, or imported from other folders.
        StoreNotFound, StoreLocked, StorageFailure: the store cannot be written.
    """
    files = _find(folder, annotations.by_id())
    recipes = {feature: _recipe(feature, files) for feature in FEATURES}
    check_text_recipes(store, recipes, "give the folders that they came from, or another --store")
    asked = {"argv": sys.argv, "source": str(folder)}
    done = 0
    with Lock.acquire(store, new_run_id()) as lock, running(store, lock, asked):
        for features in (FEATURES, (SENTENCE,)):
            wanted = sorted(text for text in files.of_text if files.features(text) == features)
            specs = [_spec(feature, files) for feature in features]
            texts = Texts.open(store, specs, {f: recipes[f] for f in features}, lock=lock)
            add_texts(texts, wanted)
            done += texts.num_pending(map(text_key, wanted))
            _write(texts, files, features, {*wanted}, say)
    for line in files.notes():
        say(line)
    total = len(files.of_text)
    return [
        f"{FOLDER}: {len(files.shapes)} files, {total} distinct texts: {done} imported,"
        f" {total - done} already there"
    ]


def _spec(feature: str, files: _Files) -> FeatureSpec:
    tap = text_tap(feature)
    return FeatureSpec(feature, tap.shape, tap.dims, False, files.dtypes[feature])


def _write(
    texts: Texts,
    files: _Files,
    features: Sequence[str],
    wanted: set[str],
    say: Callable[[str], None],
) -> None:
    for numbers, contents in texts.work():
        mine = [place for place, text in enumerate(contents) if text in wanted]
        if mine:
            read = [files.read(contents[place]) for place in mine]
            texts.write(numbers[mine], {f: np.stack([r[f] for r in read]) for f in features})
            say(f"{FOLDER}: {numbers[mine][-1] + 1}/{len(texts)} texts")


def _recipe(feature: str, files: _Files) -> dict[str, Any]:
    npz = {"arrays": list(files.packed.names), "compressed": files.packed.compressed}
    return {
        "feature": feature,
        "imported": {"kind": FOLDER, "convention": "unknown", "npz": npz},
        "text": {"mark": ""},
        "weights": {encoder_of(feature): {"source": "imported"}},
        "storage": {"dtype": files.dtypes[feature]},
    }


def export_choices(
    store: StorePath, out: Path, annotations: Annotations, *, overwrite: bool = False
) -> list[str]:
    """Write ``<question_id>.npz`` for every question with an id and options; what was done.

    Features that were encoded here are written as float32, imported ones in their own dtype, and
    packed as most of their files were. A missing option is a row of zeros.

    Raises:
        ConfigError: a file is there and holds something else.
        FeatureMissing: the store lacks a feature, or one of a text.
    """
    by_id = {name: q for name, q in annotations.by_id().items() if any(q.choices)}
    if not by_id:
        return [f"{FOLDER}: not written; no question with an id has options"]
    reader = FeatureStore(store)
    absent = [feature for feature in FEATURES if feature not in reader.text_features]
    if absent:
        command = questions_command(store, FEATURES, " --with-options")
        raise FeatureMissing(
            f"store {str(store)!r} has no {', '.join(absent)}, which folder {FOLDER!r} of"
            f" layout=cuespace holds; expected {' and '.join(FEATURES)}; add with: {command}"
        )
    imported = reader.recipe(SENTENCE).get("imported", {}).get("npz")
    names = tuple(imported["arrays"]) if imported else KNOWN
    as_most = Packed(names, bool(imported and imported["compressed"]))
    written = 0
    for name, arrays in _arrays(reader, by_id, as_most, keep=bool(imported)):
        data = npz_bytes(arrays, compressed=as_most.compressed)
        written += write_once(out / FOLDER / f"{name}.npz", data, overwrite)
    lines = [f"{FOLDER}: {written} written, {len(by_id) - written} already there"]
    mark = reader.recipe(SENTENCE).get("text", {}).get("mark", "")
    if mark:
        lines.append(
            f"{FOLDER}: questions were tokenised with mark={mark!r}, published files without: the"
            " numbers are others; `avqa questions --replace --with-options` makes these"
        )
    return lines


def _arrays(
    reader: FeatureStore, by_id: Mapping[str, Question], as_most: Packed, *, keep: bool
) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
    """(Question id, arrays of its file)."""
    for name, question in by_id.items():
        text, behind = _texts(question)
        found = {}
        for feature in FEATURES:
            own = _of_texts(reader, [text], feature)
            found[OF_QUESTION[feature]] = own[0] if keep else own[0].astype(np.float32)
            if (array := OF_OPTIONS[feature]) in as_most.names:
                rows = np.zeros((len(behind), *own.shape[1:]), found[OF_QUESTION[feature]].dtype)
                there = [n for n, each in enumerate(behind) if each is not None]
                rows[there] = _of_texts(reader, [behind[n] or "" for n in there], feature)
                found[array] = rows
        yield name, {array: found[array] for array in as_most.names if array in found}


def _of_texts(reader: FeatureStore, texts: Sequence[str], feature: str) -> NDArray[Any]:
    try:
        return reader.read_texts(texts, feature)
    except FeatureMissing as error:
        raise FeatureMissing(f"{error}; texts of options: with --with-options") from error
