"""What a scheduled function does when its time has come. Runs on Modal (serving/apps/schedule.py)."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from datetime import datetime, timedelta

from serving.autoscaler import Autoscaler
from serving.clockwork import ScheduleParams
from serving.errors import ServingError
from serving.spend_hold import SpendHold

EARLY = timedelta(seconds=30)
"""A container's clock may be a little behind that of whoever started it."""
PING_SECONDS = 120.0


def apply(params: ScheduleParams, now: datetime) -> int:
    """Sets the count of warm replicas that holds now; that count. Nothing restarts, and it is safe to repeat."""
    assert params.schedule is not None
    count = params.schedule.count_at(now + EARLY)
    why = f"schedule ({params.schedule.timezone})"
    if count is None:
        count = params.min_containers
        why = f"schedule: ended on {params.schedule.until}, scaling.minContainers holds"
    if held := SpendHold(params.serving_app).get():
        print(
            f"{why}: minContainers {count} is not set, the budget's ${held['limit']:,.2f} are spent since "
            f"{held['since']}",
            flush=True,
        )
        return 0
    changed = Autoscaler(params.serving_app, params.ingress).update(min_containers=count)
    print(f"{why}: minContainers {count} {'from now on' if changed else 'holds already'}", flush=True)
    return count


def ping(params: ScheduleParams) -> int:
    """GET /health, which keeps a replica that is up from going down; the status. Raises ServingError for an answer
    that says the endpoint is not ours or not there.
    """
    if SpendHold(params.serving_app).get():
        print("keep-warm: left out, the budget is spent", flush=True)
        return 0
    began = time.monotonic()
    try:
        with urllib.request.urlopen(f"{params.url}/health", timeout=PING_SECONDS) as response:
            status = int(response.status)
    except urllib.error.HTTPError as error:
        status = error.code
    except TimeoutError:
        print(f"keep-warm: no answer within {PING_SECONDS:.0f} s: a replica is starting", flush=True)
        return 0
    except OSError as error:
        raise ServingError(
            f"keep-warm: {params.url} cannot be reached ({getattr(error, 'reason', error)}). Next: pulumi up --refresh"
        ) from None
    print(f"keep-warm: GET /health {status} after {time.monotonic() - began:.1f} s", flush=True)
    if status >= 400 and status != 503:
        raise ServingError(f"keep-warm: {params.url}/health answers {status}. Next: pulumi up --refresh")
    return status
