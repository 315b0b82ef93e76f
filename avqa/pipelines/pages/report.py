"""`avqa report`: the page of a run or of a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avqa.errors import ConfigError
from avqa.pipelines.pages.page import check_out, write_page
from avqa.store.commit import Store
from avqa.store.places.files import store_path
from avqa.telling import Say
from avqa.training.run import CONFIG, RUN

REPORT = "report.html"


def report(
    path: str, out: Path | None, videos: Path | None, say: Say, sentences: Sequence[str] = ()
) -> Path:
    """Write the page of a run's folder, of one member's, or of a store.

    Args:
        path: the folder; a store may be an ``s3://`` prefix.
        out: the file; by default ``report.html`` in a run's folder, and ``NAME-report.html`` in
            the current folder for a store, into which nothing of others is written.
        videos: the folder of the videos, to show frames.
        say: what is missing.
        sentences: of a store: whose nearest seconds the page shows.

    Returns:
        The file.

    Raises:
        ConfigError: there is neither a run nor a store, or ``out`` can be no file.
        RunDamaged, StoreError: it is damaged.
        StorageFailure: the page cannot be written.
    """
    folder = Path(path)
    is_run = any(next(folder.glob(name), None) for name in (RUN, CONFIG, f"*/seed-*/{CONFIG}"))
    place = store_path(path)
    if not is_run and not Store.exists(place):
        raise ConfigError(
            f"path={path!r} is neither a run nor a store; expected a folder of `avqa train-head`,"
            " one <variant>/seed-<n> of it, or what `avqa extract` made; check the path"
        )
    if is_run and sentences:
        raise ConfigError(
            f"search={sentences[0]!r} goes with a store; {path!r} is a run; leave --search out"
        )
    named = folder / REPORT if is_run else Path(f"{place.name}-{REPORT}")
    target = named if out is None else out
    check_out(target)
    if is_run:
        from avqa.pipelines.pages.run import run_page

        write_page(target, run_page(folder, say, videos))
    else:
        from avqa.pipelines.pages.store import store_page

        write_page(target, store_page(place, videos, say, sentences))
    return target
