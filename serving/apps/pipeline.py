"""The pipeline app: download, compile (where the recipe has kernels), verify, each resumable and safe to repeat.

A stack deploys it and spawns the jobs. By hand, for the recipe named by GLM_SERVING_RECIPE:

    modal run -m serving.apps.pipeline                    all three, one after the other
    modal run -m serving.apps.pipeline::download_model    one of them
    modal run -m serving.apps.pipeline::download_model --request '{"rehash": true}'
                                                          hashes every file again, fetches those that are wrong

A job takes one JSON object (by hand: none, or `--request '{"revision": "…"}'`) and returns one. `request` has no type
annotation because `modal run` refuses to call functions with one it cannot parse.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import modal

from serving.apps.by_hand import downloaded_commit, pipeline_params
from serving.apps.images import download_image, engine_image, volume
from serving.apps.owner import app_tags
from serving.errors import ServingError
from serving.params import PARAMS_VARIABLE
from serving.progress import size_text
from serving.recipe import kernel_key
from serving.stack_dict import StackDict

params = pipeline_params()
recipe = params.recipe
app = modal.App(params.app, tags=app_tags(params.stack, params.owner), include_source=False)

_weights = volume(recipe.volumes.weights, create=not params.stack)
_kernels = volume(recipe.volumes.kernels, create=not params.stack)
_weights_to_read: dict[str | PurePosixPath, modal.Volume | modal.CloudBucketMount] = {
    recipe.volumes.weights.mount_path: _weights.with_mount_options(read_only=True)
}
_kernels_to_read: dict[str | PurePosixPath, modal.Volume | modal.CloudBucketMount] = {
    recipe.volumes.kernels.mount_path: _kernels.with_mount_options(read_only=True)
}
_download_image = download_image()
_environment: dict[str, str | None] = {PARAMS_VARIABLE: params.model_dump_json(by_alias=True)}
# One container per job, gone as soon as it is done: an idle one with eight GPUs costs $50 an hour.
_ONE_AT_A_TIME: dict[str, Any] = {"max_containers": 1, "scaledown_window": 2}


@contextmanager
def _serving_errors(job: str, asked: dict[str, Any]) -> Iterator[None]:
    """Whatever goes wrong leaves as a ServingError: Modal hands a job's exception on as it is, and a TimeoutError of
    the job's own would look to its caller like one of waiting for it.

    A call that nobody waits for, another having taken its place, ends here before it does anything.
    """
    try:
        claim = asked.get("claim")
        if claim and not StackDict(params.jobs_dict).admits(claim, modal.current_function_call_id() or ""):
            raise ServingError(f"{job}: another call does this by now. Next: pulumi up")
        yield
    except ServingError:
        raise
    except Exception as error:
        traceback.print_exc()
        raise ServingError(f"{job}: {type(error).__name__}: {' '.join(str(error).split())}. Next: pulumi up") from None


@app.function(
    image=_download_image,
    volumes={recipe.volumes.weights.mount_path: _weights},
    secrets=[modal.Secret.from_name(recipe.secrets.hugging_face.name)],
    env={**_environment, **recipe.download.environment},
    cpu=recipe.download.cpu,
    memory=recipe.download.memory_mib,
    timeout=recipe.download.timeout,
    nonpreemptible=params.nonpreemptible_download,
    **_ONE_AT_A_TIME,
)
def download_model(request=None):
    """`{"revision", "suspects", "rehash", "job", "claim"}` → see serving.download.download_weights."""
    from serving.download import download_weights

    asked = _asked(request)
    with _serving_errors("weights", asked):
        _weights.reload()
        return download_weights(
            recipe,
            asked.get("revision") or recipe.model.revision,
            token=os.environ.get(recipe.secrets.hugging_face.key),
            commit_volume=_weights.commit,
            report=_reporter(asked, "weights"),
            suspects=None if asked.get("rehash") else asked.get("suspects", ()),
        )


if recipe.kernels:

    @app.function(
        image=engine_image(recipe),
        volumes={**_weights_to_read, recipe.volumes.kernels.mount_path: _kernels},
        env=_environment,
        gpu=recipe.gpu.request,
        timeout=recipe.kernels.timeout,
        **_ONE_AT_A_TIME,
    )
    def compile_deepgemm(request=None):
        """`{"commit", "kernel_key", "job", "claim"}` → see serving.compile.compile_kernels."""
        from serving.compile import compile_kernels
        from serving.disk_full import disk_full_told

        asked, where = _asked(request), recipe.volumes.kernels.name
        with _serving_errors("kernels", asked), disk_full_told("kernels", where, folder="old kernel key"):
            _weights.reload()
            _kernels.reload()
            commit = asked.get("commit") or downloaded_commit(recipe)
            key = asked.get("kernel_key") or kernel_key(recipe, commit)
            report = _reporter(asked, "kernels")
            return compile_kernels(recipe, commit, key, commit_volume=_kernels.commit, report=report)


@app.function(
    image=_download_image,
    volumes={**_weights_to_read, **_kernels_to_read},
    env=_environment,
    cpu=1,
    memory=1024,
    timeout=900,
    scaledown_window=2,
)
def verify_setup(request=None):
    """`{"commit", "kernel_key", "job", "claim"}` → see serving.verify.verify."""
    from serving.verify import verify

    asked = _asked(request)
    with _serving_errors("verify", asked):
        _weights.reload()
        _kernels.reload()
        commit = asked.get("commit") or downloaded_commit(recipe)
        key = asked.get("kernel_key") or kernel_key(recipe, commit)
        found = verify(recipe, commit, key)
    kernels = f" · {found['kernel_files']} kernel files" if recipe.kernels else ""
    _reporter(asked, "verify")(f"verify: {found['shards']} shards · {size_text(found['weight_bytes'])}{kernels}")
    return found


@app.local_entrypoint()
def main() -> None:
    weights = download_model.remote()
    print(f"weights: {recipe.model.repo}@{weights['commit']} in {weights['seconds']:.0f} s")
    key = kernel_key(recipe, weights["commit"])
    if recipe.kernels:
        kernels = compile_deepgemm.remote({"commit": weights["commit"], "kernel_key": key})
        print(f"kernels: {key}, {kernels['files']} files in {kernels['seconds']:.0f} s")
    found = verify_setup.remote({"commit": weights["commit"], "kernel_key": key})
    print(f"verified: {found['shards']} shards, {found['kernel_files']} kernel files")


def _asked(request: Any) -> dict[str, Any]:
    """The job's request: a dict from a caller, JSON text or nothing from the command line."""
    return json.loads(request) if isinstance(request, str) else dict(request or {})


def _reporter(asked: dict[str, Any], default_job: str) -> Any:
    return partial(StackDict(params.jobs_dict).progress, asked.get("job") or default_job)
