"""ModelWeights: one commit of a model repository on the weights volume, complete and checked."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from components import ownership
from components.artifacts import Artifact, ArtifactProvider
from components.dynamic import Properties, inputs_of, say
from components.jobs import Job, run_job

INPUTS = (
    "environment",
    "pipelineApp",
    "jobsDict",
    "volume",
    "repo",
    "revision",
    "layout",
    "sentinel",
    "estimate",
    "rehash",
    "retain",
)


class WeightsProvider(ArtifactProvider):
    label = "weights"
    inputs = INPUTS
    identity = ("environment", "volume", "repo", "revision", "layout")
    updated = ("retain",)

    def folder(self, props: Properties) -> str:
        return props["folder"]

    def markers(self, props: Properties) -> list[str]:
        return [props["sentinel"]]

    def found(self, artifact: Artifact) -> Properties:
        return {"suspects": artifact.suspects}

    def diff(self, id_: str, olds: Properties, news: Properties) -> DiffResult:
        result = super().diff(id_, olds, news)
        result.changes = result.changes or _is_to_be_hashed_again(olds, news)
        return result

    def create(self, props: Properties) -> CreateResult:
        outs = self._download(props, props["revision"])
        outs["owner"] = ownership.take(props["environment"], props["volume"], outs["folder"])
        return CreateResult(f"{props['volume']}/{props['repo']}@{outs['commit']}", outs)

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        rehash = _is_to_be_hashed_again(olds, news)
        if not (olds.get("problems") or rehash):
            return UpdateResult({**olds, **inputs_of(news, INPUTS)})
        # The commit that is served, even where the branch has moved on: this is a repair, not an upgrade.
        outs = self._download(news, olds["commit"], suspects=olds.get("suspects") or [], rehash=rehash)
        return UpdateResult({**outs, "owner": olds["owner"]})

    def _download(
        self, props: Properties, revision: str, *, suspects: Sequence[str] = (), rehash: bool = False
    ) -> Properties:
        also = ", every file hashed again" if rehash else ""
        say("weights", f"{props['repo']}@{revision}: {props['estimate']}{also}")
        name = f"weights/{props['repo']}@{revision}"
        # One that runs already was asked something else.
        name += f" hashed again, {props['rehash']:.0f}" if rehash else ""
        job = Job.of(props, "download_model", name, revision=revision, suspects=list(suspects), rehash=rehash)
        done = run_job(job, lambda line: say("weights", line.removeprefix("weights: ")))
        if done["skipped"]:
            say("weights", f"{done['files']} files · {done['bytes'] / 1e9:.2f} GB already on the volume, checked")
        elif done["fetched_bytes"] < 0.01 * done["bytes"]:
            there = done["bytes"] - done["fetched_bytes"]
            say(
                "weights", f"{there / 1e9:.2f} GB were on the volume already, hashed and recorded, not downloaded again"
            )
        else:
            fetched = done["fetched_bytes"] / 1e9
            say("weights", f"{done['files']} files · {fetched:.2f} GB fetched in {done['seconds']:.0f} s")
        outs = {
            **inputs_of(props, INPUTS),
            "commit": done["commit"],
            "folder": done["folder"],
            "files": done["files"],
            "bytes": done["bytes"],
            "manifestSha256": done["manifest_sha256"],
            "problems": [],
            "suspects": [],
        }
        artifact = self.inspect(outs)
        return {**outs, "dates": artifact.dates if artifact else {}}


def _is_to_be_hashed_again(olds: Properties, news: Properties) -> bool:
    return (olds.get("rehash") or 0) != (news.get("rehash") or 0)


class ModelWeights(Resource, module="modal", name="ModelWeights"):
    """Outputs: `commit` (40 hex digits), `folder` (in the volume), `files`, `bytes`, `manifestSha256`, `problems` and
    `suspects` (of a refresh; see Artifact), `dates` (of the files, at the last check).
    """

    commit: pulumi.Output[str]
    folder: pulumi.Output[str]
    files: pulumi.Output[int]
    bytes: pulumi.Output[int]
    manifestSha256: pulumi.Output[str]
    problems: pulumi.Output[list[str]]
    suspects: pulumi.Output[list[str]]
    dates: pulumi.Output[dict[str, float]]

    def __init__(
        self,
        resource_name: str,
        *,
        environment: str,
        pipeline_app: pulumi.Input[str],
        jobs_dict: str,
        volume: pulumi.Input[str],
        repo: str,
        revision: str,
        layout: str,
        sentinel: str,
        estimate: str,
        rehash: int = 0,
        retain: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`revision` is a branch, tag or commit; `layout` is the recipe's; `estimate` says size, minutes and dollars
        before the job runs; another `rehash` reads everything again; with `retain` the files outlive their resource.
        """
        props = {
            "environment": environment,
            "pipelineApp": pipeline_app,
            "jobsDict": jobs_dict,
            "volume": volume,
            "repo": repo,
            "revision": revision,
            "layout": layout,
            "sentinel": sentinel,
            "estimate": estimate,
            "rehash": rehash,
            "retain": retain,
        }
        outputs = ("commit", "folder", "files", "bytes", "manifestSha256", "problems", "suspects", "dates", "owner")
        super().__init__(WeightsProvider(), resource_name, {**props, **dict.fromkeys(outputs)}, opts)
