"""Each app's digest covers what it runs, and only that."""

from __future__ import annotations

from components.source_digest import source_digest, source_files


def test_the_serving_app_does_not_depend_on_how_weights_are_fetched() -> None:
    server, pipeline = source_files("serving.apps.server"), source_files("serving.apps.pipeline")
    assert {"serving.supervisor", "serving.warmup", "serving.engines.sglang", "serving.recipe"} <= set(server)
    assert {"serving.download", "serving.compile", "serving.verify", "serving.engines.sglang"} <= set(pipeline)
    assert not {"serving.download", "serving.compile", "serving.apps.pipeline"} & set(server)
    assert not {"serving.supervisor", "serving.apps.server"} & set(pipeline)


def test_the_digests_differ() -> None:
    assert source_digest("serving.apps.server") != source_digest("serving.apps.pipeline")
