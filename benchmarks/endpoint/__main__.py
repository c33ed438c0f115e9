"""Benchmark of a live endpoint: first token, time per token, throughput, accept length and errors over a sweep.

python -m benchmarks.endpoint --stack STACK
python -m benchmarks.endpoint --url URL --model NAME      (key: GLM_SERVING_API_KEY or OPENAI_API_KEY)
python -m benchmarks.endpoint --compare A.json B.json

Says what it costs and asks before it begins (--yes does not; an endpoint on this machine is not asked for). Writes
JSON, a table and a plot. Exit status 1 where nothing could be measured or more than --max-error-rate of the requests
failed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.endpoint import results
from benchmarks.endpoint.cost import Pricing, estimate, in_words
from benchmarks.endpoint.deployed import is_local, of_stack
from benchmarks.endpoint.drafts import AcceptLength, watch
from benchmarks.endpoint.exchange import Target, wait_until_it_answers
from benchmarks.endpoint.figures import figures_of, snapshot
from benchmarks.endpoint.level import open_session, run_level
from benchmarks.endpoint.plot import panels, svg
from benchmarks.endpoint.table import comparison, markdown
from benchmarks.endpoint.workload import Workload, texts_of

_STREAMS = [1, 2, 4, 8, 16, 32, 48, 64]
_KEYS = ("GLM_SERVING_API_KEY", "OPENAI_API_KEY")
_PROXY_TOKEN = {"Modal-Key": "MODAL_PROXY_KEY", "Modal-Secret": "MODAL_PROXY_SECRET"}


class Failed(Exception):
    """What went wrong and what to type next; ready to print."""


def main(arguments: list[str] | None = None) -> int:
    from infra.settings import SettingsError
    from infra.stack_file import StackFileError
    from infra.stack_outputs import OutputsError

    options = _parser().parse_args(arguments)
    try:
        return _compare(options) if options.compare else _measure(options, os.environ)
    except (Failed, OutputsError, StackFileError, SettingsError, results.ResultsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.endpoint", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--stack", help="a deployed stack; url, model, key and prices are its own")
    where.add_argument("--url", help="an OpenAI-compatible endpoint, without /v1")
    where.add_argument("--compare", nargs=2, type=Path, metavar=("A", "B"), help="two JSON results side by side")
    parser.add_argument("--model", help="with --url: the model's name")
    parser.add_argument("--usd-per-hour", type=float, help="with --url: what a replica costs")
    parser.add_argument("--streams", type=int, nargs="+", default=_STREAMS, help="levels of the sweep")
    parser.add_argument("--seconds", type=float, default=60, help="of a level (default 60)")
    parser.add_argument("--prompt-tokens", type=int, default=1000, help="about, of made-up prompts (default 1000)")
    parser.add_argument("--output-tokens", type=int, default=256, help="of each answer (default 256)")
    parser.add_argument("--prompts", type=Path, help="a file with prompts of your own, one on each line")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one request (default 600)")
    parser.add_argument("--cold-start", type=float, default=1800, help="seconds to wait for a replica (default 1800)")
    parser.add_argument("--max-error-rate", type=float, default=0.01, help="of all requests (default 0.01)")
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"), help="folder for what is written")
    parser.add_argument("--name", help="of what is written; else the model and the time")
    parser.add_argument("--yes", action="store_true", help="do not ask before it begins")
    return parser


def _measure(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    proxy = {header: environ[name] for header, name in _PROXY_TOKEN.items() if environ.get(name)}
    if options.stack:
        target, pricing = of_stack(options.stack)
    else:
        target, pricing = _of_url(options, environ)
    target = Target(target.url, target.model, target.api_key, proxy)
    try:
        texts = texts_of(options.prompts) if options.prompts else ()
    except (OSError, ValueError) as error:
        raise Failed(f"--prompts: {error}") from None
    workload = Workload(options.prompt_tokens, options.output_tokens, texts)
    streams = sorted(set(options.streams))
    if streams[0] < 1 or options.seconds <= 0:
        raise Failed("--streams and --seconds are above 0")
    print(f"{target.model} at {target.url}: {in_words(pricing, streams, options.seconds)}", flush=True)
    if not (options.yes or is_local(target.url)):
        _ask()
    result = {
        "format": results.FORMAT,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "stack": options.stack,
        "url": target.url,
        "model": target.model,
        "workload": workload.to_json(),
        "estimate": estimate(pricing, streams, options.seconds).to_json(),
    }
    result |= asyncio.run(_sweep(target, workload, streams, options))
    result["snapshot"] = snapshot(result["levels"])
    paths = results.write(options.out, result, options.name)
    print(f"\n{markdown(result)}\n\nwritten: {', '.join(map(str, paths))}")
    rate = result["snapshot"]["errorRate"]
    if rate > options.max_error_rate:
        raise Failed(f"{rate:.2%} of the requests failed, more than --max-error-rate {options.max_error_rate:g}")
    return 0


def _of_url(options: argparse.Namespace, environ: Mapping[str, str]) -> tuple[Target, Pricing]:
    if not options.model:
        raise Failed("--url needs --model: the name that clients ask for (GET /v1/models lists it)")
    key = next((environ[name] for name in _KEYS if environ.get(name)), "")
    if not key:
        raise Failed(f"no key: export {_KEYS[0]}=… first; it is not taken from the command line, which others can read")
    url = options.url.rstrip("/").removesuffix("/v1")
    return Target(url, options.model, key), Pricing(options.usd_per_hour)


def _ask() -> None:
    try:
        answer = input("Begin? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise Failed("not begun; --yes begins without asking")


async def _sweep(target: Target, workload: Workload, streams: list[int], options: argparse.Namespace) -> dict[str, Any]:
    levels = []
    prompts = workload.prompts()
    async with open_session() as session:
        started = await wait_until_it_answers(session, target, options.cold_start)
        if started.error:
            raise Failed(f"{target.url} does not answer: {started.error}. {_next_step(started.error)}")
        ready = started.ended - started.sent
        print(f"first answer after {ready:.1f} s", flush=True)
        for count in streams:
            figures = await _level(session, target, prompts, workload, count, options)
            levels.append(figures)
            ttft, tpot = figures["ttftMs"], figures["tpotMs"]
            print(
                f"{count:>4} streams: {figures['tokensPerSecond']:,.0f} tok/s, "
                + (f"first token {ttft['p50']:.0f} ms, " if ttft else "")
                + (f"{tpot['p50']:.2f} ms a token, " if tpot else "")
                + f"{figures['failed']} of {figures['requests']} failed",
                flush=True,
            )
            if figures["failed"] == figures["requests"]:
                kinds = ", ".join(figures["errors"])
                raise Failed(f"no request of {count} streams was answered ({kinds}); {_next_step(kinds)}")
    return {"firstAnswerSeconds": round(ready, 2), "levels": levels}


async def _level(
    session: aiohttp.ClientSession,
    target: Target,
    prompts: Any,
    workload: Workload,
    streams: int,
    options: argparse.Namespace,
) -> dict[str, Any]:
    accepted = AcceptLength()
    watching = asyncio.create_task(watch(session, target, accepted, min(2.0, options.seconds / 5)))
    try:
        level = await run_level(
            session,
            target,
            prompts,
            tokens=workload.output_tokens,
            streams=streams,
            seconds=options.seconds,
            patience=options.timeout,
        )
    finally:
        watching.cancel()
    return figures_of(level, accepted)


def _next_step(error: str) -> str:
    if "HTTP 401" in error:
        return "The key is wrong: pulumi stack output apiKey --show-secrets"
    if "HTTP 400" in error:
        return "Prompt and answer may not fit: a smaller --prompt-tokens or --output-tokens"
    return "modal app logs tells more"


def _compare(options: argparse.Namespace) -> int:
    one, other = (results.read(path) for path in options.compare)
    names = tuple(path.stem for path in options.compare)
    if one["workload"] != other["workload"]:
        print(f"note: not the same work: {one['workload']} and {other['workload']}", file=sys.stderr)
    print(comparison(one, other, (names[0], names[1])))
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{names[0]}-{names[1]}.svg"
    title = f"{names[0]} and {names[1]}"
    path.write_text(svg(title, panels(list(zip(names, (one, other), strict=True)))), encoding="utf-8")
    print(f"\nwritten: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
