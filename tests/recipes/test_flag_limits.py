"""Flags that an engine takes and no replica could serve with are found by a preview, before eight GPUs are paid for."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.flag_limits import out_of_bounds
from recipes.flags import catalogue
from recipes.memory_fit import fit_memory
from serving.errors import ServingError
from serving.recipe import load_recipe
from tests.recipes.test_known_broken import RECIPES, problems, settings

SGLANG, NEXT, VLLM = "glm-5.1-fp8-b200", "glm-5.1-fp8-b200-next", "glm-5.2-fp8-h200"
RELEASES = [("sglang", "0.5.10.post1"), ("sglang", "0.5.16"), ("vllm", "0.23.0")]


@pytest.mark.parametrize(
    ("recipe", "flag", "value", "cause"),
    [
        (SGLANG, "tokenizer-worker-num", 2, "the API key would not be asked for"),
        (SGLANG, "encoder-only", True, "the API key would not be asked for"),
        (SGLANG, "grpc-mode", True, "the API key would not be asked for"),
        (NEXT, "grpc-http-sidecar-port", 9000, "the API key would not be asked for"),
        (SGLANG, "ssl-certfile", "/cert.pem", "HTTPS"),
        (SGLANG, "nnodes", 2, "several machines"),
        (SGLANG, "use-ray", True, "Ray cluster"),
        (SGLANG, "disaggregation-mode", "prefill", "half of a server"),
        (SGLANG, "delete-ckpt-after-loading", True, "would delete the weights"),
        (VLLM, "uds", "/tmp/vllm.sock", "would listen on the port"),
        (VLLM, "headless", True, "would listen on the port"),
        (VLLM, "grpc", True, "would listen on the port"),
        (VLLM, "conf", "/x.yaml", "begins config"),  # and config-format: too short for the nearest release, at least
        (VLLM, "ssl-keyfile", "/key.pem", "HTTPS"),
        (VLLM, "root-path", "/llm", "would have it in front"),
        (VLLM, "data-parallel-external-lb", True, "several machines"),
        (VLLM, "data-parallel-rank", 0, "several machines"),
        (VLLM, "hf-token", "hf_abcdefghijklmnopqrstuv", "a secret"),
        (VLLM, "hf-tok", "hf_abcdefghijklmnopqrstuv", "a secret"),
        (VLLM, "api-ke", "a-key-of-some-length", "set by the stack itself"),
        (VLLM, "middlewar", "a.B", "set by the stack itself"),
        (VLLM, "served-model-nam", "x", "set by the stack itself"),
        (SGLANG, "weight-versio", "x", "set by the stack itself"),
        (SGLANG, "ssl-keyfile-password", "a-key-of-some-length", "HTTPS"),
        (VLLM, "some-api-key", "a-key-of-some-length", "a secret"),
    ],
)
def test_a_flag_with_which_no_replica_serves(recipe: str, flag: str, value: Any, cause: str) -> None:
    (problem,) = problems(recipe, {flag: value})
    assert problem.startswith(f"engineArgs.{flag}: ")
    assert cause in problem
    assert f"`pulumi config rm --path engineArgs.{flag}`" in problem
    assert value is True or len(str(value)) < 10 or str(value) not in problem


def test_a_switch_that_is_off_is_none(tmp_path: Path) -> None:
    harmless = {"headless": False, "no-data-parallel-external-lb": True, "api-server-count": 4}
    assert settings(VLLM, harmless).recipe.engine.flags
    document = yaml.safe_load((RECIPES / f"{VLLM}.yaml").read_text())
    document["engine"]["flags"]["headless"] = True
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(document))
    (problem,) = problems(str(tmp_path / "mine.yaml"), {})
    assert problem.startswith("mine.yaml: engine.flags.headless: ")
    assert problem.endswith("leave it out; edit mine.yaml")


@pytest.mark.parametrize(
    ("recipe", "flag", "value", "allowed"),
    [
        (VLLM, "max-num-seqs", 0, "the least is 1"),
        (VLLM, "max-num-seqs", -5, "the least is 1"),
        (VLLM, "api-server-count", 0, "the least is 1"),
        (VLLM, "max-model-len", -5, "the least is 1"),
        (VLLM, "gpu-memory-utilization", 1.5, "below 1"),
        (SGLANG, "max-running-requests", 0, "the least is 1"),
        (SGLANG, "mem-fraction-static", 1.5, "below 1"),
        (SGLANG, "mem-fraction-static", "nan", "below 1"),
    ],
)
def test_a_number_that_leaves_nothing(recipe: str, flag: str, value: Any, allowed: str) -> None:
    (problem,) = problems(recipe, {flag: value})
    assert problem.startswith(f"engineArgs.{flag}: is {value}, ")
    assert allowed in problem


def test_minus_one_leaves_the_choice_to_the_engine_where_it_takes_that() -> None:
    recipe = load_recipe(RECIPES / f"{VLLM}.yaml")
    assert list(out_of_bounds(recipe.with_engine_args({"max-model-len": -1}))) == []
    assert list(out_of_bounds(recipe.with_engine_args({"max-num-seqs": -1}))) != []


@pytest.mark.parametrize(
    ("recipe", "flag", "value", "whole"),
    [
        (VLLM, "max-num-se", 8, "max-num-seqs"),
        (VLLM, "gpu-memory-util", 0.5, "gpu-memory-utilization"),
        (SGLANG, "max-running-request", 8, "max-running-requests"),
    ],
)
def test_an_abbreviation_is_not_taken(recipe: str, flag: str, value: Any, whole: str) -> None:
    found = problems(recipe, {flag: value})
    assert any(text.startswith(f"engineArgs.{flag}: an abbreviation") and f"; write {whole};" in text for text in found)


@pytest.mark.parametrize(
    ("recipe", "flags", "factors"),
    [
        (SGLANG, {"tp": None, "tp-size": 8}, {"tp-size": 8}),
        (SGLANG, {"tp": None, "tensor-parallel-size": 8}, {"tensor-parallel-size": 8}),
        (SGLANG, {"tp": 4, "pp-size": 2}, {"tp": 4, "pp-size": 2}),
        (SGLANG, {"tp": 4, "dp": 2}, {"tp": 4, "dp": 2}),
        (SGLANG, {"dp-size": 8, "enable-dp-attention": True}, {"tp": 8}),
        (VLLM, {"tensor-parallel-size": 1, "data-parallel-size": 8},
         {"tensor-parallel-size": 1, "data-parallel-size": 8}),
        (VLLM, {"tensor-parallel-size": 4, "pipeline-parallel-size": 2},
         {"tensor-parallel-size": 4, "pipeline-parallel-size": 2}),
    ],
)  # fmt: skip
def test_all_gpus_may_be_taken_in_any_way(recipe: str, flags: dict[str, Any], factors: dict[str, int]) -> None:
    made = settings(recipe, flags).recipe
    assert made.engine_module.parallelism(made.engine.flags) == factors
    argv = made.engine_module.launch_command(made, "c" * 40)
    for flag, value in flags.items():
        assert (f"--{flag}" in argv) == (value is not None), "as written"


def test_factors_that_miss_the_gpus_are_named() -> None:
    (problem,) = problems(VLLM, {"data-parallel-size": 2})
    assert "tensor-parallel-size 8 x data-parallel-size 2 is 16, gpu.count is 8" in problem
    (problem,) = problems(SGLANG, {"tp": None, "tp-siz": 8})
    assert "tp is 1 (tp is left out, which means 1), gpu.count is 8" in problem


def test_the_memory_fit_knows_tensor_parallelism_by_every_name_and_no_other_kind() -> None:
    recipe = load_recipe(RECIPES / f"{SGLANG}.yaml")
    assert fit_memory(recipe.with_engine_args({"tp": None, "tp-size": 8})).weights == fit_memory(recipe).weights
    for other in ({"dp": 2}, {"dp-size": 2}, {"pp-size": 2}):
        with pytest.raises(ServingError, match=f"doesn't know {next(iter(other))}"):
            fit_memory(recipe.with_engine_args({"tp": 4, **other}))


@pytest.mark.parametrize(
    ("recipe", "flags", "said"),
    [
        (SGLANG, {"enable-metrics": False}, "engineArgs.enable-metrics: is false"),
        (SGLANG, {"enable-metrics": None}, "engineArgs.enable-metrics: is left out"),
        (VLLM, {"disable-log-stats": True}, "engineArgs.disable-log-stats: is true"),
    ],
)
def test_metrics_that_are_off_are_remarked(recipe: str, flags: dict[str, Any], said: str) -> None:
    (warning,) = settings(recipe, flags).warnings
    assert said in warning
    assert "a replica that hangs is not noticed" in warning
    assert (
        f"`pulumi config set --path engineArgs.{next(iter(flags))} {'true' if recipe == SGLANG else 'false'}`"
        in warning
    )


@pytest.mark.parametrize("engine", ["sglang", "vllm"])
def test_every_limit_is_of_a_flag_that_a_release_has(engine: str) -> None:
    module = importlib.import_module(f"serving.engines.{engine}")
    releases = [catalogue.load(name, version) for name, version in RELEASES if name == engine]
    names = {name.lstrip("-") for release in releases for name in release.by_name} | {"tp", "dp"}
    limited = {
        *module.UNSERVABLE,
        *module.LEAST_ONE,
        *module.FRACTIONS,
        module.METRICS_FLAG[0],
        *module.TENSOR_PARALLEL,
    }
    assert limited <= names
    if engine == "sglang":
        # The server's own check takes what begins a refused name for that name: no other option may begin so.
        others = names - module.UNSERVABLE.keys()
        assert not [name for name in others for full in module.UNSERVABLE if full.startswith(name)]


@pytest.mark.parametrize(("engine", "version"), RELEASES)
def test_what_the_engine_modules_read_has_no_other_name(engine: str, version: str) -> None:
    """They read flags by exact name: an alias of one would be served and sized otherwise."""
    module = importlib.import_module(f"serving.engines.{engine}")
    release = catalogue.load(engine, version)
    read = {*module.SET_BY_THE_STACK, *module.LEAST_ONE, *module.FRACTIONS, module.METRICS_FLAG[0]}
    known = {*module.SET_BY_THE_STACK, *module.LEAST_ONE}
    for name in read:
        option = release.find(name)
        others = (
            {full[2:] for full in option.names if full.startswith("--") and full[2:5] != "no-"} if option else set()
        )
        assert others <= known | read, name
