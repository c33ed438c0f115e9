"""A stack of this project in a folder of its own, driven by the command line of whichever engine there is.

Not by the Automation API, which starts the engine five times for each `up`.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml

REPOSITORY = Path(__file__).parents[2]
STACK = "test-local"
"""Where there is no Pulumi CLI the bundled engine runs these tests, and it takes local stacks only."""


def write_recipe(folder: Path, name: str, base: str, **engine_environment: str) -> Path:
    """A local recipe under names of its own; the environment steers the stand-in engine."""
    document = yaml.safe_load((REPOSITORY / "recipes" / f"{base}.yaml").read_text())
    document["app"] = name
    document["volumes"]["weights"]["name"] = f"{name}-weights"
    document["volumes"]["kernels"]["name"] = f"{name}-kernels"
    document["secrets"]["huggingFace"]["name"] = f"{name}-hf"
    document["secrets"]["apiKey"]["name"] = f"{name}-key"
    document["engine"]["environment"].update(engine_environment)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@dataclass
class Outcome:
    """One `pulumi up`, `refresh` or `destroy`."""

    failed: bool
    text: str
    changes: dict[str, int] = field(default_factory=dict)
    steps: dict[str, str] = field(default_factory=dict)
    """Operation by resource name, for everything that was not left alone."""
    order: list[str] = field(default_factory=list)
    """`operation name` of each of them as it began; a replacement is several operations."""

    def note(self, event: dict[str, Any]) -> None:
        """An event of the engine's."""
        if summary := event.get("summaryEvent"):
            self.changes = summary["resourceChanges"]
        metadata = event.get("resourcePreEvent", {}).get("metadata", {"op": "same"})
        if metadata["op"] != "same" and "pulumi:providers:" not in metadata["urn"]:
            name = metadata["urn"].rsplit("::", 1)[1]
            self.steps[name] = metadata["op"]
            self.order.append(f"{metadata['op']} {name}")

    def reasons(self) -> set[str]:
        """The lines that say why it failed: each resource's, as a person sees it."""
        assert self.failed, self.text
        assert "Traceback" not in self.text, self.text
        assert "KeyboardInterrupt" not in self.text, self.text
        lines = (line.partition("DeploymentError:")[2].strip() for line in self.text.splitlines())
        found = {line for line in lines if line}
        assert found, self.text
        return found

    def reason(self) -> str:
        """The one line that says why it failed."""
        (reason, *others) = self.reasons()
        assert not others, self.text
        return reason


class Hub:
    """The local Hub's control API: its request log and its faults."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def shard_bytes(self) -> dict[str, int]:
        """Body bytes sent so far of each safetensors file, by file name."""
        files = requests.get(f"{self._endpoint}/_local/requests", timeout=10).json()["files"]
        sent: Counter[str] = Counter()
        for name, traffic in files.items():
            if name.endswith(".safetensors"):
                sent[name.rsplit("/", 1)[1]] += traffic["bytes"]
        return dict(sent)

    def completed(self) -> dict[str, int]:
        """How often each safetensors file was sent to its end, by file name."""
        files = requests.get(f"{self._endpoint}/_local/requests", timeout=10).json()["files"]
        sent: Counter[str] = Counter()
        for name, traffic in files.items():
            if name.endswith(".safetensors"):
                sent[name.rsplit("/", 1)[1]] += traffic["completed"]
        return dict(sent)

    def fail(self, **fault: Any) -> None:
        requests.post(f"{self._endpoint}/_local/faults", json=fault, timeout=10).raise_for_status()

    def heal(self) -> None:
        requests.delete(f"{self._endpoint}/_local/faults", timeout=10).raise_for_status()

    def throttle(self, bytes_per_second: int | None) -> None:
        body = {"bytes_per_second": bytes_per_second}
        requests.post(f"{self._endpoint}/_local/throttle", json=body, timeout=10).raise_for_status()


class Project:
    """One stack, its recipe and its state; `up` and friends return what happened."""

    def __init__(
        self,
        folder: Path,
        cloud: Any,
        name: str,
        base: str = "tiny-glm-local",
        engine_speed: int = 10,
        **environ: str,
    ) -> None:
        """With an `engine_speed` of 10, the stand-ins' own, a full `up` leaves time to do something in its middle."""
        self.folder, self.cloud, self.name, self.base = folder, cloud, name, base
        self._engine_speed = engine_speed
        self.printed: list[str] = []
        """What each `up`, `refresh` and `destroy` has printed."""
        self.hub = Hub(cloud.env["HF_ENDPOINT"])
        folder.mkdir(parents=True)
        (folder / "infra").symlink_to(REPOSITORY / "infra")
        (folder / ".venv").symlink_to(REPOSITORY / ".venv")
        (folder / "Pulumi.yaml").write_text((REPOSITORY / "Pulumi.yaml").read_text())
        (folder / "state").mkdir()
        self.environ = {
            **cloud.env,
            "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "test",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DEBUG_COMMANDS": "true",  # the CLI hides --event-log otherwise
            **environ,
        }
        self.pulumi("stack", "init", STACK)
        self.use_recipe()
        self.configure("scaling.maxContainers", "2")
        self.configure("scaling.scaledownWindow", "300")

    def use_recipe(self, **engine_environment: str) -> None:
        environment = {"STANDIN_SPEED": str(self._engine_speed), **engine_environment}
        self.configure("recipe", str(write_recipe(self.folder, self.name, self.base, **environment)))

    def edit_recipe(self, section: str, **changes: Any) -> None:
        path = self.folder / f"{self.name}.yaml"
        document = yaml.safe_load(path.read_text())
        document[section].update(changes)
        path.write_text(yaml.safe_dump(document))

    def configure(self, key: str, value: str) -> None:
        self.pulumi("config", "set", *(["--path"] if "." in key else []), "--plaintext", key, value)

    def unset(self, key: str) -> None:
        self.pulumi("config", "rm", key)

    def up(self, *options: str, on_output: Callable[[str], None] | None = None) -> Outcome:
        return self._run("up", "--skip-preview", *options, on_output=on_output)

    def refresh(self) -> Outcome:
        return self._run("refresh", "--skip-preview")

    def destroy(self) -> Outcome:
        return self._run("destroy", "--skip-preview")

    def preview(self, *options: str) -> str:
        return self.pulumi("preview", "--color", "never", *options)

    def pulumi(self, *arguments: str) -> str:
        """What a command that ends well prints."""
        done = subprocess.run(
            ["pulumi", *arguments, *([] if arguments[:2] == ("stack", "init") else ["--stack", STACK])],
            cwd=self.folder,
            env={**os.environ, **self.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _run(self, verb: str, *options: str, on_output: Callable[[str], None] | None = None) -> Outcome:
        log = self.folder / "events.json"
        log.unlink(missing_ok=True)
        flags = ("--stack", STACK, "--yes", "--non-interactive", "--color", "never", "--event-log", str(log))
        process = subprocess.Popen(
            ["pulumi", verb, *flags, *options],
            cwd=self.folder,
            env={**os.environ, **self.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = []
        with process:
            for line in process.stdout or ():
                lines.append(line)
                if on_output:
                    on_output(line)
        text = "".join(lines)
        self.printed.append(text)
        outcome = Outcome(process.returncode != 0, text)
        for line in log.read_text().splitlines() if log.exists() else ():
            outcome.note(json.loads(line))
        return outcome

    def outputs(self) -> dict[str, Any]:
        outputs: dict[str, Any] = json.loads(self.pulumi("stack", "output", "--json", "--show-secrets"))
        return outputs

    def modal(self, *arguments: str) -> str:
        """Runs the modal command line; returns what it printed."""
        finished = self.cloud.run([str(REPOSITORY / ".venv/bin/modal"), *arguments])
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    def python(self, program: str) -> str:
        """Runs a program that uses the modal SDK against the cloud; returns what it printed."""
        finished = self.cloud.run([str(REPOSITORY / ".venv/bin/python"), "-c", program])
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout.strip()

    def containers(self) -> set[str]:
        """Task ids of this stack's serving replicas."""
        listed = json.loads(self.modal("container", "list", "--json"))
        return {row["container_id"] for row in listed if row["app_name"] == self.name}

    @property
    def model(self) -> str:
        """The name that clients ask for."""
        return str(yaml.safe_load((self.folder / f"{self.name}.yaml").read_text())["model"]["servedName"])

    def ask(self, prompt: str = "What is 2+2?", key: str | None = None, url: str | None = None) -> requests.Response:
        outputs = self.outputs() if key is None or url is None else {}
        return requests.post(
            f"{url or outputs['url']}/v1/chat/completions",
            headers={"Authorization": f"Bearer {key or outputs['apiKey']}"},
            json={"model": self.model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 64},
            timeout=120,
        )

    @contextmanager
    def under_load(self) -> Iterator[list[str]]:
        """Three clients that ask without a pause; yields what each answer was: a status, or an exception's name."""
        outputs = self.outputs()
        answers: list[str] = []
        stop = threading.Event()

        def client() -> None:
            while not stop.is_set():
                try:
                    answers.append(str(self.ask(key=outputs["apiKey"], url=outputs["url"]).status_code))
                except requests.RequestException as error:
                    answers.append(type(error).__name__)
                time.sleep(0.05)

        clients = [threading.Thread(target=client) for _ in range(3)]
        for thread in clients:
            thread.start()
        try:
            yield answers
        finally:
            stop.set()
            for thread in clients:
                thread.join()
