"""Does a store hold what its ledger says it holds? `avqa verify`."""

from __future__ import annotations

import functools
from typing import Any
from uuid import uuid4

from avqa.errors import StoreError
from avqa.faults import reading, require_thread
from avqa.store.checks.features import FeatureCheck
from avqa.store.checks.indexcheck import check_index
from avqa.store.checks.metadata import WrongMetadata, wrong_metadata
from avqa.store.checks.removed import Removed
from avqa.store.checks.repair import repair_metadata, repair_store
from avqa.store.checks.report import Level, Problem, VerifyReport
from avqa.store.checks.sample import Extract, check_sample
from avqa.store.checks.textcheck import EndOfText, check_texts
from avqa.store.commit import Store
from avqa.store.format import layout, schema
from avqa.store.format.chunks import RowPart
from avqa.store.format.frame_times import FrameTimes
from avqa.store.format.ledger import Ledger
from avqa.store.format.recipe_diff import making_command
from avqa.store.format.records import FeatureRecord, Status
from avqa.store.format.runs import RUNNING, Runs
from avqa.store.lock import read_holder
from avqa.store.places.files import StorePath, store_path
from avqa.store.reader import has_random_weights
from avqa.telling import Say, counting, silent


def verify(
    path: str | StorePath,
    level: Level = "crc",
    repair: bool = False,
    *,
    extract: Extract | None = None,
    num_sample: int = 20,
    end_of_text: EndOfText | None = None,
    part: tuple[int, int] | None = None,
    say: Say = silent,
) -> VerifyReport:
    """Compare a store with its ledger.

    Args:
        path: the store directory.
        level: ``size`` lists all objects; ``crc`` also reads and decodes them; ``sample``
            lists them and extracts some videos again.
        repair: rebuild what follows from something else, make the rest pending, and move what
            does not belong to ``removed/``; takes the lock. Nothing is done if the machine did not
            give all that was asked for.
        extract: extracts one video again; needed by ``sample``.
        num_sample: videos to extract again.
        end_of_text: texts → positions of their last token, to repair a column of them.
        part: i and n: check the rows of the i-th (from 0) of n equal parts alone, in memory for
            these. What is of no row, such as texts, is checked by the first; what keeps any from
            checking is told by all of them. Everything else is found by exactly one.
        say: shows how far it is.

    Returns:
        The report, also if there are problems.

    Raises:
        StoreNotFound: there is no store.
        StoreError: its attributes are damaged; or ``repair``, and it is a packed copy.
        StoreLocked: ``repair``, and a run holds the store.
        StorageFailure, EnvironmentFailure: the machine is at fault; nothing was repaired.
        ValueError: ``level="sample"`` without ``extract``; a ``part`` with it or with ``repair``.
    """
    if level == "sample" and extract is None:
        raise ValueError("level='sample' needs extract")
    if part is not None and (repair or level == "sample"):
        raise ValueError("a part is looked at with level='size' or 'crc', and not repaired")
    path = store_path(path)
    run_id = f"verify-{uuid4().hex[:8]}"
    with reading(f"store {str(path)!r}"):
        require_thread()
        if repair:
            _restore_group(path, run_id)
            layout.refuse_packed(path)
        wrong = metadata_of(path)
        if wrong and repair:
            repair_metadata(path, run_id, wrong)
        elif wrong:
            return _only_metadata(path, level, wrong)
        rows = None if part is None else _rows_of(path, *part)
        report = _inspect(Store.open(path, tolerant=True, part=rows), level, say)
        report.problems[:0] = map(_metadata_problem, wrong)
        report.rebuilt_metadata = bool(wrong)
        if level == "sample" and extract is not None:
            report.problems += check_sample(
                Store.open(path, tolerant=True), extract, num_sample, say
            )
        if repair and not report.unread and any(p.remedy != "none" for p in report.problems):
            again = functools.partial(_inspect, level="size")
            repair_store(path, run_id, report, again, end_of_text)
    return report


def _rows_of(path: StorePath, index: int, count: int) -> RowPart:
    """The rows of a part; a shard lies in one part."""
    root, features = path / schema.GROUP, layout.read_attributes(path)["features"]
    arrays: list[Any] = [schema.open_array(root, feature, "r") for feature in features]
    step = max((array.shards[0] for array in arrays if array.shards), default=1)
    total = schema.open_array(root, schema.VIDEO_ID, "r").shape[0]
    return RowPart(index, count, total, step)


def _restore_group(path: StorePath, run_id: str) -> None:
    try:
        layout.read_attributes(path)
    except StoreError:
        if not layout.restore_group(path, Removed(path, run_id).move):
            raise


def metadata_of(path: StorePath) -> list[WrongMetadata]:
    """What of the arrays' metadata is not what follows from the store's attributes."""
    attrs = layout.read_attributes(path)
    unfinished = any(run["state"] == RUNNING for run in Runs(path / "runs").all())
    return wrong_metadata(
        path / schema.GROUP,
        attrs,
        packed=layout.is_packed(attrs),
        unfinished=unfinished or read_holder(path) is not None,
        longest=functools.partial(_longest, Ledger(path / "ledger")),
    )


def _longest(ledger: Ledger) -> int:
    """Seconds of the longest video that a ledger calls ok."""
    records = (record for _, _, record in ledger.newest())
    return max((record.length for record in records if record.status == Status.OK), default=0)


def _metadata_problem(wrong: WrongMetadata) -> Problem:
    return Problem("metadata", wrong.name, "", -1, wrong.detail, remedy="file")


def _only_metadata(path: StorePath, level: Level, wrong: list[WrongMetadata]) -> VerifyReport:
    """Without its metadata nothing of an array can be told."""
    packed = layout.is_packed(layout.read_attributes(path))
    report = VerifyReport(path, level, packed=packed)
    report.problems += map(_metadata_problem, wrong)
    return report


def _inspect(store: Store, level: Level, say: Say = silent) -> VerifyReport:
    report = VerifyReport(store.path, level, videos=len(store.video_ids()), packed=store.packed)
    recipes = (*store.recipes().values(), *store.text_recipes().values())
    report.random_weights = any(map(has_random_weights, recipes))
    made = dict.fromkeys(map(making_command, store.recipes().values()))
    report.filled_by = "` and `".join(made)
    report.part = store.part
    if store.part is None or store.part.is_first:
        _inspect_texts(report, level)
        _inspect_runs(report, store)
    for line in store.ledger.bad_lines():
        report.problems.append(Problem("ledger", "ledger", "", -1, str(line), remedy="file"))
    for name in store.damaged:
        detail = "column cannot be read"
        report.problems.append(Problem("index", name, "", -1, detail, remedy="columns"))
    for file in FrameTimes(store.root).damaged_objects(store.part):
        report.problems.append(
            Problem("index", schema.PTS, "", -1, "cannot be read", file, remedy="columns")
        )
    if schema.VIDEO_ID in store.damaged:
        return report  # without ids every row would look like a stranger's
    records = _newest(store, report)
    names = store.names()
    for array, row, wrong in check_index(store):
        report.problems.append(Problem("index", array, names[row], row, wrong, remedy="columns"))
    with counting(say, "verify", sum(map(len, records.values())), "records") as count:
        for feature, of_feature in records.items():
            FeatureCheck(store, feature, of_feature, report, count.step).run(level)
    return report


def _newest(store: Store, report: VerifyReport) -> dict[str, dict[int, FeatureRecord]]:
    """Feature → row → newest record; tells of those whose video the index does not have."""
    records: dict[str, dict[int, FeatureRecord]] = {name: {} for name in store.features()}
    rows = store.rows()
    told = set()
    for video_id, row, record in store.ledger.newest():
        if rows.get(video_id) != row and (video_id, row) not in told:
            told.add((video_id, row))
            detail = "in the ledger, but not in the index"
            report.problems.append(
                Problem("index", schema.VIDEO_ID, video_id, row, detail, remedy="columns")
            )
        elif record.feature in records and rows.get(video_id) == row:
            records[record.feature][row] = record
    return records


def _inspect_runs(report: VerifyReport, store: Store) -> None:
    for file in store.runs.damaged():
        detail = f"{file.name} cannot be read"
        report.problems.append(Problem("run", "runs", "", -1, detail, file, remedy="aside"))


def _inspect_texts(report: VerifyReport, level: Level) -> None:
    report.texts = found = check_texts(report.path, read=level == "crc")
    report.objects += found.objects
    report.n_bytes += found.n_bytes
    report.problems += [
        Problem(p.kind, p.array, "", -1, p.detail, p.path, of_texts=True, remedy=p.remedy)
        for p in found.problems
    ]
    report.unread += [
        Problem("unread", array, "", -1, detail, of_texts=True, remedy="none")
        for array, detail in found.unread
    ]
