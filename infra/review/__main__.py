"""Previews a stack and prints the preview as a review: what changes, why, how long, for how much, and what it breaks.

python -m infra.review STACK [--markdown FILE] [--no-rates] [--no-policies WHY] [-- ARGUMENTS OF pulumi preview]

The arguments behind `--` go to `pulumi preview` as they are. Exit status: that of `pulumi preview`, so a mandatory
policy that does not hold is a failure.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

_POLICIES = Path(__file__).resolve().parents[1] / "policies"
POLICY_ARGUMENTS = ["--policy-pack", str(_POLICIES), "--policy-pack-config", str(_POLICIES / "limits.json")]


def main(arguments: list[str]) -> int:
    place = arguments.index("--") if "--" in arguments else len(arguments)
    own, passed_on = arguments[:place], arguments[place + 1 :]
    parser = argparse.ArgumentParser(prog="python -m infra.review", description="A preview that reads like a review.")
    parser.add_argument("stack")
    parser.add_argument("--markdown", metavar="FILE", help="write the review as Markdown, too")
    parser.add_argument("--no-rates", action="store_true", help="the recipe's prices, without asking Modal")
    parser.add_argument("--no-policies", metavar="WHY", default="", help="run none, and say why")
    asked = parser.parse_args(own)

    from components.modal_rates import RATES_VARIABLE, Rates, ask_modal
    from infra.review.compose import compose
    from infra.review.events import read_events
    from infra.review.table import failed_as_markdown

    answer = "--no-rates" if asked.no_rates else ask_modal()
    rates = answer if isinstance(answer, Rates) else None
    environ = {**os.environ, "PULUMI_DEBUG_COMMANDS": "true"}
    environ.pop(RATES_VARIABLE, None)
    if rates is not None:
        environ[RATES_VARIABLE] = rates.model_dump_json(by_alias=True)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "events.jsonl"
        command = ["pulumi", "preview", "--stack", asked.stack, "--event-log", str(log), "--color", "never"]
        command += ["--non-interactive", *([] if asked.no_policies else POLICY_ARGUMENTS), *passed_on]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        preview = read_events(log.read_text(encoding="utf-8").splitlines() if log.exists() else [])
    errors = [text for severity, text in preview.messages if severity == "error"]
    if preview.after is None or not preview.steps:
        told = "\n".join(errors) or done.stdout + done.stderr
        print(told, file=sys.stderr)
        if asked.markdown:
            Path(asked.markdown).write_text(failed_as_markdown(asked.stack, told), encoding="utf-8")
        return done.returncode or 1
    review = compose(
        asked.stack,
        preview,
        rates=rates,
        why_no_rates="" if rates else str(answer),
        no_policies=asked.no_policies,
        today=datetime.now(UTC).date(),
    )
    print(review.as_text())
    if asked.markdown:
        Path(asked.markdown).write_text(review.as_markdown() + "\n", encoding="utf-8")
    stopped = sum(level == "mandatory" for _, level, _ in preview.violations)
    if stopped:
        print(f"\nerror: {stopped} mandatory {'policy does' if stopped == 1 else 'policies do'} not hold (STOPS above)")
    elif done.returncode:
        print("\n" + "\n".join(errors or [done.stderr.strip()]), file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
