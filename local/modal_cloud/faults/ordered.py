"""The faults that are ordered right now. They live as long as the process: a restart heals everything."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from local.modal_cloud.faults.rules import (
    ContainerKill,
    ContainerPreemption,
    GpuFleet,
    ImageFault,
    Rule,
    VolumeFault,
    parse,
    to_json,
)

R = TypeVar("R", bound=Rule)
log = logging.getLogger("local.modal_cloud.faults")


class Faults:
    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._ids = itertools.count(1)
        self.changed: Callable[[Rule | None], None] = lambda rule: None
        """Called with a rule that comes, and with None when some go: what waits looks again."""

    def add(self, document: dict[str, Any]) -> dict[str, Any]:
        """Orders a fault; its JSON form, with its id. Raises ValueError saying what is wrong with it."""
        rule = parse(document)
        rule.id = next(self._ids)
        self._rules.append(rule)
        log.info("fault ordered: %s", to_json(rule))
        self.changed(rule)
        return to_json(rule)

    def listed(self) -> list[dict[str, Any]]:
        """All that were ordered, with their hits, those that are spent included."""
        return [to_json(rule) for rule in self._rules]

    def clear(self, rule_id: int | None = None) -> None:
        """Takes back one, or all. Unknown ids: no-op."""
        self._rules = [rule for rule in self._rules if rule_id is not None and rule.id != rule_id]
        self.changed(None)

    @property
    def any(self) -> bool:
        return bool(self._rules)

    def of(self, kind: type[R]) -> Iterator[R]:
        """Those of a kind that can still hit something, in the order they were given."""
        return (rule for rule in list(self._rules) if isinstance(rule, kind) and not rule.spent)

    # -- what several parts ask

    def kills(self, phase: str, container: str, kill: Callable[[], None]) -> None:
        """A container (APP/FUNCTION) has come to this phase: kills it where that is ordered."""
        for rule in self.of(ContainerKill):
            if rule.at == phase and fnmatchcase(container, rule.container) and rule.hit():
                about = {"app": container, "fault": rule.id, "event": "kill"}
                log.info("fault %d kills %s at %s", rule.id, container, phase, extra={"about": about})
                if rule.delay:
                    asyncio.get_running_loop().call_later(rule.delay, kill)
                else:
                    kill()

    def preempts(self, phase: str, container: str, preempt: Callable[[float], None]) -> None:
        """The same for preemption, whose grace in seconds `preempt` takes."""
        for rule in self.of(ContainerPreemption):
            if rule.matches(phase, container):
                self.preempt_by(rule, container, preempt)

    def preempt_by(self, rule: ContainerPreemption, container: str, preempt: Callable[[float], None]) -> None:
        """The rule fits the container: it happens, if it is the one in so many that it is to happen to."""
        if rule.hit():
            about = {"app": container, "fault": rule.id, "event": "preempt"}
            log.info("fault %d preempts %s", rule.id, container, extra={"about": about})
            if rule.delay:
                asyncio.get_running_loop().call_later(rule.delay, preempt, rule.grace)
            else:
                preempt(rule.grace)

    def fleet(self, gpu: str) -> int | None:
        """How many GPUs of this type there are; None for as many as one likes."""
        totals = [rule.total for rule in self.of(GpuFleet) if rule.gpu.upper() == gpu.upper()]
        return min(totals, default=None)

    def fleets(self) -> set[str]:
        """GPU types of which there are only so many."""
        return {rule.gpu.upper() for rule in self.of(GpuFleet)}

    def image(self, commands: list[str]) -> str | None:
        """Why the build of a layer with these commands is to fail."""
        text = "\n".join(commands)
        return next((rule.message for rule in self.of(ImageFault) if rule.match in text and rule.hit()), None)

    def room(self, name: str) -> int | None:
        """Bytes that still fit on the volume of this name; None for no limit."""
        return min((rule.free for rule in self.volume(name) if rule.free is not None and rule.hit()), default=None)

    def volume(self, name: str) -> Iterator[VolumeFault]:
        return (rule for rule in self.of(VolumeFault) if fnmatchcase(name, rule.volume))
