"""Videos whose files have another name now: what the store has of them goes to the new ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from avqa.store.commit import Store
from avqa.store.format.chunks import FeatureObjects
from avqa.store.format.ledger import newest_only
from avqa.store.format.records import Status, VideoRecord
from avqa.store.format.runs import now
from avqa.store.places.files import storage_errors, with_retries

BATCH = 500


@dataclass(frozen=True)
class NewName:
    """What a renamed video is called now."""

    video_id: str
    relpath: str


def rename_videos(store: Store, names: Mapping[str, NewName], run_id: str) -> None:
    """Give videos new ids, in new rows; the old rows are those of removed videos.

    Killed anywhere it has lost nothing: objects are copied, then the new rows count, then the old
    ones go. What it left undone, the next run extracts.

    Args:
        store: opened with its lock, and recovered.
        names: id of a video → its new one, which the store does not have yet.
        run_id: of this run.

    Raises:
        StorageFailure: the disk is full or read-only.
    """
    store.add_rows([new.video_id for new in names.values()])
    old, rows = list(names), store.rows()
    records: dict[str, list[VideoRecord]] = {name: [] for name in old}
    for record in newest_only(store.ledger.segments()):
        if record.video_id in records and rows[record.video_id] == record.row:
            records[record.video_id].append(record)
    objects = {feature: FeatureObjects(store.root, feature) for feature in store.features()}
    for start in range(0, len(old), BATCH):
        batch = old[start : start + BATCH]
        made = []
        for name in batch:
            new = names[name]
            for record in records[name]:
                made.append(_moved(store, record, new, rows[new.video_id], run_id))
                with storage_errors(f"store {str(store.path)!r}"):
                    _copy_objects(record, rows[new.video_id], objects)
        store.commit(made)
        store.delete(batch)


def _moved(store: Store, record: VideoRecord, new: NewName, row: int, run_id: str) -> VideoRecord:
    """The record as one of the new id, without what is pending again."""
    features = tuple(
        feature
        for feature in record.features
        if store.status(feature.feature)[record.row] == feature.status
    )
    return replace(
        record,
        video_id=new.video_id,
        row=row,
        relpath=new.relpath,
        features=features,
        finished_at=now(),
        run_id=run_id,
    )


def _copy_objects(record: VideoRecord, row: int, objects: Mapping[str, FeatureObjects]) -> None:
    for feature in record.features:
        if feature.status != Status.OK:
            continue
        of = objects[feature.feature]
        for number in range(len(feature.chunks)):
            data = of.require(record.row, number)
            with_retries(partial(of.path(row, number).write, data))
