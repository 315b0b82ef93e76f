"""The frozen networks of a run: built once each, before there is a first batch for them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from avqa.extract import encoders
from avqa.extract.settings import Settings
from avqa.extract.weights import WeightsSource, load_state
from avqa.machine import give_memory_back


class Networks:
    """Networks by the name of their encoder; threads share them."""

    def __init__(self, names: Iterable[str], settings: Settings, source: WeightsSource) -> None:
        """Build none yet.

        Args:
            names: of the encoders that will be needed, the one needed first first.
            settings: with their options, the device and the precision.
            source: of their weights.
        """
        self._settings, self._source = settings, source
        self._built: dict[str, encoders.Network] = {}
        self._locks = {name: threading.Lock() for name in dict.fromkeys(names)}
        self._ahead: Iterator[str] = iter(tuple(self._locks))
        self._over = False

    def build_ahead(self) -> None:
        """Build those that no other thread has begun, until there is none.

        Raises:
            WeightsUnavailable, ConfigError: as a network's own `build`.
        """
        for name in self._ahead:  # of one iterator for all threads
            if self._over:
                return
            self.get(name)

    def get(self, encoder: str) -> encoders.Network:
        """The network, built now if nobody has before."""
        with self._locks[encoder]:
            if encoder not in self._built:
                self._built[encoder] = encoders.load(encoder).build(
                    load_state(encoder, self._source),
                    self._settings.options_of(encoder),
                    self._settings.device,
                    self._settings.precision,
                )
            return self._built[encoder]

    def build_no_more(self) -> None:
        """Let `build_ahead` end with the network that it is at."""
        self._over = True

    def forget(self) -> None:
        """Free their memory now: threads refer to the engine, so reference counts do not."""
        self._built.clear()
        give_memory_back()
