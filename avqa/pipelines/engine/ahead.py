"""What of an engine takes seconds to start, begun before there is a store or a video for it."""

from __future__ import annotations

import contextlib
import threading

from avqa.errors import EnvironmentFailure
from avqa.extract.decoder.process import DecoderProcess
from avqa.extract.settings import Settings
from avqa.extract.weights import WeightsSource
from avqa.pipelines.engine.networks import Networks
from avqa.pipelines.engine.ticket import inputs_of


class Ahead:
    """A decoder process and the networks of one engine, which takes them over as they are."""

    def __init__(
        self, settings: Settings, source: WeightsSource, decoder: DecoderProcess | None = None
    ) -> None:
        """Begin nothing yet; ``decoder``: one that was begun before, taken if it fits."""
        self._settings = settings
        self._inputs = inputs_of(settings.features)
        fits = decoder is not None and decoder.reader == settings.decoder
        self.decoder = decoder if decoder and fits else DecoderProcess(settings.decoder)
        names = [name.rpartition("/")[0] for name in self._inputs]
        self.networks = Networks(names, settings, source)
        self._thread: threading.Thread | None = None

    def begin_decoder(self) -> None:
        """Let the decoder process load what the first video will need of it."""
        with contextlib.suppress(EnvironmentFailure):  # the first video tells
            self.decoder.begin_loading(tuple(self._inputs), self._settings)

    def begin(self) -> None:
        """Begin both; the networks in a thread."""
        if self._thread is None:
            self.begin_decoder()
            self._thread = threading.Thread(target=self._build, name="avqa-build", daemon=True)
            self._thread.start()

    def _build(self) -> None:
        # What goes wrong, the first batch meets again and tells.
        with contextlib.suppress(Exception):
            self.networks.build_ahead()

    def close(self) -> None:
        """End what no engine took over, and wait for a network that is being built."""
        self.networks.build_no_more()
        self.decoder.close()
        if self._thread is not None:
            self._thread.join()
