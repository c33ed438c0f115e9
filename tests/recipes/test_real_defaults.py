"""What the real releases make of the recipes' command lines on each GPU.

Each wheel's own parser and `ServerArgs.__post_init__` run, whole, in a process where the libraries they load are
replaced by nothing (without_torch.py). The GPU's capability and memory are pretended; the model's config is given.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.settings import RECIPES
from serving.recipe import Recipe, load_recipe

OLD, NEW = "0.5.10.post1", "0.5.16"
MEMORY = {100: 183359, 90: 143771}  # MiB, as nvidia-smi shows a B200 and an H200
CONFIG = {
    "architectures": ["GlmMoeDsaForCausalLM"],
    "model_type": "glm_moe_dsa",
    "index_topk": 2048,
    "index_n_heads": 32,
    "kv_lora_rank": 512,
    "num_hidden_layers": 78,
    "max_position_embeddings": 202752,
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}
BARE = ("--model-path", "/x", "--tp", "8")
EAGLE = (
    *("--speculative-algorithm", "EAGLE", "--speculative-num-steps", "3"),
    *("--speculative-eagle-topk", "1", "--speculative-num-draft-tokens", "4"),
)

Resolve = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def resolve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resolve]:
    """The fields of ServerArgs that a version makes of arguments on a GPU of a capability."""
    folder = tmp_path_factory.mktemp("wheels")

    def unpacked(version: str) -> Path:
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "0", "--timeout", "10"),
            *("--disable-pip-version-check", "--dest", str(folder / version), "--only-binary=:all:"),
            *("--python-version", "3.11", "--platform", "manylinux_2_34_x86_64", f"sglang=={version}"),
        ]
        if not (folder / version).exists():
            try:
                subprocess.run(command, check=True, capture_output=True, timeout=60)
            except (subprocess.SubprocessError, OSError) as error:
                pytest.skip(f"THE DEFAULTS WERE NOT CHECKED: cannot download sglang {version}: {error}")
            (wheel,) = (folder / version).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder / version, [name for name in archive.namelist() if name.endswith(".py")])
        return folder / version

    processes: dict[str, subprocess.Popen[str]] = {}

    def resolved(
        version: str, capability: int, arguments: tuple[str, ...], environment: dict[str, str] | None = None
    ) -> dict[str, Any]:
        if version not in processes:
            script = Path(__file__).with_name("without_torch.py")
            processes[version] = subprocess.Popen(
                [sys.executable, str(script), "sglang", str(unpacked(version))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        question = {"argv": arguments, "environment": environment or {}, "capability": capability}
        process = processes[version]
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps({**question, "memory": MEMORY[capability], "config": CONFIG}) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        assert isinstance(answer, dict), answer
        return answer

    yield resolved
    for process in processes.values():
        assert process.stdin
        process.stdin.close()
        process.wait(10)


def of_recipe(resolve: Resolve, recipe: Recipe) -> dict[str, Any]:
    arguments = recipe.engine_module.launch_command(recipe, "0123")[3:]
    return resolve(recipe.engine.version, recipe.gpu.capability, tuple(arguments), recipe.engine.environment)


def kernels(fields: dict[str, Any]) -> tuple[str, str, str, str]:
    """KV type, prefill and decode attention, MoE runner."""
    kind = "dsa" if "dsa_decode_backend" in fields else "nsa"
    names = ("kv_cache_dtype", f"{kind}_prefill_backend", f"{kind}_decode_backend", "moe_runner_backend")
    prefill = tuple(str(fields[name]) for name in names)
    return prefill[0], prefill[1], prefill[2], prefill[3]


HOPPER = ("bfloat16", "flashmla_sparse", "fa3", "auto")
BLACKWELL = ("bfloat16", "trtllm", "trtllm", "flashinfer_trtllm")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("glm-5.1-fp8-b200-reference", BLACKWELL),
        ("glm-5.1-fp8-b200", BLACKWELL),
        ("glm-5.1-fp8-b200-next", BLACKWELL),
        ("glm-5.1-fp8-h200", HOPPER),
    ],
)
def test_a_recipe_gets_what_it_says_on_its_own_gpu(resolve: Resolve, name: str, expected: tuple[str, ...]) -> None:
    """Nothing of what the recipe sets is changed on the way, and the release takes every flag."""
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    fields = of_recipe(resolve, recipe)
    flags = recipe.engine.flags
    assert kernels(fields) == expected
    assert fields["attention_backend"] == flags["attention-backend"]
    assert fields["tp_size"] == 8
    assert fields["mem_fraction_static"] == flags["mem-fraction-static"]
    assert fields["max_total_tokens"] == flags["max-total-tokens"]
    assert fields["context_length"] == flags.get("context-length")
    assert fields["max_running_requests"] == 48
    assert (fields["reasoning_parser"], fields["tool_call_parser"]) == ("glm45", "glm47")
    # The overlap scheduler works with EAGLE v2 alone.
    assert fields["disable_overlap_schedule"] is False


@pytest.mark.parametrize("version", [OLD, NEW])
def test_left_to_itself_blackwell_gets_an_fp8_cache_and_hopper_a_bf16_one(resolve: Resolve, version: str) -> None:
    """What the rule eagle-fp8-kv-by-default stands on, and why the H200 recipe differs: both releases alike."""
    blackwell = resolve(version, 100, (*BARE, *EAGLE))
    assert kernels(blackwell) == ("fp8_e4m3", "trtllm", "trtllm", "flashinfer_trtllm")
    assert kernels(resolve(version, 90, (*BARE, *EAGLE))) == HOPPER


def test_the_guides_command_means_an_fp8_cache_with_eagle(resolve: Resolve) -> None:
    """The published command as it stands, without --kv-cache-dtype: what the guide says it avoids."""
    reference = load_recipe(RECIPES / "glm-5.1-fp8-b200-reference.yaml").with_engine_args({"kv-cache-dtype": None})
    fields = of_recipe(resolve, reference)
    assert (fields["kv_cache_dtype"], fields["speculative_algorithm"]) == ("fp8_e4m3", "EAGLE")


def test_eagle_without_its_variable_loses_the_overlap_scheduler(resolve: Resolve) -> None:
    arguments = (*BARE, *EAGLE, "--kv-cache-dtype", "bfloat16")
    assert resolve(OLD, 100, arguments)["disable_overlap_schedule"] is True
    assert resolve(OLD, 100, arguments, {"SGLANG_ENABLE_SPEC_V2": "1"})["disable_overlap_schedule"] is False
    assert resolve(NEW, 100, arguments)["disable_overlap_schedule"] is False  # the variable is gone
