"""Whether another run may go on in a run's folder."""

from pathlib import Path

import pytest

from avqa.errors import ConfigError
from avqa.pipelines.train.folder import continued


def about(**settings):
    facts = {"head": "avst", "dataset": "d", "grounding": "", "questions": {}, "options": {}}
    return {**facts, "settings": settings, "variants": ["default"], "same_as": {}, "seeds": 1}


def test_a_run_of_before_other_encoders_of_sound_goes_on():
    before, now = about(epochs=1), about(epochs=1, audio="vggish")
    assert continued(Path("run"), before, now) == now
    with pytest.raises(ConfigError, match=r"audio \(run: vggish, now: other\); expected what"):
        continued(Path("run"), before, about(epochs=1, audio="other"))
