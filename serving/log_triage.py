"""What a log line of the stack means and what to do about it: known noise, things to watch, and failures.

    python -m serving.log_triage FILE                           a saved log
    modal app logs glm-5.1-production | python -m serving.log_triage -

Exit status: 0 nothing worse than things to watch, 1 an error or a failure was found, 2 wrong usage or no such file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from serving.log_lines import plain
from serving.log_rules import SHARED, Rule, Severity
from serving.log_rules_sglang import SGLANG
from serving.log_rules_vllm import VLLM

_BY_ENGINE: dict[str, tuple[Rule, ...]] = {"sglang": (*SGLANG, *SHARED), "vllm": (*VLLM, *SHARED)}
_ALL: tuple[Rule, ...] = (*SGLANG, *VLLM, *SHARED)


TAG = "[triage] "
"""How the supervisor's own lines about known lines begin."""


@dataclass(frozen=True)
class Finding:
    rule: str
    severity: Severity
    meaning: str
    action: str


def classify(line: str, *, compiling: bool = False, engine: str | None = None) -> Finding | None:
    """What `line` is known to mean, by the rules of `engine` (else of all); None for one that needs no explanation."""
    text = plain(line)
    if text.startswith(TAG):
        return None  # what was said about a line is not another one
    for rule in _BY_ENGINE.get(engine or "", _ALL):
        if rule.pattern.search(text):
            severity = rule.while_compiling if compiling and rule.while_compiling else rule.severity
            return Finding(rule.name, severity, rule.meaning, rule.action)
    return None


_EXCEPTION = re.compile(r"^(?:\[[^\]]*\]\s*)?((?:[\w.]*\.)?\w*(?:Error|Exception|Interrupt)\b(?:: .+)?)$")
_ANY_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?:: |$)")
_USAGE_ERROR = re.compile(r"\berror: .+")
_TRACEBACK = "Traceback (most recent call last):"
# vLLM writes its prefix before every line of a traceback.
_VLLM_PREFIX = re.compile(r"^(?:\([^)]*\)\s)?(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d [\d:]+ \[[^\]]*\] ?")
_GENERIC = ("child-failed", "scheduler-exception", "engine-core-failed", "worker-died")


def cause_of_failure(lines: Iterable[str]) -> str | None:
    """The line that best names why the process behind these (last) lines failed, or None.

    The exception that ends the last traceback beats a usage error, and both beat a line known to be fatal: messages
    about a process's death never hide the exception that killed it.
    """
    exception = usage = crash = None
    in_traceback = False
    for line in lines:
        line = _VLLM_PREFIX.sub("", plain(line))
        text = line.strip()
        if _TRACEBACK in text:
            in_traceback = True
        elif in_traceback and text and not line[0].isspace():
            # Frames are indented; the first line that is not is the exception, whatever its class is called.
            in_traceback = False
            if _ANY_EXCEPTION.match(text):
                exception = _better(exception, text)
        elif match := _EXCEPTION.match(text):
            exception = _better(exception, match.group(1))
        elif match := _USAGE_ERROR.search(text):
            usage = match.group(0)
        else:
            finding = classify(text)
            if finding and finding.severity == "fatal" and finding.rule not in _GENERIC:
                crash = text
    return exception or usage or crash


def _better(known: str | None, found: str) -> str:
    """The later one, unless it only reports that something else failed (`… See root cause above.`)."""
    return known if known and re.search(r"root cause above|stack trace \(above\)", found) else found


def last_words(lines: Sequence[str]) -> str:
    """What to say of a process's end: `: <cause>`, or its last line where nothing in the log names a cause."""
    if cause := cause_of_failure(lines):
        return f": {cause}"
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"; its last line: {last[:200]}" if last else "; it said nothing"


def main(arguments: list[str]) -> int:
    from serving.log_report import LogReport

    options = {"--compile", "--sglang", "--vllm"}
    chosen = {argument for argument in arguments if argument in options}
    files = [argument for argument in arguments if argument not in options]
    if len(files) != 1 or (files[0].startswith("-") and files[0] != "-") or len(chosen - {"--compile"}) > 1:
        print(
            "usage: python -m serving.log_triage [--compile] [--sglang | --vllm] FILE   (- reads a pipe)\n"
            "  --compile   it is the log of a kernel compilation\n"
            "  --sglang, --vllm   this engine's rules alone",
            file=sys.stderr,
        )
        return 2
    engine = next((name.removeprefix("--") for name in chosen - {"--compile"}), None)
    report = LogReport(compiling="--compile" in chosen, engine=engine)
    try:
        if files[0] == "-":
            report.read_all(sys.stdin)
        else:
            with open(files[0], encoding="utf-8", errors="replace") as file:
                report.read_all(file)
    except OSError as error:
        print(f"cannot read {files[0]}: {error.strerror}. Next: give a log file, or - for a pipe", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass  # `modal app logs --follow` was interrupted: what came by then is the report
    print(report.text())
    return 1 if report.alarming else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
