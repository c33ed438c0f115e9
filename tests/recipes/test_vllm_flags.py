"""vLLM's flag catalogue: what a preview makes of flags, and, on request, that it is what the real release has.

GLM_SERVING_TEST_VLLM=1 downloads the wheel (274 MB); `pip download` of the smaller source archive needs torch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from infra.settings import RECIPES, SettingsError, load_settings
from recipes.flags.catalogue import FOLDER, Catalogue, load
from recipes.flags.extract import render
from recipes.flags.release import open_release
from recipes.flags.vllm_release import extract
from serving.recipe import load_recipe

VERSION = "0.23.0"
MTP = '{"method": "mtp", "num_speculative_tokens": 5}'


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load("vllm", VERSION)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ({"max-model-lenn": 1}, "unknown to vllm 0.23.0; did you mean max-model-len"),
        ({"tp": 8}, "did you mean tensor-parallel-size, which has the short name -tp?"),
        ({"max-num-seqs": "32k"}, "needs a whole number, got '32k'"),
        ({"max-model-len": "128KB"}, "suffixes k for 1000, K for 1024"),
        ({"max-model-len": "1.5K"}, "suffixes k for 1000, K for 1024"),  # only powers of ten take a fraction
        ({"kv-cache-dtype": "fp4"}, "must be one of auto, bfloat16, float16, fp8"),
        ({"enforce-eager": "yes"}, "is a switch"),
        ({"enable-prefix-caching": False}, "write `no-enable-prefix-caching: true`"),
        ({"no-trust-remote-code": True, "trust_remote_code": True}, "sets the same option as no-trust-remote-code"),
        ({"speculative-config": "{method: mtp}"}, "needs JSON"),
        ({"speculative-config": '{"method": "mtpp"}'}, "method must be one of"),
        ({"speculative-config": '{"method": "mtp", "num_tokens": 5}'}, "unknown key num_tokens"),
        ({"speculative-config": '{"num_speculative_tokens": "five"}'}, "needs a whole number, got 'five'"),
        ({"speculative-config.methd": "mtp"}, "unknown key methd (did you mean method?)"),
        ({"speculative-config": MTP, "speculative-config.model": "a/b"}, "sets the same option as speculative-config"),
        (
            {"speculative-config": '{"draft_load_config": {"device": 1}}'},
            "draft_load_config.device needs a text, got 1",
        ),
        ({"compilation-config": "3"}, "needs a JSON object, got '3'"),
        ({"port.x": 1}, "takes no keys"),
        ({"tool-call-parser": "glm-47"}, "has none called 'glm-47'; did you mean glm47?"),
        ({"reasoning-parser": "glm46"}, "has none called 'glm46'; did you mean glm45?"),
        ({"moe-backend": "deepgemm"}, "must be one of"),
        ({"cudagraph-capture-sizes": "1 2 4"}, "several values are a list: [1, 2, 4]"),
        ({"cudagraph-capture-sizes": [1, "two"]}, "needs a whole number, got 'two'"),
        ({"max-num-seqs": [1, 2]}, "takes one value, got the list [1, 2]"),
        ({"no-async-scheduling": False}, "write `async-scheduling: true`"),
        ({"enable-prefix": True}, "an abbreviation, which no other check here would know; write enable-prefix-caching"),
        ({"speculative-confi.method": "mtp"}, "write speculative-config"),
    ],
)
def test_lint_names_the_flag_and_the_way_out(catalogue: Catalogue, flags: dict[str, Any], problem: str) -> None:
    problems = catalogue.lint(flags)
    assert len(problems) == 1, problems
    assert problem in problems[0]


@pytest.mark.parametrize(
    "flags",
    [
        {"max-model-len": "128k", "max-num-batched-tokens": "8K", "kv-cache-memory-bytes": "20.5g"},
        {"max-model-len": "auto"},
        {"max_model_len": 131072, "no-enable-prefix-caching": True, "no-enforce-eager": True},
        {"speculative-config": MTP},
        {"speculative-config.method": "mtp", "speculative-config.num_speculative_tokens": 5},
        {"speculative-config": "None", "quantization": ""},
        {"compilation-config": '{"cudagraph_capture_sizes": [1, 2, 4], "pass_config": {"fuse_act_quant": true}}'},
        {"kv-transfer-config": '{"kv_connector": "a", "kv_buffer_size": 1k}'},
        {"moe-backend": "Deep-GEMM"},
        {"tool-call-parser": "ours", "tool-parser-plugin": "/plugins/ours.py"},
        {"hf-overrides": '{"num_hidden_layers": 4}', "served-model-name": ["a", "b"], "hf-token": True},
    ],
)
def test_lint_lets_pass_what_vllm_takes(catalogue: Catalogue, flags: dict[str, Any]) -> None:
    assert catalogue.lint(flags) == []


def test_a_deprecated_option_is_remarked(catalogue: Catalogue) -> None:
    assert catalogue.remarks({"calculate-kv-scales": True}) == ["calculate-kv-scales: deprecated in vllm 0.23.0"]


# ── an image that is no release ──


def settings(arguments: dict[str, Any], recipe: str = "glm-5.2-fp8-h200") -> Any:
    config = {"glm-serving:recipe": recipe, "glm-serving:engineArgs": json.dumps(arguments)}
    return load_settings(config, {}, stack="test")


def test_a_flag_that_only_the_nearest_release_lacks_is_unverified_and_not_refused() -> None:
    (warning,) = settings({"index-share": "on"}).warnings
    assert warning.startswith(
        "engineArgs.index-share: unverified: vllm 0.23.0, the release nearest to vllm/vllm-openai:glm52-cu129, has no "
        "such option"
    )


def test_everything_else_is_checked_as_usual() -> None:
    with pytest.raises(SettingsError) as caught:
        settings({"kv-cache-dtype": "fp8_e4m3", "max-num-seqs": "many", "index-share": "on"})
    assert len(caught.value.problems) == 2
    assert any("vllm-project/recipes #565" in problem for problem in caught.value.problems)


def test_where_the_image_is_a_release_an_unknown_flag_is_refused(tmp_path: Path) -> None:
    text = (RECIPES / "glm-5.2-fp8-h200.yaml").read_text()
    own = tmp_path / "release.yaml"
    own.write_text(text.replace("version: glm52-cu129", "version: 0.23.0").replace("  nearestRelease: 0.23.0\n", ""))
    with pytest.raises(SettingsError) as caught:
        settings({"index-share": "on"}, str(own))
    assert "unknown to vllm 0.23.0" in caught.value.problems[0]


def test_a_nearest_release_without_catalogue_is_named(tmp_path: Path) -> None:
    own = tmp_path / "other.yaml"
    text = (RECIPES / "glm-5.2-fp8-h200.yaml").read_text()
    own.write_text(text.replace("nearestRelease: 0.23.0", "nearestRelease: 0.24.0"))
    with pytest.raises(SettingsError) as caught:
        settings({}, str(own))
    assert "engine.nearestRelease: no flag catalogue for vllm 0.24.0" in caught.value.problems[0]
    assert "vllm-0.23.0" in caught.value.problems[0]


# ── objects ──


def test_an_entry_of_a_json_option_is_changed_by_its_path() -> None:
    """What `pulumi config set --path engineArgs.speculative-config.num_speculative_tokens 3` hands over."""
    recipe = settings({"speculative-config": {"num_speculative_tokens": 3}}).recipe
    argv = recipe.engine_module.launch_command(recipe, "0123")
    assert json.loads(argv[argv.index("--speculative-config") + 1]) == {"method": "mtp", "num_speculative_tokens": 3}
    assert recipe.speculates


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"speculative-config": {"num_tokens": 3}}, "unknown key num_tokens (did you mean num_speculative_tokens?)"),
        ({"max-num-seqs": {"a": 1}}, "takes one value, got an object with a"),
        ({"tensor-parallel-size": "eight"}, "tensor-parallel-size is 'eight': a whole number is needed"),
    ],
)
def test_an_object_is_checked_in_one_line(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(arguments)
    (found,) = caught.value.problems
    assert problem in found


# ── the real release ──


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not os.environ.get("GLM_SERVING_TEST_VLLM"):
        pytest.skip("THE CATALOGUE WAS NOT COMPARED: set GLM_SERVING_TEST_VLLM=1 to download vLLM's wheel, 274 MB")
    folder = tmp_path_factory.mktemp("vllm")
    platforms = [word for tag in ("2_35", "2_31", "2_28") for word in ("--platform", f"manylinux_{tag}_x86_64")]
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"),
        *("--dest", str(folder), "--only-binary=:all:", "--python-version", "3.12", *platforms, f"vllm=={VERSION}"),
    ]
    subprocess.run(command, check=True, timeout=900)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_catalogue_is_regenerated_from_the_real_wheel(wheel: Path) -> None:
    assert render(extract(VERSION, open_release(wheel))) == (FOLDER / f"vllm-{VERSION}.json").read_text()


_ACTIONS = {"_StoreAction": "store", "_StoreTrueAction": "store_true", "_AppendAction": "append"}
_TYPES = {
    None: "str",
    "loads": "json",
    "human_readable_int": "scaled_int",
    "human_readable_int_or_auto": "scaled_int_or_auto",
    "union_dict_and_str": "json_or_str",
    "_compute_kwargs.<locals>.parse_dataclass": "json_object",
    "EngineArgs.add_cli_args.<locals>.<lambda>": "lower_snake",
}


@pytest.fixture(scope="module")
def own_parser(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options of the release's own `make_arg_parser`, its libraries replaced by nothing, and what it parses."""
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.endswith(".py")])
    recipe = load_recipe(RECIPES / "glm-5.2-fp8-h200.yaml")
    argv = recipe.engine_module.launch_command(recipe, "0123", release="r-1")
    command = [sys.executable, str(Path(__file__).with_name("without_torch.py")), "vllm", str(folder)]
    output = subprocess.run(
        command, input=json.dumps(argv[2:]), check=True, capture_output=True, text=True, timeout=120
    )
    answer: dict[str, Any] = json.loads(output.stdout.splitlines()[-1])
    return answer


def test_vllms_own_parser_takes_the_recipe(own_parser: dict[str, Any]) -> None:
    (parsed,) = own_parser["parsed"]
    expected = {
        "model_tag": "zai-org/GLM-5.2-FP8",
        "revision": "0123",
        "served_model_name": ["glm-5.2-fp8", "glm-5.2-fp8@r-1"],
        "tensor_parallel_size": 8,
        "kv_cache_dtype": "fp8",
        "max_model_len": 131072,
        "max_num_seqs": 32,
        "gpu_memory_utilization": 0.92,
        "speculative_config": {"method": "mtp", "num_speculative_tokens": 5},
        "safetensors_load_strategy": "prefetch",
        "enable_prefix_caching": True,
        "enforce_eager": True,
        "async_scheduling": True,
        "enable_auto_tool_choice": True,
        "tool_call_parser": "glm47",
        "reasoning_parser": "glm45",
        "middleware": ["serving.engines.gate.Gate"],
        "api_key": None,
    }
    assert {name: parsed[name] for name in expected} == expected


def test_catalogue_is_what_vllms_own_parser_has(own_parser: dict[str, Any]) -> None:
    real = {option["dest"]: option for option in own_parser["options"]}
    document = json.loads((FOLDER / f"vllm-{VERSION}.json").read_text())
    ours = {
        option["dest"]: option for option in [*document["flags"], *document["commands"]["vllm serve"]["positionals"]]
    }
    assert set(ours) == set(real)
    assert len(ours) == 262
    for dest, option in real.items():
        mine = ours[dest]
        assert set(option["names"]) == {name for name in mine["names"] if name.startswith("-")}, dest
        assert _ACTIONS.get(option["action"], option["action"]) == mine["action"], dest
        choices = [str(choice) for choice in mine.get("choices") or ()]
        assert sorted(map(str, option["choices"] or ())) == sorted(choices), dest
        if mine["action"] not in ("store", "append"):
            continue
        assert option["nargs"] == mine.get("nargs"), dest
        kind, optional = option["type"], False
        while kind and ("optional_type" in kind or "parse_type" in kind):
            optional = optional or "optional_type" in kind
            kind = option["inner"][0] if "optional_type" in kind else "loads"
        assert _TYPES.get(kind, kind) == mine["type"], dest
        assert optional == mine.get("optional", False), dest
        if option["default"] not in (None, "…") and "default" in mine:
            assert option["default"] == mine["default"], dest
