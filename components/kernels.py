"""CompiledKernels: the kernel artifact of one model commit on one GPU type, engine version and set of flags.

An artifact can be complete and yet not proven so (serving/kernel_proof.py); replicas then make the engine's pass over
all shapes at each start. The proof is tried again, beside what serves, by the next `up` where it was never tried or
where `kernels.timeout` of the recipe is another than at the last try. Otherwise it is not: eight GPUs for minutes at
every `up` would be the price of a proof that does not come out. (What the compiler is given changes the key, and with
it the artifact.)
"""

from __future__ import annotations

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from components import ownership
from components.artifacts import Artifact, ArtifactProvider
from components.dynamic import Properties, inputs_of, say
from components.jobs import Job, run_job

INPUTS = ("environment", "pipelineApp", "jobsDict", "volume", "key", "marker", "commit", "timeout", "estimate")


class KernelsProvider(ArtifactProvider):
    label = "kernels"
    inputs = INPUTS
    identity = ("environment", "volume", "key")
    updated = ("marker",)

    def folder(self, props: Properties) -> str:
        return props["key"]

    def markers(self, props: Properties) -> list[str]:
        return [props["marker"]]

    def found(self, artifact: Artifact) -> Properties:
        return {"proven": _proven(artifact)}

    def diff(self, id_: str, olds: Properties, news: Properties) -> DiffResult:
        result = super().diff(id_, olds, news)
        result.changes = result.changes or _proof_is_due(olds, news)
        return result

    def create(self, props: Properties) -> CreateResult:
        outs = {"proofTimeout": 0, **self._compile(props, prove=True)}
        outs["owner"] = ownership.take(props["environment"], props["volume"], props["key"])
        return CreateResult(f"{props['volume']}/{props['key']}", outs)

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        kept = {"proofTimeout": olds.get("proofTimeout", 0), "owner": olds["owner"]}
        return UpdateResult({**kept, **self._compile(news, prove=_proof_is_due(olds, news))})

    def _compile(self, props: Properties, *, prove: bool) -> Properties:
        """`prove`: also where the artifact is complete. `proofTimeout` is among the outputs where that was tried."""
        artifact = self.inspect(props)
        tried: Properties = {}
        if artifact and not artifact.problems and (_proven(artifact) or not prove):
            # No container with eight GPUs is started to find out that there is nothing to do.
            say("kernels", f"{props['key']} is complete on the volume, not compiled again")
        else:
            what = f"compiling {props['key']}"
            if artifact and not artifact.problems:
                what = f"proving {props['key']}, at most two starts, less than to compile it"
            say("kernels", f"{what}: {props['estimate']}")
            name = f"kernels/{props['key']}"
            job = Job.of(props, "compile_deepgemm", name, commit=props["commit"], kernel_key=props["key"])
            done = run_job(job, lambda line: say("kernels", line.removeprefix("kernels: ")))
            say("kernels", f"{done['files']} files · {done['bytes'] / 1e6:.1f} MB in {done['seconds']:.0f} s")
            artifact = self.inspect(props)
            tried = {"proofTimeout": props["timeout"]}
        return {
            **inputs_of(props, INPUTS),
            **tried,
            "proven": artifact is not None and _proven(artifact),
            "files": len(artifact.manifest["files"]) if artifact else 0,
            "manifestSha256": artifact.manifest_sha256 if artifact else "",
            "problems": artifact.problems if artifact else ["the manifest is missing"],
        }


def _proven(artifact: Artifact) -> bool:
    return artifact.manifest.get("proven") is True


def _proof_is_due(olds: Properties, news: Properties) -> bool:
    """False as long as the state does not know: a stack from before the question is asked it by a refresh."""
    return olds.get("proven") is False and olds.get("proofTimeout") != news.get("timeout")


class CompiledKernels(Resource, module="modal", name="CompiledKernels"):
    """Outputs: `key` (also the folder in the volume), `files`, `manifestSha256`, `problems`, `proven`, `proofTimeout`
    (`timeout` at the last try of a proof; 0 before the first).
    """

    key: pulumi.Output[str]
    files: pulumi.Output[int]
    manifestSha256: pulumi.Output[str]
    problems: pulumi.Output[list[str]]
    proven: pulumi.Output[bool]
    proofTimeout: pulumi.Output[int]

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
        timeout: int,
        estimate: str,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`key` is serving.recipe.kernel_key; `timeout` the recipe's, in seconds; `estimate` says GPUs, minutes and
        dollars before the job runs.
        """
        props = {
            "environment": environment,
            "pipelineApp": pipeline_app,
            "jobsDict": jobs_dict,
            "volume": volume,
            "key": key,
            "marker": marker,
            "commit": commit,
            "timeout": timeout,
            "estimate": estimate,
        }
        outputs = ("files", "manifestSha256", "problems", "proven", "proofTimeout", "owner")
        super().__init__(KernelsProvider(), resource_name, {**props, **dict.fromkeys(outputs)}, opts)
