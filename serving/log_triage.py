"""What a log line of the stack means and what to do about it: known noise, things to watch, and failures.

`python -m serving.log_triage FILE` prints a report of a saved log (`-` reads stdin).
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from serving.log_rules import RULES, Severity

_ORDER: dict[str, int] = {"fatal": 0, "error": 1, "monitor": 2, "info": 3}


@dataclass(frozen=True)
class Finding:
    rule: str
    severity: Severity
    meaning: str
    action: str


def classify(line: str, *, compiling: bool = False) -> Finding | None:
    """What `line` is known to mean; None for a line that needs no explanation."""
    for rule in RULES:
        if rule.pattern.search(line):
            severity = rule.while_compiling if compiling and rule.while_compiling else rule.severity
            return Finding(rule.name, severity, rule.meaning, rule.action)
    return None


_EXCEPTION = re.compile(r"^(?:\[[^\]]*\]\s*)?((?:[\w.]*\.)?\w*(?:Error|Exception|Interrupt)\b(?:: .+)?)$")
_ANY_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?:: |$)")
_USAGE_ERROR = re.compile(r"\berror: .+")
_TRACEBACK = "Traceback (most recent call last):"
_GENERIC = ("child-failed", "scheduler-exception")


def cause_of_failure(lines: Iterable[str]) -> str | None:
    """The line that best names why the process behind these (last) lines failed, or None.

    The exception that ends the last traceback beats a usage error, and both beat a line known to be fatal: messages
    about a process's death never hide the exception that killed it.
    """
    exception = usage = crash = None
    in_traceback = False
    for line in lines:
        text = line.strip()
        if _TRACEBACK in text:
            in_traceback = True
        elif in_traceback and text and not line[0].isspace():
            # Frames are indented; the first line that is not is the exception, whatever its class is called.
            in_traceback = False
            if _ANY_EXCEPTION.match(text):
                exception = text
        elif match := _EXCEPTION.match(text):
            exception = match.group(1)
        elif match := _USAGE_ERROR.search(text):
            usage = match.group(0)
        else:
            finding = classify(text)
            if finding and finding.severity == "fatal" and finding.rule not in _GENERIC:
                crash = text
    return exception or usage or crash


def last_words(lines: Sequence[str]) -> str:
    """What to say of a process's end: `: <cause>`, or its last line where nothing in the log names a cause."""
    if cause := cause_of_failure(lines):
        return f": {cause}"
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"; its last line: {last[:200]}" if last else "; it said nothing"


def report(lines: Iterable[str], *, compiling: bool = False) -> str:
    """One paragraph per kind of known line, worst first."""
    counts: Counter[Finding] = Counter()
    first: dict[Finding, tuple[int, str]] = {}
    total = 0
    for total, line in enumerate(lines, 1):
        finding = classify(line, compiling=compiling)
        if finding:
            counts[finding] += 1
            first.setdefault(finding, (total, line.strip()[:160]))
    if not counts:
        return f"{total} lines, none that needs explaining"
    parts = [f"{total} lines, {sum(counts.values())} known"]
    for finding in sorted(counts, key=lambda f: (_ORDER[f.severity], first[f][0])):
        number, line = first[finding]
        parts.append(
            f"{finding.severity.upper():8}{finding.rule} ({counts[finding]}x, first in line {number})\n"
            f"        {line}\n        meaning: {finding.meaning}\n        action:  {finding.action}"
        )
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    compiling = "--compile" in arguments
    files = [a for a in arguments if a != "--compile"]
    if len(files) != 1:
        print("usage: python -m serving.log_triage [--compile] FILE   (- reads stdin)", file=sys.stderr)
        return 2
    try:
        if files[0] == "-":
            print(report(sys.stdin, compiling=compiling))
        else:
            with open(files[0], encoding="utf-8", errors="replace") as file:
                print(report(file, compiling=compiling))
    except OSError as error:
        print(f"cannot read {files[0]}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
