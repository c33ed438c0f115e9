"""ModalVolume: a volume, created or taken over by name."""

from __future__ import annotations

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ReadResult, Resource, UpdateResult

from components import modal_api, ownership
from components.dynamic import Properties, Provider, compare, inputs_of, say

INPUTS = ("environment", "name", "version", "retain", "stack")
IDENTITY = ("environment", "name", "version")


class VolumeProvider(Provider):
    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        return compare(olds, news, replace=IDENTITY, update=("retain", "stack"))

    def create(self, props: Properties) -> CreateResult:
        volume_id, is_new = modal_api.ensure_volume(props["environment"], props["name"], int(props["version"]))
        # Somebody's own, and maybe used for more than this stack: it is not ours to delete. One without any file is
        # what a create leaves that was killed before it could write down whose it is.
        used = not is_new and bool(modal_api.list_volume_files(props["environment"], props["name"], ""))
        adopted = used and not ownership.made_by_a_stack(props["environment"], props["name"])
        if not is_new:
            what = "exists already, taken over with its content" if used else "exists already, empty, taken over"
            say(f"volume {props['name']}", what)
        owner = ownership.take_volume(props["environment"], props["name"], props["stack"], adopted=adopted)
        return CreateResult(
            volume_id, {**inputs_of(props, INPUTS), "volumeId": volume_id, "owner": owner, "adopted": adopted}
        )

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        owner = olds["owner"]
        if olds.get("stack") != news["stack"]:
            owner = ownership.take_volume(
                news["environment"], news["name"], news["stack"], adopted=olds["adopted"], mine=owner
            )
        return UpdateResult({**olds, **inputs_of(news, INPUTS), "owner": owner})

    def read(self, id_: str, props: Properties) -> ReadResult:
        name, volume_id = props["name"], modal_api.find_volume(props["environment"], props["name"])
        if volume_id != props["volumeId"]:
            # One made anew by hand is somebody's own: it is taken over like any other that was there before.
            say(f"volume {name}", "is gone, with its content" if volume_id is None else "is another one of that name")
            return ReadResult("", {})
        return ReadResult(id_, dict(props), inputs_of(props, INPUTS))

    def delete(self, _id: str, props: Properties) -> None:
        environment, name = props["environment"], props["name"]
        if props["retain"] or props["adopted"]:
            ownership.give_up_volume(props["owner"], environment, name)
            why = "was there before this stack, " if props["adopted"] else ""
            say(
                f"volume {name}",
                f"{why}kept with its content; `modal volume delete {name} --env {environment}` removes it",
            )
        elif ownership.taken_from(props["owner"], environment, name):
            say(f"volume {name}", "is in use again, kept")
        else:
            modal_api.delete_volume(environment, name)


class ModalVolume(Resource, module="modal", name="Volume"):
    """Outputs: `name`, `volumeId`."""

    name: pulumi.Output[str]
    volumeId: pulumi.Output[str]

    def __init__(
        self,
        resource_name: str,
        *,
        environment: str,
        name: str,
        version: int,
        stack: str,
        retain: bool = False,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`stack` is who it belongs to. With `retain`, and when it was there before, it outlives its resource: deleting
        that says so and leaves the volume.
        """
        props = {"environment": environment, "name": name, "version": version, "retain": retain, "stack": stack}
        super().__init__(
            VolumeProvider(), resource_name, {**props, "volumeId": None, "owner": None, "adopted": None}, opts
        )
