"""`avqa import npy`, `avqa export npy`, `avqa compare`."""

from __future__ import annotations

import typer

from avqa.commands.reporting import reports_errors

import_app = typer.Typer(no_args_is_help=True, help="Take in features made elsewhere.")
export_app = typer.Typer(no_args_is_help=True, help="Write features in other layouts.")


@reports_errors
def compare() -> None:
    """Placeholder."""
    raise NotImplementedError
