"""Verification: weights and kernels are whole and belong together, seen from a container, before a GPU is asked for."""

from __future__ import annotations

import hashlib

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource

from components import modal_api
from components.dynamic import DeploymentError, Properties, Provider, compare, inputs_of, say
from components.jobs import Job, run_job

INPUTS = ("environment", "pipelineApp", "jobsDict", "app", "commit", "kernelKey", "weightsManifest", "kernelsManifest")
VERIFIED = ("environment", "commit", "kernelKey", "weightsManifest", "kernelsManifest")


class VerificationProvider(Provider):
    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        return compare(olds, news, replace=VERIFIED)

    def create(self, props: Properties) -> CreateResult:
        digest = hashlib.sha256("\n".join(str(props[name]) for name in VERIFIED).encode()).hexdigest()
        name = f"verification/{digest[:16]}"
        job = Job.of(props, "verify_setup", name, commit=props["commit"], kernel_key=props["kernelKey"])
        try:
            done = run_job(job, lambda line: say("verification", line))
        except DeploymentError as error:
            raise DeploymentError(f"{error}{_what_serves(props['environment'], props['app'])}") from None
        kernels = f" and {done['kernel_files']} kernel files" if props["kernelKey"] else ""
        say("verification", f"{done['shards']} shards{kernels} are whole")
        return CreateResult(digest, {**inputs_of(props, INPUTS), "digest": digest, "shards": done["shards"]})


def _what_serves(environment: str, app: str) -> str:
    """End of the message: what serves all the same, as far as Modal tells."""
    try:
        live = modal_api.find_app(environment, app)
    except DeploymentError:
        return ""
    return f". Version {live.version} of {app} was not touched and serves" if live else f". {app} does not serve yet"


class Verification(Resource, module="modal", name="Verification"):
    """Outputs: `digest` of what was verified, `shards`."""

    digest: pulumi.Output[str]
    shards: pulumi.Output[int]

    def __init__(
        self,
        resource_name: str,
        *,
        environment: str,
        pipeline_app: pulumi.Input[str],
        jobs_dict: str,
        app: str,
        commit: pulumi.Input[str],
        kernel_key: pulumi.Input[str],
        weights_manifest: pulumi.Input[str],
        kernels_manifest: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """The manifests are SHA-256 digests: a file fetched or compiled anew is verified anew. Without kernels
        `kernel_key` and `kernels_manifest` are empty. `app` is the serving app, which waits for the verification.
        """
        props = {
            "environment": environment,
            "pipelineApp": pipeline_app,
            "jobsDict": jobs_dict,
            "app": app,
            "commit": commit,
            "kernelKey": kernel_key,
            "weightsManifest": weights_manifest,
            "kernelsManifest": kernels_manifest,
        }
        super().__init__(VerificationProvider(), resource_name, {**props, "digest": None, "shards": None}, opts)
