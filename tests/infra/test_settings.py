"""Stack config: what is accepted, and that everything wrong is said at once."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from infra.settings import Settings, SettingsError, load_settings

RECIPE = {"recipe": "glm-5.1-fp8-b200"}


def load(
    config: dict[str, object], *, secret_keys: tuple[str, ...] = (), environ: dict[str, str] | None = None
) -> Settings:
    texts = {f"glm-serving:{k}": v if isinstance(v, str) else json.dumps(v) for k, v in config.items()}
    return load_settings(texts, environ or {}, stack="test", secret_keys=[f"glm-serving:{key}" for key in secret_keys])


def problems(config: dict[str, object], **options: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(config, **options)  # type: ignore[arg-type]
    return caught.value.problems


def test_only_the_recipe_is_required() -> None:
    settings = load(RECIPE)
    assert settings.recipe.gpu.request == "B200:8"
    assert (settings.scaling.min_containers, settings.scaling.max_containers) == (0, 1)
    assert settings.ingress == "web"
    assert settings.retain_weights


def test_scaling_of_the_reference_deployment() -> None:
    scaling = load(
        {**RECIPE, "scaling": {"minContainers": 0, "maxContainers": 3, "scaledownWindow": 900, "targetConcurrency": 20}}
    ).scaling
    assert (scaling.max_containers, scaling.scaledown_window, scaling.target_concurrency) == (3, 900, 20)


def test_every_problem_is_reported_at_once_with_the_command_that_mends_it() -> None:
    found = problems(
        {
            "recipe": "glm-9",
            "scaling": {"minContainers": 0, "maxContainers": 0, "scaledownWindow": 1, "replicas": 3},
            "ingress": "server",
            "environment": "two words",
            "typo": "x",
            "hfToken": "hf_clear",
        }
    )
    expected = {
        "hfToken": "pulumi config set --secret hfToken",
        "scaling.maxContainers": "pulumi config set --path scaling.maxContainers",
        "scaling.scaledownWindow": "pulumi config set --path scaling.scaledownWindow",
        "scaling.replicas": "pulumi config rm --path scaling.replicas",
        "environment": "pulumi config set environment",
        "typo": "pulumi config rm typo",
        "ingress": "pulumi config set ingress web",
        "recipe": "glm-5.1-fp8-b200",
    }
    assert {problem.partition(":")[0] for problem in found} == set(expected)
    for problem in found:
        assert expected[problem.partition(":")[0]] in problem


def test_minimum_above_maximum_names_both() -> None:
    (problem,) = problems({**RECIPE, "scaling": {"minContainers": 4, "maxContainers": 3}})
    assert "scaling.maxContainers: found 3" in problem
    assert "scaling.minContainers, which is 4" in problem


def test_server_ingress_without_a_warm_replica_needs_consent() -> None:
    assert problems({**RECIPE, "ingress": "server"})
    assert load({**RECIPE, "ingress": "server", "allowColdStart503": "true"}).ingress == "server"
    assert load({**RECIPE, "ingress": "server", "scaling": {"minContainers": 1}}).ingress == "server"


def test_proxy_authentication_and_a_smoke_test_without_a_token_exclude_each_other() -> None:
    (problem,) = problems({**RECIPE, "proxyAuth": "true"})
    assert "pulumi config set smokeTest never" in problem
    assert load({**RECIPE, "proxyAuth": "true", "smokeTest": "never"}).proxy_auth


def test_engine_arguments_are_checked_against_the_pinned_release() -> None:
    found = problems({**RECIPE, "engineArgs": {"kv-cache-dtyp": "bfloat16", "mem-fraction-static": "much"}})
    assert any(problem.startswith("engineArgs.kv-cache-dtyp") and "kv-cache-dtype" in problem for problem in found)
    assert any(problem.startswith("engineArgs.mem-fraction-static") for problem in found)


def test_engine_arguments_override_and_remove_flags() -> None:
    flags = load({**RECIPE, "engineArgs": {"mem-fraction-static": 0.85, "enable-metrics": None}}).recipe.engine.flags
    assert flags["mem-fraction-static"] == 0.85
    assert "enable-metrics" not in flags


def test_tensor_parallelism_must_match_the_gpus() -> None:
    (problem,) = problems({**RECIPE, "engineArgs": {"tp": 4}})
    assert "tp is 4" in problem
    assert problem.endswith("; `pulumi config rm --path engineArgs.tp`")
    assert "gpu.count is 8" in problem


def test_a_flag_that_the_stack_sets_is_taken_away_by_a_command() -> None:
    (problem,) = problems({**RECIPE, "engineArgs": {"api-key": "a-key-of-some-length", "watchdog-timeout": 60}})
    assert "engine.flags: api-key: set by the stack itself (the API key by `apiKey`)" in problem
    assert problem.endswith("; `pulumi config rm --path engineArgs.api-key`")
    assert "a-key-of-some-length" not in problem


def test_a_secret_value_is_never_part_of_a_message() -> None:
    found = problems({**RECIPE, "apiKey": "sh0rt"}, secret_keys=("apiKey",))
    assert len(found) == 1
    assert "sh0rt" not in found[0]


def test_the_api_key_comes_from_the_config_or_the_environment() -> None:
    environ = {"GLM_SERVING_API_KEY": "sk-from-the-environment"}
    assert load(RECIPE).api_key is None
    assert load(RECIPE, environ=environ).api_key == "sk-from-the-environment"
    both = load({**RECIPE, "apiKey": "sk-from-the-config"}, secret_keys=("apiKey",), environ=environ)
    assert both.api_key == "sk-from-the-config"
    with pytest.raises(SettingsError, match="apiKey: its value is not shown") as refused:
        load(RECIPE, environ={"GLM_SERVING_API_KEY": "too short"})
    assert "too short" not in str(refused.value)


def test_the_hugging_face_token_comes_from_the_config_or_the_environment() -> None:
    assert load(RECIPE).hf_token is None
    assert load(RECIPE, environ={"HF_TOKEN": "hf_env"}).hf_token == "hf_env"
    both = load({**RECIPE, "hfToken": "hf_config"}, secret_keys=("hfToken",), environ={"HF_TOKEN": "hf_env"})
    assert both.hf_token == "hf_config"


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(
    [
        *("recipe", "environment", "scaling", "ingress", "smokeTest", "engineArgs", "hfToken", "apiKey", "other"),
        *("region", "routingRegion", "capacity", "gpuSnapshot"),
    ]
)


@given(st.dictionaries(keys, junk, max_size=6))
def test_no_config_ends_in_anything_but_settings_or_problems(config: dict[str, object]) -> None:
    try:
        load(config)
        found = None
    except SettingsError as error:
        found = error.problems
    assert found is None or (found and not any("\n" in problem for problem in found))


def test_the_defaults_that_pulumi_lists_are_the_programs_own() -> None:
    import yaml

    from infra.settings import RECIPES, StackConfig

    declared = yaml.safe_load((RECIPES.parent / "Pulumi.yaml").read_text())["config"]
    own = {field.alias: field.default for field in StackConfig.model_fields.values()}
    assert {key: spec["default"] for key, spec in declared.items() if "default" in spec} == {
        key: own[key] for key, spec in declared.items() if "default" in spec
    }


def test_the_readme_lists_every_key() -> None:
    from infra.budget import Budget
    from infra.capacity import CapacityConfig
    from infra.schedule import KeepWarm, Schedule
    from infra.settings import RECIPES, ScalingConfig, StackConfig

    table = "".join(line for line in (RECIPES.parent / "README.md").read_text().splitlines() if line.startswith("| `"))
    models = (StackConfig, ScalingConfig, CapacityConfig, Schedule, KeepWarm, Budget)
    keys = [alias for model in models for alias in _aliases(model)]
    sections = {"scaling", "capacity", "schedule", "keepWarm", "budget"}
    told_by_their_own = {*sections, "nonpreemptible"}  # the latter is there to be refused
    assert [key for key in keys if f"{key}`" not in table and key not in told_by_their_own] == []


def _aliases(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]
