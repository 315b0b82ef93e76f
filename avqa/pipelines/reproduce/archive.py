"""One file of a reproduction that somebody without the videos can check.

It holds the pages and all that they are made from (settings, recipes, digests, every answer of
every seed), no features and no weights, and a list of digests. Who checks it computes every table
anew from the answers: a page that does not follow from them is found, and so is a changed answer,
right answer or count. What somebody forges throughout, answers included, no file can tell.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import lzma
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict

import avqa
from avqa.errors import AvqaError, ConfigError, DifferenceFound
from avqa.pipelines.reproduce.asked import ASKED
from avqa.pipelines.reproduce.evidence import QUESTIONS, TestSet, described, read_test_set
from avqa.pipelines.reproduce.features import COSTS
from avqa.pipelines.reproduce.page import INDEX, pages
from avqa.pipelines.reproduce.training import RUNS
from avqa.store.places.files import storage_errors, write_atomic
from avqa.training import typed
from avqa.training.data.splits import read_splits
from avqa.training.run import CONFIG, PREDICTIONS, RESULT, RUN

MANIFEST = "manifest.json"
MOST_BYTES = 8 * 10**9
"""Of an archive's content: more is no reproduction's."""
_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest there is: the same content is the same file
_OF_MEMBER = (CONFIG, RESULT, PREDICTIONS, "environment.json", "metrics.csv")


def pack_archive(out: Path, target: Path) -> Path:
    """Write the archive of a folder whose pages are made.

    Raises:
        ConfigError: there are no pages; the file is there and holds something else.
        StorageFailure: it cannot be written.
    """
    made = pages(out)
    if not made:
        raise ConfigError(
            f"folder {str(out)!r} has no page yet; expected a finished head; finish `avqa"
            " reproduce` first"
        )
    content = {name: text.encode() for name, text in made.items()}
    content |= {str(path.relative_to(out)): path.read_bytes() for path in _files(out)}
    listed = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(content.items())}
    about = {"avqa_version": avqa.__version__, "made_by": made_by(), "sha256": listed}
    manifest = json.dumps(about, indent=1)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {MANIFEST: manifest.encode(), **dict(sorted(content.items()))}.items():
            entry = zipfile.ZipInfo(name, _TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    _refuse_other(target)
    with storage_errors(f"{str(target)!r}"):
        write_atomic(target, file.getvalue())
    return target


def _files(out: Path) -> Iterator[Path]:
    yield from (path for name in (ASKED, QUESTIONS, COSTS) if (path := out / name).exists())
    for run in sorted((out / RUNS).glob(f"*/{RUN}")):
        yield run
        for result in sorted(run.parent.glob(f"*/seed-*/{RESULT}")):
            files = (result.parent / name for name in _OF_MEMBER)
            yield from (path for path in files if path.exists())


def _refuse_other(target: Path) -> None:
    if target.exists() and not _is_archive(target):
        raise ConfigError(
            f"--pack {str(target)!r} is there and is no archive of a reproduction; expected a new"
            " file, or one to replace; give another --pack"
        )


def _is_archive(target: Path) -> bool:
    try:
        with zipfile.ZipFile(target) as archive:
            return MANIFEST in archive.namelist()
    except _UNREADABLE:
        return False


def check_archive(path: Path, annotations: Path | None = None) -> list[str]:
    """Compute an archive's tables anew and compare them with its pages.

    Args:
        path: the zip file.
        annotations: the checker's own; None: the questions are taken as the archive has them.

    Returns:
        What was checked, and the page of all papers, for people.

    Raises:
        ConfigError: it is no such archive.
        DifferenceFound: it was edited, or its pages do not follow from its answers.
    """
    with tempfile.TemporaryDirectory(prefix="avqa-check-") as folder:
        out = Path(folder)
        manifest = _unpack(path, out)
        with _of_archive(path):
            lines = _compare_pages(path, out, manifest)
            test = read_test_set(out)
            if annotations is not None:
                _compare_questions(path, test, annotations)
                lines.append(f"its questions and right answers are those of {annotations}")
            else:
                lines.append("its right answers were not compared: give --annotations for that")
            return [*lines, "", *(out / INDEX).read_text(encoding="utf-8").splitlines()]


@contextlib.contextmanager
def _of_archive(path: Path) -> Iterator[None]:
    """What a file in it lacks is said of the archive."""
    try:
        yield
    except DifferenceFound:
        raise
    except (AvqaError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"archive {str(path)!r} cannot be used: {error!s}; expected what `avqa reproduce"
            " --pack` writes; it was edited or damaged"
        ) from error


def _unpack(path: Path, out: Path) -> dict[str, Any]:
    """Unpack what the manifest lists, each with its digest; the manifest."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > MOST_BYTES:
                raise ValueError(f"it unpacks to more than {MOST_BYTES / 1e9:.0f} GB")
            if entries and min(entry.header_offset for entry in entries) > 0:
                raise ValueError("something stands before the archive")
            if strange := [entry.filename for entry in entries if not _is_plain(entry)]:
                raise ValueError(f"it has a path {strange[0]!r} that leads elsewhere")
            manifest = json.loads(archive.read(MANIFEST))
            typed.require({"it": manifest}, {"it": _Manifest})
            _require_listed(path, archive.namelist(), manifest["sha256"])
            for name, digest in manifest["sha256"].items():
                data = archive.read(name)
                if hashlib.sha256(data).hexdigest() != digest:
                    raise DifferenceFound(
                        f"archive {str(path)!r}: {name} is not what its {MANIFEST} says; expected"
                        f" sha256={digest[:12]}; it was edited or damaged"
                    )
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                (out / name).write_bytes(data)
    except _UNREADABLE as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(
            f"archive {str(path)!r} cannot be read: {why}; expected what `avqa reproduce --pack`"
            " writes; check --check"
        ) from error
    return dict(manifest)


class _Manifest(TypedDict):
    avqa_version: str
    made_by: str
    sha256: dict[str, str]


_UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, RecursionError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""Of zip files, damaged, encrypted or of other kinds."""


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    name = entry.filename
    parts = PurePosixPath(name)
    inside = not parts.is_absolute() and ".." not in parts.parts and str(parts) == name
    return inside and name.isprintable() and "\\" not in name and not _is_link(entry)


def _is_link(entry: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(entry.external_attr >> 16)


def _require_listed(path: Path, names: list[str], listed: Mapping[str, str]) -> None:
    others = sorted(set(names) ^ {MANIFEST, *listed})
    if others or len(set(names)) != len(names):
        named = others[0] if others else next(n for n in names if names.count(n) > 1)
        raise DifferenceFound(
            f"archive {str(path)!r}: {named!r} is in the archive or in its {MANIFEST} alone, or"
            " twice; expected each file once in both; it was edited or damaged"
        )


def _compare_pages(path: Path, out: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Make the pages anew; what is to be said of them."""
    made = pages(out)
    expected = {*made, *(str(file.relative_to(out)) for file in _files(out))}
    if others := sorted(manifest["sha256"].keys() ^ expected):
        raise DifferenceFound(
            f"archive {str(path)!r}: {others[0]!r} is no file of a reproduction, or is missing;"
            " expected the pages and what they are made from; it was edited"
        )
    told = {name: (out / name).read_text(encoding="utf-8") for name in made}
    differing = [name for name in made if told[name] != made[name]]
    questions = len(read_test_set(out).asked)
    if not differing:
        return [f"{path}: {len(made)} pages follow from the answers; {questions} test questions"]
    if manifest["made_by"] != made_by() and _scores(told[INDEX]) == _scores(made[INDEX]):
        return [
            f"{path}: the scores follow from the answers; {questions} test questions",
            f"the pages' words are those of another avqa ({manifest['avqa_version']}), and were not"
            " compared: check it with that one",
        ]
    name = differing[0]
    raise DifferenceFound(
        f"archive {str(path)!r}: {name} does not follow from the answers; expected"
        f" {_first_difference(told[name], made[name])}; it was edited"
    )


def made_by() -> str:
    """SHA-256 of the code and the data that decide a page's words."""
    digest = hashlib.sha256()
    for folder, pattern in _MAKERS.items():
        for file in sorted((Path(avqa.__file__).parent / folder).glob(pattern)):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


_MAKERS = {"pipelines/reproduce": "*.py", "training/table": "*.py", "heads/_tables": "*.toml"}


def _scores(index: str) -> list[list[str]]:
    """Paper, ours and interval of every line of the page of all papers."""
    rows = [line.split(" | ") for line in index.splitlines() if line.startswith("| ")]
    return [[row[place] for place in (0, 3, 4)] for row in rows if len(row) > 4]


def _first_difference(told: str, made: str) -> str:
    for one, other in zip(told.splitlines(), made.splitlines(), strict=False):
        if one != other:
            return repr(other[:120])
    return "another number of lines"


def _compare_questions(path: Path, test: TestSet, annotations: Path) -> None:
    """Make sure that the questions are those of somebody else's files, in all that counts."""
    own = described(read_splits(test.dataset, annotations), test.dataset)
    told = {question.key: question.answer for question in test.asked}
    ours = {question["key"]: question["answer"] for question in own["asked"]}
    for key in dict.fromkeys((*ours, *told)):
        if ours.get(key) != told.get(key):
            raise DifferenceFound(
                f"archive {str(path)!r}: the right answer to {key!r} is {told.get(key)!r}; expected"
                f" {ours.get(key)!r}, as {str(annotations)!r} has it; it is of other annotations,"
                " or was edited"
            )
    theirs = json.loads(json.dumps(asdict(test)))
    for name, value in own.items():
        if json.loads(json.dumps(value)) != theirs[name]:
            raise DifferenceFound(
                f"archive {str(path)!r}: {name} of its questions is not that of"
                f" {str(annotations)!r}; expected the same; it is of other annotations, or was"
                " edited"
            )
