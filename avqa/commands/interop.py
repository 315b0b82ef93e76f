"""`avqa import npy`, `import hdf5`, `import run`, `avqa export npy`, `avqa compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avqa.commands import options as option
from avqa.commands.reporting import reports_errors, say, show
from avqa.commands.values import Command

import_app = typer.Typer(no_args_is_help=True, help="Take in features and heads made elsewhere.")
export_app = typer.Typer(no_args_is_help=True, help="Write features in other layouts.")


FromLayout = Annotated[
    str | None,
    typer.Option(
        "--from-layout",
        help="Take only the folders of this layout: tspm, qa-tiger, cuespace, av-master, …",
    ),
]


@import_app.callback()
def _imports() -> None:
    """Take in features and heads made elsewhere."""


@export_app.callback()
def _exports() -> None:
    """Write features in other layouts."""


@import_app.command("npy", cls=Command)
@reports_errors
def import_npy(
    source: Annotated[
        Path,
        typer.Option(
            "--from", help="Folder of <video>.npy, or one that holds such folders.", metavar="DIR"
        ),
    ],
    store: option.Store,
    kind: option.Kind = None,
    layout: FromLayout = None,
    truncate: Annotated[
        int | None, typer.Option(min=1, help="Keep the first N rows; all by default.", metavar="N")
    ] = None,
    dataset: option.OptionalDataset = None,
    annotations: option.OptionalAnnotations = None,
) -> None:
    """Take published feature files into a new store or one that is there, marked as imported.

    Their dtype and rows are kept.

    Files of questions (clip_qst, qst_ViT-L14@336px, …) need --dataset and --annotations. Folders
    that are passed over are named.

    Example: avqa import npy --from feats --store official
    """
    from avqa.pipelines.npy.folders import import_folders
    from avqa.pipelines.npy.questions import Annotations
    from avqa.store.places.files import store_path

    asked = Annotations.given(dataset, annotations)
    for line in import_folders(
        source, store_path(store), asked, kind=kind, layout=layout, truncate=truncate, say=say
    ):
        typer.echo(line)


@import_app.command("hdf5", cls=Command)
@reports_errors
def import_hdf5(
    source: Annotated[
        Path, typer.Option("--from", help="HDF5 file, or a folder of them.", metavar="PATH")
    ],
    store: option.Store,
    annotations: Annotated[
        Path | None,
        typer.Option(
            "--annotations",
            help="AVQA's question files, where the files' ids are numbers: they have the names.",
        ),
    ] = None,
) -> None:
    """Take the feature files of the data set AVQA into a new store or one that is there.

    They hold resnet_features, resnext_features or vlaudio_features. dtype and rows are kept.

    Example: avqa import hdf5 --from feats --store official --annotations data/annotation
    """
    from avqa.pipelines.npy.hdf5 import import_hdf5 as run
    from avqa.store.places.files import store_path

    for line in run(source, store_path(store), annotations=annotations, say=say):
        typer.echo(line)


@import_app.command("run", cls=Command)
@reports_errors
def import_run(
    file: Annotated[
        Path,
        typer.Argument(
            help="Published checkpoint: safetensors, or a torch file of tensors alone.",
            metavar="FILE",
        ),
    ],
    head: Annotated[str, typer.Option(help="Whose checkpoint it is, such as qa_tiger.")],
    store: option.Store,
    dataset: option.Dataset,
    annotations: option.Annotations,
    out: Annotated[Path, typer.Option(help="Folder of the run: new or empty.")],
    edition: option.Edition = None,
    group: option.Group = None,
    subset: option.Subset = None,
    assign: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting or head option with which it was trained; repeatable.",
        ),
    ] = None,
) -> None:
    """Take a published checkpoint as a run, to be measured again by `avqa evaluate`.

    Nothing is unpickled. Names, the order of the answers and options are those of its release.

    Example: avqa import run qa-tiger.pth --head qa_tiger --store features --dataset music-avqa
    --annotations json --out run
    """
    from avqa.pipelines.runs_in.importing import RunImport
    from avqa.pipelines.runs_in.importing import import_run as run
    from avqa.store.places.files import store_path
    from avqa.units import parse_assignments

    asked = RunImport(
        file=file,
        head=head,
        store=store_path(store),
        dataset=dataset,
        annotations=annotations,
        out=out,
        choices=option.chosen(edition, group, subset),
        assignments=parse_assignments(assign or []),
    )
    for line in run(asked, say):
        typer.echo(line)


@export_app.command("npy", cls=Command)
@reports_errors
def export_npy(
    store: option.Store,
    layout: Annotated[str, typer.Option(help="tspm, qa-tiger, cuespace, av-master, mccd, pstp, …")],
    out: Annotated[Path, typer.Option(help="Gets the layout's folders.", metavar="DIR")],
    folders: Annotated[
        str, typer.Option(help="Folders of the layout to write, by comma; all by default.")
    ] = "",
    length: Annotated[
        int | None,
        typer.Option(min=1, help="Pad or cut every file to N rows; as they are by default."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that hold something else.")
    ] = False,
    dataset: option.OptionalDataset = None,
    annotations: option.OptionalAnnotations = None,
) -> None:
    """Write a store as the folders, file names, shapes and dtypes a repository reads.

    Files of questions (clip_qst, qst_ViT-L14@336px, …) need --dataset and --annotations.

    Example: avqa export npy --store features --layout pstp --out feats
    """
    from avqa.pipelines.npy.folders import export_folders
    from avqa.pipelines.npy.questions import Annotations
    from avqa.store.places.files import store_path

    for line in export_folders(
        store_path(store),
        out,
        layout,
        Annotations.given(dataset, annotations),
        folders=tuple(name.strip() for name in folders.split(",") if name.strip()),
        length=length,
        overwrite=overwrite,
        say=say,
    ):
        typer.echo(line)


@reports_errors
def compare(
    ours: Annotated[
        str, typer.Argument(help="Store, folder of <video>.npy, or file.", metavar="OURS")
    ],
    theirs: Annotated[
        str, typer.Argument(help="What to compare it with, likewise.", metavar="THEIRS")
    ],
    feature: Annotated[
        str | None, typer.Option(help="Compare this feature only; all that both have by default.")
    ] = None,
    kind: option.Kind = None,
    layout: FromLayout = None,
    dataset: option.OptionalDataset = None,
    annotations: option.OptionalAnnotations = None,
    tolerance: Annotated[
        float, typer.Option(min=-1, max=1, help="Smallest cosine of rows that count as equal.")
    ] = 0.999,
    as_json: option.Json = False,
) -> None:
    """Say whether two sets of features are the same, and if not, how they differ.

    Of files of questions, which need a store, --dataset and --annotations, it says how their texts
    were read: with a mark, without, or broken.

    Example: avqa compare features feats/vggish
    """
    from avqa.pipelines.npy.compare import compare as run
    from avqa.pipelines.npy.questions import Annotations
    from avqa.store.places.files import store_path

    sides = store_path(ours), store_path(theirs)
    report = run(
        *sides,
        feature=feature,
        kind=kind,
        layout=layout,
        annotations=Annotations.given(dataset, annotations),
        tolerance=tolerance,
        say=say,
    )
    show(report, as_json=as_json)
    report.raise_if_different()
