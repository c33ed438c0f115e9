"""Decides when containers start and stop: one pool per function, class or server."""

from local.modal_cloud.scheduling.scheduler import Scheduler

__all__ = ["Scheduler"]
