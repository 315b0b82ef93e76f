"""Grounding pre-training (AVST's stage I, heads.md section 2.3), and starting a head from it.

Audio, frame and match layers learn to tell the frames that go with some audio from those of other
videos; no question is needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from avqa.errors import ConfigError
from avqa.heads import HeadInput, HeadOptions, load
from avqa.heads._parts.grounding import GROUNDING_PREFIXES, grounding_state, load_grounding
from avqa.heads.avst import Head as Avst
from avqa.machine import choose_device
from avqa.store.format.recipe_diff import diff_recorded, require_same
from avqa.store.places.files import storage_errors, write_atomic
from avqa.training.data.features import FeatureReader
from avqa.training.fitting.rate import schedule_of
from avqa.training.fitting.waiting import awake_while_alone
from avqa.training.run import CONFIG, MODEL, Run, read_weights
from avqa.training.settings import BETA2, TrainSettings
from avqa.training.tensor_files import read_tensors

STAGE_ONE: dict[str, Any] = {"step_epochs": 8, "stride_seconds": 1, "max_seconds": 10}
"""Where stage I differs from AVST's recipe: the first ten seconds, a step every 8 epochs."""
FIELDS = ("audio", "patch")
RECIPES = "recipes"
FORM = {"ground_score": "cosine", "ground_on": "norm"}
"""How AVST reads its maps, and every head whose options do not say."""


@awake_while_alone()
def pretrain(
    head: Avst,
    features: FeatureReader,
    video_ids: Sequence[str],
    settings: TrainSettings,
    *,
    seed: int,
    say: Callable[[str], None],
) -> float:
    """Train a head's grounding by the match loss alone; the mean loss of the last epoch.

    Args:
        head: as initialised by the caller; afterwards on the CPU, in evaluation mode.
        features: of audio and frames.
        video_ids: two or more.
        settings: ``precision`` and ``workers`` play no role here.
        seed: of order and negatives.
        say: prints one line of progress.

    Raises:
        ConfigError: the loss is NaN or infinite; there is no such device.
    """
    device = choose_device(settings.device, gpus=torch.cuda.device_count())
    head.to(device).train()
    betas = (settings.beta1, BETA2)
    adam = torch.optim.Adam(head.parameters(), lr=settings.learning_rate, betas=betas)
    steps = schedule_of(adam, settings)
    mean = 0.0
    for epoch in range(settings.epochs):
        total, count = 0.0, 0
        for step, batch in enumerate(_batches(video_ids, settings.batch_size, (seed, epoch))):
            torch.manual_seed(_seed(seed, epoch, step))
            inputs = head.prepared(_inputs(features, batch).to(device))
            loss = head.grounding_loss(inputs)
            assert loss is not None  # `_batches` gives two videos or more
            if not bool(loss.isfinite()):
                raise ConfigError(
                    f"grounding: loss={loss.item()} in epoch={epoch + 1}, step={step + 1};"
                    f" expected a finite value; lower learning_rate={settings.learning_rate:g}"
                )
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            total, count = total + loss.item() * len(batch), count + len(batch)
        steps.step()
        mean = total / count
        say(f"grounding: epoch {epoch + 1}/{settings.epochs} done | match loss {mean:.4f}")
    head.cpu().eval()
    return mean


def _seed(*numbers: int) -> int:
    digest = hashlib.sha256("/".join(map(str, numbers)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def _batches(video_ids: Sequence[str], size: int, seed: tuple[int, int]) -> Iterator[Sequence[str]]:
    """Random batches of videos, each of two at least."""
    generator = torch.Generator().manual_seed(_seed(*seed))
    order = [video_ids[n] for n in torch.randperm(len(video_ids), generator=generator).tolist()]
    size = max(size, 2)
    starts = list(range(0, len(order), size))
    if len(order) - starts[-1] == 1:
        starts.pop()  # a video alone joins the batch before
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        yield order[start:end]


def _inputs(features: FeatureReader, video_ids: Sequence[str]) -> HeadInput:
    """Audio and frames of videos, padded to the longest: [B, T, ...]."""
    rows = [features.read(video) for video in video_ids]
    real = [row.get("valid", torch.ones(len(row["audio"]), dtype=torch.bool)) for row in rows]
    padded = {
        field: pad_sequence([row[field].float() for row in rows], batch_first=True)
        for field in FIELDS
    }
    return HeadInput(
        valid=pad_sequence(real, batch_first=True),
        video=torch.arange(len(rows)),
        **padded,
    )


def save_grounding(path: Path, head: Avst, recipes: Mapping[str, Mapping[str, Any]]) -> None:
    """Publish the trained layers as safetensors, with the features' recipes and their hashes.

    Raises:
        StorageFailure: the file cannot be written.
    """
    state = {name: value.contiguous() for name, value in grounding_state(head).items()}
    # One entry: safetensors writes several in random order, and the file's digest is its name.
    about = {RECIPES: json.dumps(dict(recipes))}
    with storage_errors(f"{str(path)!r}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, save(state, about))


@dataclass(frozen=True)
class Grounding:
    """Layers to start a head from."""

    path: Path
    state: dict[str, Tensor]
    recipes: dict[str, Mapping[str, Any]]
    """Feature → ``recipe_hash`` and ``recipe`` it was trained on; of old files only the hash."""
    digest: str
    """SHA-256 of the file."""
    form: dict[str, Any] = field(default_factory=FORM.copy)
    """Options, or what stands for them, that it was trained with."""

    @classmethod
    def load(cls, path: Path) -> Grounding:
        """From the file of `avqa pretrain-grounding`, or from a run or a member of one.

        Raises:
            ConfigError: it is neither, or has no grounding.
            RunDamaged: the run's weights are not those that training wrote.
        """
        recipes: dict[str, Mapping[str, Any]] | None = None
        form = FORM
        if path.is_dir():
            member = Run.load(path).members[0]
            member.check(MODEL)
            path = member.path / MODEL
            entries = member.config.features.values()
            recipes = {entry["name"]: entry for entry in entries}
            form = _form(load(member.config.head).Options(**member.config.options))
        state = read_weights(path)
        if recipes is None:
            known = json.loads(read_tensors(path)[1].get(RECIPES, "{}"))
            recipes = {n: {"recipe_hash": e} if isinstance(e, str) else e for n, e in known.items()}
        own = {name: x for name, x in state.items() if name.startswith(GROUNDING_PREFIXES)}
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return cls(path, own, recipes, digest, dict(form))

    def start(self, head: Any) -> None:
        """Start a head's grounding from these layers.

        Raises:
            ConfigError: names or shapes are not those of the head, or it reads maps otherwise.
        """
        own = _form(head.options)
        if own != self.form:
            had, has = (" ".join(f"{k}={v}" for k, v in x.items()) for x in (self.form, own))
            raise ConfigError(
                f"--init-grounding {str(self.path)!r} was trained with {had}; head={head.name} has"
                f" {has}, to which what it learnt is nothing; have it read maps alike (ground_score"
                " and ground_on, sa_norm of sasr), or leave it out"
            )
        try:
            load_grounding(head, self.state)
        except ValueError as error:
            raise ConfigError(
                f"--init-grounding {str(self.path)!r}: {error}; give the grounding of avst, tjstg"
                f" or sasr with the widths of {CONFIG}, or leave it out"
            ) from error

    def require_recipes(self, features: Mapping[str, Mapping[str, Any]]) -> None:
        """Refuse to start from layers that were trained on other features.

        Raises:
            RecipeMismatch: names every differing key with both values, and its features.
        """
        require_same(
            f"--init-grounding {str(self.path)!r}",
            diff_recorded(self.recipes, {entry["name"]: entry for entry in features.values()}),
            "pre-train on this store with `avqa pretrain-grounding`",
            sides=("grounding", "store"),
        )


def _form(options: HeadOptions) -> dict[str, Any]:
    """How a head reads its maps."""
    return {name: getattr(options, name, usual) for name, usual in FORM.items()}
