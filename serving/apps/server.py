"""The serving app: one class, `Server`, behind one of two ingresses; its containers live alike under both.

Everything that can fail happens in `@modal.enter`: no request reaches a container before its engine is warm, and a
version that cannot get there takes no traffic.
"""

from __future__ import annotations

import os
import time
from typing import Any

import modal

from serving.apps.by_hand import server_params
from serving.apps.images import engine_image, volume
from serving.apps.owner import app_tags
from serving.errors import ServingError
from serving.params import PARAMS_VARIABLE
from serving.stack_dict import StackDict
from serving.supervisor import Supervisor

params = server_params()
recipe = params.recipe
scaling = params.scaling
app = modal.App(params.app, tags=app_tags(params.stack, params.owner), include_source=False)

_weights = volume(recipe.volumes.weights).with_mount_options(read_only=True)
# Writable: an engine that meets a shape nobody compiled for must be able to cache it, or it dies.
_kernels = volume(recipe.volumes.kernels)


class Lifecycle:
    """What both ingresses share."""

    @modal.enter()
    def start(self) -> None:
        began = time.monotonic()
        _weights.reload()
        _kernels.reload()
        reloaded = time.monotonic() - began
        reports = StackDict(params.jobs_dict)
        try:
            if not os.environ.get(recipe.secrets.api_key.key):
                # Without a key the engine would answer anybody who finds its URL, on eight GPUs.
                raise ServingError(
                    f"secret {recipe.secrets.api_key.name} has no {recipe.secrets.api_key.key}. "
                    "Next: pulumi up --refresh"
                )
            self._supervisor = Supervisor(recipe, params.commit, params.kernel_key, release=params.release)
            self._supervisor.start(volumes=reloaded)
        except Exception as error:
            reports.failed(params.release, str(error) or type(error).__name__)
            raise
        reports.ready(params.release, self._supervisor.phases, self._supervisor.finished_requests())

    @modal.exit()
    def stop(self) -> None:
        if hasattr(self, "_supervisor"):
            self._supervisor.stop()


_container: dict[str, Any] = {
    "image": engine_image(recipe),
    "volumes": {recipe.volumes.weights.mount_path: _weights, recipe.volumes.kernels.mount_path: _kernels},
    "secrets": [modal.Secret.from_name(recipe.secrets.api_key.name)],
    "env": {PARAMS_VARIABLE: params.model_dump_json(by_alias=True)},
    "gpu": recipe.gpu.requests(params.gpu_fallbacks),
    "min_containers": scaling.min_containers,
    "max_containers": scaling.max_containers,
    "buffer_containers": scaling.buffer_containers,
    "scaledown_window": scaling.scaledown_window,
    "startup_timeout": recipe.deadlines.startup,
}

if params.ingress == "web":
    _concurrency = {"max_inputs": scaling.max_concurrency or scaling.target_concurrency}
    if scaling.max_concurrency:
        _concurrency["target_inputs"] = scaling.target_concurrency

    @app.cls(
        **_container,
        timeout=recipe.deadlines.container,
        region=params.regions or None,
        routing_region=params.routing_region,
    )
    @modal.concurrent(**_concurrency)
    class Server(Lifecycle):
        @modal.web_server(recipe.port, startup_timeout=recipe.deadlines.startup, requires_proxy_auth=params.proxy_auth)
        def serve(self) -> None:
            """Nothing left to do: the engine listens, and is warm, before Modal calls this."""

else:
    _routing: dict[str, Any] = {"routing_region": params.routing_region} if params.routing_region else {}

    @app.server(
        **_container,
        **_routing,
        port=recipe.port,
        # The engine checks the bearer key itself, so that plain OpenAI clients work.
        unauthenticated=not params.proxy_auth,
        exit_grace_period=recipe.deadlines.shutdown,
        target_concurrency=scaling.target_concurrency,
        max_concurrency=scaling.max_concurrency,
        compute_region=params.regions or None,
    )
    class Server(Lifecycle):  # type: ignore[no-redef]
        pass
