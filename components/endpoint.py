"""A served model asked from outside, as a client would, and the checks that every version has to pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from components.dynamic import say

HEALTH, CHAT, MODELS, METRICS = "/health", "/v1/chat/completions", "/v1/models", "/metrics"
ANSWER_SECONDS = 300
"""How long one answer may take."""

T = TypeVar("T")


class CheckFailed(Exception):
    """One check did not hold; the message says which and what came back."""


class WrongAnswer(CheckFailed):
    """It was this release that failed: no replica of the version before can be to blame."""


@dataclass(frozen=True)
class Endpoint:
    """`model` is asked for, which may be a name that only this release has; clients use `served_name`."""

    url: str
    api_key: str = field(repr=False)
    model: str
    served_name: str
    release: str

    def ask(self, prompt: str, **more: Any) -> dict[str, Any]:
        """A short greedy answer without reasoning; `more` goes into the request. Raises CheckFailed."""
        import requests

        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": 64,
            "temperature": 0,
            "chat_template_kwargs": {"enable_thinking": False},
            **more,
        }
        answered = requests.post(self.url + CHAT, headers=self._headers(), json=body, timeout=ANSWER_SECONDS)
        answer = _document(answered, CHAT)
        release = (answer.get("metadata") or {}).get("weight_version", self.release)
        if release != self.release:
            raise CheckFailed(f"only {release} answers, the release before this one")
        return answer

    def get(self, path: str) -> dict[str, Any]:
        """Raises CheckFailed."""
        import requests

        return _document(requests.get(self.url + path, headers=self._headers(), timeout=60), path)

    def status(self, path: str, api_key: str) -> int:
        """The answer's status with another key."""
        import requests

        headers = {"Authorization": f"Bearer {api_key}"}
        return requests.get(self.url + path, headers=headers, timeout=60).status_code

    def requests_finished(self, metric: str) -> float | None:
        """What the replica that answers has counted; None where it does not tell."""
        import requests

        try:
            text = requests.get(self.url + METRICS, headers=self._headers(), timeout=30).text
        except requests.RequestException:
            return None
        totals = [line for line in text.splitlines() if line.startswith(metric)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in totals) if totals else None

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}


def _document(response: Any, what: str) -> dict[str, Any]:
    if response.status_code != 200:
        raise CheckFailed(f"{what} answered {response.status_code}: {response.text[:120]!r}")
    try:
        return response.json()
    except ValueError:
        raise CheckFailed(f"{what} did not answer with JSON: {response.text[:120]!r}") from None


def text_of(answer: dict[str, Any]) -> str:
    return answer["choices"][0]["message"]["content"] or ""


def is_right(text: str, expect: str) -> bool:
    return expect.casefold() in text.casefold()


def check_answers(endpoint: Endpoint, questions: Iterable[Mapping[str, str]]) -> None:
    """`questions` are `{prompt, expect}`: what the answer must contain, in any case of letters."""
    for question in questions:
        text = text_of(endpoint.ask(question["prompt"]))
        if not is_right(text, question["expect"]):
            raise WrongAnswer(f"asked {question['prompt']!r} it answered {text[:80]!r}")


def check_models(endpoint: Endpoint) -> None:
    names = [model["id"] for model in endpoint.get(MODELS)["data"]]
    if endpoint.served_name not in names:
        raise CheckFailed(f"{MODELS} lists {', '.join(names)}, not {endpoint.served_name}")


def check_key(endpoint: Endpoint) -> None:
    status = endpoint.status(MODELS, "wrong")
    if status != 401:
        raise CheckFailed(f"a wrong API key got {status} instead of 401")


def when_drained(check: Callable[[], T], url: str, patience: float) -> T:
    """Repeats a check for `patience` seconds, while it may be replicas of the version before that fail it.

    Raises CheckFailed.
    """
    import requests

    deadline = time.monotonic() + patience
    while True:
        try:
            return check()
        except WrongAnswer:
            raise
        except CheckFailed as failure:
            found = failure
        except requests.RequestException as error:
            found = CheckFailed(f"{url}: {type(error).__name__}")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            found = CheckFailed(f"an answer has another shape than OpenAI's ({type(error).__name__}: {error})")
        if time.monotonic() >= deadline:
            raise found
        time.sleep(1)


def keep_asking(url: str, limit: float, stop: threading.Event, healthy: threading.Event) -> None:
    """Requests that make Modal start a replica, until one is answered well; each waits `limit` seconds at most."""
    import requests

    while not stop.is_set():
        try:
            if requests.get(url + HEALTH, timeout=limit).status_code == 200:
                healthy.set()
        except requests.RequestException as error:
            say("smoke test", f"{url}{HEALTH}: {type(error).__name__}, asking again")
        stop.wait(2)
