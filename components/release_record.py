"""ReleaseRecord: the file that tells what a deploy has put into service, written once its smoke test has passed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from components import modal_api, release_files
from components.dynamic import Properties, Provider, changed, inputs_of, known, say
from components.release_files import Place

if TYPE_CHECKING:
    from serving.recipe import Recipe

INPUTS = ("environment", "app", "volume", "appId", "version", "release", "facts", "seconds", "quality")
OF_A_DEPLOY = ("environment", "app", "volume", "release")


class ReleaseRecordProvider(Provider):
    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        # Facts that change without a deploy, such as scaling, are those of the next one.
        names = [name for name in OF_A_DEPLOY if known(news.get(name))]
        return DiffResult(changes=bool(changed(olds, news, names)))

    def create(self, props: Properties) -> CreateResult:
        return CreateResult(props["app"], self._write(props))

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        return UpdateResult(self._write(news))

    def read(self, id_: str, props: Properties) -> ReadResult:
        if modal_api.read_volume_file(props["environment"], props["volume"], props["file"]) is None:
            say("release", f"the record {props['file']} is gone from volume {props['volume']}")
            return ReadResult("", {})
        return ReadResult(id_, props, inputs_of(props, INPUTS))

    def delete(self, _id: str, props: Properties) -> None:
        """Records stay: they tell of the volume's past, and go with it."""

    def _write(self, props: Properties) -> Properties:
        tested = props.get("seconds") is not None
        record = release_files.write(place_of(props), "passed" if tested else "untested", record_of(props))
        say("release", f"version {props['version']:.0f} is on record in volume {props['volume']}, {record['file']}")
        return {**inputs_of(props, INPUTS), "file": record["file"]}


def place_of(props: Properties) -> Place:
    return Place(props["environment"], props["volume"], props["app"])


def record_of(props: Properties) -> Properties:
    """What a record holds beside who and when; `facts` are those of the configuration."""
    tested = props.get("seconds") is not None
    return {
        **props["facts"],
        **{name: props[name] for name in ("appId", "version", "release")},
        "smokeTest": {"seconds": props["seconds"]} if tested else None,
        "quality": props.get("quality"),
    }


def facts_of(
    recipe: Recipe, commit: str, key: str, autoscaler: dict[str, int], ingress: str, strategy: str, stack: str
) -> dict[str, Any]:
    """What a record tells of the configuration; nothing in it is secret."""
    return {
        "stack": stack,
        "recipe": recipe.name,
        "model": {"repo": recipe.model.repo, "commit": commit, "servedName": recipe.model.served_name},
        "engine": {"name": recipe.engine.name, "version": recipe.engine.version, "image": recipe.engine.image},
        "gpu": recipe.gpu.request,
        "weights": {"volume": recipe.volumes.weights.name, "folder": recipe.weights_folder(commit)},
        "kernelKey": key,
        "kernels": {"volume": recipe.volumes.kernels.name, "folder": key} if key else None,
        "flags": recipe.engine.flags,
        "engineEnvironment": recipe.engine.environment,
        "scaling": autoscaler,
        "ingress": ingress,
        "strategy": strategy,
    }


class ReleaseRecord(Resource, module="modal", name="ReleaseRecord"):
    """Output: `file`, its path in the volume."""

    file: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        environment: str,
        app: pulumi.Input[str],
        volume: pulumi.Input[str],
        app_id: pulumi.Input[str],
        version: pulumi.Input[int],
        release: pulumi.Input[str],
        facts: pulumi.Input[dict[str, Any]],
        seconds: pulumi.Input[float] | None,
        quality: pulumi.Input[dict[str, Any]] | None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`facts` is what the configuration said, `seconds` and `quality` are the smoke test's outputs; None where
        there was none.
        """
        props = {
            "environment": environment,
            "app": app,
            "volume": volume,
            "appId": app_id,
            "version": version,
            "release": release,
            "facts": facts,
            "seconds": seconds,
            "quality": quality,
        }
        super().__init__(ReleaseRecordProvider(), resource_name, {**props, "file": None}, opts)
