"""The servers that are compared: ours in a container's process, and SGLang without it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from benchmarks.gpu.bench import Bench, say
from benchmarks.gpu.load import Target
from serving.engines import sglang
from serving.loopback import request
from serving.recipe import Recipe

_REPOSITORY = Path(__file__).resolve().parents[2]


class Server:
    """A process of its own session whose output goes to a log file; ends with the `with` block."""

    def __init__(self, bench: Bench, name: str, argv: list[str], environment: dict[str, str], port: int) -> None:
        self.name, self.port, self.model = name, port, bench.recipe.model.served_name
        self.api_key = ""
        self.log_path = bench.log(name)
        self.began = time.monotonic()
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                argv, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def target(self) -> Target:
        return Target(self.port, self.model, self.api_key)

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def seconds(self) -> float:
        return round(time.monotonic() - self.began, 2)

    def wait_end(self, timeout: float) -> int | None:
        """Exit status; None where it still runs after `timeout` seconds."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def descendants(self) -> list[int]:
        """Process ids below this one, the engine's own session included."""
        parents: dict[int, int] = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError, IndexError, ValueError):
                    stat = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                    parents[int(entry)] = int(stat[1])
        found, frontier = [], {self.process.pid}
        while frontier:
            frontier = {pid for pid, parent in parents.items() if parent in frontier}
            found += sorted(frontier)
        return found

    def scheduler(self) -> int:
        """Process id of the engine's scheduler, which names itself."""
        for pid in self.descendants():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().startswith("sglang::sched"):
                    return pid
        raise LookupError(f"{self.name} has no scheduler process")

    def kill(self) -> None:
        """Everything it started, too: an engine has a session of its own."""
        for pid in [*self.descendants(), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


class Ours(Server):
    """The supervisor with the kernel artifact, behind the gate, with a key."""

    def __init__(self, bench: Bench, name: str, *, recipe: Recipe | None = None, machine_of: str | None = None) -> None:
        """`machine_of`: an earlier server whose home and temporary files are there, as on a machine used again."""
        recipe = recipe or bench.recipe
        self.ready_file = bench.work / f"{name}.ready.json"
        self.ready_file.unlink(missing_ok=True)
        state = {
            "recipe": recipe.to_json(),
            "commit": bench.commit,
            "kernel_key": bench.kernel_key,
            "release": "gpu-benchmark",
            "ready_file": str(self.ready_file),
        }
        state_file = bench.work / f"{name}.state.json"
        state_file.write_text(json.dumps(state), encoding="utf-8")
        machine = fresh_machine(bench, machine_of or name, emptied=machine_of is None)
        environment = {**machine, recipe.secrets.api_key.key: bench.api_key}
        argv = [sys.executable, "-m", "benchmarks.gpu.container", str(state_file)]
        super().__init__(bench, name, argv, environment, recipe.port)
        self.api_key = bench.api_key

    def wait_ready(self, timeout: float = 400) -> dict[str, Any]:
        """What the container wrote once its supervisor was ready. Raises RuntimeError with its last words."""
        while not self.ready_file.exists():
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}: {self.log[-600:]}")
            if self.seconds() > timeout:
                raise RuntimeError(f"{self.name} is not ready after {timeout} s: {self.log[-600:]}")
            time.sleep(0.05)
        document = json.loads(self.ready_file.read_text(encoding="utf-8"))
        say(f"{self.name}: ready in {document['seconds']} s {document['phases']}")
        return dict(document)

    def stop(self, timeout: float = 60) -> int | None:
        self.process.send_signal(signal.SIGTERM)
        return self.wait_end(timeout)


class Plain(Server):
    """`sglang.launch_server` with the same flags: no supervisor, no gate, no key. `variables`: its caches, mostly."""

    def __init__(
        self,
        bench: Bench,
        name: str,
        *,
        port: int,
        variables: dict[str, str],
        recipe: Recipe | None = None,
        machine_of: str | None = None,
    ) -> None:
        """`machine_of`: as of `Ours`."""
        recipe = (recipe or bench.recipe).model_copy(update={"port": port})
        argv = sglang.launch_command(recipe, bench.commit)
        assert argv[2] == "sglang.launch_server", argv
        machine = fresh_machine(bench, machine_of or name, emptied=machine_of is None)
        super().__init__(bench, name, argv, {**machine, **variables}, port)

    def wait_ready(self, timeout: float = 500) -> dict[str, Any]:
        """Until /health answers 200, as any deployment waits."""
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}: {self.log[-600:]}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if request(self.port, "GET", sglang.HEALTH_PATH, timeout=5).status == 200:
                    break
            if self.seconds() > timeout:
                raise RuntimeError(f"{self.name} is not ready after {timeout} s: {self.log[-600:]}")
            time.sleep(0.05)
        say(f"{self.name}: ready in {self.seconds()} s")
        return {"seconds": self.seconds()}


def stock_server(bench: Bench, *, kernels: Path, port: int) -> Plain:
    """As anybody would start it: SGLang's defaults, and the DeepGEMM cache that its compile tool leaves on a volume."""
    variables = {"SGLANG_DG_CACHE_DIR": str(kernels), "HF_HUB_OFFLINE": "1", **bench.recipe.engine.environment}
    return Plain(bench, "stock", port=port, variables=variables)


def bare_server(bench: Bench, *, port: int, name: str = "bare", machine_of: str | None = None) -> Plain:
    """With our artifact and our engine's environment: what differs from ours is the supervisor and the gate alone."""
    path = bench.recipe.kernel_path(bench.kernel_key)
    variables = sglang.engine_environment(bench.recipe, path, proven=True)
    return Plain(bench, name, port=port, variables=variables, machine_of=machine_of)


def fresh_machine(bench: Bench, name: str, *, emptied: bool = True) -> dict[str, str]:
    """Our environment as a new container has it: an empty home and an empty place for temporary files, no cache that
    an earlier server left behind, and this repository on the search path."""
    variables = {"HOME": bench.work / "h" / name, "TMPDIR": bench.work / "t" / name}
    for folder in variables.values():
        if emptied:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    ignored = {*sglang.cache_folders(), "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR"}
    inherited = {key: value for key, value in os.environ.items() if key not in ignored}
    search_path = [str(_REPOSITORY), *filter(None, [inherited.get("PYTHONPATH")])]
    return {**inherited, **{k: str(v) for k, v in variables.items()}, "PYTHONPATH": os.pathsep.join(search_path)}


def files_outside(bench: Bench, name: str) -> dict[str, Path]:
    """What a server wrote into its home and its temporary folder, by `HOME/…` or `TMPDIR/…`."""
    found: dict[str, Path] = {}
    for place, folder in (("HOME", bench.work / "h" / name), ("TMPDIR", bench.work / "t" / name)):
        found |= {f"{place}/{path.relative_to(folder)}": path for path in folder.rglob("*") if path.is_file()}
    return found


def left_outside(bench: Bench, name: str) -> dict[str, dict[str, int]]:
    """Caches that no artifact holds: number of files and bytes by folder, nameless temporary ones together."""
    sizes: dict[str, list[int]] = {}
    for where, path in files_outside(bench, name).items():
        place, *folders = where.split("/")[:-1]
        folder = "/".join([place, *(["tmp*"] if folders and folders[0].startswith("tmp") else folders[:2])])
        with contextlib.suppress(OSError):  # gone since
            sizes.setdefault(folder, []).append(path.stat().st_size)
    return {folder: {"files": len(found), "bytes": sum(found)} for folder, found in sorted(sizes.items())}
