"""A job on a schedule that keeps its findings in a Dict, and an endpoint that shows them.

modal deploy examples/modal_apps/cron_with_dict.py
"""

from datetime import UTC, datetime

import modal

app = modal.App("example-cron")
image = modal.Image.debian_slim(python_version="3.12").pip_install("fastapi[standard]")
findings = modal.Dict.from_name("example-findings", create_if_missing=True)
KEPT = 24


@app.function(schedule=modal.Cron("0 6,18 * * *", timezone="Europe/Berlin"), retries=2, timeout=60)
def measure() -> str:
    """Twice a day; a real one would ask something outside."""
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    latest = [*findings.get("latest", []), moment][-KEPT:]
    findings["latest"] = latest
    findings["count"] = findings.get("count", 0) + 1
    return moment


@app.function(schedule=modal.Period(days=7))
def forget() -> None:
    """Once a week."""
    findings.pop("latest", None)


@app.function(image=image)
@modal.fastapi_endpoint()
def latest(limit: int = 3) -> dict:
    return {"count": findings.get("count", 0), "latest": findings.get("latest", [])[-limit:]}
