"""How an engine is sized; what it extracts is tested by whole runs."""

import pytest

from avqa.extract import weights
from avqa.extract.settings import Settings
from avqa.pipelines.engine.engine import EngineConfig, EngineSize


@pytest.mark.parametrize(
    ("device", "cores", "workers", "decoders", "encoders"),
    [
        ("cuda", 64, 8, 7, 1),  # all cores but two, shared
        ("cuda", 16, 3, 4, 1),
        ("cuda", 2, 4, 1, 1),
        ("cpu", 12, 1, 4, 12),
        ("cpu", 12, 3, 1, 4),
        ("cpu", 2, 3, 1, 1),
    ],
)
def test_workers_of_a_machine_share_its_cores(
    monkeypatch, device, cores, workers, decoders, encoders
):
    monkeypatch.setattr("avqa.pipelines.engine.engine.num_cores", lambda: cores)
    settings, source = Settings(device=device), weights.resolve("random:0")
    shared = EngineConfig(settings, source, workers_per_machine=workers)
    assert shared.size() == EngineSize(decoders, encoders)
    asked = EngineConfig(settings, source, decoders=5, workers_per_machine=8)
    assert asked.size().decoders == 5
