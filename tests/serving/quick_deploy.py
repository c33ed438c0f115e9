"""Deploys of the serving app from a process that has imported the SDK already, which takes most of a deploy's time.

Each is still a process of its own, as app modules declare at import: forked from one that only imports.
"""

from __future__ import annotations

import multiprocessing
import os

from serving.params import PARAMS_VARIABLE

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["modal", "modal.runner", "serving.recipe", "serving.apps.images", "serving.supervisor"]
)


def deploy(client: dict[str, str], params: str) -> None:
    """`client` is the environment of a client of the cloud. Raises AssertionError where the deploy fails."""
    process = _context.Process(target=_deploy, args=(client, params))
    process.start()
    process.join(60)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode == 0, f"the deploy ended with {process.exitcode}: see stderr"


def _deploy(client: dict[str, str], params: str) -> None:
    os.environ.update(client)
    os.environ[PARAMS_VARIABLE] = params
    from serving.apps.server import app

    app.deploy()
