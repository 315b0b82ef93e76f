"""What a run tells its workers, as tests need it."""

from helpers.extraction.light import POOL
from helpers.media import fake_reader

from avqa.extract import weights
from avqa.extract.profiles import profile
from avqa.pipelines.cluster.worker import WorkerConfig
from avqa.pipelines.engine.engine import EngineConfig
from avqa.pipelines.extraction.run import feature_specs


def config_of(store, run_id="run", expected=None, **settings):
    chosen = profile(
        "default",
        features=(POOL,),
        decoder=fake_reader.DECODER,
        weights="random:0",
        device=settings.pop("device", "cpu"),
        **settings,
    )
    return WorkerConfig(
        run_id=run_id,
        store=store,
        specs=feature_specs(chosen),
        engine=EngineConfig(chosen, weights.resolve("random:0")),
        expected=expected,
    )
