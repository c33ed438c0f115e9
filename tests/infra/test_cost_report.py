"""`python -m infra.costs`: the guides' own figures, and what a shape of traffic costs under each policy."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.configuration import Configuration
from infra.costs import report
from infra.costs.__main__ import main
from infra.costs.bill import ask_modal, by_app
from infra.costs.strategies import GUIDE, OWN, Strategy, Traffic, months, session, strategies, used
from infra.costs.traffic import Busy, usage
from infra.stack_file import StackFileError, configuration_of
from tests.infra.test_policies import facts

TODAY = datetime(2026, 11, 21, 12, tzinfo=UTC)
EIGHT_HOURS = Traffic((Busy.parse("8-16"),))
HOURS = {
    "timezone": "Europe/Berlin",
    "changes": [{"cron": "0 8 * * MON-FRI", "minContainers": 1}, {"cron": "0 20 * * MON-FRI", "minContainers": 0}],
}


def configuration(stack: str = "prod", **config: Any) -> Configuration:
    return facts(stack, **config).configuration


def rows(of: Configuration, traffic: Traffic = EIGHT_HOURS) -> dict[str, Any]:
    return {row.name: row for row in months(of, traffic, TODAY)}


def test_the_guides_months_come_out_of_the_guides_assumptions() -> None:
    found = rows(configuration())
    for name, dollars in GUIDE.items():
        assert found[name].guide_dollars == pytest.approx(dollars, rel=0.03)


def test_the_other_guides_hour_and_session() -> None:
    visit = session(configuration("glm52"), 20)
    assert visit.price == pytest.approx(36.31, rel=0.03)
    assert visit.working == pytest.approx(12, rel=0.03)
    # That guide counts start and idle hold into its 20 minutes; 20 minutes of work cost nearly twice as much.
    assert visit.billed == pytest.approx(36.32 * (4.5 + 20 + 15) / 60, rel=0.001)


def test_an_idle_hold_is_billed_and_cold_starts_are_counted() -> None:
    found = rows(configuration())
    zero = found["scale to zero"]
    assert zero.hours == pytest.approx(365 / 12 * 8.25)
    assert zero.cold_starts == pytest.approx(365 / 12)
    assert found["always on"].cold_starts == 0
    assert found["always on"].hours == pytest.approx(365 / 12 * 24)
    weekends = 104 / 12  # of December 2026 to November 2027
    assert found["business hours"].cold_starts == pytest.approx(weekends, abs=0.1)
    assert found["business hours"].hours == pytest.approx((261 * 17 + 104 * 8.25) / 12, rel=0.001)


def test_the_stacks_own_schedule_over_a_year_with_clock_changes() -> None:
    own = rows(configuration(schedule=HOURS), Traffic(()))[OWN]
    assert own.hours == pytest.approx(261 * 12 / 12)
    assert own.cold_starts == 0


def test_pings_hold_a_replica_and_the_first_one_starts_it() -> None:
    own = rows(configuration(keepWarm={"timezone": "Europe/Berlin"}), Traffic(()))[OWN]
    assert own.hours == pytest.approx(261 * 17 / 12, rel=0.015)  # 6:00 to 22:56, and the idle hold
    assert own.cold_starts == pytest.approx(261 / 12)


def test_more_requests_than_replicas_are_no_dearer_and_spare_ones_are() -> None:
    busy = Traffic((Busy.parse("8-16 x9"),))
    assert rows(configuration(), busy)[OWN].hours == pytest.approx(3 * 365 / 12 * 8.25)
    spare = configuration(scaling={"maxContainers": 3, "bufferContainers": 1})
    assert rows(spare)[OWN].hours == pytest.approx(2 * 365 / 12 * 8.25)


def test_where_windows_overlap_the_larger_one_counts() -> None:
    start = datetime(2027, 3, 1, tzinfo=UTC)
    end = start + timedelta(1)
    traffic = Traffic((Busy.parse("8-16"), Busy.parse("12-13 x2")))
    found = usage([], traffic.spans(start, end), 3, start, end)
    assert [(since.hour, count) for since, _, count in found.replicas] == [(0, 0), (8, 1), (12, 2), (13, 1), (16, 0)]
    assert (found.hours, found.cold_starts) == (9, 2)


def test_a_week_with_a_clock_change_has_an_hour_less_at_night() -> None:
    start, end = datetime(2027, 3, 27, 23, tzinfo=UTC), datetime(2027, 3, 28, 22, tzinfo=UTC)  # 28 March in Berlin
    always = used(configuration(), Strategy("always on", None, 1), Traffic((), "Europe/Berlin"), start, end)
    assert always.hours == 23
    business = strategies(Traffic((), "Europe/Berlin"))[1]
    monday = used(configuration(), business, Traffic((), "Europe/Berlin"), end, end + timedelta(1))
    assert [(since.hour, count) for since, _, count in monday.replicas] == [(22, 0), (4, 1), (21, 0)]  # 6 to 23 there


@pytest.mark.parametrize("wrong", ["17-9", "9", "MON-FRI", "XYZ 9-17", "9-25", "9-17 x0", ""])
def test_a_wrong_window_is_told(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Busy.parse(wrong)


def test_table_and_picture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "costs.svg"
    assert main(["prod", "--no-rates", "--no-bill", "--busy", "MON-FRI 9-17 x2", "--plot", str(picture)]) == 0
    printed = capsys.readouterr().out
    for figure in ("$12,174", "$18,479", "$36,523", "months of 30.4 days", "modal.com/pricing of 2026-11-21"):
        assert figure in printed
    texts = [element.text or "" for element in ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert {"scale to zero", "business hours", "always on", OWN, "Mon", "Sun"} <= set(texts)
    assert "$36,523" in texts


def test_json_has_the_same_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["glm52", "--json", "--no-rates", "--no-bill", "--busy", "never"]) == 0
    document = json.loads(capsys.readouterr().out)
    dollars = {month["name"]: month["dollars"] for month in document["months"]}
    assert dollars["scale to zero"] == 0
    assert dollars["always on"] == pytest.approx(36.32 * 365 / 12 * 24, rel=0.001)
    assert document["metered"] is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["nowhere"], "stacks here: dev, glm52"), (["prod", "--busy", "17-9"], "a night is two"),
     (["prod", "--timezone", "Mars"], "no time zone"), (["prod", "--month", "June"], "does not match")],
)  # fmt: skip
def test_what_is_wrong_is_one_line(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--no-rates", "--no-bill"]) == 1
    errors = capsys.readouterr().err
    assert told in errors
    assert errors.count("\n") == 1


def test_a_stack_file_that_is_no_yaml_is_one_line(tmp_path: Path) -> None:
    for text, told in (("config: [", "cannot be read: while parsing"), ("- 1", "has no `config:`")):
        (tmp_path / "Pulumi.odd.yaml").write_text(text)
        with pytest.raises(StackFileError, match=told) as refused:
            configuration_of("odd", tmp_path)
        assert "\n" not in str(refused.value)


def test_the_bill_is_the_stacks_own_apps() -> None:
    def row(app: str, cost: str, tag: str) -> SimpleNamespace:
        return SimpleNamespace(description=app, cost=cost, tags={"glm-serving-stack": tag} if tag else {})

    listed = [row("glm", "12.5", "acme.glm-serving.prod"), row("glm", "0.5", "acme.glm-serving.prod"),
              row("glm-pipeline", "1", "acme.glm-serving.prod"), row("other", "9", "acme.glm-serving.my-prod"),
              row("notebook", "7", "")]  # fmt: skip
    assert by_app(listed, "prod") == {"glm": 13, "glm-pipeline": 1}


def test_without_modal_the_estimate_stands_and_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODAL_SERVER_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("MODAL_TOKEN_ID", "ak-1")
    monkeypatch.setenv("MODAL_TOKEN_SECRET", "as-1")
    assert "did not answer" in str(ask_modal("prod", TODAY, TODAY + timedelta(hours=1), seconds=0.2))


def test_the_documents_table_is_what_is_printed() -> None:
    document = (Path(__file__).parents[2] / "docs" / "costs.md").read_text(encoding="utf-8")
    prod, why = configuration(), "not asked (--no-bill)"
    printed = report.lines(
        prod, EIGHT_HOURS, ["8-16"], months(prod, EIGHT_HOURS, TODAY), session(prod, 20), why, "prod",
        "not asked (--no-rates)", TODAY,
    )  # fmt: skip
    assert "\n".join(printed) in document
    for dollars in ("12,174", "12,546", "18,479", "22,061", "36,523", "36.32", "12.11", "23.91"):
        assert f"${dollars}" in document.split("## Beside the published guides")[1]
