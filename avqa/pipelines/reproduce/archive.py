"""One file of a reproduction that somebody without the videos can check.

It holds the pages and all that they are made from (settings, recipes, digests, every answer of
every seed), no features and no weights, and a list of digests. Who checks it computes every table
anew from the answers: a page that does not follow from them is found, and so is a changed answer,
right answer or count. What somebody forges throughout, answers included, no file can tell.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import avqa
from avqa.errors import ConfigError, DifferenceFound
from avqa.pipelines.reproduce.asked import ASKED
from avqa.pipelines.reproduce.evidence import QUESTIONS, described, read_test_set
from avqa.pipelines.reproduce.features import COSTS
from avqa.pipelines.reproduce.page import INDEX, pages
from avqa.pipelines.reproduce.training import RUNS
from avqa.store.places.files import storage_errors, write_atomic
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
    manifest = json.dumps({"avqa_version": avqa.__version__, "sha256": listed}, indent=1)
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
    if target.is_dir() or (target.exists() and not zipfile.is_zipfile(target)):
        raise ConfigError(
            f"--pack {str(target)!r} is there and is no zip file; expected a new file, or an"
            " archive to replace; give another --pack"
        )


def check_archive(path: Path, dataset: str, annotations: Path | None = None) -> list[str]:
    """Compute an archive's tables anew and compare them with its pages.

    Args:
        path: the zip file.
        dataset: of the annotations, where they are given.
        annotations: the checker's own; None: the questions are taken as the archive has them.

    Returns:
        What was checked, and the page of all papers, for people.

    Raises:
        ConfigError: it is no such archive.
        DifferenceFound: it was edited, or its pages do not follow from its answers.
    """
    with tempfile.TemporaryDirectory(prefix="avqa-check-") as folder:
        out = Path(folder)
        version = _unpack(path, out)
        count = _compare_pages(path, out, version)
        test = read_test_set(out)
        lines = [
            f"{path}: {count} pages follow from the answers; {len(test.asked)} test questions",
        ]
        if annotations is not None:
            _compare_questions(path, out, dataset, annotations)
            lines.append(f"its questions and right answers are those of {annotations}")
        else:
            lines.append("its right answers were not compared: give --annotations for that")
        return [*lines, "", *(out / INDEX).read_text(encoding="utf-8").splitlines()]


def _unpack(path: Path, out: Path) -> str:
    """Unpack what the manifest lists, each with its digest; the version that made it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
                raise ValueError(f"it unpacks to more than {MOST_BYTES / 1e9:.0f} GB")
            manifest = json.loads(archive.read(MANIFEST))
            listed, version = dict(manifest["sha256"]), str(manifest["avqa_version"])
            if strange := [name for name in names if not _is_plain(name)]:
                raise ValueError(f"it has a path {strange[0]!r} that leads elsewhere")
            _require_listed(path, names, listed)
            for name, digest in listed.items():
                data = archive.read(name)
                if hashlib.sha256(data).hexdigest() != digest:
                    raise DifferenceFound(
                        f"archive {str(path)!r}: {name} is not what its {MANIFEST} says; expected"
                        f" sha256={digest[:12]}; it was edited or damaged"
                    )
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                (out / name).write_bytes(data)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(
            f"archive {str(path)!r} cannot be read: {why}; expected what `avqa reproduce --pack`"
            " writes; check --check"
        ) from error
    return version


def _is_plain(name: str) -> bool:
    parts = PurePosixPath(name)
    return not parts.is_absolute() and ".." not in parts.parts and "\\" not in name


def _require_listed(path: Path, names: list[str], listed: dict[str, str]) -> None:
    others = sorted(set(names) ^ {MANIFEST, *listed})
    if others or len(set(names)) != len(names):
        named = others[0] if others else next(n for n in names if names.count(n) > 1)
        raise DifferenceFound(
            f"archive {str(path)!r}: {named!r} is in the archive or in its {MANIFEST} alone, or"
            " twice; expected each file once in both; it was edited or damaged"
        )


def _compare_pages(path: Path, out: Path, version: str) -> int:
    told = {page.name: page.read_text(encoding="utf-8") for page in out.glob("*.md")}
    made = pages(out)
    for name in sorted(told.keys() | made.keys()):
        if told.get(name) != made.get(name):
            other = f" (it was made by avqa {version}: check it with that one)"
            raise DifferenceFound(
                f"archive {str(path)!r}: {name} does not follow from the answers; expected"
                f" {_first_difference(told.get(name, ''), made.get(name, ''))}; it was edited"
                f"{other if version != avqa.__version__ else ''}"
            )
    return len(made)


def _first_difference(told: str, made: str) -> str:
    for one, other in zip(told.splitlines(), made.splitlines(), strict=False):
        if one != other:
            return repr(other[:120])
    return "another number of lines"


def _compare_questions(path: Path, out: Path, dataset: str, annotations: Path) -> None:
    own = described(read_splits(dataset, annotations), dataset)
    theirs = read_test_set(out)
    told = {question.key: question.answer for question in theirs.asked}
    ours = {question["key"]: question["answer"] for question in own["asked"]}
    for key in dict.fromkeys((*ours, *told)):
        if ours.get(key) != told.get(key):
            raise DifferenceFound(
                f"archive {str(path)!r}: the right answer to {key!r} is {told.get(key)!r}; expected"
                f" {ours.get(key)!r}, as {str(annotations)!r} has it; it is of other annotations,"
                " or was edited"
            )
