"""What a stack costs a month under four policies, what a session costs, and what Modal has metered so far.

python -m infra.costs STACK [--busy 'MON-FRI 9-17 x2' …] [--timezone Europe/Berlin] [--session MINUTES]
                      [--month 2027-03] [--plot FILE.svg] [--json] [--no-rates] [--no-bill]

Reads the stack's file and its recipe; needs neither Pulumi nor a deployed stack. With a Modal token the prices are the
workspace's own, and what was metered stands beside the estimate.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from infra.stack_file import StackFileError, configuration_of


def main(arguments: list[str]) -> int:
    asked = _parser().parse_args(arguments)
    from components.modal_rates import Rates, ask_modal, priced
    from infra.costs import bill, report
    from infra.costs.plot import plot
    from infra.costs.strategies import Traffic, months, session
    from infra.costs.traffic import Busy
    from infra.settings import SettingsError
    from serving.schedule import month_of, zone_of

    now = datetime.now(UTC)
    try:
        windows = [Busy.parse(text) for text in asked.busy or ["8-16"] if text != "never"]
        traffic = Traffic(tuple(windows), zone_of(asked.timezone))
        of_month = datetime.strptime(asked.month, "%Y-%m").replace(tzinfo=UTC) if asked.month else now
        configuration = configuration_of(asked.stack, Path.cwd())
    except (StackFileError, SettingsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rates = "not asked (--no-rates)" if asked.no_rates else ask_modal()
    recipe = priced(configuration.recipe, rates if isinstance(rates, Rates) else None)
    configuration = configuration.model_copy(update={"recipe": recipe})
    rows, visit = months(configuration, traffic, now), session(configuration, asked.session)
    start, end = month_of(of_month)
    end = min(end, now.replace(minute=0, second=0, microsecond=0)) if start <= now else end
    metered: bill.Bill | str = "not asked (--no-bill)" if asked.no_bill else "the month has just begun"
    if not asked.no_bill and start < end:
        metered = bill.ask_modal(asked.stack, start, end)
    if asked.json:
        document: dict[str, object] = {
            "months": [asdict(row) for row in rows],
            "session": asdict(visit),
            "prices": recipe.prices.to_json(),
        }
        document["metered"] = metered.apps if isinstance(metered, bill.Bill) else None
        print(json.dumps(document, indent=2))
    else:
        texts = asked.busy or ["8-16"]
        for line in report.lines(configuration, traffic, texts, rows, visit, metered, asked.stack, rates, now):
            print(line)
    if asked.plot:
        try:
            asked.plot.write_text(plot(configuration, traffic, rows, asked.stack, now), encoding="utf-8")
        except OSError as error:
            print(f"error: {asked.plot}: {error.strerror}; name another file: --plot FILE.svg", file=sys.stderr)
            return 1
        print(f"{asked.plot}: written", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.costs", description="What a stack costs.")
    parser.add_argument("stack")
    parser.add_argument(
        "--busy",
        action="append",
        metavar="WINDOW",
        help="when somebody asks: 'MON-FRI 9-17', '9-17 x2' (two replicas' worth), or never; may be given several "
        "times (default: 8-16, the guide's eight hours a day)",
    )
    parser.add_argument("--timezone", default="UTC", help="of the windows and of the guide's business hours (UTC)")
    parser.add_argument(
        "--session", type=float, default=20, metavar="MINUTES", help="of somebody who comes and goes (20)"
    )
    parser.add_argument("--month", metavar="YYYY-MM", help="whose metered cost is asked for (this one)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="writes the picture, as SVG")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    parser.add_argument("--no-rates", action="store_true", help="the recipe's prices, without asking Modal")
    parser.add_argument("--no-bill", action="store_true", help="without asking Modal what it has metered")
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
