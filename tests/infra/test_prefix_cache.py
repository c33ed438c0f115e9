"""The prefix cache: on, and switched off by one line of config that is checked like any flag."""

from __future__ import annotations

from infra.settings import Settings
from tests.infra.test_settings import load, problems

COMMIT = "c" * 40
GLM_51 = {"recipe": "glm-5.1-fp8-b200"}
GLM_52 = {"recipe": "glm-5.2-fp8-h200"}


def command(settings: Settings) -> list[str]:
    recipe = settings.recipe
    return recipe.engine_module.launch_command(recipe, COMMIT)


def test_single_shot_traffic_switches_the_radix_cache_off() -> None:
    assert not [word for word in command(load(GLM_51)) if "radix" in word], "on unless switched off"
    settings = load({**GLM_51, "engineArgs": {"disable-radix-cache": True}})
    assert settings.warnings == load(GLM_51).warnings
    argv = command(settings)
    assert argv.count("--disable-radix-cache") == 1
    assert "True" not in argv, "a bare switch"


def test_a_misspelt_switch_is_refused() -> None:
    (problem,) = problems({**GLM_51, "engineArgs": {"disable-radixcache": True}})
    assert problem.startswith("engineArgs.disable-radixcache")
    assert "disable-radix-cache" in problem
    (problem,) = problems({**GLM_51, "engineArgs": {"disable-radix-cache": "all"}})
    assert problem.startswith("engineArgs.disable-radix-cache")


def test_vllms_is_on_by_its_recipe_and_goes_with_its_opposite() -> None:
    assert command(load(GLM_52)).count("--enable-prefix-caching") == 1
    off = load({**GLM_52, "engineArgs": {"enable-prefix-caching": "null", "no-enable-prefix-caching": True}})
    assert [word for word in command(off) if "prefix-caching" in word] == ["--no-enable-prefix-caching"]
