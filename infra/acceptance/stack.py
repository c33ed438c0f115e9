"""The stack under acceptance: a copy of its file and recipe, the Pulumi CLI, and the endpoint as a client sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from infra.settings import RECIPES, Settings, load_settings

ANSWER_SECONDS = 1200.0
CLIENTS = 2


class Rejected(Exception):
    """What was not as it must be, in one line."""


def must(holds: object, otherwise: str) -> None:
    if not holds:
        raise Rejected(otherwise)


def changed(printed: str) -> bool:
    """Whether an `up` that printed this has changed something."""
    block = printed.rpartition("Resources:\n")[2].partition("\n\n")[0]
    return any(not line.endswith("unchanged") for line in block.splitlines())


class Stack:
    """Works in `.acceptance/<stack>` of its project, so that no step changes the stack's own file or recipe."""

    def __init__(self, name: str, project: Path) -> None:
        self.name = name
        self._project = project
        self.folder = project / ".acceptance" / name
        self.file = self.folder / f"Pulumi.{name}.yaml"

    def copy(self) -> None:
        """Begins anew from the stack's own file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for linked in ("infra", ".venv"):
            if not (self.folder / linked).exists():
                (self.folder / linked).symlink_to(self._project / linked)
        for name in ("Pulumi.yaml", self.file.name):
            (self.folder / name).write_text((self._project / name).read_text(encoding="utf-8"), encoding="utf-8")
        self.use_recipe()

    def remember(self, step: str) -> None:
        """Keeps the copy as it is before a step."""
        self._before(step).write_text(self.file.read_text(encoding="utf-8"), encoding="utf-8")

    def take_up(self, step: str) -> None:
        """Puts the copy back to what it was before a step. Raises Rejected where that step has never begun."""
        if not self._before(step).exists():
            raise Rejected(f"{step} has not begun yet; begin without FROM")
        self.file.write_text(self._before(step).read_text(encoding="utf-8"), encoding="utf-8")

    def _before(self, step: str) -> Path:
        return self.folder / f"before-{step}.yaml"

    @property
    def _config(self) -> dict[str, Any]:
        return (yaml.safe_load(self.file.read_text(encoding="utf-8")) or {}).get("config") or {}

    def sets(self, key: str) -> bool:
        """Whether the stack's file has a value for it, secret or not."""
        return f"glm-serving:{key}" in self._config

    @property
    def settings(self) -> Settings:
        """Of the copy, without its secrets. Raises SettingsError."""
        plain = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in self._config.items()
            if not (isinstance(value, dict) and "secure" in value)
        }
        return load_settings(plain, {}, stack=self.name)

    def set(self, key: str, value: object) -> None:
        self._run("pulumi", "config", "set", "--stack", self.name, "--path", key, str(value))

    def use_recipe(self, **sections: Any) -> None:
        """The stack's recipe with these sections in place of its own; without any, the recipe itself."""
        config = yaml.safe_load((self._project / self.file.name).read_text(encoding="utf-8"))["config"]
        chosen = str(config["glm-serving:recipe"])
        source = self._project / chosen if chosen.endswith(".yaml") else RECIPES / f"{chosen}.yaml"
        if sections:
            changed = self.folder / source.name
            document = {**yaml.safe_load(source.read_text(encoding="utf-8")), **sections}
            changed.write_text(yaml.safe_dump(document), encoding="utf-8")
            chosen = str(changed)
        elif chosen.endswith(".yaml"):
            chosen = str(source)  # what was said relative to the project
        self.set("recipe", chosen)

    # -- Pulumi

    def pulumi(self, verb: str, *options: str, fails: bool = False) -> str:
        """Shows and returns what it prints. Raises Rejected where it ends otherwise than it should."""
        with self.running(verb, *options) as printed:
            pass
        code, text = printed()
        must((code != 0) == fails, f"`pulumi {verb}` {'did not fail' if fails else 'failed'}, see above")
        must("Traceback" not in text, f"`pulumi {verb}` printed a traceback")
        return text

    @contextmanager
    def running(self, verb: str, *options: str) -> Iterator[Callable[..., tuple[int, str]]]:
        """A running `pulumi`, ended by the end of the block. What it yields returns exit status and text once it has
        ended; given a text, it waits until that is printed and then presses Ctrl-C."""
        command = ["pulumi", verb, "--stack", self.name, "--color", "never", "--non-interactive", *options]
        print(f"  $ {' '.join(command)}", flush=True)
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines: list[str] = []

        def pump() -> None:
            for line in process.stdout or ():
                lines.append(line)
                print(f"  {line.rstrip()}", flush=True)

        reader = threading.Thread(target=pump, daemon=True)
        reader.start()

        def printed(interrupt_at: str = "") -> tuple[int, str]:
            while interrupt_at and process.poll() is None:
                if any(interrupt_at in line for line in lines):
                    process.send_signal(signal.SIGINT)
                    break
                time.sleep(0.1)
            code = process.wait()
            reader.join()
            return code, "".join(lines)

        yield printed
        process.wait()
        reader.join()

    def up(self, *, fails: bool = False) -> str:
        return self.pulumi("up", "--yes", "--skip-preview", "--suppress-outputs", fails=fails)

    def outputs(self) -> dict[str, Any]:
        printed = self._run("pulumi", "stack", "output", "--stack", self.name, "--json", "--show-secrets")
        outputs: dict[str, Any] = json.loads(printed)
        return outputs

    # -- the endpoint

    def ask(self, prompt: str, key: str | None = None) -> tuple[int, str]:
        """Status and answer, of a replica that may have to start first."""
        import requests

        outputs = self.outputs()
        answer = requests.post(
            f"{outputs['url']}/v1/chat/completions",
            json={
                "model": outputs["model"],
                "messages": [{"role": "user", "content": prompt}],
                "max_tokens": 200,
                "chat_template_kwargs": {"enable_thinking": False},
            },
            headers={"Authorization": f"Bearer {outputs['apiKey'] if key is None else key}"},
            timeout=ANSWER_SECONDS,
        )
        if answer.status_code != 200:
            return answer.status_code, answer.text[:200]
        return 200, str(answer.json()["choices"][0]["message"]["content"] or "").strip()

    @contextmanager
    def asked_meanwhile(self) -> Iterator[list[str]]:
        """So many clients that ask without a pause, with the key of this moment; yields statuses and errors."""
        import requests

        outputs, over, seen = self.outputs(), threading.Event(), list[str]()

        def client() -> None:
            body = {"model": outputs["model"], "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}
            headers = {"Authorization": f"Bearer {outputs['apiKey']}"}
            while not over.wait(0.1):
                try:
                    url = f"{outputs['url']}/v1/chat/completions"
                    seen.append(str(requests.post(url, json=body, headers=headers, timeout=ANSWER_SECONDS).status_code))
                except requests.RequestException as error:
                    seen.append(type(error).__name__)

        clients = [threading.Thread(target=client, daemon=True) for _ in range(CLIENTS)]
        for thread in clients:
            thread.start()
        try:
            yield seen
        finally:
            over.set()
            for thread in clients:
                thread.join()

    def _run(self, *command: str) -> str:
        finished = subprocess.run(command, cwd=self.folder, env=os.environ, capture_output=True, text=True, check=False)
        if finished.returncode != 0:
            print(finished.stdout + finished.stderr, file=sys.stderr)
            raise Rejected(f"`{' '.join(command[:3])}` failed, see above")
        return finished.stdout
