"""Every rule about broken combinations: where it applies, where it doesn't, and what a preview makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.settings import RECIPES, SettingsError, load_settings
from recipes.flags import catalogue
from recipes.flags.combinations import Finding, find_broken, rules
from serving.recipe import load_recipe

OLD, NEW = "0.5.10.post1", "0.5.16"
VLLM = "vllm 0.23.0"
GLM, LLAMA = "zai-org/GLM-5.1-FP8", "meta-llama/Llama-3.1-8B-Instruct"
EAGLE = {"speculative-algorithm": "EAGLE"}
BF16 = {"kv-cache-dtype": "bfloat16"}
FP8 = {"kv-cache-dtype": "fp8_e4m3"}
TOOLS = {"enable-auto-tool-choice": True}


def load(version: str) -> catalogue.Catalogue:
    """`0.5.16` is SGLang's, `vllm 0.23.0` vLLM's."""
    engine, _, number = version.rpartition(" ")
    return catalogue.load(engine or "sglang", number)


def found(flags: dict[str, Any], architecture: str, version: str = OLD, repository: str = GLM) -> dict[str, Finding]:
    release = load(version)
    return {
        finding.rule: finding
        for finding in find_broken(release, flags, architecture=architecture, repository=repository)
    }


POSITIVE = [
    ("eagle-fp8-kv", EAGLE | FP8, "sm100", OLD, GLM, "kv-cache-dtype", "bfloat16"),
    ("eagle-fp8-kv", EAGLE | FP8, "sm100", NEW, GLM, "kv-cache-dtype", "bfloat16"),
    ("eagle-fp8-kv", {"speculative-algorithm": "NEXTN"} | FP8, "sm103", OLD, LLAMA, "kv-cache-dtype", "bfloat16"),
    ("eagle-fp8-kv-by-default", EAGLE, "sm100", OLD, GLM, "kv-cache-dtype", "bfloat16"),
    ("eagle-fp8-kv-by-default", EAGLE | {"kv-cache-dtype": "auto"}, "sm100", NEW, GLM, "kv-cache-dtype", "bfloat16"),
    (
        "eagle-fp8-kv-by-default",
        EAGLE | {"attention-backend": "nsa"},
        "sm100",
        OLD,
        "a/b",
        "kv-cache-dtype",
        "bfloat16",
    ),
    (
        "eagle-fp8-kv-by-default",
        EAGLE | {"dsa-decode-backend": "trtllm"},
        "sm100",
        NEW,
        "a/b",
        "kv-cache-dtype",
        "bfloat16",
    ),
    (
        "flashmla-kv-decode",
        BF16 | {"nsa-decode-backend": "flashmla_kv"},
        "sm100",
        OLD,
        GLM,
        "nsa-decode-backend",
        "trtllm",
    ),
    (
        "flashmla-kv-decode",
        BF16 | {"dsa-decode-backend": "flashmla_kv"},
        "sm100",
        NEW,
        GLM,
        "dsa-decode-backend",
        "trtllm",
    ),
    (
        "flashmla-kv-decode",
        BF16 | {"nsa-decode-backend": "flashmla_kv"},
        "sm100",
        NEW,
        GLM,
        "nsa-decode-backend",
        "trtllm",
    ),
    ("fp8-kv-speed", FP8, "sm90", OLD, GLM, "kv-cache-dtype", "bfloat16"),
    ("fp8-kv-speed", {"kv-cache-dtype": "fp8_e5m2"}, "sm100", NEW, LLAMA, "kv-cache-dtype", "bfloat16"),
    ("eagle-radix-nan", EAGLE | BF16, "sm120", OLD, LLAMA, "disable-radix-cache", "true"),
    ("eagle-radix-nan", EAGLE | {"disable-radix-cache": False}, "sm120", OLD, LLAMA, "disable-radix-cache", "true"),
    ("trtllm-decode-on-hopper", {"nsa-decode-backend": "trtllm"}, "sm90", OLD, GLM, "nsa-decode-backend", "fa3"),
    ("trtllm-decode-on-hopper", {"dsa-decode-backend": "trtllm"}, "sm90", NEW, GLM, "dsa-decode-backend", "fa3"),
    (
        "trtllm-prefill-on-hopper",
        {"nsa-prefill-backend": "trtllm"},
        "sm90",
        OLD,
        GLM,
        "nsa-prefill-backend",
        "flashmla_sparse",
    ),
    (
        "trtllm-prefill-on-hopper",
        {"dsa-prefill-backend": "trtllm"},
        "sm90",
        NEW,
        GLM,
        "dsa-prefill-backend",
        "flashmla_sparse",
    ),
    (
        "trtllm-moe-on-hopper",
        {"moe-runner-backend": "flashinfer_trtllm"},
        "sm90",
        OLD,
        GLM,
        "moe-runner-backend",
        "auto",
    ),
    (
        "trtllm-moe-on-hopper",
        {"moe-runner-backend": "flashinfer_trtllm_routed"},
        "sm90",
        NEW,
        GLM,
        "moe-runner-backend",
        "auto",
    ),
    ("fp8-e4m3-sparse-on-hopper", FP8, "sm90", VLLM, GLM, "kv-cache-dtype", "fp8"),
    ("tool-choice-without-parser", TOOLS, "sm90", VLLM, LLAMA, "enable-auto-tool-choice", "false"),
]

NEGATIVE = [
    ("eagle-fp8-kv", EAGLE | BF16, "sm100", OLD, GLM),  # the mend
    ("eagle-fp8-kv", FP8, "sm100", OLD, GLM),  # no EAGLE
    ("eagle-fp8-kv", EAGLE | FP8, "sm90", OLD, GLM),  # Hopper
    ("eagle-fp8-kv-by-default", EAGLE | BF16, "sm100", OLD, GLM),
    ("eagle-fp8-kv-by-default", EAGLE, "sm90", OLD, GLM),  # auto is bfloat16 there
    ("eagle-fp8-kv-by-default", EAGLE, "sm100", OLD, LLAMA),  # auto is bfloat16 for it
    ("eagle-fp8-kv-by-default", {}, "sm100", OLD, GLM),
    ("flashmla-kv-decode", {"nsa-decode-backend": "trtllm"}, "sm100", OLD, GLM),
    ("flashmla-kv-decode", {"nsa-decode-backend": "flashmla_kv"}, "sm90", OLD, GLM),
    ("flashmla-kv-decode", {"nsa-prefill-backend": "flashmla_kv"}, "sm100", OLD, GLM),
    ("fp8-kv-speed", BF16, "sm90", OLD, GLM),
    ("fp8-kv-speed", {}, "sm90", OLD, GLM),
    ("eagle-radix-nan", EAGLE, "sm100", OLD, LLAMA),
    ("eagle-radix-nan", EAGLE | {"disable-radix-cache": True}, "sm120", OLD, LLAMA),
    ("eagle-radix-nan", {}, "sm120", OLD, LLAMA),
    ("trtllm-decode-on-hopper", {"nsa-decode-backend": "trtllm"}, "sm100", OLD, GLM),
    ("trtllm-decode-on-hopper", {"nsa-decode-backend": "fa3"}, "sm90", OLD, GLM),
    ("trtllm-prefill-on-hopper", {"nsa-prefill-backend": "trtllm"}, "sm100", OLD, GLM),
    ("trtllm-prefill-on-hopper", {"nsa-prefill-backend": "flashmla_sparse"}, "sm90", OLD, GLM),
    ("trtllm-moe-on-hopper", {"moe-runner-backend": "flashinfer_trtllm"}, "sm100", OLD, GLM),
    ("trtllm-moe-on-hopper", {"moe-runner-backend": "auto"}, "sm90", OLD, GLM),
    ("fp8-e4m3-sparse-on-hopper", {"kv-cache-dtype": "fp8"}, "sm90", VLLM, GLM),
    ("fp8-e4m3-sparse-on-hopper", FP8, "sm100", VLLM, GLM),  # FlashInfer's backend takes it there
    ("fp8-e4m3-sparse-on-hopper", FP8, "sm90", VLLM, LLAMA),
    ("fp8-e4m3-sparse-on-hopper", FP8, "sm90", OLD, GLM),  # SGLang has other backends
    ("tool-choice-without-parser", TOOLS | {"tool-call-parser": "glm47"}, "sm90", VLLM, LLAMA),
    ("tool-choice-without-parser", {}, "sm90", VLLM, LLAMA),
    ("tool-choice-without-parser", {"no-enable-auto-tool-choice": True}, "sm90", VLLM, LLAMA),
]


@pytest.mark.parametrize(("rule", "flags", "architecture", "version", "repository", "flag", "value"), POSITIVE)
def test_a_rule_applies_and_its_mend_helps(
    rule: str, flags: dict[str, Any], architecture: str, version: str, repository: str, flag: str, value: str
) -> None:
    finding = found(flags, architecture, version, repository)[rule]
    assert (finding.mend_flag, finding.mend_text) == (flag, value)
    assert finding.source in str(finding)
    assert f"set {flag} to {value}" in str(finding)
    mended = {**flags, finding.mend_flag: finding.mend_value}
    assert rule not in found(mended, architecture, version, repository)
    assert load(version).problems(mended) == []


@pytest.mark.parametrize(("rule", "flags", "architecture", "version", "repository"), NEGATIVE)
def test_a_rule_stays_out_of_what_works(
    rule: str, flags: dict[str, Any], architecture: str, version: str, repository: str
) -> None:
    assert rule not in found(flags, architecture, version, repository)


def test_every_rule_is_shown_both_ways_and_names_real_flags() -> None:
    names = [rule.name for rule in rules()]
    assert set(names) == {case[0] for case in POSITIVE} == {case[0] for case in NEGATIVE}
    assert len(names) == len(set(names))
    releases = [load(version) for version in (OLD, NEW, VLLM)]
    for rule in rules():
        of_its_engine = [release for release in releases if release.engine == rule.engine]
        assert of_its_engine
        for flags in [*(flags for flags, _ in rule.when), rule.mend[0]]:
            assert all(any(release.find(flag) for flag in flags) for release in of_its_engine), (rule.name, flags)


def test_a_rule_of_another_release_or_engine_does_not_apply() -> None:
    older = catalogue.Catalogue("sglang", "0.5.9.post2", catalogue.load("sglang", OLD).options)
    other = catalogue.Catalogue("vllm", "0.5.16", catalogue.load("sglang", OLD).options)
    rule = "eagle-fp8-kv-by-default"
    assert rule not in {f.rule for f in find_broken(older, EAGLE, architecture="sm100", repository=GLM)}
    assert find_broken(other, EAGLE | FP8, architecture="sm100", repository=GLM) == []


@pytest.mark.parametrize("architecture", ["sm90", "sm100", "sm103", "sm120"])
def test_vllms_mtp_with_an_fp8_cache_is_none_of_sglangs_business(architecture: str) -> None:
    """SGLang's crash of EAGLE with an FP8 cache (#22359) is its own; GLM-5.2 runs MTP with one on vLLM."""
    mtp = {"speculative-config": '{"method": "mtp", "num_speculative_tokens": 5}', "kv-cache-dtype": "fp8"}
    assert found(mtp, architecture, VLLM, "zai-org/GLM-5.2-FP8") == {}
    # The same names as SGLang's flags, which vLLM does not have, change nothing either.
    assert "eagle-fp8-kv" not in found(mtp | EAGLE, architecture, VLLM)


def test_abbreviated_and_alternative_names_are_seen() -> None:
    assert "eagle-fp8-kv" in found({"speculative-algo": "EAGLE", **FP8}, "sm100")


def settings(recipe: str, arguments: dict[str, Any]) -> Any:
    import json

    config = {"glm-serving:recipe": recipe, "glm-serving:engineArgs": json.dumps(arguments)}
    return load_settings(config, {}, stack="test")


def problems(recipe: str, arguments: dict[str, Any]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings(recipe, arguments)
    return caught.value.problems


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_clean(path: Path) -> None:
    recipe = load_recipe(path)
    release = catalogue.load(recipe.engine.name, recipe.engine.catalogue_release)
    assert release.lint(recipe.engine.flags) == []
    place = {"architecture": recipe.gpu.architecture, "repository": recipe.model.repo}
    assert find_broken(release, recipe.engine.flags, **place) == []
    # The published guide's pool is a variant that warns.
    expected = ["memory: a request can't be longer than 65,536 tokens"] if path.stem.endswith("-reference") else []
    warnings = settings(path.stem, {}).warnings
    assert len(warnings) == len(expected)
    assert all(text in warning for text, warning in zip(expected, warnings, strict=True))


def test_a_preview_refuses_and_says_flag_source_and_command() -> None:
    (problem,) = problems("glm-5.1-fp8-b200", {"kv-cache-dtype": None})
    assert problem == (
        "engineArgs.kv-cache-dtype: is left out, but left to itself the KV cache of a sparse attention model becomes "
        "fp8_e4m3 on Blackwell, and EAGLE with an FP8 KV cache crashes there (SGLang #22359); set kv-cache-dtype to "
        "bfloat16; `pulumi config set --path engineArgs.kv-cache-dtype bfloat16`"
    )


def test_a_preview_refuses_together_with_everything_else_that_is_wrong() -> None:
    found = problems("glm-5.1-fp8-h200", {"nsa-decode-backend": "trtllm", "mem-fraction-statik": 0.8})
    assert len(found) == 2
    assert any("flashinfer #1466" in problem for problem in found)
    assert any("mem-fraction-static" in problem for problem in found)


def test_sparse_attention_is_known_by_the_models_dimensions_too(tmp_path: Path) -> None:
    renamed = (RECIPES / "glm-5.1-fp8-b200.yaml").read_text().replace("zai-org/GLM-5.1-FP8", "us/ours")
    own = tmp_path / "ours.yaml"
    own.write_text(renamed)
    without = dict.fromkeys(["kv-cache-dtype", "attention-backend", "nsa-decode-backend", "nsa-prefill-backend"], None)
    (problem,) = problems(str(own), without)
    assert "SGLang #22359" in problem


def test_a_problem_of_the_recipe_itself_may_be_mended_in_either_file(tmp_path: Path) -> None:
    text = (RECIPES / "glm-5.1-fp8-b200.yaml").read_text()
    own = tmp_path / "hopper.yaml"
    own.write_text(text.replace("sm100", "sm90").replace("type: B200", "type: H200"))
    found = problems(str(own), {})
    assert len(found) == 3
    command = "edit hopper.yaml or `pulumi config set --path engineArgs.moe-runner-backend auto`"
    assert any("hopper.yaml: engine.flags.moe-runner-backend" in text and command in text for text in found)


def test_a_flag_with_a_line_break_in_it_is_still_one_line() -> None:
    (problem,) = problems("glm-5.1-fp8-b200", {"enable\nmetrics": True})
    assert "engineArgs.enable\\nmetrics: unknown" in problem


def test_warnings_do_not_block() -> None:
    result = settings("glm-5.1-fp8-h200", {"kv-cache-dtype": "fp8_e4m3"})
    assert result.recipe.engine.flags["kv-cache-dtype"] == "fp8_e4m3"
    (warning,) = result.warnings
    assert "SGLang #17526" in warning


def test_a_renamed_flag_is_remarked_with_its_new_name() -> None:
    arguments = {"dsa-decode-backend": None, "nsa-decode-backend": "trtllm"}
    (warning,) = settings("glm-5.1-fp8-b200-next", arguments).warnings
    assert "engineArgs.nsa-decode-backend: deprecated in sglang 0.5.16; use dsa-decode-backend" in warning


def test_a_renamed_flag_beside_its_new_name_is_refused() -> None:
    (problem,) = problems("glm-5.1-fp8-b200-next", {"nsa-decode-backend": "trtllm"})
    assert "nsa-decode-backend: sets the same option as dsa-decode-backend" in problem
