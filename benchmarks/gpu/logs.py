"""The product's log triage over everything the real engine wrote, and a search of it all for the key."""

from __future__ import annotations

import re
from typing import Any

from benchmarks.gpu.bench import Bench, say
from benchmarks.gpu.secrecy import files_with_the_key
from serving.log_report import LogReport

_REDRAWN = re.compile(r"[\r\n]+")


def triage(bench: Bench) -> None:
    """One report a log, beside it; the warnings that no rule knows are counted as failures of ours."""
    result: dict[str, Any] = {}
    for path in sorted(bench.logs.glob("*.log")):
        report = LogReport(compiling=path.stem == "compile", engine=bench.recipe.engine.name)
        lines = [line for line in _REDRAWN.split(path.read_text(encoding="utf-8", errors="replace")) if line]
        report.read_all(lines)
        path.with_suffix(".triage.txt").write_text(report.text() + "\n", encoding="utf-8")
        result[path.stem] = {"lines": len(lines), "alarming": report.alarming, "unknown": report.unknown}
        say(f"{path.name}: {len(lines)} lines, {len(report.unknown)} kinds of warning that no rule knows")
        for line in report.unknown:
            say(f"    {line}")
    bench.save("triage", result)
    searched, found = files_with_the_key(bench)
    bench.save("secrecy", {"files_searched": searched, "files_with_the_key": found})
    say(f"the key in {len(found)} of {searched} files {found}")
