"""Apps: deploying, looking up, stopping, going back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass

from components.dynamic import DeploymentError
from components.modal_api.errors import PAUSES, Absent, Unreachable, explained, one_line, patient


@dataclass(frozen=True)
class LiveApp:
    app_id: str
    version: int


@patient
def deploy_app(module: str, params: str, params_variable: str, environment: str, strategy: str) -> LiveApp:
    """Deploys the app that `module` declares, in a fresh process: app modules declare at import.

    `params` is the app's parameters as JSON; the module reads them from the environment variable `params_variable`.
    """
    finished = subprocess.run(
        [sys.executable, "-m", "components.modal_deploy", module, environment, strategy],
        env={**os.environ, params_variable: params},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = finished.stdout.splitlines()
    for line in lines[:-1]:
        if line.startswith("modal: "):  # what `patient` said there; the rest is the SDK's
            print(line, flush=True)
    try:
        answer = json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError):
        last = finished.stderr.strip().splitlines()[-1:] or [f"exit status {finished.returncode}"]
        raise DeploymentError(f"deploying {module} failed: {last[0]}; mend the cause, then `pulumi up` again") from None
    if answer.get("mayPass"):
        failure = Unreachable(answer["error"])
        failure.may_pass = True
        raise failure
    if "error" in answer:
        raise DeploymentError(answer["error"])
    return LiveApp(answer["appId"], answer["version"])


@patient
def find_app(environment: str, name: str) -> LiveApp | None:
    """The deployed app of that name, or None where there is none or it was stopped."""
    import modal

    try:
        with explained(f"app {name}", environment):
            info = modal.App.lookup(name, environment_name=environment).info(refresh=True)
    except Absent:
        return None
    if info.lifecycle.state.name != "DEPLOYED":
        return None
    return LiveApp(info.app_id, info.lifecycle.version or 0)


@patient
def app_tags(environment: str, name: str) -> dict[str, str] | None:
    """The tags of the deployed app of that name, or None where there is none."""
    import modal

    if find_app(environment, name) is None:
        return None
    with explained(f"app {name}", environment):
        return modal.App.lookup(name, environment_name=environment).get_tags()


@patient
def stop_app(environment: str, name: str) -> None:
    import modal

    try:
        with explained(f"app {name}", environment):
            modal.App.lookup(name, environment_name=environment).stop()
    except Absent:
        return


def roll_back_app(environment: str, name: str, version: int, strategy: str) -> LiveApp:
    """Makes an earlier version the serving one; Modal records that as a version of its own, which is returned.

    `rolling` lets the replicas of the version before serve until new ones are warm, `recreate` ends them at once.
    """
    before = find_app(environment, name)
    command, reason = (sys.executable, "-m", "modal", "app"), "the app is gone"
    for pause in (0.0, *PAUSES[:3]):
        if before is None:
            break
        time.sleep(pause)  # a bad version serves as long as this fails: worth more than one try
        # Modal offers roll-back in its command line only.
        finished = subprocess.run(
            [*command, "rollback", name, f"v{version}", f"--strategy={strategy}", "--env", environment],
            capture_output=True,
            text=True,
            check=False,
        )
        live = find_app(environment, name)
        # The command also fails when the roll-back took place, but old containers did not end in time.
        if live is not None and live.version > before.version:
            return live
        reason = one_line(finished.stderr or finished.stdout)
    raise DeploymentError(
        f"app {name}: rolling back to version {version} failed ({reason}); "
        f"type `modal app rollback {name} v{version} --env {environment}`"
    )
