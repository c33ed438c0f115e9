from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
from modal_proto import api_pb2

from local.modal_cloud.clock import now
from local.modal_cloud.errors import NotFound
from local.modal_cloud.ids import new_id
from local.modal_cloud.records import FunctionDefinition, Task
from local.modal_cloud.seams import ContainerSpec
from local.modal_cloud.store import Table
from local.modal_cloud.tasks.spec import container_spec

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

KEPT_SECONDS = 62 * 86400
"""This month and the one before it can be billed."""


class Tasks:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._table = Table(cloud.store, "tasks", Task)
        for task in self._table.where(lambda task: (task.finished_at or now()) < now() - KEPT_SECONDS):
            self._table.delete(task.id)
        self._unfinished = {task.id: task for task in self._table.where(lambda task: task.finished_at is None)}

    def create(self, function_id: str) -> Task:
        """A new task of the function's live definition, saved. Raises NotFound for a function without one."""
        function = self._cloud.functions.get(function_id)
        if function.live is None:
            raise NotFound(f"Function '{function.name}' is not deployed")
        task = Task(
            id=new_id("ta"),
            app_id=function.app_id,
            function_id=function_id,
            definition_id=function.live.id,
            app_version=self._cloud.apps.get(function.app_id).live_version,
            enqueued_at=now(),
            gpu_rank=self._free_gpus(function.live),
        )
        self._unfinished[task.id] = task
        return self._table.save(task)

    def spec(self, task: Task) -> ContainerSpec:
        """What its container is made of. Raises NotFound for a secret, volume or mount that is gone, ValueError for an
        image that was never built: the task can't start, and the message says why."""
        return container_spec(self._cloud, task)

    def given(self, task_id: str, gpu_rank: int) -> None:
        """The GPUs that it waited for: this one of the function's choices."""
        task = self.get(task_id)
        task.gpu_rank = gpu_rank
        self._table.save(task)

    def started(self, task_id: str, pid: int) -> None:
        task = self.get(task_id)
        task.pid = pid
        task.started_at = now()
        try:
            task.process_started_at = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            task.process_started_at = None  # Ended already: Container.wait tells.
        self._table.save(task)

    def ready(self, task_id: str) -> None:
        task = self.get(task_id)
        task.ready_at = now()
        self._table.save(task)

    def finish(self, task_id: str, result: api_pb2.GenericResult) -> None:
        """The container is gone. Inputs that ran there are requeued, or failed after too many such ends."""
        task = self.get(task_id)
        if task.finished_at is not None:
            return
        task.finished_at = now()
        task.result = result
        self._unfinished.pop(task_id, None)
        self._table.save(task)
        self._cloud.calls.task_ended(task_id, result)
        self._cloud.logs.wake()

    def all(self) -> list[Task]:
        """Those that have ended, too."""
        return self._table.all()

    def get(self, task_id: str) -> Task:
        return self._table.get(task_id)

    def definition(self, task_id: str) -> FunctionDefinition:
        """What the task runs, which need not be live any more."""
        task = self.get(task_id)
        definition = self._cloud.functions.get(task.function_id).definitions.get(task.definition_id)
        if definition is None:
            raise NotFound(f"Task '{task_id}' runs a definition that is gone")
        return definition

    def _free_gpus(self, definition: FunctionDefinition) -> int:
        """The first of the function's choices that is free; the first of all where none is, as nothing is refused."""
        taken = self._cloud.folders.gpus_taken()
        choices = [choice.function.resources.gpu_config.gpu_type for choice in definition.data.ranked_functions]
        return next((rank for rank, kind in enumerate(choices) if kind not in taken), 0)

    def label(self, task_id: str) -> str:
        """APP/FUNCTION, for people."""
        task = self.get(task_id)
        app = self._cloud.apps.get(task.app_id)
        return f"{app.name or app.description or app.id}/{self._cloud.functions.get(task.function_id).name}"

    def of_function(self, function_id: str) -> list[Task]:
        """Unfinished tasks of the function, oldest first."""
        return [task for task in self._unfinished.values() if task.function_id == function_id]

    def of_app(self, app_id: str) -> list[Task]:
        return [task for task in self._unfinished.values() if task.app_id == app_id]

    def unfinished(self) -> list[Task]:
        return list(self._unfinished.values())

    def attribution(self, task_id: str) -> tuple[str, str, str, str]:
        """(app id, function id, call id, input id) of what a container prints; the last two are empty unless exactly
        one input runs there."""
        task = self.get(task_id)
        running = self._cloud.calls.running_on(task_id)
        call_id, input_id = (running[0].call_id, running[0].id) if len(running) == 1 else ("", "")
        return task.app_id, task.function_id, call_id, input_id
