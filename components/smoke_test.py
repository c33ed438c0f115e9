"""SmokeTest: asks a freshly deployed version from outside, as a client would; rolls back the one that fails."""

from __future__ import annotations

import threading
import time
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource

from components import modal_api
from components.dynamic import DeploymentError, Properties, Provider, compare, inputs_of, known, say
from components.serving_app import whole_numbers

INPUTS = (
    "environment",
    "app",
    "ingress",
    "url",
    "version",
    "previousVersion",
    "release",
    "jobsDict",
    "apiKey",
    "servedName",
    "autoscaler",
    "startupSeconds",
    "estimate",
    "questions",
)
DRAIN_SECONDS = 300
TESTED = ("environment", "app", "url", "version", "questions")


class CheckFailed(Exception):
    """One check of the smoke test did not hold; the message says which and what came back."""


class SmokeTestProvider(Provider):
    def diff(self, _id: str, olds: Properties, news: Properties) -> DiffResult:
        # In a preview that only rescales the app, its version is unknown but will not change.
        return compare(olds, news, replace=[name for name in TESTED if known(news.get(name))])

    def create(self, props: Properties) -> CreateResult:
        app, version = props["app"], int(props["version"])
        live = modal_api.find_app(props["environment"], app)
        if live is None or live.version != version:
            now = f"version {live.version} is live" if live else "the app is stopped"
            raise DeploymentError(
                f"smoke test of {app}: version {version} was deployed, but {now}; "
                "`pulumi up --refresh` deploys this configuration again"
            )
        autoscaler = whole_numbers(props["autoscaler"])
        # A first version that failed was scaled to zero; this try is for the configured scaling.
        modal_api.update_autoscaler(props["environment"], app, props["ingress"], autoscaler)
        asked = 0
        ready: dict[str, Any] = {}
        began = time.monotonic()
        try:
            ready = self._wait_until_ready(props)
            for check in (self._check_key, self._check_models, self._check_answers):
                asked += check(props)
        except CheckFailed as failure:
            raise DeploymentError(self._withdraw(props, str(failure), ready, asked)) from None
        seconds = time.monotonic() - began
        say("smoke test", f"version {version} answers correctly, {seconds:.0f} s after the deploy")
        return CreateResult(f"{app}/v{version}", {**inputs_of(props, INPUTS), "seconds": round(seconds, 1)})

    def _wait_until_ready(self, props: Properties) -> dict[str, Any]:
        """Starts a replica by asking it for its health and waits for its own report of a finished warm-up."""
        say("smoke test", f"starting a replica of {props['app']}: {props['estimate']}")
        reports = modal_api.stack_dict(props["environment"], props["jobsDict"])
        release, limit = props["release"], float(props["startupSeconds"])
        with modal_api.explained("smoke test", props["environment"]):
            reports.pop(f"failed/{release}", None)  # from an earlier try, before whatever was mended since
        began, said = time.monotonic(), time.monotonic()
        stop = threading.Event()
        threading.Thread(target=_keep_asking, args=(props["url"], limit, stop), daemon=True).start()
        try:
            while (waited := time.monotonic() - began) < limit:
                with modal_api.explained("smoke test", props["environment"]):
                    if ready := reports.get(f"ready/{release}"):
                        return ready
                    if failed := reports.get(f"failed/{release}"):
                        cause = failed["error"].partition(" Next: ")[0].rstrip(".")
                        raise CheckFailed(f"a replica did not start: {cause}")
                if time.monotonic() - said > 10:
                    said = time.monotonic()
                    say("smoke test", f"waiting for a warm replica, {waited:.0f} s of at most {limit:.0f} s")
                time.sleep(0.5)  # a Modal Dict has no event to wait on
        finally:
            stop.set()
        raise CheckFailed(
            f"no replica was ready within {limit:.0f} s; `modal app logs {props['app']}` shows how far it came"
        )

    def _check_key(self, props: Properties) -> int:
        import requests

        answer = requests.get(f"{props['url']}/v1/models", headers={"Authorization": "Bearer wrong"}, timeout=60)
        if answer.status_code != 401:
            raise CheckFailed(f"a wrong API key got {answer.status_code} instead of 401: the endpoint is open")
        return 0

    def _check_models(self, props: Properties) -> int:
        answer = _get(props, "/v1/models")
        names = [model["id"] for model in answer["data"]]
        if props["servedName"] not in names:
            raise CheckFailed(f"/v1/models lists {', '.join(names)}, not {props['servedName']}")
        return 0

    def _check_answers(self, props: Properties) -> int:
        for question in props["questions"]:
            text = _ask_release(props, question["prompt"])
            if question["expect"].casefold() not in text.casefold():
                raise CheckFailed(f"asked {question['prompt']!r} it answered {text[:80]!r}")
        return len(props["questions"])

    def _withdraw(self, props: Properties, reason: str, ready: dict[str, Any], asked: int) -> str:
        """Takes the failed version out of service; returns the message for the person."""
        environment, app, version = props["environment"], props["app"], int(props["version"])
        previous = int(props["previousVersion"])
        autoscaler = whole_numbers(props["autoscaler"])
        seen = _requests_seen(props, ready, asked) if ready else "took no traffic"
        if not previous:
            idle = {**autoscaler, "minContainers": 0}
            modal_api.update_autoscaler(environment, app, props["ingress"], idle)
            return (
                f"smoke test of {app}: {reason}; version {version} {seen}. There is no earlier version to serve; it "
                f"was scaled to zero. `modal app logs {app}` has its log; mend the cause, then `pulumi up` again"
            )
        # One that never got ready has replaced nobody; one that answers wrongly must not go on while others warm up.
        live = modal_api.roll_back_app(environment, app, previous, "recreate" if ready else "rolling")
        # The roll-back restored that deployment's own scaling.
        modal_api.update_autoscaler(environment, app, props["ingress"], autoscaler)
        return (
            f"smoke test of {app}: {reason}; version {version} {seen} and was rolled back: version {previous} serves "
            f"(as version {live.version}). Mend the cause, then `pulumi up --refresh`"
        )


def _keep_asking(url: str, limit: float, stop: threading.Event) -> None:
    """Requests that make Modal start a replica; their answers do not matter, the replica's own report does."""
    import requests

    while not stop.is_set():
        try:
            requests.get(f"{url}/health", timeout=limit)
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

    try:
        return _answer_of(requests.get(props["url"] + path, headers=_headers(props), timeout=60), path)
    except requests.RequestException as error:
        raise CheckFailed(f"{path}: {type(error).__name__}") from None


def _ask_release(props: Properties, prompt: str) -> str:
    """The answer of the release under test: while the one before it drains, its replicas may answer, too."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while True:
        answer = _ask(props, prompt)
        release = (answer.get("metadata") or {}).get("weight_version", props["release"])
        if release == props["release"]:
            return answer["choices"][0]["message"]["content"] or ""
        if time.monotonic() > deadline:
            raise CheckFailed(f"after {DRAIN_SECONDS} s still only {release} answers, the release before this one")
        time.sleep(0.5)


def _ask(props: Properties, prompt: str) -> dict[str, Any]:
    import requests

    path = "/v1/chat/completions"
    body = {
        "model": props["servedName"],
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 64,
        "temperature": 0,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    try:
        response = requests.post(props["url"] + path, headers=_headers(props), json=body, timeout=300)
    except requests.RequestException as error:
        raise CheckFailed(f"{path}: {type(error).__name__}") from None
    return _answer_of(response, path)


def _requests_seen(props: Properties, ready: dict[str, Any], asked: int) -> str:
    """How many requests of others the replica that reported ready has answered, from its own metrics."""
    import requests

    try:
        text = requests.get(f"{props['url']}/metrics", headers=_headers(props), timeout=30).text
    except requests.RequestException:
        return "saw an unknown number of requests (its metrics are gone)"
    totals = [line for line in text.splitlines() if line.startswith("sglang:num_requests_total")]
    if not totals:
        return "saw an unknown number of requests (it reports none)"
    total = sum(float(line.rsplit(" ", 1)[1]) for line in totals)
    others = max(0, int(total) - int(ready.get("requests", 0)) - asked)
    return f"answered {others} requests of others"


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
        url: pulumi.Input[str],
        version: pulumi.Input[int],
        previous_version: pulumi.Input[int],
        release: pulumi.Input[str],
        jobs_dict: str,
        api_key: pulumi.Input[str],
        served_name: str,
        autoscaler: dict[str, int],
        startup_seconds: int,
        estimate: str,
        questions: list[dict[str, str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`questions` are `{prompt, expect}`: what the answer must contain, in any case of letters."""
        props = {
            "environment": environment,
            "app": app,
            "ingress": ingress,
            "url": url,
            "version": version,
            "previousVersion": previous_version,
            "release": release,
            "jobsDict": jobs_dict,
            "apiKey": pulumi.Output.secret(api_key),
            "servedName": served_name,
            "autoscaler": autoscaler,
            "startupSeconds": startup_seconds,
            "estimate": estimate,
            "questions": questions,
        }
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(additional_secret_outputs=["apiKey"]))
        super().__init__(SmokeTestProvider(), resource_name, {**props, "seconds": None}, opts)
