"""SGLang's command lines and environment. The guide's own flags are compared in tests/recipes/test_guides.py."""

from __future__ import annotations

import pytest
import yaml

from recipes.flags.catalogue import load
from recipes.flags.combinations import find_broken
from serving.engines import engine_for, sglang
from serving.log_rules_sglang import SGLANG
from serving.recipe import Recipe, load_recipe
from tests.serving.conftest import REPO_ROOT


@pytest.fixture
def glm() -> Recipe:
    return load_recipe(REPO_ROOT / "recipes" / "glm-5.1-fp8-b200-reference.yaml")


def flags_of(argv: list[str]) -> dict[str, str | None]:
    """`--x 1 --y` → {"--x": "1", "--y": None}; refuses a flag given twice."""
    flags: dict[str, str | None] = {}
    for word in argv[3:]:
        if word.startswith("--"):
            assert word not in flags, f"{word} twice"
            flags[word] = None
        else:
            name = list(flags)[-1]
            assert flags[name] is None
            flags[name] = word
    return flags


def test_a_key_comes_by_file_and_never_in_the_arguments(glm: Recipe) -> None:
    argv = sglang.launch_command(glm, "0123", config_path="/dev/shm/engine-x/config.yaml")
    assert argv[-2:] == ["--config", "/dev/shm/engine-x/config.yaml"]
    assert "--api-key" not in argv
    assert "--config" not in sglang.launch_command(glm, "0123")


@pytest.mark.parametrize("key", ["plain", 'with "quotes" and \\', "colon: hash # yes", "ümläut", "- dash", "0123"])
def test_the_config_file_is_yaml_that_gives_the_key_back(key: str) -> None:
    assert yaml.safe_load(sglang.config_file(key, "r-1")) == {"api-key": key, "weight-version": "r-1"}


def test_a_server_without_a_key_still_says_which_release_it_is() -> None:
    assert yaml.safe_load(sglang.config_file("", "r-1")) == {"weight-version": "r-1"}


def test_compiling_gets_every_serving_flag_that_matters_and_no_key(glm: Recipe) -> None:
    argv = sglang.compile_command(glm, "0123")
    assert argv[:3] == ["python3", "-m", "sglang.compile_deep_gemm"]
    of_the_server_alone = {"--host", "--served-model-name"}
    serving = flags_of(sglang.launch_command(glm, "0123"))
    expected = {name: value for name, value in serving.items() if name not in of_the_server_alone}
    assert (expected["--tp"], expected["--port"]) == ("8", str(glm.port))
    assert flags_of(argv) == expected | {"--timeout": "3600"}
    assert "--config" not in argv


def test_false_leaves_a_switch_out(glm: Recipe) -> None:
    changed = glm.with_engine_args({"disable-radix-cache": False, "enable-metrics": None, "page-size": 64})
    flags = flags_of(sglang.launch_command(changed, "0123"))
    assert "--disable-radix-cache" not in flags
    assert "--enable-metrics" not in flags
    assert flags["--page-size"] == "64"


def test_the_environment_points_every_jit_cache_into_the_artifact(glm: Recipe) -> None:
    path = "/dg-cache/sm100-0123"
    environment = sglang.engine_environment(glm, path)
    assert environment["SGLANG_DG_CACHE_DIR"] == f"{path}/deep_gemm"
    assert environment["TVM_FFI_CACHE_DIR"] == f"{path}/tvm-ffi"
    assert environment["FLASHINFER_WORKSPACE_BASE"] == f"{path}/flashinfer"
    assert environment["TRITON_CACHE_DIR"] == f"{path}/triton"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["SGLANG_ENABLE_SPEC_V2"] == "1"
    assert "SGLANG_JIT_DEEPGEMM_PRECOMPILE" not in environment
    # With proven kernels the pass is left out, and nothing else is different.
    proven = sglang.engine_environment(glm, path, proven=True)
    assert proven == environment | {"SGLANG_JIT_DEEPGEMM_PRECOMPILE": "0"}
    # /health is open to anybody: it must not cost a generation.
    assert environment["SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION"] == "0"


def test_the_recipe_may_ask_for_the_pass_over_all_shapes(glm: Recipe) -> None:
    document = glm.to_json()
    document["engine"]["environment"]["SGLANG_JIT_DEEPGEMM_PRECOMPILE"] = "1"
    environment = sglang.engine_environment(Recipe.model_validate(document), "/k", proven=True)
    assert environment["SGLANG_JIT_DEEPGEMM_PRECOMPILE"] == "1"


@pytest.mark.parametrize(
    ("recipe", "flags", "stops"),
    [
        ("glm-5.1-fp8-b200", {"kv-cache-dtype": "fp8_e4m3"}, True),
        ("glm-5.1-fp8-b200", {"kv-cache-dtype": None, "speculative-algorithm": "EAGLE3"}, True),
        ("glm-5.1-fp8-b200", {"kv-cache-dtype": "fp8_e4m3", "speculative-algorithm": None}, False),
        ("glm-5.1-fp8-h200", {"kv-cache-dtype": "fp8_e4m3"}, False),
    ],
)
def test_a_start_with_an_fp8_cache_ends_where_a_preview_refuses_it(
    recipe: str, flags: dict[str, str | None], stops: bool
) -> None:
    changed = load_recipe(REPO_ROOT / "recipes" / f"{recipe}.yaml").with_engine_args(flags)
    release = load("sglang", changed.engine.version)
    refused = [
        finding
        for finding in find_broken(
            release, changed.engine.flags, architecture=changed.gpu.architecture, repository=changed.model.repo
        )
        if finding.level == "error"
    ]
    assert bool(refused) == stops
    assert bool(sglang.stopping_rules(changed)) == stops
    assert sglang.stopping_rules(changed.as_served()) == sglang.stopping_rules(changed)
    known = {rule.name for rule in SGLANG}
    assert sglang.stopping_rules(changed) <= known


def test_engines_are_found_by_name(glm: Recipe) -> None:
    assert engine_for(glm).launch_command(glm, "0123") == sglang.launch_command(glm, "0123")


@pytest.mark.parametrize("name", ["glm-5.1-fp8-b200", "tiny-glm-local"])
def test_every_flag_is_in_the_pinned_versions_catalogue(name: str) -> None:
    recipe = load_recipe(REPO_ROOT / "recipes" / f"{name}.yaml")
    catalogue = load(recipe.engine.name, recipe.engine.version)
    serving = flags_of(sglang.launch_command(recipe, "0123", config_path="/c.yaml"))
    compiling = flags_of(sglang.compile_command(recipe, "0123"))
    compiling.pop("--timeout")  # the compile tool's own
    for flags in (serving, compiling):
        assert [name for name in flags if catalogue.find(name) is None] == []
