"""Containers: real processes in their own mount, network and process namespaces, with their own view of each volume.

- `inside/` runs in the container's namespaces (standard library only) and is process 1 there
- `process.ContainerProcess` is the cloud's end of one container, `runtime.Runtime` makes them from specifications
- `volume_views` gives each container its own view of each volume, made of `volume_layers`
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from local.modal_cloud.containers.runtime import Runtime

__all__ = ["Runtime"]


def __getattr__(name: str) -> Any:
    # Lazy: `inside` is a sub-package of this one and runs where nothing but the standard library is importable.
    if name == "Runtime":
        from local.modal_cloud.containers.runtime import Runtime

        return Runtime
    raise AttributeError(name)
