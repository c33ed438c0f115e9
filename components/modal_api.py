"""The only module that talks to Modal. Everything else in this package calls these functions.

Each takes the Modal environment it works in, is safe to repeat (creates adopt, deletes tolerate absence) and raises
DeploymentError with one line that names the thing, the cause and what to type next. `modal` is imported inside the
functions: a preview and a no-op `pulumi up` never need it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from components.dynamic import DeploymentError

SERVER_CLASS = "Server"
WEB_METHOD = "serve"


class Absent(DeploymentError):
    """What was asked for does not exist on Modal."""

    __module__ = "builtins"


class Unreachable(DeploymentError):
    """No answer from Modal: whatever was asked about may well go on there."""

    __module__ = "builtins"


@contextlib.contextmanager
def explained(doing: str, environment: str) -> Iterator[None]:
    """Turns what the SDK raises into one line a person can act on; what is not there is Absent."""
    from modal import exception as modal_errors

    try:
        yield
    except modal_errors.AuthError as error:
        raise DeploymentError(
            f"{doing}: Modal refused the token ({error}); run `modal token new`, or set MODAL_TOKEN_ID and "
            "MODAL_TOKEN_SECRET, then `pulumi up` again"
        ) from None
    except modal_errors.NotFoundError as error:
        # Whatever is missing, the text also names the environment in which it was looked for.
        if re.search(r"^environment\b|environment \S+ (was not found|not found|does not exist)", str(error), re.I):
            raise DeploymentError(
                f"{doing}: Modal has no environment {environment!r}; `modal environment create {environment}`, "
                "then `pulumi up` again"
            ) from None
        raise Absent(f"{doing}: {one_line(error)}; `pulumi up --refresh` makes it anew") from None
    except (modal_errors.ConnectionError, modal_errors.ServiceError, OSError) as error:
        raise Unreachable(
            f"{doing}: cannot reach Modal at {server_url()} ({one_line(error)}); check the network and "
            "MODAL_SERVER_URL, then `pulumi up` again: it carries on from here"
        ) from None
    except modal_errors.ResourceExhaustedError as error:
        raise DeploymentError(
            f"{doing}: Modal's limit is reached ({one_line(error)}); free what is in use or ask Modal for a higher "
            "limit, then `pulumi up` again"
        ) from None
    except modal_errors.PermissionDeniedError as error:
        raise DeploymentError(
            f"{doing}: the token may not do this in environment {environment!r} ({one_line(error)}); "
            "ask a workspace owner, then `pulumi up` again"
        ) from None
    except modal_errors.Error as error:
        raise DeploymentError(f"{doing}: {one_line(error)}") from None


def one_line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def server_url() -> str:
    return os.environ.get("MODAL_SERVER_URL", "https://api.modal.com")


# Volumes ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VolumeFile:
    path: str
    """Relative to the volume's root, without a leading slash."""
    size: int | None
    """Bytes; None for a link, such as those of the Hub client's cache: a listing does not tell its target's size."""
    mtime: float


def ensure_volume(environment: str, name: str, version: int) -> tuple[str, bool]:
    """Creates the volume or takes over the one of that name, whatever its version; its id and whether it is new."""
    import modal

    with explained(f"volume {name}", environment):
        existed = find_volume(environment, name) is not None
        if not existed:
            modal.Volume.objects.create(name, version=version, allow_existing=True, environment_name=environment)
        volume = modal.Volume.from_name(name, environment_name=environment)
        volume.hydrate()
        return volume.object_id, not existed


def find_volume(environment: str, name: str) -> str | None:
    """The volume's id, or None where there is none of that name."""
    import modal

    try:
        with explained(f"volume {name}", environment):
            volume = modal.Volume.from_name(name, environment_name=environment)
            volume.hydrate()
            return volume.object_id
    except Absent:
        return None


def delete_volume(environment: str, name: str) -> None:
    import modal

    with explained(f"volume {name}", environment):
        modal.Volume.objects.delete(name, allow_missing=True, environment_name=environment)


def list_volume_files(environment: str, volume: str, folder: str) -> dict[str, VolumeFile]:
    """Every file below `folder`, by its path relative to `folder`; empty where volume or folder are missing."""
    import modal

    try:
        with explained(f"volume {volume}", environment), _missing_file_is_absent():
            entries = modal.Volume.from_name(volume, environment_name=environment).listdir(folder, recursive=True)
    except Absent:
        return {}
    prefix = folder.strip("/") + "/"
    return {
        entry.path.strip("/").removeprefix(prefix): VolumeFile(
            entry.path.strip("/"), None if entry.type == modal.types.FileEntryType.SYMLINK else entry.size, entry.mtime
        )
        for entry in entries
        if entry.type in (modal.types.FileEntryType.FILE, modal.types.FileEntryType.SYMLINK)
    }


def read_volume_file(environment: str, volume: str, path: str) -> bytes | None:
    """The whole file, or None where it is missing. For small files: the content is held in memory."""
    import modal

    try:
        with explained(f"volume {volume}", environment), _missing_file_is_absent():
            return b"".join(modal.Volume.from_name(volume, environment_name=environment).read_file(path))
    except Absent:
        return None


def write_volume_file(environment: str, volume: str, path: str, content: bytes) -> None:
    """Writes a small file, over one of that name."""
    import modal

    with explained(f"volume {volume}", environment):
        files = modal.Volume.from_name(volume, environment_name=environment)
        with files.batch_upload(force=True) as upload:
            upload.put_file(io.BytesIO(content), path)


def delete_volume_folder(environment: str, volume: str, folder: str) -> None:
    import modal

    try:
        with explained(f"volume {volume}", environment), _missing_file_is_absent():
            modal.Volume.from_name(volume, environment_name=environment).remove_file(folder, recursive=True)
    except Absent:
        return


@contextlib.contextmanager
def _missing_file_is_absent() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Absent(one_line(error)) from None


# Secrets ----------------------------------------------------------------------------------------------------------


def secret_has_keys(environment: str, name: str, keys: list[str]) -> bool:
    """Whether the secret exists with all these keys. Modal never gives the values back."""
    import modal

    try:
        with explained(f"secret {name}", environment):
            modal.Secret.from_name(name, environment_name=environment, required_keys=keys).hydrate()
    except Absent:
        return False
    return True


def secret_keys(environment: str, name: str) -> set[str] | None:
    """The names of all the secret's keys, or None where there is no secret of that name."""
    import modal

    try:
        with explained(f"secret {name}", environment):
            secret = modal.Secret.from_name(name, environment_name=environment)
            secret.hydrate()
            # Part of what Modal answers; the SDK has no public name for it.
            return set(secret._get_metadata().keys)
    except Absent:
        return None


def rewrite_secret(environment: str, name: str, values: dict[str, str]) -> None:
    """Makes these the secret's values, and takes away every other key; one that is there keeps its id."""
    import modal

    with explained(f"secret {name}", environment):
        # What `modal secret create --force` calls. Its command line would need the values in a file or an argument.
        modal.Secret._create_deployed(name, values, environment_name=environment, overwrite=True)


def write_secret(environment: str, name: str, values: dict[str, str]) -> None:
    """Creates the secret with these values, or sets them in the one of that name."""
    import modal

    with explained(f"secret {name}", environment):
        modal.Secret.objects.create(name, values, allow_existing=True, environment_name=environment)
        modal.Secret.from_name(name, environment_name=environment).update(values)


def delete_secret(environment: str, name: str) -> None:
    import modal

    with explained(f"secret {name}", environment):
        modal.Secret.objects.delete(name, allow_missing=True, environment_name=environment)


# Apps -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LiveApp:
    app_id: str
    version: int


def deploy_app(module: str, params: str, params_variable: str, environment: str, strategy: str) -> LiveApp:
    """Deploys the app that `module` declares, in a fresh process: app modules declare at import.

    `params` is the app's parameters as JSON; the module reads them from the environment variable `params_variable`.
    """
    import json

    finished = subprocess.run(
        [sys.executable, "-m", "components.modal_deploy", module, environment, strategy],
        env={**os.environ, params_variable: params},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer = json.loads(finished.stdout.splitlines()[-1])
    except (IndexError, json.JSONDecodeError):
        last = finished.stderr.strip().splitlines()[-1:] or [f"exit status {finished.returncode}"]
        raise DeploymentError(f"deploying {module} failed: {last[0]}") from None
    if "error" in answer:
        raise DeploymentError(answer["error"])
    return LiveApp(answer["appId"], answer["version"])


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


def app_tags(environment: str, name: str) -> dict[str, str] | None:
    """The tags of the deployed app of that name, or None where there is none."""
    import modal

    if find_app(environment, name) is None:
        return None
    with explained(f"app {name}", environment):
        return modal.App.lookup(name, environment_name=environment).get_tags()


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
    strategy_option = f"--strategy={strategy}"
    before = find_app(environment, name)
    # Modal offers roll-back in its command line only.
    finished = subprocess.run(
        [sys.executable, "-m", "modal", "app", "rollback", name, f"v{version}", strategy_option, "--env", environment],
        capture_output=True,
        text=True,
        check=False,
    )
    live = find_app(environment, name)
    # The command also fails when the roll-back took place, but old containers did not end in time.
    if live is None or before is None or live.version <= before.version:
        raise DeploymentError(
            f"app {name}: rolling back to version {version} failed ({one_line(finished.stderr or finished.stdout)}); "
            f"type `modal app rollback {name} v{version} --env {environment}`"
        )
    return live


# Serving: URL and autoscaler --------------------------------------------------------------------------------------


def serving_url(environment: str, app: str, ingress: str) -> str:
    with explained(f"app {app}", environment):
        if ingress == "server":
            return (_server(environment, app).get_url() or "").rstrip("/")
        return (_web_function(environment, app).get_web_url() or "").rstrip("/")


def update_autoscaler(environment: str, app: str, ingress: str, autoscaler: dict[str, Any]) -> None:
    """Overrides the live autoscaler; nothing is redeployed or restarted. Keys are those of `AUTOSCALER_KEYS`."""
    with explained(f"app {app}: autoscaler", environment):
        settings = {AUTOSCALER_KEYS[key]: value for key, value in autoscaler.items()}
        _serving_function(environment, app, ingress).autoscaler.update(**settings)


def read_autoscaler(environment: str, app: str, ingress: str, names: list[str]) -> dict[str, Any]:
    """The live settings of these keys of `AUTOSCALER_KEYS`; what Modal calls unset is 0."""
    with explained(f"app {app}: autoscaler", environment):
        settings = _serving_function(environment, app, ingress).autoscaler.settings()
    return {name: getattr(settings, AUTOSCALER_KEYS[name]) or 0 for name in names}


AUTOSCALER_KEYS = {
    "minContainers": "min_containers",
    "maxContainers": "max_containers",
    "bufferContainers": "buffer_containers",
    "scaledownWindow": "scaledown_window",
    "targetConcurrency": "target_concurrency",
}
"""Settings a running app takes over without a new version, and the SDK's names for them."""


def _serving_function(environment: str, app: str, ingress: str) -> Any:
    return _server(environment, app) if ingress == "server" else _web_function(environment, app)


def _server(environment: str, app: str) -> Any:
    import modal

    return modal.Server.from_name(app, SERVER_CLASS, environment_name=environment)


def _web_function(environment: str, app: str) -> Any:
    import modal

    return getattr(modal.Cls.from_name(app, SERVER_CLASS, environment_name=environment)(), WEB_METHOD)


# Function calls and the stack's Dict ------------------------------------------------------------------------------


def spawn(environment: str, app: str, function: str, payload: dict[str, Any]) -> str:
    """Starts the function without waiting; returns the id to attach to."""
    import modal

    with explained(f"{app}: {function}", environment):
        return modal.Function.from_name(app, function, environment_name=environment).spawn(payload).object_id


class CallFailed(DeploymentError):
    """The function ended with an error: unlike a lost connection, nothing is left that one could attach to."""

    __module__ = "builtins"


class CallGone(Exception):
    """Modal no longer knows the call, or has dropped its result."""


def wait_for_call(call_id: str, seconds: float, environment: str) -> dict[str, Any] | None:
    """The call's result; None while it runs on after `seconds`. Raises CallFailed or CallGone."""
    import modal

    from serving.errors import ServingError

    with explained(f"call {call_id}", environment):
        try:
            return modal.FunctionCall.from_id(call_id).get(timeout=seconds)
        except (modal.exception.OutputExpiredError, modal.exception.NotFoundError):
            raise CallGone from None
        except modal.exception.FunctionTimeoutError:
            raise CallFailed("the job ran into its time-out; `pulumi up` again: it carries on from here") from None
        except TimeoutError:
            return None  # never the job's own: jobs raise nothing but ServingError
        except ServingError as error:
            raise CallFailed(one_line(error)) from None
        except (modal.exception.RemoteError, modal.exception.ExecutionError, modal.exception.InternalFailure) as error:
            raise CallFailed(f"the job's container failed: {one_line(error)}; `pulumi up` tries again") from None
        except modal.exception.Error:
            raise  # the question failed, not the job: whoever asks next attaches to it
        except Exception as error:
            # Modal raises here whatever the function raised there.
            raise CallFailed(
                f"the job failed with {type(error).__name__}: {one_line(error)}; `modal app logs` of the pipeline app "
                "shows where, `pulumi up` tries again"
            ) from None


def cancel_call(call_id: str, environment: str) -> None:
    """Ends the function where it runs; one that has ended already stays as it is. A job gets an exception, so that it
    can commit what it has; its container goes after its scaledown window.
    """
    import modal

    with explained(f"call {call_id}", environment):
        modal.FunctionCall.from_id(call_id).cancel()


def stack_dict(environment: str, name: str) -> Any:
    """The stack's `modal.Dict`, created when missing: claims and progress of jobs, reports of starting replicas."""
    import modal

    return modal.Dict.from_name(name, environment_name=environment, create_if_missing=True)


def delete_dict(environment: str, name: str) -> None:
    import modal

    with explained(f"dict {name}", environment):
        modal.Dict.objects.delete(name, allow_missing=True, environment_name=environment)
