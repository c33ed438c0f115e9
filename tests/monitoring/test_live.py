"""Both engines under the endpoint benchmark's load while a real Prometheus watches them through the exporter."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from xml.etree import ElementTree

import pytest

from benchmarks.endpoint import __main__ as benchmark
from benchmarks.endpoint.__main__ import main
from benchmarks.endpoint.deployed import pricing_of
from benchmarks.endpoint.exchange import Target
from monitoring.__main__ import serving
from monitoring.watched import Count, Watched, scraper
from tests.examples.conftest import Served, hub_process, served
from tests.monitoring import names
from tests.monitoring.prometheus import NotToBeHad, Prometheus, programs, prometheus
from tests.monitoring.test_watched import FakeModal

__all__ = ["hub_process", "served"]  # fixtures: each engine behind the supervisor, as a container starts it

OTHER = {"sglang": "vllm", "vllm": "sglang"}


@pytest.fixture(scope="session")
def prometheus_programs(request: pytest.FixtureRequest) -> Path:
    assert request.config.cache is not None
    try:
        return programs(request.config.cache.mkdir("prometheus"))
    except NotToBeHad as why:
        pytest.skip(str(why))


@pytest.fixture
def key_in_the_environment(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLM_SERVING_API_KEY", served.environment["OPENAI_API_KEY"])
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def exporter(served: Served) -> Iterator[str]:
    """Of a stack whose one replica this engine is; what Modal would say is made up."""
    scrape = scraper(_url(served), served.environment["OPENAI_API_KEY"], {})
    modal = FakeModal(Count(1, 1, 0), kept=1)
    server = serving([Watched(served.engine, modal, scrape, {"maxMonthlyUsd": 100.0})], "127.0.0.1", 0)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def _url(served: Served) -> str:
    return served.environment["OPENAI_BASE_URL"].removesuffix("/v1")


def sweep(served: Served, out: Path, *more: str) -> int:
    work = ["--streams", "1", "4", "--seconds", "1.2", "--prompt-tokens", "100", "--output-tokens", "32"]
    model = served.recipe.model.served_name
    return main(["--url", _url(served), "--model", model, *work, "--out", str(out), *more])


@pytest.mark.usefixtures("key_in_the_environment")
def test_the_benchmark_measures_and_every_panel_shows_it(
    served: Served, exporter: str, prometheus_programs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with prometheus(tmp_path, prometheus_programs / "prometheus", exporter) as found:
        _until(lambda: bool(found.values("glm_serving_unanswered_requests")))  # what a rate begins with
        assert sweep(served, tmp_path / "out", "--usd-per-hour", "50") == 0
        _check_results(served, tmp_path / "out", capsys.readouterr().out)
        # Without data are only those that ask for the other engine alone, or for what went wrong. A rate needs two
        # scrapes.
        expected = [(title, query) for title, query in names.panel_queries() if _has_nothing(query, served.engine)]
        silent = _settled(lambda: _without_data(found), expected)
        assert silent == expected
        titles = {title for title, _ in names.panel_queries()}
        assert titles == {title for title, query in names.panel_queries() if (title, query) not in silent}
        _check_rules(found.ask("rules")["groups"])


def _settled(look: Callable[[], list[tuple[str, str]]], expected: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What is seen in the end, when it is as expected or time is up."""
    deadline = time.monotonic() + 15
    while (seen := look()) != expected and time.monotonic() < deadline:
        time.sleep(0.3)
    return seen


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def _without_data(found: Prometheus) -> list[tuple[str, str]]:
    """Panels' queries, as Grafana sends them for all stacks."""
    return [
        (title, query)
        for title, query in names.panel_queries()
        if not found.values(query.replace("$stack", ".+").replace("$__rate_interval", "30s"))
    ]


def _has_nothing(query: str, engine: str) -> bool:
    """Of a healthy engine. vLLM's answers by status have a name without its own in it."""
    if 'severity=~"error|fatal"' in query:
        return True
    others = f"{OTHER[engine]}:" in query or (engine == "sglang" and "http_requests_total" in query)
    return others and f"{engine}:" not in query


def _check_rules(groups: list[dict[str, object]]) -> None:
    rules = [rule for group in groups for rule in group["rules"]]  # type: ignore[attr-defined]
    assert len(rules) == len(names.rules())
    assert {rule["health"] for rule in rules} == {"ok"}, [rule.get("lastError") for rule in rules]
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []


def _check_results(served: Served, out: Path, printed: str) -> None:
    assert "2 levels of 1.2 s, about 0.0 min; up to 1 replica at $50.00/h each: about $0.03" in printed
    (path,) = out.glob("*.json")
    result = json.loads(path.read_text())
    assert served.environment["OPENAI_API_KEY"] not in path.read_text() + printed
    for level in result["levels"]:
        assert level["failed"] == 0
        assert level["outputTokens"] == 32
        assert 0 < level["ttftMs"]["p50"] <= level["ttftMs"]["p95"] <= level["ttftMs"]["p99"]
        assert level["tpotMs"]["p50"] > 0
        # Tokens a second are those of the answers that were counted, as far as they fell into the level.
        assert level["tokensPerSecond"] <= 32 * level["requests"] / level["seconds"]
        assert level["tokensPerSecond"] >= 32 * level["requestsPerSecond"] * 0.99
        assert level["acceptLength"] == pytest.approx(3.5 if served.engine == "sglang" else 4.7, abs=1.3)
    assert [level["streams"] for level in result["levels"]] == [1, 4]
    table = path.with_suffix(".md").read_text()
    assert table.strip() in printed
    assert re.search(r"^\| TPOT \(approx\.\) \| \d+\.\d ms \|$", table, re.M)
    plot = ElementTree.parse(path.with_suffix(".svg")).getroot()
    lines = plot.findall(".//{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 6, "p50 and p95 of two panels, one line in each of the others"


@pytest.mark.usefixtures("key_in_the_environment")
def test_what_does_not_work_is_said(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GLM_SERVING_API_KEY", "wrong")
    assert sweep(served, tmp_path) == 1
    assert "does not answer: HTTP 401. The key is wrong: pulumi stack output apiKey" in capsys.readouterr().err
    monkeypatch.delenv("GLM_SERVING_API_KEY")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert sweep(served, tmp_path) == 1
    assert "no key: export GLM_SERVING_API_KEY=" in capsys.readouterr().err
    monkeypatch.setenv("GLM_SERVING_API_KEY", served.environment["OPENAI_API_KEY"])
    assert sweep(served, tmp_path, "--output-tokens", "9000") == 1
    assert "no request of 1 streams was answered (HTTP 400); Prompt and answer may not fit" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_promtool_finds_nothing_wrong_and_the_rules_fire_as_they_should(prometheus_programs: Path) -> None:
    """With the commands of docs/monitoring.md."""
    commands = [command for command in names.commands_of("monitoring.md") if command[0] == "promtool"]
    assert [command[1:3] for command in commands] == [["check", "config"], ["test", "rules"]]
    assert {f"monitoring/{name}" for name in names.RULE_TESTS} == set(commands[1][3:])
    for program, *arguments in commands:
        command = [str(prometheus_programs / program), *arguments]
        done = subprocess.run(command, cwd=names.REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("key_in_the_environment")
def test_the_documents_commands_do_what_they_say(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of docs/benchmarking.md, with this engine in the place of `prod` and quick levels."""
    target = Target(_url(served), served.recipe.model.served_name, served.environment["OPENAI_API_KEY"])
    monkeypatch.setattr(benchmark, "of_stack", lambda stack: (target, pricing_of(stack, target)))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks").symlink_to(names.REPOSITORY / "benchmarks")
    commands = names.commands_of("benchmarking.md")
    assert len(commands) == 6
    for python, dash_m, module, *arguments in commands:
        assert (python, dash_m, module) == ("python", "-m", "benchmarks.endpoint")
        if "--compare" not in arguments:
            arguments = [_here(argument, target) for argument in arguments]
            arguments += ["--streams", "1", "2", "--seconds", "0.2", "--output-tokens", "8", "--prompt-tokens", "20"]
        assert main(arguments) == 0, capsys.readouterr().err
    assert {path.name for path in (tmp_path / "benchmark-results").glob("*.json")} > {"before.json", "after.json"}
    printed = capsys.readouterr().out
    text = (names.REPOSITORY / "docs" / "benchmarking.md").read_text(encoding="utf-8")
    table = text[text.index("| Metric |") :].split("\n\n")[0]
    assert table in printed, "the comparison that the document shows"
    assert "up to 1 replica at $50.00/h each" in printed  # of the two streams here


def _here(argument: str, target: Target) -> str:
    return {"https://example.modal.run": target.url, "glm-5.1-fp8": target.model}.get(argument, argument)


def test_the_documents_alerts_are_the_rules() -> None:
    text = (names.REPOSITORY / "docs" / "monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (page|ticket) \|", text, re.M)
    assert rows == [(rule["alert"], rule["labels"]["severity"]) for rule in names.rules() if "alert" in rule]
