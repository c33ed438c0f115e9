"""Life cycle of the engine in a serving container: checks, start, health, warm-up, watch, stop."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from serving.engine_process import EngineProcess
from serving.engines import engine_for
from serving.engines.gate import METRICS_FILE_VARIABLE
from serving.errors import ServingError
from serving.exit_status import CLEAN_AFTER_SIGTERM
from serving.health import wait_until_healthy, why_it_died
from serving.key_file import KeyFile
from serving.log_pump import LineSink, LogPump, print_line
from serving.log_triage import TAG
from serving.log_watch import LogWatch
from serving.loopback import is_taken
from serving.monitor import Monitor, scrape
from serving.open_doors import refuse_open_doors
from serving.own_metrics import MetricsFile, metrics_text
from serving.recipe import Recipe
from serving.redaction import Redactor
from serving.side_check import SideCheck
from serving.start_phases import WARM_UP, StartPhases, ready_line
from serving.verify import check_kernels, check_weights, find_kernels, find_weights
from serving.warmup import LONGEST_OF_BATCH, ask_all_sizes, freeze_garbage, warm_up

_WARM_BATCHES = (8,)
"""Requests at once in the warm-up: enough for the kernels of larger batches, few enough not to delay a warm start."""
_WARM_LONGEST = LONGEST_OF_BATCH[-1:]

_PATIENCE = 10.0
"""Seconds to wait for the check of all files once an engine has failed: its message is the better one."""

_OWN_QUESTION = re.compile(r'127\.0\.0\.1:\d+ - "GET /(?:metrics|health) HTTP/1\.1"')


def _end_container() -> None:
    sys.stdout.flush()
    os._exit(1)


def _with_own_source(search_path: str) -> str:
    """The engine's process loads serving.engines.gate, from wherever its image sets its working directory."""
    own = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join([*filter(None, [search_path]), own])


class Supervisor:
    """One engine. `start` returns once it is warm; from then on its death ends this process with status 1.

    `environment` is the container's (the API key and the Hub token, under the recipe's names, are taken from it and
    kept from the engine); `release` is what the engine's answers are marked with; `die` is what the monitor calls
    when the engine is gone.
    """

    def __init__(
        self,
        recipe: Recipe,
        commit: str,
        kernel_key: str,
        *,
        release: str = "",
        environment: Mapping[str, str] | None = None,
        out: LineSink = print_line,
        die: Callable[[], None] = _end_container,
    ) -> None:
        environment = os.environ if environment is None else environment
        self._recipe = recipe
        self._commit = commit
        self._kernel_key = kernel_key
        self._release = release
        self._module = engine_for(recipe)
        secret_names = {recipe.secrets.api_key.key, recipe.secrets.hugging_face.key}
        self._api_key = environment.get(recipe.secrets.api_key.key, "")
        self._redact = Redactor(environment.get(name) for name in secret_names)
        self._environment = {k: v for k, v in environment.items() if k not in secret_names}
        self._out = out
        self._end = die
        self._attention = threading.Event()
        self._log = LogWatch(recipe.engine.name, out, self._module.stopping_rules(recipe))
        self._beside: SideCheck | None = None
        self._key_file: KeyFile | None = None
        self._metrics: MetricsFile | None = None
        self._engine: EngineProcess | None = None
        self._monitor: Monitor | None = None
        self.phases: dict[str, float] = {}
        """Seconds that each part of the start took, once it is over."""

    def start(self, volumes: float = 0.0) -> None:
        """`volumes`: seconds that reloading them took before this.

        Raises ServingError, with the engine and everything it started gone, where it can't become ready.
        """
        clock = StartPhases(self._module.PHASE_LINES, volumes)
        try:
            proven = self._look_at_volumes()
            engine = self._launch(clock, proven)
            self._wait_until_healthy(engine)
            self._remove_key_file()
            clock.begin(WARM_UP)
            refuse_open_doors(self._recipe, self._module, self._api_key)
            self._warm_up(engine)
            self._refuse()
            self._whole_check()
        except BaseException as error:
            self._clean_up()
            if isinstance(error, ServingError):
                error = ServingError(self._redact(str(error)))
                self._say(f"[startup] FATAL: {error}")
                raise error from None
            raise
        self.phases = clock.end()
        self._write_metrics()
        self._monitor = Monitor(
            engine,
            self._module,
            self._recipe,
            self._ended_badly,
            self._say,
            api_key=self._api_key,
            after_look=self._write_metrics,
        )
        self._monitor.start()
        if unknown := self._log.unknown():
            how = f"modal app logs {self._recipe.app} | python -m serving.log_triage -"
            self._out(f"{TAG}{unknown} warnings that no rule knows; to list them: {how}")
        self._out(ready_line(self.phases))

    def _look_at_volumes(self) -> bool:
        """Is everything there, by its marks? The files themselves are gone through beside the engine's start.

        Returns whether the kernels were proven complete. Raises ServingError.
        """
        recipe, key = self._recipe, self._kernel_key
        weights = find_weights(recipe, self._commit)
        kernels = find_kernels(recipe, key) if recipe.kernels else None
        self._out(
            f"[startup] {recipe.model.repo}@{self._commit[:12]}: {len(weights.files)} files, "
            f"{weights.bytes / 1e9:.1f} GB; kernels {key or '-'}"
        )

        def check_all_files() -> None:
            check_weights(recipe, self._commit)
            if recipe.kernels:
                check_kernels(recipe, key)

        self._beside = SideCheck(check_all_files, self._attention.set)
        if kernels and not kernels.proven and self._pass_is_ours_to_skip():
            why = f"{kernels.uncovered[0]} was still compiled" if kernels.uncovered else "no proof start was made"
            self._say(f"[startup] kernels not proven complete: {why}, the DeepGEMM pass stays on")
        return bool(kernels and kernels.proven)

    def _pass_is_ours_to_skip(self) -> bool:
        """Not where the recipe itself says whether it is made."""
        of_engine = self._module.engine_environment
        return of_engine(self._recipe, "", proven=True) != of_engine(self._recipe, "")

    def _wait_until_healthy(self, engine: EngineProcess) -> None:
        try:
            wait_until_healthy(
                engine,
                name=self._module.TITLE,
                port=self._recipe.port,
                path=self._module.HEALTH_PATH,
                deadline=self._recipe.deadlines.health,
                attention=self._attention,
                refuse=self._refuse,
                out=self._say,
            )
        except ServingError:
            # An engine that dies of a missing or damaged file says so less well than the check.
            self._whole_check(_PATIENCE)
            raise

    def _refuse(self) -> None:
        """Raises ServingError where this start must end although the engine lives."""
        self._whole_check(0)
        if self._log.refusal:
            raise ServingError(self._log.refusal)

    def _whole_check(self, seconds: float | None = None) -> None:
        if self._beside:
            self._beside.wait(seconds)

    def finished_requests(self) -> int:
        """How many requests the engine has answered so far, the warm-up's included; 0 where it does not say."""
        metrics = scrape(self._recipe.port, self._module.METRICS_PATH, self._api_key) or {}
        return int(metrics.get(self._module.REQUESTS_METRIC, 0))

    def stop(self) -> None:
        """SIGTERM, the recipe's seconds to drain, then SIGKILL to whatever is left of the engine's session."""
        if self._monitor:
            self._monitor.stop()
        self._remove_key_file()
        if self._metrics:
            self._metrics.close()
        if self._engine is None:
            return
        began = time.monotonic()
        code = self._engine.terminate(self._recipe.deadlines.shutdown)
        took = time.monotonic() - began
        name = self._module.TITLE
        if code is None:
            self._out(f"[shutdown] {name} did not end within {self._recipe.deadlines.shutdown} s and was killed")
        elif code in CLEAN_AFTER_SIGTERM:
            self._out(f"[shutdown] {name} stopped after {took:.1f} s (code {code})")
        else:
            self._out(f"[shutdown] {name} ended with code {code} while stopping")

    def _launch(self, clock: StartPhases, proven: bool) -> EngineProcess:
        recipe = self._recipe
        if is_taken(recipe.port):
            # The engine would find out after minutes of loading; until then somebody else would answer its health.
            raise ServingError(
                f"port {recipe.port} of the container is already taken: {self._module.TITLE} could not listen on it. "
                "Next: set another `port` in the recipe, then pulumi up"
            )
        self._metrics = MetricsFile(self._out)
        content = self._module.config_file(self._api_key, self._release)
        self._key_file = KeyFile(content) if content else None
        config_path = self._key_file.path if self._key_file else None
        argv = self._module.launch_command(recipe, self._commit, config_path=config_path, release=self._release)
        variables = {
            "PYTHONPATH": _with_own_source(self._environment.get("PYTHONPATH", "")),
            METRICS_FILE_VARIABLE: str(self._metrics.path),
            **self._module.engine_environment(recipe, recipe.kernel_path(self._kernel_key), proven=proven),
            **self._module.secret_environment(self._api_key),
        }
        self._out(self._redact(f"[startup] {' '.join(argv)}"))

        def watch(line: str) -> None:
            clock.read(line)
            self._watch(line)

        pump = LogPump(self._redact, self._forward, watch)
        try:
            self._engine = EngineProcess(argv, {**self._environment, **variables}, pump, self._attention.set)
        except OSError as error:
            raise ServingError(
                f"cannot start {self._module.TITLE}: {argv[0]}: {error.strerror}. "
                f"Next: check engine.image ({recipe.engine.image}) in the recipe, then pulumi up"
            ) from None
        return self._engine

    def _forward(self, line: str) -> None:
        # The health probe's and the monitor's own access-log lines, one every few seconds, are no news.
        if not _OWN_QUESTION.search(line):
            self._out(line)

    def _watch(self, line: str) -> None:
        self._log.read(line)
        if self._module.READY_LINE.search(line) or self._log.refusal:
            self._attention.set()

    def _say(self, line: str) -> None:
        """A line of our own, which triage may know as well."""
        self._out(line)
        self._log.count(line)

    def _write_metrics(self) -> None:
        if self._metrics:
            self._metrics.write(metrics_text(self._release, self.phases, self._log.counts()))

    def _warm_up(self, engine: EngineProcess) -> None:
        try:
            warm_up(self._recipe, api_key=self._api_key, out=self._out)
            ask_all_sizes(
                self._recipe,
                api_key=self._api_key,
                batches=_WARM_BATCHES,
                longest_of_batch=_WARM_LONGEST,
                out=self._out,
            )
        except ServingError:
            # A lost connection mostly means that the engine is going down: its own last words say more.
            if engine.exited.wait(timeout=10 if "connection lost" in str(sys.exc_info()[1]) else 0):
                raise why_it_died(engine, self._module.TITLE, "warming up") from None
            raise
        freeze_garbage(self._recipe, api_key=self._api_key, out=self._say)

    def _ended_badly(self) -> None:
        self._clean_up()
        self._end()

    def _clean_up(self) -> None:
        self._remove_key_file()
        if self._engine:
            self._engine.kill()
        if self._metrics:
            self._metrics.close()

    def _remove_key_file(self) -> None:
        if self._key_file:
            self._key_file.remove(self._out)
