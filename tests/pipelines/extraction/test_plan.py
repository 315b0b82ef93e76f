"""What `avqa extract --plan` counts."""

from dataclasses import replace

import pytest

from avqa.extract.profiles import profile
from avqa.pipelines.engine.engine import EngineSize
from avqa.pipelines.extraction.plan import Plan, _num_rows, _video_bytes

MAP = "resnet18/map"


def test_a_grid_of_sixty_rows_costs_them_whatever_the_length():
    """The networks see 60 pictures of a clip of 10 s, the decoder 10 seconds."""
    looped, usual = profile("avst"), profile("default", features=(MAP,))
    assert (_num_rows(10.0, looped), _num_rows(10.0, usual)) == (60, 10)
    assert _video_bytes(MAP, looped, [60]) == 6 * _video_bytes(MAP, usual, [10])
    of = Plan(
        num_videos=4,
        notes=(),
        num_probed=4,
        mean_seconds=10.0,
        mean_rows=10.0,
        decode_cost=0.01,
        network_cost=0.1,
        bytes_per_video={},
        settings=usual,
        size=EngineSize(decoders=1, encoder_threads=2),
        num_workers=1,
        free_bytes=None,
    )
    assert of.wall_seconds == pytest.approx(4 * (10 * 0.01 + 10 * 0.1) / 2)
    more = replace(of, mean_rows=60.0, settings=looped)
    assert more.wall_seconds == pytest.approx(4 * (10 * 0.01 + 60 * 0.1) / 2)
    assert not any("rows of every video" in line for line in of.lines())
    assert any(line.endswith("(cpu, fp32); 60 rows of every video") for line in more.lines())
    assert any("and 2 thread(s) for the networks; bottleneck" in line for line in more.lines())
