"""Fires what is due, now and while the clock is moved on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modal_proto import api_pb2

from local.modal_cloud import clock
from local.modal_cloud.records import Function
from local.modal_cloud.schedules.times import next_due

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud

_LONGEST_SLEEP = 60.0
_SETTLED_WITHIN = 60.0
"""Seconds of the machine's time that what a moment has set off gets, before the clock moves on all the same."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Firing:
    at: float
    """Cloud time it was due."""
    app: str
    function: str
    call_id: str


class Schedules:
    """Schedules of deployed apps; of a `modal run` they don't fire, as on Modal. What falls due while the cloud is
    stopped is left out."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        cloud.store.execute("CREATE TABLE IF NOT EXISTS clock (id INTEGER PRIMARY KEY, ahead REAL NOT NULL)")
        row = cloud.store.execute("SELECT ahead FROM clock").fetchone()
        clock.move((row[0] if row else 0.0) - clock.ahead())
        self._fired_until = math.inf
        self._changed = asyncio.Event()
        self._moving = asyncio.Lock()
        self._runner: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._fired_until = clock.now()
        self._runner = asyncio.create_task(self._run())

    def close(self) -> None:
        if self._runner is not None:
            self._runner.cancel()

    def app_published(self) -> None:
        """There may be other schedules than before."""
        self._changed.set()

    async def advance(self, seconds: float) -> list[Firing]:
        """Moves the clock on, as if so many seconds passed: everything due on the way fires at its time, one moment
        after the other, and idle containers go at theirs. Each moment gets the machine's time until its calls have
        ended and no container starts or ends any more."""
        async with self._moving:
            target = clock.now() + seconds
            fired: list[Firing] = []
            while True:
                await self._settle([firing.call_id for firing in fired[-100:]])
                due = min(self._next()[0], self._cloud.scheduler.next_scale_down())
                self._move_to(min(due, target))
                fired += self._fire()
                if due >= target:
                    break
            await self._settle([firing.call_id for firing in fired[-100:]])
            return fired

    async def skip(self, seconds: float) -> None:
        """Moves the clock on, and what was due on the way is left out, as if the cloud had been stopped meanwhile."""
        async with self._moving:
            self._move_to(clock.now() + seconds)
            self._fired_until = clock.now()
            await self._settle([])

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            pause = _LONGEST_SLEEP
            try:
                self._fire()
                pause = min(max(self._next()[0] - clock.now(), 0.0), _LONGEST_SLEEP)
            except Exception:
                _log.exception("schedules")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause)

    def _fire(self) -> list[Firing]:
        """Everything that fell due since the last time."""
        fired = []
        now = clock.now()
        while (found := self._next())[0] <= now:
            self._fired_until, functions = found
            for function in functions:
                app = self._cloud.apps.get(function.app_id)
                call_id = self._cloud.calls.invoke_scheduled(function.id)
                about = {"app": f"{app.name}/{function.name}", "event": "due"}
                _log.info("%s/%s: its schedule is due", app.name, function.name, extra={"about": about})
                fired.append(Firing(self._fired_until, app.name, function.name, call_id))
        self._fired_until = max(self._fired_until, now)
        return fired

    def _next(self) -> tuple[float, list[Function]]:
        """The next moment at which something is due, and what; infinity where nothing ever is."""
        due: dict[float, list[Function]] = {}
        for app in self._cloud.apps.running():
            if app.state != api_pb2.APP_STATE_DEPLOYED:
                continue
            for function in self._cloud.functions.of_app(app.id):
                definition = function.live
                if definition is not None and definition.function.HasField("schedule"):
                    deployed_at = app.deployed_at or app.created_at
                    after = max(self._fired_until, deployed_at)
                    at = next_due(definition.function.schedule, deployed_at, after)
                    due.setdefault(at, []).append(function)
        first = min(due, default=math.inf)
        return first, due.get(first, [])

    def _move_to(self, moment: float) -> None:
        seconds = moment - clock.now()
        if seconds <= 0:
            return
        clock.move(seconds)
        self._cloud.store.execute(
            "INSERT INTO clock (id, ahead) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET ahead = excluded.ahead",
            clock.ahead(),
        )
        # Clients of ephemeral apps have lived through none of it.
        self._cloud.apps.heartbeats_moved(seconds)
        self._cloud.runtime.clock_moved()
        self._cloud.scheduler.clock_moved()
        self._changed.set()

    async def _settle(self, call_ids: list[str]) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _SETTLED_WITHIN
        while loop.time() < deadline:
            await asyncio.sleep(0.03)
            if self._cloud.scheduler.settled() and not any(self._cloud.calls.is_open(call_id) for call_id in call_ids):
                return
        _log.warning("the clock moves on although containers are still starting or calls running")
