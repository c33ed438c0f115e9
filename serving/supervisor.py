"""Life cycle of the engine in a serving container: checks, start, health, warm-up, watch, stop."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from serving.engine_process import EngineProcess
from serving.engines import engine_for
from serving.errors import ServingError
from serving.exit_status import CLEAN_AFTER_SIGTERM
from serving.health import wait_until_healthy, why_it_died
from serving.log_pump import LineSink, LogPump, print_line
from serving.log_triage import classify
from serving.loopback import is_taken, request
from serving.monitor import Monitor, scrape
from serving.recipe import Recipe
from serving.redaction import Redactor
from serving.verify import check_kernels, check_weights
from serving.warmup import warm_up

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
        self._refused: str | None = None
        self._told: set[str] = set()
        self._config_folder: Path | None = None
        self._engine: EngineProcess | None = None
        self._monitor: Monitor | None = None
        self.phases: dict[str, float] = {}
        """Seconds that each part of the start took, once it is over."""

    def start(self) -> None:
        """Raises ServingError, with the engine and everything it started gone, where it can't become ready."""
        began = time.monotonic()
        try:
            weights = check_weights(self._recipe, self._commit)
            if self._recipe.kernels:
                check_kernels(self._recipe, self._kernel_key)
            checked = time.monotonic()
            self._out(
                f"[startup] {self._recipe.model.repo}@{self._commit[:12]}: {len(weights.files)} files, "
                f"{weights.bytes / 1e9:.1f} GB; kernels {self._kernel_key or '-'}"
            )
            engine = self._launch()
            wait_until_healthy(
                engine,
                name=self._module.TITLE,
                port=self._recipe.port,
                path=self._module.HEALTH_PATH,
                deadline=self._recipe.deadlines.health,
                attention=self._attention,
                out=self._out,
            )
            self._remove_config()
            if self._refused:
                raise ServingError(self._refused)
            self._refuse_open_doors()
            loaded = time.monotonic()
            self._warm_up(engine)
        except BaseException as error:
            self._remove_config()
            if self._engine:
                self._engine.kill()
            if isinstance(error, ServingError):
                error = ServingError(self._redact(str(error)))
                self._out(f"[startup] FATAL: {error}")
                raise error from None
            raise
        warm = time.monotonic()
        self._monitor = Monitor(engine, self._module, self._recipe, self._ended_badly, self._out, api_key=self._api_key)
        self._monitor.start()
        self.phases = {"checks": checked - began, "load": loaded - checked, "warm-up": warm - loaded}
        parts = " · ".join(f"{name} {seconds:.1f} s" for name, seconds in self.phases.items())
        self._out(f"ready in {warm - began:.1f} s: {parts}")

    def finished_requests(self) -> int:
        """How many requests the engine has answered so far, the warm-up's included; 0 where it does not say."""
        metrics = scrape(self._recipe.port, self._module.METRICS_PATH, self._api_key) or {}
        return int(metrics.get(self._module.REQUESTS_METRIC, 0))

    def stop(self) -> None:
        """SIGTERM, the recipe's seconds to drain, then SIGKILL to whatever is left of the engine's session."""
        if self._monitor:
            self._monitor.stop()
        self._remove_config()
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

    def _launch(self) -> EngineProcess:
        recipe = self._recipe
        if is_taken(recipe.port):
            # The engine would find out after minutes of loading; until then somebody else would answer its health.
            raise ServingError(
                f"port {recipe.port} of the container is already taken: {self._module.TITLE} could not listen on it. "
                "Next: set another `port` in the recipe, then pulumi up"
            )
        config_path = self._write_config()
        argv = self._module.launch_command(recipe, self._commit, config_path=config_path, release=self._release)
        variables = {
            "PYTHONPATH": _with_own_source(self._environment.get("PYTHONPATH", "")),
            **self._module.engine_environment(recipe, recipe.kernel_path(self._kernel_key)),
            **self._module.secret_environment(self._api_key),
        }
        self._out(f"[startup] {' '.join(argv)}")
        pump = LogPump(self._redact, self._forward, self._watch)
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
        if self._module.READY_LINE.search(line):
            self._attention.set()
        finding = classify(line)
        if finding and finding.severity == "error" and finding.rule not in self._told:
            self._told.add(finding.rule)
            self._out(f"[triage] error: {finding.meaning}. Next: {finding.action}")
            # While starting this stops the start: no request shall meet the crash or the bad answers it announces.
            self._refused = self._refused or f"{finding.meaning} ({line.strip()[:120]}). Next: {finding.action}"

    def _warm_up(self, engine: EngineProcess) -> None:
        try:
            warm_up(self._recipe, api_key=self._api_key, out=self._out)
        except ServingError:
            # A lost connection mostly means that the engine is going down: its own last words say more.
            if engine.exited.wait(timeout=10 if "connection lost" in str(sys.exc_info()[1]) else 0):
                raise why_it_died(engine, self._module.TITLE, "warming up") from None
            raise

    def _refuse_open_doors(self) -> None:
        """No container that strangers can ask for more than its health: says so instead of getting ready."""
        if not self._api_key:
            return
        path = self._module.METRICS_PATH
        try:
            status = request(self._recipe.port, "GET", path).status
        except (OSError, http.client.HTTPException):
            return  # whatever that is, the warm-up meets it too and says it better
        if status != 401:
            raise ServingError(
                f"{self._module.TITLE} answers {path} without the API key (HTTP {status}): the gate is not in front of "
                f"it. Next: check engine.image and engine.version ({self._recipe.engine.version}) in the recipe"
            )

    def _ended_badly(self) -> None:
        if self._engine:
            self._engine.kill()
        self._end()

    def _write_config(self) -> str | None:
        """The API key in a file only this user can read: arguments are visible to every process of the machine."""
        content = self._module.config_file(self._api_key, self._release)
        if not content:
            return None
        self._config_folder = Path(tempfile.mkdtemp(prefix="engine-"))  # mode 0700
        path = self._config_folder / "config.yaml"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        return str(path)

    def _remove_config(self) -> None:
        folder, self._config_folder = self._config_folder, None
        if folder:
            try:
                shutil.rmtree(folder)
            except OSError as error:
                self._out(f"[startup] could not remove the engine's key file {folder}: {error.strerror}")
