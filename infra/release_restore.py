"""Puts a recorded version back into service and says what makes that last."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from components import artifacts, modal_api, release_files
from components.autoscaling import holding, schedule_text
from components.dynamic import Properties
from components.endpoint import CheckFailed, Endpoint, check_answers, check_key, check_models, keep_asking, when_drained
from infra.stack_outputs import OutputsError, stack_outputs

if TYPE_CHECKING:
    from infra.releases import History

OF_THE_CONFIGURATION = (
    *("stack", "recipe", "model", "weights", "engine", "gpu", "kernelKey", "kernels", "flags", "engineEnvironment"),
    *("scaling", "ingress", "strategy", "release", "quality"),
)


class RestoreError(Exception):
    """What is wrong and what to type next, ready to print."""


def restored(history: History, record: Properties) -> Iterator[str]:
    """Rolls back to the record's version with its own scaling, asks it, and files that. Yields what to tell.

    Raises RestoreError or DeploymentError.
    """
    place, version = history.place, int(record["version"])
    serving = history.serving
    _refuse(history, record, serving)
    api_key = _api_key(history.stack)
    now = f"version {serving['version']}" if serving else f"version {history.live.version}"
    yield f"{place.app}: {now} serves; rolling back to version {version}, which takes over once a replica is warm"
    began = time.monotonic()
    live = modal_api.roll_back_app(place.environment, place.app, version, "rolling")
    scaling = holding(record["scaling"], schedule_text(history.settings.schedule))
    modal_api.update_autoscaler(place.environment, place.app, record["ingress"], scaling)
    try:
        if history.settings.proxy_auth:
            yield f"{place.app}: is not asked, since Modal's proxy wants tokens that nobody here has (proxyAuth)"
        else:
            _ask(history, record, api_key)
    except CheckFailed as failure:
        back = (
            f"`python -m infra.releases {history.stack} restore {serving['version']}`"
            if serving
            else "`pulumi up --refresh`"
        )
        raise RestoreError(
            f"version {version} is live again (as version {live.version}), but does not answer as it should: "
            f"{failure}; {back} goes back"
        ) from None
    seconds = round(time.monotonic() - began, 1)
    kept = {name: record[name] for name in OF_THE_CONFIGURATION if name in record}
    facts = {"appId": live.app_id, "version": live.version, "restores": version, "smokeTest": {"seconds": seconds}}
    release_files.write(place, "restored", {**kept, **facts})
    limits = ", ".join(f"{name} {value}" for name, value in scaling.items())
    yield f"{place.app}: version {version} serves again (as version {live.version}) and answers, after {seconds:g} s"
    yield f"scaling as recorded: {limits}"
    yield from _to_keep_it(history.stack, record)


def _refuse(history: History, record: Properties, serving: Properties | None) -> None:
    place, version = history.place, record["version"]
    if history.live is None:
        raise RestoreError(f"{place.app} is not deployed; `pulumi up --stack {history.stack}`")
    if record["status"] == "failed":
        raise RestoreError(f"version {version} has failed its smoke test: {record.get('reason')}; restore another")
    if record["appId"] != history.live.app_id:
        raise RestoreError(
            f"release {record['release']} is of an app that was stopped since, and Modal forgets its versions; "
            f"{_checkout(record)} pulumi up --stack {history.stack}"
        )
    if serving is not None and serving["release"] == record["release"]:
        raise RestoreError(f"version {version} serves already; `python -m infra.releases {history.stack} list`")
    if missing := _missing(history, record):
        raise RestoreError(
            f"version {version} could not start: {missing}; "
            f"{_checkout(record)} pulumi up --stack {history.stack} makes it again"
        )


def _missing(history: History, record: Properties) -> str:
    """What the version would load and is no longer there, empty where all is."""
    gone = [
        f"{place['folder']} is no longer on volume {place['volume']}"
        for place in (record["weights"], record.get("kernels"))  # Pulumi drops what is null
        if place and artifacts.inspect(history.place.environment, place["volume"], place["folder"], []) is None
    ]
    return " and ".join(gone)


def _ask(history: History, record: Properties, api_key: str) -> None:
    """Raises CheckFailed where it is not this release that answers, or not as it should."""
    recipe, place = history.settings.recipe, history.place
    url = modal_api.serving_url(place.environment, place.app, record["ingress"])
    name, release = record["model"]["servedName"], record["release"]
    then = {
        "model": recipe.model.model_copy(update={"served_name": name}),
        "engine": recipe.engine.model_copy(update={"name": record["engine"]["name"]}),
    }
    as_recorded = recipe.model_copy(update=then)
    model = as_recorded.engine_module.name_of_release(as_recorded, release)
    endpoint = Endpoint(url, api_key, model, name, release)
    limit = float(recipe.deadlines.scheduling + recipe.deadlines.startup)
    stop = threading.Event()
    threading.Thread(target=keep_asking, args=(url, limit, stop, threading.Event()), daemon=True).start()
    try:
        questions = [question.to_json() for question in recipe.smoke_test]
        when_drained(partial(check_answers, endpoint, questions), url, limit)
        for check in (check_models, check_key):
            when_drained(partial(check, endpoint), url, 0)
    finally:
        stop.set()


def _api_key(stack: str) -> str:
    try:
        key = stack_outputs(stack, secrets=True).get("apiKey")
    except OutputsError as error:
        raise RestoreError(str(error)) from None
    if not isinstance(key, str):
        raise RestoreError(f"stack {stack} has no output `apiKey`; `pulumi up --stack {stack}`")
    return key


def _to_keep_it(stack: str, record: Properties) -> Iterator[str]:
    yield (
        f"until the configuration says so too, a refresh shows drift, and `pulumi up --refresh` deploys again what "
        f"Pulumi.{stack}.yaml has now"
    )
    yield f"to keep it: {_checkout(record)} pulumi up --refresh --stack {stack}"
    if record.get("config") and record["config"]["dirty"]:
        yield "that release was deployed with changes that were in no commit: `show` has its flags and scaling"


def _checkout(record: Properties) -> str:
    config = record.get("config")
    return f"git checkout {config['commit']} &&" if config else "configure what `show` tells of it, then"
