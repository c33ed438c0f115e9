"""The endpoint benchmark's parts: what counts as an answer, how figures come about, what is said about money."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from benchmarks.endpoint import overhead
from benchmarks.endpoint.__main__ import main
from benchmarks.endpoint.cost import Pricing, estimate, in_words
from benchmarks.endpoint.deployed import pricing_of
from benchmarks.endpoint.drafts import AcceptLength
from benchmarks.endpoint.exchange import Exchange, Target, ask, body_of
from benchmarks.endpoint.figures import figures_of, percentiles
from benchmarks.endpoint.level import Level, open_session, run_level
from benchmarks.endpoint.plot import panels, scale, svg
from benchmarks.endpoint.table import delta
from benchmarks.endpoint.workload import Workload

REPOSITORY = Path(__file__).parents[2]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def event(**document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def text(**delta: str) -> bytes:
    return event(choices=[{"delta": delta}])


USAGE = event(choices=[], usage={"prompt_tokens": 7, "completion_tokens": 4})
DONE = b"data: [DONE]\n\n"


def against(pieces: list[bytes | float] | int, patience: float = 5) -> Exchange:
    """One request to a server that sends these pieces, with pauses of seconds between them, or answers a status."""

    async def chat(request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer k"
        if isinstance(pieces, int):
            return web.Response(status=pieces)
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in pieces:
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            elif piece == b"gone":
                assert request.transport is not None
                request.transport.abort()
            else:
                await response.write(piece)
        return response

    async def run() -> Exchange:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", chat)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            async with open_session() as session:
                target = Target(url, "m", "k")
                return await ask(session, target, body_of(target, "hi", 4), patience)
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def test_the_first_token_is_the_first_text_and_a_token_takes_what_follows() -> None:
    role = text(role="assistant", content="")
    for first in (text(content="a"), text(reasoning_content="a"), text(reasoning="a")):
        found = against([role, 0.2, first, 0.3, text(content="bcd"), USAGE, DONE])
        assert (found.error, found.prompt_tokens, found.tokens) == ("", 7, 4)
        assert found.time_to_first_token == pytest.approx(0.2, abs=0.15)
        assert found.time_per_output_token == pytest.approx(0.1, abs=0.05)


def test_an_event_may_come_in_two_pieces() -> None:
    whole = text(content="hello")
    found = against([whole[:20], 0.1, whole[20:] + USAGE[:9], 0.05, USAGE[9:] + DONE])
    assert (found.error, found.tokens) == ("", 4)
    assert found.time_to_first_token == pytest.approx(0.1, abs=0.08)


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        (401, "HTTP 401"),
        ([text(content="a"), USAGE], "broke off"),
        ([text(content="a"), DONE], "no usage"),
        ([USAGE, DONE], "no text"),
        ([text(content="a"), event(error={"message": "no room"}), DONE], "error in the stream"),
        ([text(content="a"), b"gone"], "ClientPayloadError"),
        ([text(content="a"), 1.0], "no answer within 0.3 s"),
    ],
)
def test_what_is_no_whole_answer_is_an_error(pieces: Any, error: str) -> None:
    assert against(pieces, patience=0.3 if 1.0 in (pieces if isinstance(pieces, list) else ()) else 5).error == error


def test_nobody_there() -> None:
    async def run() -> Exchange:
        async with open_session() as session:
            return await ask(session, Target("http://127.0.0.1:9", "m", "k"), b"{}", 5)

    assert asyncio.run(run()).error == "ClientConnectorError"


def test_a_level_asks_on_all_streams_until_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, most = 0, 0

    async def answer(*_: Any) -> Exchange:
        nonlocal busy, most
        busy, most = busy + 1, max(most, busy + 1)
        loop = asyncio.get_running_loop()
        sent = loop.time()
        await asyncio.sleep(0.05)
        busy -= 1
        return Exchange(sent, loop.time(), sent, 5, 10)

    monkeypatch.setattr("benchmarks.endpoint.level.ask", answer)
    target, prompts = Target("", "m", "k"), Workload(10, 10).prompts()
    run = run_level(None, target, prompts, tokens=10, streams=8, seconds=0.5, patience=5)  # type: ignore[arg-type]
    level = asyncio.run(run)
    assert most == 8
    assert 8 * 5 < len(level.exchanges) <= 8 * 11


def test_tokens_of_an_answer_under_way_count_by_their_share() -> None:
    whole = Exchange(0, 2, 1, 5, 100)
    half = Exchange(8, 12, 8, 5, 100)
    late = Exchange(9, 20, 11, 5, 100)
    failed = Exchange(0, 1, 0.5, 5, 100, "broke off")
    level = Level(2, 0, 10, [whole, half, late, failed])
    assert level.tokens_per_second == pytest.approx((100 + 50) / 10)
    figures = figures_of(level, AcceptLength())
    assert (figures["requests"], figures["failed"], figures["errorRate"]) == (4, 1, 0.25)
    assert figures["errors"] == {"broke off": 1}
    assert figures["ttftMs"] == {"p50": 1000.0, "p95": 2000.0, "p99": 2000.0}
    assert figures["acceptLength"] is None


def test_percentiles_are_values_that_were_seen() -> None:
    assert percentiles([n / 1000 for n in range(1, 101)]) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert percentiles([None, 0.007]) == {"p50": 7.0, "p95": 7.0, "p99": 7.0}
    assert percentiles([None]) is None


def test_accept_length_compares_a_replica_with_itself() -> None:
    def vllm(replica: int, drafts: int, accepted: int) -> str:
        return (
            f'glm_serving_start_seconds{{phase="load"}} {replica}\n'
            f'vllm:spec_decode_num_drafts_total{{engine="0"}} {drafts}\n'
            f'vllm:spec_decode_num_accepted_tokens_total{{engine="0"}} {accepted}\n'
        )

    found = AcceptLength()
    assert found.value is None
    for text in (vllm(1, 100, 100), vllm(2, 5000, 0), vllm(1, 200, 400), vllm(2, 5100, 100)):
        found.look(text)
    assert found.value == pytest.approx(1 + (300 + 100) / 200)
    assert len(found.replicas) == 2
    sglang = AcceptLength()
    sglang.look("sglang:num_running_reqs 0\nsglang:spec_accept_length 9\n")  # idle: left over from before
    sglang.look("sglang:num_running_reqs 2\nsglang:spec_accept_length 3\n")
    sglang.look("sglang:num_running_reqs 2\nsglang:spec_accept_length 4\n")
    assert sglang.value == 3.5


def test_costs_hold_cold_start_replicas_and_idle_time() -> None:
    pricing = Pricing(36.0, target_concurrency=20, max_replicas=3, start_seconds=100, idle_seconds=900)
    found = estimate(pricing, [1, 20, 64], 60)
    # One start, two levels on one replica; then two more starts and a level on three, which stay up for 900 s.
    assert found.seconds == 100 + 3 * 60
    assert found.replica_seconds == 100 + 60 + 60 + 2 * 100 + 3 * 60 + 3 * 900
    assert found.usd == pytest.approx(found.replica_seconds / 100)
    words = in_words(pricing, [1, 20, 64], 60)
    assert words == (
        "3 levels of 60 s, about 4.7 min with a cold start; up to 3 replicas at $36.00/h each, 900 s idle afterwards: "
        "about $33.00"
    )
    assert "--usd-per-hour" in in_words(Pricing(None), [1], 60)


def test_a_stacks_prices_are_its_recipes() -> None:
    pricing = pricing_of("prod", Target("https://x.modal.run", "m", "k"))
    assert pricing.replica_hour == pytest.approx(50.0, abs=0.01)
    assert (pricing.target_concurrency, pricing.max_replicas, pricing.idle_seconds) == (20, 3, 900)
    assert pricing.note == ""
    assert "costs nothing" in pricing_of("local", Target("http://127.0.0.1:1", "m", "k")).note


def test_deltas() -> None:
    assert delta(20, 7.7, False) == "2.60× better"
    assert delta(1750, 4600, True) == "2.63× better"
    assert delta(100, 80, True) == "1.25× worse"
    assert delta(100, 100.2, True) == "the same"
    assert delta(None, 3, True) == delta(0, 3, True) == "–"


@pytest.mark.parametrize(("most", "step", "top"), [(7.3, 2, 8), (1000, 250, 1000), (0.031, 0.01, 0.04), (0, 1, 1)])
def test_axes_end_with_round_numbers(most: float, step: float, top: float) -> None:
    assert scale(most) == pytest.approx((step, top))


def test_the_published_figures_compare_with_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    guide = REPOSITORY / "benchmarks" / "endpoint" / "guide"
    before, after = guide / "glm-5.1-b200-baseline.json", guide / "glm-5.1-b200-eagle.json"
    assert main(["--compare", str(before), str(after), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "| TPOT (approx.) | 20.0 ms | 7.7 ms | 2.60× better |" in printed
    assert "| Decode throughput (aggregate) | 1,750 tok/s | 4,600 tok/s | 2.63× better |" in printed
    assert "| Accept length | – | 3.50 tokens | – |" in printed
    assert list(tmp_path.glob("*.svg"))


def test_files_that_are_no_results_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text("{}")
    assert main(["--compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'a.json'} has no results of this benchmark")
    assert "Traceback" not in error


def test_where_money_is_spent_it_asks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GLM_SERVING_API_KEY", "k")
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert main(["--url", "https://nowhere.invalid", "--model", "m", "--usd-per-hour", "50"]) == 1
    told = capsys.readouterr()
    assert "about $" in told.out
    assert told.err == "error: not begun; --yes begins without asking\n"


def test_the_plot_of_several_results_names_them() -> None:
    level = {"streams": 4, "ttftMs": {"p50": 9.0}, "tpotMs": None, "tokensPerSecond": 5.0, "errorRate": 0.5}
    drawn = svg("a & b", panels([("one", {"levels": [level]}), ("two", {"levels": [level]})]))
    assert "a &amp; b" in drawn
    assert drawn.count(">one p50<") == drawn.count(">two<") / 2 == 1
    assert "nothing measured" in drawn


def test_the_clients_overhead_is_measured_and_judged() -> None:
    command = [sys.executable, "-m", overhead.__name__, "--streams", "4", "--seconds", "0.3", "--rounds", "2"]
    done = subprocess.run(
        [*command, "--tokens", "16", "--recipe", "tiny-glm52-local", "--minimum", "100"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    # Nothing is a hundred times better than the bare client.
    assert (done.returncode, done.stderr) == (1, "error: below 100.0\n"), done.stdout
    assert len(re.findall(r"^round \d: bare [\d,]+ tok/s, ours [\d,]+ tok/s, \d\.\d{3}$", done.stdout, re.M)) == 2
    assert re.search(r"^ratio: \d\.\d{3}, the median of 2 rounds$", done.stdout, re.M)
