"""`avqa extract --plan`: measure a few videos and the networks, predict the whole run."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from avqa import machine
from avqa.errors import MediaError
from avqa.extract import encoders, weights
from avqa.extract.decoder.process import DecoderProcess, Footer, Request
from avqa.extract.media.grid import MUSIC_AVQA_ROWS
from avqa.extract.settings import Settings
from avqa.pipelines.cluster.slurm_config import check_surroundings
from avqa.pipelines.engine.engine import EngineSize
from avqa.pipelines.engine.files import at_hand
from avqa.pipelines.engine.ticket import inputs_of
from avqa.pipelines.extraction.array_job import assigned, fixed_videos
from avqa.pipelines.extraction.collection.roots import judge
from avqa.pipelines.extraction.collection.sources import Source, select
from avqa.pipelines.extraction.run import ExtractOptions
from avqa.store.collection import read_collection
from avqa.store.commit import Store
from avqa.store.format.records import Status
from avqa.store.places.files import StorePath, free_bytes
from avqa.units import clock, size

NUM_PROBED = 20
NUM_DECODED = 3


@dataclass(frozen=True)
class Plan:
    """What a run would cost; seconds are processor seconds per second of video."""

    num_videos: int
    notes: tuple[str, ...]
    num_probed: int
    mean_seconds: float
    mean_rows: float
    """Of a video: its seconds, but for a grid that gives every video as many."""
    decode_cost: float
    network_cost: float | None
    """None where this machine lacks the GPU of those that the run is for."""
    bytes_per_video: dict[str, float]
    settings: Settings
    size: EngineSize
    num_workers: int
    free_bytes: int | None
    job_script: str = ""
    """Of one batch job, where the workers are such jobs."""

    @property
    def video_seconds(self) -> float:
        """Seconds of video in the whole run."""
        return self.num_videos * self.mean_seconds

    @property
    def wall_seconds(self) -> float:
        """Predicted time of the run, start-up apart; of decoding alone if that is all we know."""
        networks = self.mean_rows * (self.network_cost or 0.0)
        decoding = self.mean_seconds * self.decode_cost
        if self.settings.device == "cuda":
            each = max(decoding / self.size.decoders, networks)
        else:
            each = (decoding + networks) / self.size.encoder_threads
        return self.num_videos * each / self.num_workers

    def _rows_told(self) -> str:
        """That rows are no seconds, where they are not."""
        if round(self.mean_rows) == round(self.mean_seconds):
            return ""
        return f"; {self.mean_rows:.0f} rows of every video"

    @property
    def bottleneck(self) -> str:
        """Which of the two takes longer with the processes there are."""
        if self.network_cost is None:
            return "unknown"
        decoding = self.mean_seconds * self.decode_cost / self.size.decoders
        networks = self.mean_rows * self.network_cost / self.size.encoder_threads
        return "decoding" if decoding > networks else "the networks"

    def lines(self) -> list[str]:
        """The prediction for the user."""
        total = sum(self.bytes_per_video.values()) * self.num_videos
        networks, about = "networks not timed (no GPU here)", "at least"
        if self.network_cost is not None:
            networks, about = f"networks {1000 * self.network_cost:.1f} ms", "about"
        lines = [
            *self.notes,
            f"videos: {self.num_videos}, {self.video_seconds / 3600:.2f} hours"
            f" (mean of {self.num_probed} probed: {self.mean_seconds:.1f} s)",
            f"measured: decoding {1000 * self.decode_cost:.1f} ms, {networks} per second of video"
            f" ({self.settings.device}, {self.settings.precision}){self._rows_told()}",
            f"time: {about} {clock(self.wall_seconds)} with {self.num_workers} worker(s), each of"
            f" {self.size.decoders} decoder(s) and {self.size.encoder_threads} thread(s) for the"
            f" networks; bottleneck: {self.bottleneck}",
            f"store: at most {size(total)}"
            + (f", {size(self.free_bytes)} free" if self.free_bytes is not None else ""),
        ]
        for feature, each in self.bytes_per_video.items():
            part = each * self.num_videos
            lines.append(f"  {feature:<28}{size(part):>10}  {100 * part / max(total, 1):.0f} %")
        chunk = self.settings.chunk_seconds
        if 0 < self.mean_seconds < chunk / 2:
            lines.append(
                f"a chunk is {chunk} s and always stored whole: for videos this short,"
                f" --chunk-seconds {math.ceil(self.mean_seconds)} or so makes a smaller store"
            )
        lines.append("nothing was run; leave --plan out to start")
        return [*lines, "", *self.job_script.splitlines()] if self.job_script else lines


def plan_folder(options: ExtractOptions, say: Callable[[str], None]) -> Plan:
    """Probe and decode a few videos, time one forward of each network, predict.

    Raises:
        ConfigError, WeightsUnavailable: as `extract_folder`.
    """
    settings = options.settings
    source = weights.resolve(settings.weights, encoders.weights_of(settings.features))
    root, found = options.find()
    sources = select(found.sources, options.ids, options.limit)
    if Store.exists(options.store):
        known = read_collection(options.store)
        judged = judge(Store.open(options.store), known, root, found.sources)
        kept = {name.video_id for name in judged.renamed.values()}
        sources = [source for source in sources if source.video_id not in kept]
    stores = [options.store]
    if options.partition is not None:
        videos = fixed_videos(options.store, options.partition, sources)
        sources, _ = assigned(
            videos, options.partition, Path(root.folder), found=found.sources, chosen=sources
        )
        stores.append(options.partition.folder(options.store))
    for store in stores:
        sources = _unfinished(store, settings.features, sources)
    say(f"planning: probing up to {NUM_PROBED} of {len(sources)} videos")
    lengths, decode_cost = _measure_videos(options, sources)
    rows = [_num_rows(seconds, settings) for seconds in lengths]
    notes = [*options.notes(found), *(check_surroundings(options.slurm) if options.slurm else [])]
    gpus = machine.num_gpus() if settings.device == "cuda" else 0
    sharing = num_workers = max(1, gpus)
    cores = None
    if options.slurm is not None:
        sharing, num_workers, cores = 1, options.slurm.jobs, options.slurm.cpus
    engine = replace(options.engine(source), workers_per_machine=sharing)
    network_cost = None
    if settings.device == "cpu" or gpus:
        say("planning: timing the networks")
        network_cost = _measure_networks(settings, source)
    return Plan(
        num_videos=len(sources),
        notes=tuple(notes),
        num_probed=len(lengths),
        mean_seconds=sum(lengths) / len(lengths) if lengths else 0.0,
        mean_rows=sum(rows) / len(rows) if rows else 0.0,
        decode_cost=decode_cost,
        network_cost=network_cost,
        bytes_per_video={f: _video_bytes(f, settings, rows) for f in settings.features},
        settings=settings,
        size=engine.size(cores),
        num_workers=num_workers,
        free_bytes=free_bytes(options.store),
        job_script=_job_script(options),
    )


def _job_script(options: ExtractOptions) -> str:
    if options.slurm is None:
        return ""
    from avqa.pipelines.cluster.slurm_jobs import job_script  # and with it Dask

    return job_script(options.slurm)


def _spread(sources: Sequence[Source], count: int) -> list[Source]:
    step = max(1, len(sources) // count)
    return list(sources[::step][:count])


def _measure_videos(
    options: ExtractOptions, sources: Sequence[Source]
) -> tuple[list[float], float]:
    """Lengths of the probed videos, and processor seconds per second of the decoded ones."""
    settings, limits = options.settings, options.limits
    lengths, readable = [], []
    spent = decoded = 0.0
    with DecoderProcess(settings.decoder) as decoder:
        for video in _spread(sources, NUM_PROBED):
            try:
                with at_hand(video.path) as path:
                    lengths.append(decoder.probe(path, settings, limits).duration)
                readable.append(video)
            except MediaError:
                continue  # the run itself will record why
        inputs = tuple(inputs_of(settings.features))
        for video in _spread(readable, NUM_DECODED) if readable else []:
            try:
                with at_hand(video.path) as path:
                    for item in decoder.decode(Request(path, inputs, settings, limits)):
                        if isinstance(item, Footer):
                            spent += sum(item.seconds.values())
                            decoded += lengths[readable.index(video)]
            except MediaError:
                continue
    return lengths, spent / decoded if decoded else 0.0


def _measure_networks(settings: Settings, source: weights.WeightsSource) -> float:
    """Seconds per row of one forward of every input needed, at the run's batch shape."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        total = 0.0
        for name, taps in inputs_of(settings.features).items():
            encoder, _, input_name = name.rpartition("/")
            module = encoders.load(encoder)
            network = module.build(
                weights.load_state(encoder, source),
                settings.options_of(encoder),
                settings.device,
                settings.precision,
            )
            shape = module.INPUTS[input_name]
            rows = module.BATCH[settings.device]
            batch = torch.ones((rows, *shape.shape), dtype=getattr(torch, shape.dtype))
            network.forward(input_name, batch, taps)
            start = time.perf_counter()
            network.forward(input_name, batch, taps)
            total += (time.perf_counter() - start) / rows
        return total
    finally:
        torch.set_num_threads(before)


def _num_rows(seconds: float, settings: Settings) -> float:
    return MUSIC_AVQA_ROWS if settings.frame_at == "music-avqa" else seconds


def _video_bytes(feature: str, settings: Settings, lengths: Sequence[float]) -> float:
    """Mean bytes of one video before compression; padding costs where nothing is compressed."""
    tap = encoders.tap_of(feature)
    row = math.prod(tap.shape) * np.dtype(tap.dtype or settings.dtype).itemsize
    chunk = settings.chunk_seconds
    rows = [s if tap.sparse else math.ceil(max(s, 1) / chunk) * chunk for s in lengths]
    return row * sum(rows) / max(1, len(rows))


def _unfinished(path: StorePath, wanted: Sequence[str], sources: list[Source]) -> list[Source]:
    """Leave out what the store holds already."""
    if not Store.exists(path):
        return sources
    store = Store.open(path)
    features = [f for f in wanted if f in store.features()]
    if len(features) < len(wanted):
        return sources
    rows = store.rows()
    status = [store.status(feature) for feature in features]
    finished = {Status.OK, Status.ABSENT}
    return [
        source
        for source in sources
        if source.video_id not in rows
        or any(column[rows[source.video_id]] not in finished for column in status)
    ]
