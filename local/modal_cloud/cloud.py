"""The cloud: one object that owns the state, the services and what runs containers.

    cloud = Cloud(folders, ports, hub_port=…)
    await cloud.start(); …; await cloud.close()

Attributes used across packages (contracts in `seams`): folders, ports, apps, functions, calls, tasks, logs, volumes,
endpoints (Table[Endpoint]), runtime, scheduler, ingress, handlers(task_id).
"""
