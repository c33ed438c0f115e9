"""CompiledKernels: the kernel artifact of one model commit on one GPU type, engine version and set of flags."""

from __future__ import annotations

import pulumi
from pulumi.dynamic import CreateResult, Resource, UpdateResult

from components import ownership
from components.artifacts import ArtifactProvider
from components.dynamic import Properties, inputs_of, say
from components.jobs import Job, run_job

INPUTS = ("environment", "pipelineApp", "jobsDict", "volume", "key", "marker", "commit", "estimate")


class KernelsProvider(ArtifactProvider):
    label = "kernels"
    inputs = INPUTS
    identity = ("environment", "volume", "key")
    updated = ("marker",)

    def folder(self, props: Properties) -> str:
        return props["key"]

    def markers(self, props: Properties) -> list[str]:
        return [props["marker"]]

    def create(self, props: Properties) -> CreateResult:
        outs = self._compile(props)
        outs["owner"] = ownership.take(props["environment"], props["volume"], props["key"])
        return CreateResult(f"{props['volume']}/{props['key']}", outs)

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        return UpdateResult({**self._compile(news), "owner": olds["owner"]})

    def _compile(self, props: Properties) -> Properties:
        artifact = self.inspect(props)
        if artifact is not None and not artifact.problems:
            # No container with eight GPUs is started to find out that there is nothing to do.
            say("kernels", f"{props['key']} is complete on the volume, not compiled again")
        else:
            say("kernels", f"compiling {props['key']}: {props['estimate']}")
            name = f"kernels/{props['key']}"
            job = Job.of(props, "compile_deepgemm", name, commit=props["commit"], kernel_key=props["key"])
            done = run_job(job, lambda line: say("kernels", line.removeprefix("kernels: ")))
            say("kernels", f"{done['files']} files · {done['bytes'] / 1e6:.1f} MB in {done['seconds']:.0f} s")
            artifact = self.inspect(props)
        return {
            **inputs_of(props, INPUTS),
            "files": len(artifact.manifest["files"]) if artifact else 0,
            "manifestSha256": artifact.manifest_sha256 if artifact else "",
            "problems": artifact.problems if artifact else ["the manifest is missing"],
        }


class CompiledKernels(Resource, module="modal", name="CompiledKernels"):
    """Outputs: `key` (also the folder in the volume), `files`, `manifestSha256`, `problems`."""

    key: pulumi.Output[str]
    files: pulumi.Output[int]
    manifestSha256: pulumi.Output[str]
    problems: pulumi.Output[list[str]]

    def __init__(
        self,
        resource_name: str,
        *,
        environment: str,
        pipeline_app: pulumi.Input[str],
        jobs_dict: str,
        volume: pulumi.Input[str],
        key: pulumi.Input[str],
        marker: str,
        commit: pulumi.Input[str],
        estimate: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`key` is serving.recipe.kernel_key; `estimate` says GPUs, minutes and dollars before the job runs."""
        props = {
            "environment": environment,
            "pipelineApp": pipeline_app,
            "jobsDict": jobs_dict,
            "volume": volume,
            "key": key,
            "marker": marker,
            "commit": commit,
            "estimate": estimate,
        }
        outputs = ("files", "manifestSha256", "problems", "owner")
        super().__init__(KernelsProvider(), resource_name, {**props, **dict.fromkeys(outputs)}, opts)
