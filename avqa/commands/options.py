"""Options that several commands have: each is said once, and means the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_STORE = "Store of the features: a folder, or s3://bucket/prefix."
_DATASET = (
    "Data set of the questions: music-avqa, music-avqa-r, music-avqa-v2, fortisavqa, avqa,"
    " valor32k, custom, or a plug-in."
)
_ANNOTATIONS = "Folder of the question files, or one file."
_DEVICE = "Of the networks: auto, cpu or cuda."
_WEIGHTS = "pretrained, a folder, or random:SEED."
_PRECISION = "Networks: fp32, bf16, fp16; openai-fp16 of OpenAI's CLIPs."
_DTYPE = "Stored as float16 or float32."

# Where things are

Store = Annotated[str, typer.Option("--store", help=_STORE, metavar="STORE")]
OptionalStore = Annotated[str | None, typer.Option("--store", help=_STORE, metavar="STORE")]
RunStore = Annotated[
    str | None, typer.Option("--store", help=_STORE, metavar="STORE", show_default="the run's")
]
StoreArgument = Annotated[
    str, typer.Argument(help="The store: a folder, or s3://bucket/prefix.", metavar="STORE")
]
Run = Annotated[
    Path, typer.Argument(help="Folder of `avqa train-head`, or one <variant>/seed-<n> of it.")
]
_IDS = "File of video ids, one per line."
Ids = Annotated[Path | None, typer.Option("--ids", help=_IDS)]
RequiredIds = Annotated[Path, typer.Option("--ids", help=_IDS)]
StealLock = Annotated[
    bool, typer.Option("--steal-lock", help="Take over a lock not renewed for 10 minutes.")
]

# What is asked

Dataset = Annotated[str, typer.Option("--dataset", help=_DATASET)]
OptionalDataset = Annotated[str | None, typer.Option("--dataset", help=_DATASET)]
Annotations = Annotated[Path, typer.Option("--annotations", help=_ANNOTATIONS)]
OptionalAnnotations = Annotated[Path | None, typer.Option("--annotations", help=_ANNOTATIONS)]
RunAnnotations = Annotated[
    Path | None, typer.Option("--annotations", help=_ANNOTATIONS, show_default="the run's")
]
Format = Annotated[str, typer.Option("--format", help="text, csv or markdown.")]
Cells = Annotated[
    bool, typer.Option("--cells", help="All columns of the table, also where they do not fit.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead, for programs.")]
_EDITION = "Of music-avqa-v2: balance or bias."
_GROUP = "Test questions with a frequent answer (head), a rare one (tail): -r, fortisavqa; or all."
_SUBSET = "Of music-avqa: real or synthetic videos; multi: those with several test questions; all."
Edition = Annotated[str | None, typer.Option("--edition", help=_EDITION, show_default="balance")]
Group = Annotated[str | None, typer.Option("--group", help=_GROUP, show_default="all")]
Subset = Annotated[str | None, typer.Option("--subset", help=_SUBSET, show_default="all")]
RunEdition = Annotated[
    str | None, typer.Option("--edition", help=_EDITION, show_default="the run's")
]
RunGroup = Annotated[str | None, typer.Option("--group", help=_GROUP, show_default="the run's")]
RunSubset = Annotated[str | None, typer.Option("--subset", help=_SUBSET, show_default="the run's")]
Split = Annotated[str, typer.Option("--split", help="train, val or test.")]

Kind = Annotated[
    str | None,
    typer.Option("--kind", help="What the files are, where the folder's name does not say it."),
]

# How a video is read

FrameAt = Annotated[
    str | None,
    typer.Option(
        "--frame-at",
        help="Frame of second k: mid, start, key, music-avqa, ffmpeg-fps1, ffmpeg-r1.",
        show_default="mid",
    ),
]
Decoder = Annotated[
    str | None,
    typer.Option("--decoder", help="Reader: see `avqa decoders`.", show_default="pyav"),
]
_LONGEST = 1e9
"""Seconds: thirty years. Clocks and limits of the system take no number at all."""
MaxLength = Annotated[
    float,
    typer.Option(
        "--max-length",
        min=1,
        max=_LONGEST,
        help="Refuse videos longer than this many seconds.",
    ),
]
MaxGap = Annotated[
    float,
    typer.Option(
        "--max-gap",
        min=0.001,
        max=_LONGEST,
        help="With --frame-at key: refuse videos with more seconds between two key frames.",
    ),
]
VideoTimeout = Annotated[
    float,
    typer.Option(
        "--video-timeout",
        min=1,
        max=_LONGEST,
        help="Seconds a decoder may take for one video, beyond its length.",
    ),
]

# Where jobs run

ClusterConfig = Annotated[
    Path | None, typer.Option("--cluster-config", help="SLURM: YAML file that describes a job.")
]

# How networks compute; a profile's choice stands where an option is None

Device = Annotated[str, typer.Option("--device", help=_DEVICE)]
OptionalDevice = Annotated[str | None, typer.Option("--device", help=_DEVICE, show_default="auto")]
Weights = Annotated[str | None, typer.Option("--weights", help=_WEIGHTS, show_default="pretrained")]
StoreWeights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help=_WEIGHTS,
        show_default="those of the store's CLIP frames, else pretrained",
    ),
]
Precision = Annotated[str, typer.Option("--precision", help=_PRECISION)]
OptionalPrecision = Annotated[
    str | None, typer.Option("--precision", help=_PRECISION, show_default="fp32")
]
Dtype = Annotated[str, typer.Option("--dtype", help=_DTYPE)]
OptionalDtype = Annotated[str | None, typer.Option("--dtype", help=_DTYPE, show_default="float16")]


def chosen(edition: str | None, group: str | None, subset: str | None) -> dict[str, str]:
    """Those of the data set's own choices that are typed."""
    typed = {"edition": edition, "group": group, "subset": subset}
    return {name: value for name, value in typed.items() if value is not None}
