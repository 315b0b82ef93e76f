"""A clip, a store of it with random weights, and untrained heads on that store, to be asked."""

import contextlib
import dataclasses
import functools
import json
from unittest import mock

import torch
from helpers.media import clips
from helpers.runs import run_folders

from avqa import heads
from avqa.extract.decoder.process import DecoderProcess
from avqa.extract.profiles import profile
from avqa.pipelines.extraction.run import ExtractOptions, extract_folder
from avqa.pipelines.questions.encode import QuestionOptions, encode_questions
from avqa.store.reader import FeatureStore
from avqa.training.data import building
from avqa.training.run import DEFAULT, RUN
from avqa.training.settings import resolve

FEATURES = ("clip_vit_b32/frame", "clip_vit_b32/patch", "vggish/audio")
VIDEO = "00000001"
ROWS = [
    ("Where is the <LL> instrument?", ["loudest"], ["Audio-Visual", "Location"]),
    ("Is there a <Object> sound?", ["violin"], ["Audio", "Counting"]),
    ("Is there a <Object> sound?", ["tuba"], ["Audio", "Counting"]),
    ("Is there a <Object> sound?", ["piano"], ["Audio-Visual", "Existential"]),
]
SIZES = {"audio_width": 128, "visual_width": 512, "text_width": 512, "width": 16}


@contextlib.contextmanager
def asked_once():
    """The reader is asked for its version once and not every time."""
    version = DecoderProcess.version

    @functools.cache
    def ask_child(reader):
        with DecoderProcess(reader) as child:
            return version(child)

    with mock.patch.object(DecoderProcess, "version", lambda self: ask_child(self.reader)):
        yield


def clip(seconds=3.0, **options):
    """A clip whose frames are wider than high, with audio."""
    options = {"sound_codec": "aac"} | options
    return clips.cached_clip(f"{VIDEO}.mp4", seconds=seconds, fps=8, size=(160, 96), **options)


def annotation(folder):
    """Invented questions about the clip, in MUSIC-AVQA's format: for training and for test."""
    folder.mkdir(parents=True)
    for split in ("train", "val", "test"):
        rows = [
            {
                "video_id": VIDEO,
                "question_id": number,
                "type": json.dumps(kind),
                "question_content": text,
                "templ_values": json.dumps(slots),
                "anser": "yes",
            }
            for number, (text, slots, kind) in enumerate(ROWS)
        ]
        (folder / f"avqa-{split}.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder


def extracted(folder):
    """A store of the clip, with the texts of its questions."""
    (folder / "videos").mkdir(parents=True)
    (folder / "videos" / f"{VIDEO}.mp4").symlink_to(clip())
    settings = profile("default", features=FEATURES, weights="random:0")
    options = ExtractOptions(
        folder / "videos", folder / "store", settings, scheduler="sync", follow_links=True
    )
    extract_folder(options).raise_if_failed()
    annotations = annotation(folder / "annotations")
    encode_questions(QuestionOptions("music-avqa", annotations, folder / "store"))
    return FeatureStore(folder / "store")


def write_run(root, head, store, *, settings=None, remembers=False, **options):
    """A run of one untrained member over the features of ``store``.

    Unless it ``remembers``, it names a store that is gone, so that features are made anew.
    """
    sizes = {k: v for k, v in SIZES.items() if k in heads.load(head).Options.__dataclass_fields__}
    chosen, defaults = resolve(head)
    chosen = dataclasses.replace(chosen, visual="clip_vit_b32", **(settings or {}))
    options = {**defaults, **sizes, **options}
    torch.manual_seed(0)
    options["vocabulary"] = 101 if "type_tokens" in heads.build(head, **options).needs else 93
    features, texts, source = building.described(heads.build(head, **options), store, chosen)
    config = run_folders.config(
        head,
        settings=dataclasses.asdict(chosen),
        features=features,
        texts=texts,
        weights=source,
        store=str(store.path) if remembers else "/nowhere/store",
        annotations=str(store.path.parent / "annotations"),
    )
    config = dataclasses.replace(config, options=options)
    member = run_folders.write_member(root, config)
    (root / RUN).write_text(
        json.dumps({"head": head, "variants": [DEFAULT], "seeds": 1}), encoding="utf-8"
    )
    return member


def edit(member, field, change):
    """Change the recipe of a feature in a member's ``config.json``."""
    path = member.path / "config.json"
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value["features"][field]["recipe"])
    path.write_text(json.dumps(value), encoding="utf-8")
