"""What the control interfaces of a local cloud and its Hub are asked with: faults, the clock."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any


class Refused(Exception):
    """It is not done, or nobody answers; says why."""


def ask(url: str, secret: str, method: str, document: dict[str, Any] | None = None, *, seconds: float = 10) -> Any:
    """The answer, from JSON. Raises Refused, also when there is none for `seconds`."""
    request = urllib.request.Request(
        url,
        method=method,
        data=None if document is None else json.dumps(document).encode(),
        headers={"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=seconds) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        try:
            text = json.loads(text)["error"]
        except (ValueError, KeyError, TypeError):
            text = f"{error.code} {text}"
        raise Refused(text) from None
    except OSError as error:
        raise Refused(f"{url} does not answer ({error}): python -m local start") from None
