"""The engine of one worker process: decoder children, fixed batches, networks, writers.

    decoder threads (one child process each) ── prepared rows ──▶ Batcher
    encoder threads (one per core on CPU, one on a GPU) ── rows of features ──▶ Ticket
    writer threads ── full chunks ──▶ Sink

Nothing but small records leaves it. Models are built once, at the first video.
"""

from __future__ import annotations

import itertools
import math
import queue
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any

from avqa.errors import EnvironmentFailure, MediaError, VideoLeft
from avqa.extract import encoders
from avqa.extract.decoder.process import Block, DecoderProcess, Footer, Header, Request
from avqa.extract.media.audio import lost_sound
from avqa.extract.media.types import Limits
from avqa.extract.settings import Settings
from avqa.extract.weights import WeightsSource
from avqa.machine import keep_freed_memory, num_cores
from avqa.pipelines.engine.ahead import Ahead
from avqa.pipelines.engine.batching import Batch, Batcher
from avqa.pipelines.engine.files import at_hand
from avqa.pipelines.engine.job import VideoJob
from avqa.pipelines.engine.small import SmallBatches
from avqa.pipelines.engine.ticket import FullChunk, Sink, Ticket, inputs_of

RETRIED = frozenset({"crash", "timeout", "memory", "corrupt", "no_frames"})
"""Reasons after which a video is read once more, in a fresh child and in full."""


MAX_LOST_SOUND = 0.1
"""Default of `EngineConfig.max_lost_sound`."""


class _FewerRows(MediaError):
    """No row of a damaged video from one on is good: it is read again without these."""

    def __init__(self, num_rows: int, expected: int) -> None:
        super().__init__("truncated", f"good rows: {num_rows}")
        self.num_rows = num_rows
        self.warning = f"ends at damage: the first {num_rows} of {expected} rows are kept"


@dataclass(frozen=True)
class EngineSize:
    """How many children and threads an engine has."""

    decoders: int
    """Decoder processes."""
    encoder_threads: int
    """Forwards at a time; each runs on one core on CPU."""


@dataclass(frozen=True)
class EngineConfig:
    """What an engine is to do: small, and the same on every worker of a run."""

    settings: Settings
    weights: WeightsSource
    limits: Limits = field(default_factory=Limits)
    accept_partial: bool = False
    max_lost_sound: float = MAX_LOST_SOUND
    """Share of a video's seconds whose sound may be lost before its audio features fail."""
    decoders: int | None = None
    """Decoder processes; None: as many as fit the machine."""
    workers_per_machine: int = 1
    """Worker processes that share a machine's cores."""

    def size(self, cores: int | None = None) -> EngineSize:
        """Share this machine's cores, or so many ``cores``, between decoding and encoding.

        On CPU the networks take most of the time: one forward per core, and decoders that keep
        ahead of them. On GPUs decoding is everything: all cores but two, shared by the workers.
        """
        total = cores or num_cores()
        each = max(1, total // self.workers_per_machine)
        if self.settings.device == "cuda":
            fitting, encoder_threads = max(1, (total - 2) // self.workers_per_machine), 1
        else:
            fitting, encoder_threads = max(1, each // 3), each
        return EngineSize(self.decoders or fitting, encoder_threads)


class Engine:
    """Extracts bundles of videos; several `run` calls may be in progress at once."""

    def __init__(
        self,
        config: EngineConfig,
        sink: Sink,
        draining: threading.Event | None = None,
        ahead: Ahead | None = None,
    ) -> None:
        """Start the threads, a decoder and the networks; more decoders come with their videos.

        Args:
            config: what to extract, and how; the engine is sized by this machine.
            sink: takes the chunks.
            draining: once it is set, no further video is begun.
            ahead: of the same settings and weights, begun before; it is closed with the engine.
        """
        keep_freed_memory()
        self.config = config
        size = config.size()
        self._ahead = ahead or Ahead(config.settings, config.weights)
        self._sink = sink
        self._taps = inputs_of(config.settings.features)
        self._batcher = Batcher({name: _batch_size(name, config) for name in self._taps})
        self._networks = self._ahead.networks
        self._small = SmallBatches(config.settings.device, config.settings.precision)
        self._videos: queue.SimpleQueue[tuple[VideoJob, Future[Ticket | None]] | None] = (
            queue.SimpleQueue()
        )
        self._draining = draining or threading.Event()
        self._under_way: dict[int, Ticket] = {}
        """Row → ticket of what `run` has not given back yet."""
        self._error: BaseException | None = None
        self._num_threads = 0
        """Of torch, to be put back; 0: not known yet."""
        self._first = threading.Lock()
        more = range(size.decoders - 1)
        self._decoders = [
            self._ahead.decoder,
            *(DecoderProcess(config.settings.decoder) for _ in more),
        ]
        self._writers = ThreadPoolExecutor(2, thread_name_prefix="avqa-write")
        self._write_slots = threading.Semaphore(6)
        self._threads = [
            threading.Thread(
                target=self._decode_loop, args=(decoder,), name=f"avqa-decode-{i}", daemon=True
            )
            for i, decoder in enumerate(self._decoders)
        ] + [
            threading.Thread(target=self._encode_loop, name=f"avqa-encode-{i}", daemon=True)
            for i in range(size.encoder_threads)
        ]
        self._ahead.begin_decoder()
        for thread in self._threads:
            thread.start()

    def run(self, jobs: Sequence[VideoJob]) -> tuple[list[Ticket], BaseException | None]:
        """Extract ``jobs``; their finished tickets, in order, and what ended the run, if anything.

        While ``draining`` is set, videos not yet begun are left out. An error concerns the run, not
        one video (`StorageFailure`, `WeightsUnavailable`, …); the tickets that come with it are
        finished and good. With a `VideoLeft` so are all but those of the videos it speaks for.
        """
        self._batcher.add_producers(len(jobs))
        futures: list[Future[Ticket | None]] = [Future() for _ in jobs]
        for job, future in zip(jobs, futures, strict=True):
            self._videos.put((job, future))
        while self._error is None and not all(future.done() for future in futures):
            wait(futures, timeout=0.5)
        done = [future for future in futures if future.done()]
        left = [error for future in done if (error := future.exception()) is not None]
        tickets = [future.result() for future in done if future.exception() is None]
        for job in jobs:
            self._under_way.pop(job.row, None)
        error = self._error or next(iter(left), None)
        return [ticket for ticket in tickets if ticket is not None], error

    def under_way(self) -> tuple[int, float]:
        """Videos finished in the runs in progress, and seconds of video done in them."""
        tickets = list(self._under_way.values())
        return sum(t.is_finished for t in tickets), sum(t.seconds_done for t in tickets)

    def close(self) -> None:
        """End all children, and within ten seconds all threads; videos under way are lost."""
        self._draining.set()
        self._networks.build_no_more()
        self._fatal(RuntimeError("engine closed"))
        for decoder in self._decoders:
            self._videos.put(None)
            decoder.kill()  # its thread may wait for it
        deadline = time.monotonic() + 10
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))
        self._writers.shutdown(wait=True, cancel_futures=True)
        self._ahead.close()
        self._networks.forget()
        if self._num_threads:
            sys.modules["torch"].set_num_threads(self._num_threads)

    def _fatal(self, error: BaseException) -> None:
        self._error = self._error or error
        self._batcher.fail(error)

    # Decoding: one thread owns one child, and outlives it, because a child dies with the
    # thread that started it.

    def _decode_loop(self, decoder: DecoderProcess) -> None:
        try:
            while (item := self._videos.get()) is not None:
                job, future = item
                try:
                    if self._draining.is_set():
                        future.set_result(None)
                    else:
                        self._decode_job(decoder, job, future)
                except BaseException as error:  # a defect: no video may hang silently
                    self._fatal(error)
                finally:
                    self._batcher.remove_producer()
        finally:
            decoder.close()

    def _decode_job(
        self, decoder: DecoderProcess, job: VideoJob, future: Future[Ticket | None]
    ) -> None:
        try:
            with at_hand(job.path) as path:
                self._decode_video(decoder, job, path, future)
        except MediaError as error:
            ticket = Ticket(job, self.config.settings.chunk_seconds, self._finish(future))
            ticket.failure = error
            ticket.end_decoding()

    def _decode_video(
        self,
        decoder: DecoderProcess,
        job: VideoJob,
        path: str,
        future: Future[Ticket | None],
    ) -> None:
        request = Request(
            path,
            tuple(inputs_of(job.features)),
            self.config.settings,
            self.config.limits,
            max_rows=job.max_rows,
        )
        cut: _FewerRows | None = None
        for attempt in itertools.count(1):
            ticket = Ticket(
                job, self.config.settings.chunk_seconds, self._finish(future), attempt=attempt
            )
            self._under_way[job.row] = ticket
            try:
                self._read(decoder, ticket, request)
            except MediaError as error:
                ticket.release(self._batcher.drop(ticket))
                ticket.wait_idle()
                if attempt == 1 and error.reason in RETRIED and self._error is None:
                    decoder.close()
                    request = replace(request, full=True)
                    continue
                if isinstance(error, _FewerRows):
                    cut, request = error, replace(request, max_rows=error.num_rows)
                    continue
                ticket.failure = error
            except VideoLeft as error:  # its ticket never finishes: the video stays as it was
                ticket.release(self._batcher.drop(ticket))
                decoder.close()
                if attempt == 1 and self._error is None:
                    continue
                future.set_exception(error)
                return
            if cut is not None and ticket.footer is not None:
                ticket.footer.report.partial = True
                ticket.footer.report.warnings.append(cut.warning)
            ticket.end_decoding()
            return

    def _read(self, decoder: DecoderProcess, ticket: Ticket, request: Request) -> None:
        for item in decoder.decode(request):
            if isinstance(item, Header):
                ticket.header = item
            elif isinstance(item, Block):
                ticket.hold(len(item.rows))
                try:
                    self._batcher.put(item.input, ticket, item.first_row, item.rows)
                except BaseException:
                    ticket.release(len(item.rows))
                    raise
            elif isinstance(item, Footer):
                assert ticket.header is not None
                ticket.footer = self._judge_sound(item, ticket.header.num_rows)
                for stage, seconds in item.seconds.items():
                    ticket.spend(stage, seconds)
        self._judge_damage(ticket)

    def _judge_sound(self, footer: Footer, num_rows: int) -> Footer:
        """The footer, with an error if more sound is lost than may be."""
        lost = footer.report.lost_sound
        if footer.audio_error or lost_sound.total(lost) <= self.config.max_lost_sound * num_rows:
            return footer
        share = math.ceil(100 * lost_sound.total(lost) / num_rows) / 100
        error = MediaError(
            "corrupt",
            f"sound is lost: {lost_sound.in_words(lost, num_rows)}; expected at most"
            f" {self.config.max_lost_sound:g} of the video's seconds; repair the file, or keep it"
            f" with --max-lost-sound {share:g} --retry-failed",
            stage="sound",
        )
        return replace(footer, audio_error=error)

    def _judge_damage(self, ticket: Ticket) -> None:
        """Refuse a damaged video, or make sure that only its good rows count."""
        assert ticket.header is not None
        assert ticket.footer is not None
        report = ticket.footer.report
        if not report.partial:
            return
        num_rows, lost = ticket.header.num_rows, report.lost_rows
        if not self.config.accept_partial:
            raise MediaError(
                "corrupt" if report.corrupt else "truncated",
                f"damaged: rows={num_rows - len(lost)} of {num_rows}, packets cover"
                f" {report.decoded_seconds} s, declared {ticket.header.declared_seconds} s;"
                " expected all of it; repair the file, or keep the good rows with --accept-partial",
            )
        kept = 1 + max(set(range(num_rows)) - set(lost))
        if kept < num_rows:
            raise _FewerRows(kept, num_rows)
        for chunk in ticket.fill_lost(lost):
            self._write(ticket, chunk)

    def _finish(self, future: Future[Ticket | None]) -> Any:
        def finished(ticket: Ticket) -> None:
            if self._error is not None:  # rows were lost: the ticket must not look finished
                return
            try:
                for record in ticket.feature_records():
                    self._sink.trim(record.feature, ticket.job.row, len(record.chunks))
                future.set_result(ticket)
            except BaseException as error:
                self._fatal(error)

        return finished

    # Encoding: on CPU one core per forward, which costs a third less processor time than
    # splitting a forward over cores, and makes numbers independent of the number of cores.

    def _encode_loop(self) -> None:
        try:
            self._use_one_core()
            if not self._draining.is_set():
                self._networks.build_ahead()
        except BaseException as error:  # without this thread the run would wait for ever
            self._fatal(_explained(error, "as networks were put on it"))
            return
        while (batch := self._batcher.take()) is not None:
            try:
                self._encode(batch)
            except BaseException as error:
                self._fatal(
                    _explained(error, f"in a forward of {batch.input} with batch={batch.size}")
                )
                for segment in batch.segments:
                    segment.owner.release(len(segment.rows))
                return

    def _use_one_core(self) -> None:
        """Forwards in this thread; what holds for the whole process is put back by `close`."""
        import torch

        with self._first:
            self._num_threads = self._num_threads or torch.get_num_threads()
        torch.set_num_threads(1)

    def _encode(self, batch: Batch) -> None:
        encoder = batch.input.rpartition("/")[0]
        network = self._networks.get(encoder)
        clock = time.thread_time if self.config.settings.device == "cpu" else time.perf_counter
        start = clock()
        outputs = self._small.forward(network, batch, self._taps[batch.input])
        share = (clock() - start) / batch.num_rows
        place = 0
        for segment in batch.segments:
            ticket: Ticket = segment.owner
            count = len(segment.rows)
            for tap, values in outputs.items():
                feature = f"{encoder}/{tap}"
                if feature in ticket.job.features:
                    rows = values[place : place + count].numpy()
                    for chunk in ticket.deliver(feature, segment.first_row, rows):
                        self._write(ticket, chunk)
            ticket.spend("encode", share * count)
            ticket.release(count)
            place += count

    def _write(self, ticket: Ticket, chunk: FullChunk) -> None:
        ticket.hold(1)
        self._write_slots.acquire()
        self._writers.submit(self._write_chunk, ticket, chunk)

    def _write_chunk(self, ticket: Ticket, chunk: FullChunk) -> None:
        start = time.thread_time()
        try:
            record = self._sink.write(chunk.feature, ticket.job.row, chunk.index, chunk.values)
            ticket.written(chunk.feature, chunk.index, record)
        except MediaError as error:
            ticket.fail_feature(chunk.feature, error)
        except BaseException as error:
            self._fatal(error)
        finally:
            self._write_slots.release()
            ticket.spend("write", time.thread_time() - start)
            ticket.release(1)


def _explained(error: BaseException, when: str) -> BaseException:
    if type(error).__name__ == "OutOfMemoryError":  # torch's, on a GPU
        return EnvironmentFailure(
            f"GPU out of memory {when}; expected a GPU that holds it; free the GPU, or use"
            " --precision bf16 or --device cpu"
        )
    return error


def _batch_size(name: str, config: EngineConfig) -> int:
    size: int = encoders.load(name.rpartition("/")[0]).BATCH[config.settings.device]
    return size
