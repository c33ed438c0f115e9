"""The supervisor's own metrics: a file in Prometheus' text format, which the gate puts behind the engine's answers."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from serving.log_pump import LineSink
from serving.manifest import write_atomically


def metrics_text(release: str, phases: Mapping[str, float], findings: Mapping[tuple[str, str], int]) -> str:
    """`phases` in seconds, `findings` as LogWatch counts them."""
    lines = [
        "# HELP glm_serving_release Which release of the stack this container serves.",
        "# TYPE glm_serving_release gauge",
        f"glm_serving_release{_labels(release=release)} 1",
        "# HELP glm_serving_start_seconds Seconds of each phase of this container's start.",
        "# TYPE glm_serving_start_seconds gauge",
        *(f"glm_serving_start_seconds{_labels(phase=name)} {seconds:.3f}" for name, seconds in phases.items()),
        "# HELP glm_serving_log_findings_total Log lines that a triage rule knows, and warnings that none knows.",
        "# TYPE glm_serving_log_findings_total counter",
        *(
            f"glm_serving_log_findings_total{_labels(rule=rule, severity=severity)} {count}"
            for (rule, severity), count in sorted(findings.items())
        ),
    ]
    return "\n".join(lines) + "\n"


def _labels(**labels: str) -> str:
    def escaped(value: str) -> str:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    return "{" + ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items()) + "}"


class MetricsFile:
    """A file in a private folder of its own; `close` removes both. Written whole: a scrape sees the old or the new."""

    def __init__(self, out: LineSink) -> None:
        self._out = out
        self._folder = Path(tempfile.mkdtemp(prefix="metrics-"))  # mode 0700
        self.path = self._folder / "glm-serving.prom"
        self._lock = threading.Lock()
        self._written = ""
        self._closed = False

    def write(self, text: str) -> None:
        """Never raises: an engine that serves is worth more than its metrics."""
        with self._lock:
            if self._closed or text == self._written:
                return
            try:
                write_atomically(self.path, text)
                self._written = text
            except OSError as error:
                self._out(f"[monitor] could not write {self.path}: {error.strerror}")

    def close(self) -> None:
        """May be called again; what is written after it is lost."""
        with self._lock:
            self._closed = True
            shutil.rmtree(self._folder, ignore_errors=True)
