"""Scheduled functions, and in an app of its own one that is paid for by the second."""

from datetime import UTC, datetime

import modal

app = modal.App("clockwork", include_source=False)
paid = modal.App("clockwork-paid", include_source=False)
image = modal.Image.debian_slim(python_version="3.11").add_local_python_source("clockwork")


@app.function(image=image, schedule=modal.Cron("30 2 * * *", timezone="Europe/Berlin"))
def nightly() -> None:
    print(f"nightly at {datetime.now(UTC):%Y-%m-%d %H:%M}Z")


@app.function(image=image, schedule=modal.Cron("0 8 * * MON-FRI", timezone="America/New_York"))
def office() -> None:
    print(f"office at {datetime.now(UTC):%Y-%m-%d %H:%M}Z")


@app.function(image=image, schedule=modal.Period(hours=16))
def now_and_then() -> None:
    print(f"now and then at {datetime.now(UTC):%Y-%m-%d %H:%M}Z")


@paid.function(image=image, gpu="B200:2", cpu=4.0, memory=8192, scaledown_window=300)
def costly() -> str:
    return "done"
