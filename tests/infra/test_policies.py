"""Each policy: a stack that it lets pass, one that it does not, and its row of docs/reviewing.md."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.configuration import Configuration, describe
from infra.policies import shipped_code
from infra.policies.facts import Resource, Rule, StackFacts
from infra.policies.rules import RULES
from infra.settings import load_settings

REPOSITORY = Path(__file__).parents[2]
LIMITS = json.loads((REPOSITORY / "infra/policies/limits.json").read_text())


def facts(stack: str = "prod", **config: Any) -> StackFacts:
    """Of a stack of this repository, with these keys set over its file's."""
    values = yaml.safe_load((REPOSITORY / f"Pulumi.{stack}.yaml").read_text())["config"]
    values |= {f"glm-serving:{key}": value for key, value in config.items()}
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    configuration = Configuration.model_validate(describe(load_settings(texts, {}, stack=stack)))
    key = configuration.recipe.secrets.api_key
    guarded = {"protected": configuration.protect_weights}
    retain = {"retain": configuration.retain_weights}
    resources = [
        Resource("weights-volume", "Volume", retain, **guarded),
        Resource("weights", "ModelWeights", {**retain, "sentinel": "model.safetensors.index.json"}, **guarded),
        Resource("api-secret", "Secret", {"name": key.name, "keys": [key.key]}),
        Resource("app", "ServingApp", {"attachments": {"apiSecret": "1"}}),
        Resource("verification", "Verification", {}),
    ]
    return StackFacts(stack, configuration, resources, date(2026, 11, 21))


def edited(found: StackFacts, section: str, **values: Any) -> StackFacts:
    """With another section of the recipe."""
    recipe = found.configuration.recipe
    part = getattr(recipe, section).model_copy(update=values)
    changed = recipe.model_copy(update={section: part})
    return replace(found, configuration=found.configuration.model_copy(update={"recipe": changed}))


def without(found: StackFacts, kind: str) -> StackFacts:
    return replace(found, resources=[resource for resource in found.resources if resource.kind != kind])


def pinned() -> StackFacts:
    return edited(facts(), "model", revision="a1" * 20)


_HOURS = [{"cron": "0 8 * * MON-FRI", "minContainers": 1}, {"cron": "0 20 * * MON-FRI", "minContainers": 0}]
_WARM = {"minContainers": 1, "maxContainers": 3}
BROKEN: dict[str, Callable[[], StackFacts]] = {
    "budget": lambda: facts(budget={"maxMonthlyUsd": 9000}),
    "maximum-gpus": lambda: facts(scaling={"maxContainers": 4}),
    "warm-replicas-end": lambda: facts(scaling=_WARM),
    "authenticated-endpoint": lambda: without(facts(), "Secret"),
    "pinned-revision": facts,
    "pinned-image": lambda: edited(facts(), "engine", image="lmsysorg/sglang:latest"),
    "protected-weights": lambda: facts(protectWeights=False),
    "review-01-traffic-after-warm-up": lambda: facts(smokeTest="never"),
    "review-03-supported-regions": lambda: replace(
        facts(),
        configuration=facts().configuration.model_copy(
            update={"capacity": facts().configuration.capacity.model_copy(update={"regions": ["us-moon"]})}
        ),
    ),
    "review-04-time-to-load": lambda: facts(engineArgs={"watchdog-timeout": 300}),
    "review-05-crashes-noticed": lambda: facts(engineArgs={"enable-metrics": False}),
    "review-06-whole-downloads": lambda: without(facts(), "Verification"),
    "review-08-compile-cost": lambda: edited(facts(), "kernels", estimated_minutes=60),
    "review-09-ingress-fits": lambda: facts(scaling=_WARM),
    "review-10-radix-cache": lambda: facts(engineArgs={"disable-radix-cache": True}),
}


def found_by(rule: Rule, stack: StackFacts) -> list[str]:
    return list(rule.check(replace(stack, limits={**rule.limits, **LIMITS.get(rule.name, {})})))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_production_pinned_to_a_commit_breaks_no_policy(rule: Rule) -> None:
    assert found_by(rule, pinned()) == []


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.name in BROKEN], ids=lambda rule: rule.name)
def test_what_breaks_a_policy_is_told_with_its_mend(rule: Rule) -> None:
    told, *_ = found_by(rule, BROKEN[rule.name]())
    assert len(told) > 20
    assert "Traceback" not in told


def test_a_schedule_that_ends_or_comes_down_to_none_may_keep_replicas_warm() -> None:
    (rule,) = (rule for rule in RULES if rule.name == "warm-replicas-end")
    assert found_by(rule, facts(schedule={"changes": _HOURS})) == []
    for_ever = {"changes": [{"cron": "0 8 * * *", "minContainers": 1}]}
    assert len(found_by(rule, facts(schedule=for_ever))) == 1
    assert found_by(rule, facts(schedule={**for_ever, "until": "2099-01-31"})) == []


def test_development_need_not_be_pinned() -> None:
    assert [rule.name for rule in RULES if found_by(rule, facts("dev"))] == []


@pytest.mark.parametrize(
    ("rule", "path", "old", "new"),
    [
        (shipped_code.traffic_before_warm_up, "apps/server.py", "    @modal.enter()\n", ""),
        (
            shipped_code.traffic_before_warm_up,
            "apps/server.py",
            '"""Nothing left to do',
            'print("late")\n            """',
        ),
        (shipped_code.uncaptured_processes, "engine_process.py", "stdout=subprocess.PIPE,", ""),
        (shipped_code.unwatched_engine, "supervisor.py", "os._exit(1)", "sys.exit(1)"),
        (shipped_code.unwatched_engine, "supervisor.py", "Monitor(", "Watcher("),
        (shipped_code.volumes_not_reloaded, "apps/server.py", "        _kernels.reload()\n", ""),
    ],
)
def test_code_that_brings_a_row_back_is_found(
    rule: Callable[[Path], Any], path: str, old: str, new: str, tmp_path: Path
) -> None:
    serving = tmp_path / "serving"
    shutil.copytree(REPOSITORY / "serving", serving, ignore=shutil.ignore_patterns("__pycache__"))
    assert list(rule(serving)) == []
    text = (serving / path).read_text()
    assert old in text
    (serving / path).write_text(text.replace(old, new))
    assert len(list(rule(serving))) == 1


def test_every_policy_has_its_row_in_the_document_and_all_ten_rows_have_a_policy() -> None:
    text = (REPOSITORY / "docs/reviewing.md").read_text(encoding="utf-8").split("## Policies")[1]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if "| `" in line[:3]]
    told = [row for row in rows if len(row) == 5]
    assert told == [
        [f"`{rule.name}`", str(rule.row or "–"), rule.level, rule.says, rule.satisfied_by] for rule in RULES
    ]
    assert sorted(rule.row for rule in RULES if rule.row) == list(range(1, 11))


def test_limits_name_policies_and_their_own_limits_only() -> None:
    known = {rule.name: set(rule.limits) for rule in RULES}
    assert all(set(values) <= known[name] for name, values in LIMITS.items())
