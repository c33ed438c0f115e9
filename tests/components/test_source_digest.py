"""Each app's digest covers what it runs, and only that."""

from __future__ import annotations

import ast

from components.source_digest import _file_of, source_digest, source_files


def test_the_serving_app_does_not_depend_on_how_weights_are_fetched() -> None:
    server, pipeline = source_files("serving.apps.server"), source_files("serving.apps.pipeline")
    assert {"serving.supervisor", "serving.warmup", "serving.engines.sglang", "serving.recipe"} <= set(server)
    assert {"serving.download", "serving.compile", "serving.verify", "serving.engines.sglang"} <= set(pipeline)
    assert not {"serving.download", "serving.compile", "serving.apps.pipeline"} & set(server)
    assert not {"serving.supervisor", "serving.apps.server"} & set(pipeline)


def test_the_digests_differ() -> None:
    assert source_digest("serving.apps.server") != source_digest("serving.apps.pipeline")


def test_no_import_is_overlooked() -> None:
    for app in ("pipeline", "server", "schedule", "spend"):
        files = source_files(f"serving.apps.{app}")
        for name, path in files.items():
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("serving"):
                    assert node.module in files, f"{name} imports {node.module}"
                    submodules = {f"{node.module}.{alias.name}" for alias in node.names}
                    assert {found for found in submodules if _file_of(found)} <= set(files), name
                elif isinstance(node, ast.Import):
                    assert {alias.name for alias in node.names if alias.name.startswith("serving")} <= set(files), name
