"""What a reproduction will take, measured on this machine before it begins."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import torch

from avqa import heads
from avqa.errors import WeightsUnavailable
from avqa.extract import encoders, weights
from avqa.extract.text import encoder_of
from avqa.heads import HeadInput
from avqa.machine import choose_device
from avqa.pipelines.extraction.plan import plan_folder
from avqa.pipelines.reproduce.asked import ReproduceOptions
from avqa.pipelines.reproduce.collection import Collection
from avqa.pipelines.reproduce.features import Extraction
from avqa.pipelines.reproduce.training import Training
from avqa.store.places.files import free_bytes, read_json, storage_errors, write_json
from avqa.training.data import building
from avqa.training.data.names import names_of, num_patches
from avqa.training.fitting.fit import use_cores
from avqa.training.run import QUESTION_ONLY
from avqa.training.settings import TrainSettings
from avqa.training.variants import Variant
from avqa.units import clock, size

PLAN = "plan.json"
MEASURED_SECONDS = 3.0
"""Of training steps, for each head."""
MOST_STEPS = 20


@dataclass(frozen=True)
class Part:
    """One step and what it is expected to take."""

    name: str
    what: str
    seconds: float
    n_bytes: float = 0.0

    def line(self) -> str:
        """For people."""
        room = f", at most {size(self.n_bytes)}" if self.n_bytes else ""
        return f"  {self.name}: {self.what}: about {clock(self.seconds)}{room}"


def plan_lines(parts: Sequence[Part], free: int | None, *, before: bool = False) -> list[str]:
    """The whole plan, for people; ``before``: it was measured by an earlier command."""
    total = sum(part.n_bytes for part in parts)
    room = f" ({size(free)} free)" if free is not None else ""
    return [
        "plan, as it was when this began:" if before else "plan, by the speeds of this machine:",
        *(part.line() for part in parts),
        f"  all: about {clock(sum(part.seconds for part in parts))}, at most {size(total)}{room}",
    ]


def missing_weights(extractions: Iterable[Extraction], asked: ReproduceOptions) -> list[str]:
    """What is missing of the networks' weights, a line each."""
    needed = dict.fromkeys(
        name for e in extractions for name in encoders.weights_of(e.settings.features)
    )
    for features in (names for e in extractions for names in e.texts()):
        needed |= dict.fromkeys(encoders.load(encoder_of(features[0])).WEIGHTS)
    lines = []
    for name in needed:
        try:
            weights.resolve(asked.weights, [name])
        except WeightsUnavailable as error:
            lines.append(str(error))
    return lines


def made(
    asked: ReproduceOptions,
    collection: Collection,
    extractions: Sequence[Extraction],
    say: Callable[[str], None],
) -> tuple[list[Part], bool]:
    """Measure and write ``plan.json``, or read what was measured before; whether it was.

    Of an array job's tasks each plans the whole.

    Raises:
        ConfigError, WeightsUnavailable: as `plan_folder`.
    """
    path = asked.out / PLAN
    names = [part for e in extractions for part in (e.name, *(t.name for t in e.trainings))]
    of = {"parts": names, "seeds": asked.seeds, "ablations": asked.ablations}
    try:
        known = read_json(path)
        if known["of"] == of:
            return [Part(**part) for part in known["parts"]], True
    except (OSError, ValueError, TypeError, KeyError):
        pass  # nothing that counts depends on it: it is measured again
    whole = replace(asked, partition=None)
    parts = [part for e in extractions for part in _of_store(e, whole, collection, say)]
    with storage_errors(f"{str(path)!r}"):
        asked.out.mkdir(parents=True, exist_ok=True)
        write_json(path, {"of": of, "parts": [asdict(part) for part in parts]})
    return parts, False


def _of_store(
    extraction: Extraction,
    asked: ReproduceOptions,
    collection: Collection,
    say: Callable[[str], None],
) -> list[Part]:
    found = plan_folder(extraction.options(asked, collection.ids), say)
    total = sum(found.bytes_per_video.values()) * found.num_videos
    hours = f"{found.num_videos} videos, {found.video_seconds / 3600:.2f} h"
    parts = [Part(extraction.name, hours, found.wall_seconds, total)]
    for training in extraction.trainings:
        say(f"planning: timing {training.name}")
        parts.append(
            _of_training(training, asked, len(collection.questions.train), round(found.mean_rows))
        )
    return parts


def _of_training(training: Training, asked: ReproduceOptions, questions: int, seconds: int) -> Part:
    planned = training.plan()
    variants = [v for v in planned.variants if v.name != QUESTION_ONLY]
    rate = questions_per_second(variants[0], planned.settings, asked.device, seconds)
    members = len(variants) * asked.seeds
    epochs = planned.settings.epochs
    tasks = min(asked.slurm.jobs, members) if asked.slurm else 1
    what = (
        f"{members} trainings of {epochs} epochs of {questions} questions at {rate:.0f} a second"
        f" ({_computes(asked.device)})"
    )
    return Part(training.name, what, members * epochs * questions / rate / tasks)


def _computes(device: str) -> str:
    chosen = choose_device(device)
    return chosen if chosen != "cpu" else f"cpu, {torch.get_num_threads()} threads"


def questions_per_second(
    variant: Variant, settings: TrainSettings, device: str, seconds: int
) -> float:
    """Of a head's training steps on noise of the features' shapes, at the recipe's batch.

    Args:
        variant: the head with its options.
        settings: of its training.
        device: as the user said it.
        seconds: rows of a video in the store.
    """
    use_cores()
    place = choose_device(device)
    names = names_of(settings, building.video_fields([variant]))
    widths = {
        heads.width_option(variant.options, field): heads.coded_width(
            encoders.tap_of(name).shape[-1], variant.options["time_code"]
        )
        for field, name in names.items()
    }
    head = building.build(variant, variant.options | widths, seed=0).train().to(place)
    optimizer = torch.optim.Adam(head.parameters())
    inputs = heads.random_input(
        head,
        batch=settings.batch_size,
        seconds=min(settings.num_rows, max(1, -(-seconds // settings.stride_seconds))),
        patches=num_patches(settings),
    ).to(place)
    first = _step_seconds(head, optimizer, inputs)
    later: list[float] = []
    while first + sum(later) < MEASURED_SECONDS and len(later) < MOST_STEPS:
        later.append(_step_seconds(head, optimizer, inputs))
    # The first one warms up, which a step of seconds does not feel.
    return settings.batch_size / (statistics.median(later) if later else first)


def _step_seconds(head: heads.Head, optimizer: torch.optim.Optimizer, inputs: HeadInput) -> float:
    began = time.perf_counter()
    output = head(inputs)
    answers = torch.zeros(len(output.logits), dtype=torch.long, device=output.logits.device)
    loss = torch.nn.functional.cross_entropy(output.logits, answers)
    for name, aux in output.aux_losses.items():
        loss = loss + head.aux_weights[name] * aux
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
    float(loss.detach())  # waits for the device
    return time.perf_counter() - began


def room(asked: ReproduceOptions, parts: Sequence[Part]) -> str | None:
    """What is missing of the disk; None if the stores fit, or nobody can tell."""
    free, needed = free_bytes(asked.out), sum(part.n_bytes for part in parts)
    if free is None or free >= needed:
        return None
    return (
        f"--out {str(asked.out)!r}: {size(free)} free; expected {size(needed)} for the features at"
        " most; free space, or give another --out"
    )
