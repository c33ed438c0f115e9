"""SmokeTest: asks a freshly deployed version from outside, as a client would; rolls back the one that fails."""

from __future__ import annotations

import contextlib
import threading
import time
from functools import partial
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from components import modal_api, quality, release_files
from components.autoscaling import holding
from components.dynamic import DeploymentError, Properties, Provider, compare, inputs_of, known, say
from components.endpoint import (
    CheckFailed,
    Endpoint,
    check_answers,
    check_key,
    check_models,
    keep_asking,
    when_drained,
)
from components.release_files import Place
from components.release_record import record_of

INPUTS = (
    "environment",
    "app",
    "appId",
    "ingress",
    "url",
    "version",
    "adoptedVersion",
    "release",
    "jobsDict",
    "apiKey",
    "servedName",
    "askAs",
    "requestsMetric",
    "autoscaler",
    "schedule",
    "limitSeconds",
    "estimate",
    "questions",
    "quality",
    "volume",
    "facts",
)
IDENTITY = ("environment", "app", "appId")
TESTED = ("url", "release", "questions", "quality")
DRAIN_SECONDS = 300
"""How long replicas of the version before may go on answering."""


class SmokeTestProvider(Provider):
    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        # In a preview that only rescales the app, its version and release are unknown but will not change.
        return compare(
            olds,
            news,
            replace=[name for name in IDENTITY if known(news.get(name))],
            update=[name for name in TESTED if known(news.get(name))],
        )

    def create(self, props: Properties) -> CreateResult:
        return CreateResult(props["app"], self._test(props, int(props["adoptedVersion"]), None))

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        # A test that failed left its outputs as they were: they name the last version that passed.
        return UpdateResult(self._test(news, int(olds["version"]), olds.get("measured")))

    def _test(self, props: Properties, fallback: int, before: Properties | None) -> Properties:
        """Returns the outputs. Raises DeploymentError after going back to version `fallback` (0: there is none).

        `before` are the quality figures of the last version that passed, None where the state has none.
        """
        app, version = props["app"], int(props["version"])
        live = modal_api.find_app(props["environment"], app)
        if live is None or live.version != version:
            now = f"version {live.version} is live" if live else "the app is stopped"
            raise DeploymentError(
                f"smoke test of {app}: version {version} was deployed, but {now}; "
                "`pulumi up --refresh` deploys this configuration again"
            )
        # A version that failed was scaled to zero; this try is for the configured scaling.
        autoscaler = holding(props["autoscaler"], props.get("schedule", ""))
        modal_api.update_autoscaler(props["environment"], app, props["ingress"], autoscaler)
        ready: dict[str, Any] = {}
        began = time.monotonic()
        endpoint = _endpoint(props)
        patience = DRAIN_SECONDS if fallback else 0
        try:
            ready = self._wait_until_ready(props)
            for check in (
                partial(check_answers, endpoint, props["questions"]),
                *_of(endpoint, check_models, check_key),
            ):
                when_drained(check, endpoint.url, patience)
            measured = _measured(props, endpoint, patience, before)
        except CheckFailed as failure:
            message, serves = self._withdraw(props, str(failure), ready, fallback)
            figures = failure.figures if isinstance(failure, quality.Worse) else None
            failed = record_of({**props, "seconds": None, "quality": figures})
            failed |= {"reason": str(failure), "rolledBackTo": serves}
            try:
                release_files.write(_place(props), "failed", failed)
            except DeploymentError as error:
                message += f" (and no record of this could be written: {error})"
            raise DeploymentError(message) from None
        seconds = time.monotonic() - began
        say("smoke test", f"version {version} answers correctly, {seconds:.0f} s after the deploy")
        return {**inputs_of(props, INPUTS), "seconds": round(seconds, 1), "measured": measured}

    def _wait_until_ready(self, props: Properties) -> dict[str, Any]:
        """Starts a replica by asking it for its health and waits for its own report of a finished warm-up."""
        say("smoke test", f"starting a replica of {props['app']}: {props['estimate']}")
        reports = modal_api.stack_dict(props["environment"], props["jobsDict"])
        release, limit = props["release"], float(props["limitSeconds"])
        with modal_api.explained("smoke test", props["environment"]):
            reports.pop(f"failed/{release}", None)  # from an earlier try, before whatever was mended since
        began, said = time.monotonic(), time.monotonic()
        stop, healthy = threading.Event(), threading.Event()
        threading.Thread(target=keep_asking, args=(props["url"], limit, stop, healthy), daemon=True).start()
        try:
            while (waited := time.monotonic() - began) < limit:
                ready, failed = (
                    modal_api.read_entry(reports, f"{end}/{release}", "smoke test", props["environment"])
                    for end in ("ready", "failed")
                )
                if ready and healthy.is_set():  # a report alone may be of a replica that is long gone
                    return ready
                if failed:
                    cause = failed["error"].partition(" Next: ")[0].rstrip(".")
                    raise CheckFailed(f"a replica did not start: {cause}")
                if time.monotonic() - said > 10:
                    said = time.monotonic()
                    say("smoke test", f"waiting for a warm replica, {waited:.0f} s of at most {limit:.0f} s")
                time.sleep(0.5)  # a Modal Dict has no event to wait on
        finally:
            stop.set()
        why = "nor reported why; see its log"
        if modal_api.replica_is_pending(props["environment"], props["app"]):
            why = "Modal has not even started its container: GPUs of its kind may be used up"
        raise CheckFailed(f"no replica was ready within {limit:.0f} s, {why}")

    def _withdraw(
        self, props: Properties, reason: str, ready: dict[str, Any], fallback: int
    ) -> tuple[str, Properties | None]:
        """Takes the failed version out of service; the message for the person, and `{version, as}` of what serves."""
        environment, app, version = props["environment"], props["app"], int(props["version"])
        autoscaler = holding(props["autoscaler"], props.get("schedule", ""))
        seen = _requests_seen(props, ready) if ready else "took no traffic"
        failed = f"smoke test of {app}: {reason}; version {version} {seen}"
        log = f"`modal app logs {app}` has its log"
        if not 0 < fallback < version:
            # Down at once, not after the idle time; requests that still come start it again.
            nothing = {**autoscaler, "minContainers": 0, "bufferContainers": 0, "scaledownWindow": 2}
            modal_api.update_autoscaler(environment, app, props["ingress"], nothing)
            return (
                f"{failed.rstrip(',')}. There is no earlier version to serve: no replica of it is kept. {log}; mend "
                "the cause, then `pulumi up` again"
            ), None
        # One that never got ready has replaced nobody; one that answers wrongly must not go on while others warm up.
        live = modal_api.roll_back_app(environment, app, fallback, "recreate" if ready else "rolling")
        # The roll-back restored that deployment's own scaling, and with another ingress it has settings of its own.
        with contextlib.suppress(modal_api.Absent):
            modal_api.update_autoscaler(environment, app, props["ingress"], autoscaler)
        return (
            f"{failed} and was rolled back: version {fallback} serves (as version {live.version}). {log}; mend the "
            "cause, then `pulumi up --refresh`"
        ), {"version": fallback, "as": live.version}


def _endpoint(props: Properties) -> Endpoint:
    return Endpoint(props["url"], props["apiKey"], props["askAs"], props["servedName"], props["release"])


def _place(props: Properties) -> Place:
    return Place(props["environment"], props["volume"], props["app"])


def _of(endpoint: Endpoint, *checks: Any) -> list[Any]:
    return [partial(check, endpoint) for check in checks]


def _measured(props: Properties, endpoint: Endpoint, patience: float, before: Properties | None) -> Properties | None:
    """The quality figures, None where the recipe wants none. Raises CheckFailed past a threshold."""
    if not props.get("quality"):
        return None
    from serving.recipe_sections import Quality

    wanted, facts = Quality.model_validate(props["quality"]), props["facts"]
    # A stack made anew over weights that were kept: their records tell how well they answered.
    before = before or release_files.last_quality(_place(props))
    identity = {
        "commit": facts["model"]["commit"],
        "engine": facts["engine"]["name"],
        "baseline": wanted.baseline,
        "release": props["release"],
        "version": int(props["version"]),
    }
    answers = when_drained(partial(quality.measure, endpoint, wanted), endpoint.url, patience)
    figures = quality.judge(answers, wanted, identity, before)
    if before and (why := quality.why_not_compared(identity, before)):
        say("smoke test", f"quality: not compared with release {before['release']}: {why}")
    say("smoke test", f"quality: {quality.summary(figures)}")
    return figures


def _requests_seen(props: Properties, ready: dict[str, Any]) -> str:
    """How many requests of others the replica that reported ready has answered, from its own metrics."""
    total = _endpoint(props).requests_finished(props["requestsMetric"])
    if total is None:
        return "saw an unknown number of requests (its metrics are gone or tell none)"
    return f"answered {max(0, int(total) - int(ready.get('requests', 0)))} requests, this test's included,"


class SmokeTest(Resource, module="modal", name="SmokeTest"):
    """Outputs: `seconds` from the start of the test to the last right answer; `measured`, the quality figures that the
    next version is compared with (see quality.judge), None where the recipe has no `quality`.
    """

    seconds: pulumi.Output[float]
    measured: pulumi.Output[Any]

    def __init__(
        self,
        resource_name: str,
        *,
        environment: str,
        app: pulumi.Input[str],
        ingress: str,
        app_id: pulumi.Input[str],
        url: pulumi.Input[str],
        version: pulumi.Input[int],
        adopted_version: pulumi.Input[int],
        release: pulumi.Input[str],
        jobs_dict: str,
        api_key: pulumi.Input[str],
        served_name: str,
        ask_as: pulumi.Input[str],
        requests_metric: str,
        autoscaler: dict[str, int],
        schedule: str,
        limit_seconds: int,
        estimate: str,
        questions: list[dict[str, str]],
        quality: dict[str, Any] | None,
        volume: pulumi.Input[str],
        facts: pulumi.Input[dict[str, Any]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`questions` are `{prompt, expect}`: what the answer must contain, in any case of letters. They are asked of
        the model `ask_as`, which may be a name that only this release has; clients use `served_name`. `quality` is the
        recipe's section; a failed test is recorded in `volume` with these `facts` of the configuration.
        """
        props = {
            "environment": environment,
            "app": app,
            "ingress": ingress,
            "appId": app_id,
            "url": url,
            "version": version,
            "adoptedVersion": adopted_version,
            "release": release,
            "jobsDict": jobs_dict,
            "apiKey": pulumi.Output.secret(api_key),
            "servedName": served_name,
            "askAs": ask_as,
            "requestsMetric": requests_metric,
            "autoscaler": autoscaler,
            "schedule": schedule,
            "limitSeconds": limit_seconds,
            "estimate": estimate,
            "questions": questions,
            "quality": quality,
            "volume": volume,
            "facts": facts,
        }
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(additional_secret_outputs=["apiKey"]))
        super().__init__(SmokeTestProvider(), resource_name, {**props, "seconds": None, "measured": None}, opts)
