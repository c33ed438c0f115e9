"""The daemon's log: a JSON object a line, which `python -m local logs` shows as text.

    {"at": "2026-11-21T21:40:51.123Z", "level": "INFO", "from": "local.daemon", "message": "serving …", …}

Further keys (`app`, `container`, `call`, …) are what a record was given as `extra={"about": {…}}`. What other programs
write into the same file, such as the Hub, is taken as it is.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        told: dict[str, Any] = {
            "at": moment.replace("+00:00", "Z"),
            "level": record.levelname,
            "from": record.name,
            "message": record.getMessage(),
            **getattr(record, "about", {}),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def parse(line: str) -> dict[str, Any]:
    """Of a line that is no JSON object: `{"message": line}`."""
    try:
        told = json.loads(line)
    except ValueError:
        told = None
    return told if isinstance(told, dict) and "message" in told else {"message": line.rstrip("\n")}


def as_text(told: dict[str, Any]) -> str:
    if "level" not in told:
        return str(told["message"])
    text = f"{told['at']} {told['level']} {told['from']} {told['message']}"
    return f"{text}\n{told['exception']}" if "exception" in told else text
