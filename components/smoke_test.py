"""SmokeTest: asks a freshly deployed version from outside, as a client would; rolls back the one that fails."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, UpdateResult

from components import modal_api
from components.dynamic import DeploymentError, Properties, Provider, compare, inputs_of, known, say
from components.serving_app import whole_numbers

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
    "limitSeconds",
    "estimate",
    "questions",
)
IDENTITY = ("environment", "app", "appId")
TESTED = ("url", "release", "questions")
DRAIN_SECONDS = 300
"""How long replicas of the version before may go on answering."""


class CheckFailed(Exception):
    """One check of the smoke test did not hold; the message says which and what came back."""


class WrongAnswer(CheckFailed):
    """It was this release that failed: no replica of the version before can be to blame."""


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
        return CreateResult(props["app"], self._test(props, int(props["adoptedVersion"])))

    def update(self, _id: str, olds: Properties, news: Properties) -> UpdateResult:
        # A test that failed left its outputs as they were: they name the last version that passed.
        return UpdateResult(self._test(news, int(olds["version"])))

    def _test(self, props: Properties, fallback: int) -> Properties:
        """Returns the outputs. Raises DeploymentError after going back to version `fallback` (0: there is none)."""
        app, version = props["app"], int(props["version"])
        live = modal_api.find_app(props["environment"], app)
        if live is None or live.version != version:
            now = f"version {live.version} is live" if live else "the app is stopped"
            raise DeploymentError(
                f"smoke test of {app}: version {version} was deployed, but {now}; "
                "`pulumi up --refresh` deploys this configuration again"
            )
        # A version that failed was scaled to zero; this try is for the configured scaling.
        autoscaler = whole_numbers(props["autoscaler"])
        modal_api.update_autoscaler(props["environment"], app, props["ingress"], autoscaler)
        ready: dict[str, Any] = {}
        began = time.monotonic()
        try:
            ready = self._wait_until_ready(props)
            for check in (check_answers, check_models, check_key):
                _when_drained(check, props, DRAIN_SECONDS if fallback else 0)
        except CheckFailed as failure:
            raise DeploymentError(self._withdraw(props, str(failure), ready, fallback)) from None
        seconds = time.monotonic() - began
        say("smoke test", f"version {version} answers correctly, {seconds:.0f} s after the deploy")
        return {**inputs_of(props, INPUTS), "seconds": round(seconds, 1)}

    def _wait_until_ready(self, props: Properties) -> dict[str, Any]:
        """Starts a replica by asking it for its health and waits for its own report of a finished warm-up."""
        say("smoke test", f"starting a replica of {props['app']}: {props['estimate']}")
        reports = modal_api.stack_dict(props["environment"], props["jobsDict"])
        release, limit = props["release"], float(props["limitSeconds"])
        with modal_api.explained("smoke test", props["environment"]):
            reports.pop(f"failed/{release}", None)  # from an earlier try, before whatever was mended since
        began, said = time.monotonic(), time.monotonic()
        stop, healthy = threading.Event(), threading.Event()
        threading.Thread(target=_keep_asking, args=(props["url"], limit, stop, healthy), daemon=True).start()
        try:
            while (waited := time.monotonic() - began) < limit:
                with modal_api.explained("smoke test", props["environment"]):
                    ready = reports.get(f"ready/{release}")
                    failed = reports.get(f"failed/{release}")
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
        raise CheckFailed(f"no replica was ready within {limit:.0f} s, nor reported why; see its log")

    def _withdraw(self, props: Properties, reason: str, ready: dict[str, Any], fallback: int) -> str:
        """Takes the failed version out of service; returns the message for the person."""
        environment, app, version = props["environment"], props["app"], int(props["version"])
        autoscaler = whole_numbers(props["autoscaler"])
        seen = _requests_seen(props, ready) if ready else "took no traffic"
        failed = f"smoke test of {app}: {reason}; version {version} {seen}"
        log = f"`modal app logs {app}` has its log"
        if not 0 < fallback < version:
            # Down at once, not after the idle time; requests that still come start it again.
            nothing = {**autoscaler, "minContainers": 0, "bufferContainers": 0, "scaledownWindow": 2}
            modal_api.update_autoscaler(environment, app, props["ingress"], nothing)
            return (
                f"{failed}. There is no earlier version to serve: no replica of it is kept. {log}; mend the cause, "
                "then `pulumi up` again"
            )
        # One that never got ready has replaced nobody; one that answers wrongly must not go on while others warm up.
        live = modal_api.roll_back_app(environment, app, fallback, "recreate" if ready else "rolling")
        # The roll-back restored that deployment's own scaling, and with another ingress it has settings of its own.
        with contextlib.suppress(modal_api.Absent):
            modal_api.update_autoscaler(environment, app, props["ingress"], autoscaler)
        return (
            f"{failed} and was rolled back: version {fallback} serves (as version {live.version}). {log}; mend the "
            "cause, then `pulumi up --refresh`"
        )


def check_answers(props: Properties) -> None:
    for question in props["questions"]:
        answer = _ask(props, question["prompt"])
        release = (answer.get("metadata") or {}).get("weight_version", props["release"])
        if release != props["release"]:
            raise CheckFailed(f"only {release} answers, the release before this one")
        text = answer["choices"][0]["message"]["content"] or ""
        if question["expect"].casefold() not in text.casefold():
            raise WrongAnswer(f"asked {question['prompt']!r} it answered {text[:80]!r}")


def check_models(props: Properties) -> None:
    names = [model["id"] for model in _get(props, "/v1/models")["data"]]
    if props["servedName"] not in names:
        raise CheckFailed(f"/v1/models lists {', '.join(names)}, not {props['servedName']}")


def check_key(props: Properties) -> None:
    import requests

    answer = requests.get(f"{props['url']}/v1/models", headers={"Authorization": "Bearer wrong"}, timeout=60)
    if answer.status_code != 401:
        raise CheckFailed(f"a wrong API key got {answer.status_code} instead of 401")


def _when_drained(check: Callable[[Properties], None], props: Properties, patience: float) -> None:
    """Repeats a check while it may be replicas of the version before that fail it. Raises CheckFailed."""
    import requests

    deadline = time.monotonic() + patience
    while True:
        try:
            return check(props)
        except WrongAnswer:
            raise
        except CheckFailed as failure:
            found = failure
        except requests.RequestException as error:
            found = CheckFailed(f"{props['url']}: {type(error).__name__}")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            found = CheckFailed(f"an answer has another shape than OpenAI's ({type(error).__name__}: {error})")
        if time.monotonic() >= deadline:
            raise found
        time.sleep(1)


def _keep_asking(url: str, limit: float, stop: threading.Event, healthy: threading.Event) -> None:
    """Requests that make Modal start a replica, until one is answered well."""
    import requests

    while not stop.is_set():
        try:
            if requests.get(f"{url}/health", timeout=limit).status_code == 200:
                healthy.set()
        except requests.RequestException as error:
            say("smoke test", f"{url}/health: {type(error).__name__}, asking again")
        stop.wait(2)


def _headers(props: Properties) -> dict[str, str]:
    return {"Authorization": f"Bearer {props['apiKey']}"}


def _answer_of(response: Any, what: str) -> dict[str, Any]:
    if response.status_code != 200:
        raise CheckFailed(f"{what} answered {response.status_code}: {response.text[:120]!r}")
    try:
        return response.json()
    except ValueError:
        raise CheckFailed(f"{what} did not answer with JSON: {response.text[:120]!r}") from None


def _get(props: Properties, path: str) -> dict[str, Any]:
    import requests

    return _answer_of(requests.get(props["url"] + path, headers=_headers(props), timeout=60), path)


def _ask(props: Properties, prompt: str) -> dict[str, Any]:
    import requests

    path = "/v1/chat/completions"
    body = {
        "model": props["askAs"],
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 64,
        "temperature": 0,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    return _answer_of(requests.post(props["url"] + path, headers=_headers(props), json=body, timeout=300), path)


def _requests_seen(props: Properties, ready: dict[str, Any]) -> str:
    """How many requests of others the replica that reported ready has answered, from its own metrics."""
    import requests

    try:
        text = requests.get(f"{props['url']}/metrics", headers=_headers(props), timeout=30).text
    except requests.RequestException:
        return "saw an unknown number of requests (its metrics are gone)"
    totals = [line for line in text.splitlines() if line.startswith(props["requestsMetric"])]
    if not totals:
        return "saw an unknown number of requests (it reports none)"
    total = sum(float(line.rsplit(" ", 1)[1]) for line in totals)
    answered = max(0, int(total) - int(ready.get("requests", 0)))
    return f"answered {answered} requests, this test's included,"


class SmokeTest(Resource, module="modal", name="SmokeTest"):
    """Output: `seconds` from the start of the test to the last right answer."""

    seconds: pulumi.Output[float]

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
        limit_seconds: int,
        estimate: str,
        questions: list[dict[str, str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`questions` are `{prompt, expect}`: what the answer must contain, in any case of letters. They are asked of
        the model `ask_as`, which may be a name that only this release has; clients use `served_name`.
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
            "limitSeconds": limit_seconds,
            "estimate": estimate,
            "questions": questions,
        }
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(additional_secret_outputs=["apiKey"]))
        super().__init__(SmokeTestProvider(), resource_name, {**props, "seconds": None}, opts)
