"""From a task to what its container is made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modal_proto import api_pb2

from local.modal_cloud import clock
from local.modal_cloud.records import App, Task
from local.modal_cloud.seams import ContainerSpec, SourceFile, VolumeMount
from local.modal_cloud.volumes.wire import volume_metadata

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SOURCE_FOLDER = "/root"
"""Where Modal puts source, and the working directory of images without a WORKDIR."""
CLOCK_FOLDER = Path(__file__).parents[1] / "containers" / "inside" / "clock"
"""Its `sitecustomize` gives Python the cloud's time; left out as long as that is the machine's."""


def container_spec(cloud: Cloud, task: Task) -> ContainerSpec:
    definition = cloud.tasks.definition(task.id)
    function = definition.function
    app = cloud.apps.get(task.app_id)
    image = cloud.images.resolve(function.image_id)
    arguments = api_pb2.ContainerArguments(
        task_id=task.id,
        function_id=task.function_id,
        app_id=task.app_id,
        function_def=function,
        environment_name=app.environment,
        app_layout=_layout(cloud, app, function),
        serialized_params=cloud.functions.get(task.function_id).parameters,
    )
    environment = {
        "PATH": SYSTEM_PATH,
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        **cloud.container_environment,
        **image.environment,
    }
    for secret_id in function.secret_ids:
        environment.update(cloud.secrets.used(secret_id).values)
    environment.update(
        {
            "MODAL_IS_REMOTE": "1",
            "MODAL_TASK_ID": task.id,
            "MODAL_IMAGE_ID": function.image_id,
            "MODAL_ENVIRONMENT": app.environment,
            "MODAL_CLOUD_PROVIDER": "CLOUD_PROVIDER_LOCAL",
            "MODAL_REGION": "local",
            "LOCAL_IMAGE_TAG": image.tag,
            "LOCAL_IMAGE_FLAWS": ",".join(image.flaws),
        }
    )
    gpu = definition.gpu(task)
    if gpu.count:  # what the stand-in engines take for the machine's GPUs
        environment["LOCAL_GPU"] = f"{gpu.gpu_type}:{gpu.count}"
    python_path = [SOURCE_FOLDER, *(str(folder) for folder in image.brings.python_path)]
    if inherited := environment.pop("PYTHONPATH", ""):
        python_path.append(inherited)
    if clock.ahead():
        python_path.append(str(CLOCK_FOLDER))
    for mount in function.volume_mounts:
        cloud.volumes.get(mount.volume_id)
    return ContainerSpec(
        task_id=task.id,
        function_id=task.function_id,
        arguments=arguments.SerializeToString(),
        environment=environment,
        files=_files(cloud, [*image.mount_ids, *function.mount_ids]),
        volumes=[
            VolumeMount(
                volume_id=mount.volume_id,
                path=mount.mount_path,
                read_only=mount.read_only,
                sub_path=mount.sub_path,
                background_commits=mount.allow_background_commits,
            )
            for mount in function.volume_mounts
        ],
        python_path=python_path,
        bin_path=[*map(str, image.brings.bin_path), str(cloud.images.bin_folder)],
        data_path=[str(folder) for folder in image.brings.data_path],
        workdir=image.workdir or SOURCE_FOLDER,
        memory_limit=function.resources.memory_mb_max << 20,
        host_ports=[*cloud.container_ports, *cloud.web_ports()],
    )


def _files(cloud: Cloud, mount_ids: list[str]) -> list[SourceFile]:
    """Later mounts win."""
    files: dict[str, SourceFile] = {}
    for mount_id in mount_ids:
        for file in cloud.mounts.get(mount_id).files:
            path = str(Path("/") / file.path)
            files[path] = SourceFile(cloud.mounts.content(file.sha256), path, file.mode or 0o644)
    return list(files.values())


def _layout(cloud: Cloud, app: App, function: api_pb2.Function) -> api_pb2.AppLayout:
    """The app's objects, and one object for each thing that the function depends on: the container looks up all of
    them and dies with a bare KeyError where one is missing."""
    layout = cloud.functions.layout(app)
    known = {item.object_id for item in layout.objects}
    for dependency in function.object_dependencies:
        object_id = dependency.object_id
        if object_id in known:
            continue
        known.add(object_id)
        item = layout.objects.add(object_id=object_id)
        match object_id[:3]:
            case "vo-":
                item.volume_metadata.CopyFrom(volume_metadata(cloud.volumes.get(object_id)))
            case "mo-":
                item.mount_handle_metadata.content_checksum_sha256_hex = cloud.mounts.get(object_id).checksum
            case "fu-":
                handle = cloud.functions.handle(cloud.functions.get(object_id))
                item.function_handle_metadata.CopyFrom(handle)
    return layout
