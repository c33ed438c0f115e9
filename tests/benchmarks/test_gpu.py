"""What the GPU benchmark computes without a GPU."""

from pathlib import Path

import pytest

from benchmarks.gpu.derived_recipe import derive
from benchmarks.gpu.full_size import step_bytes, without_drafts
from benchmarks.gpu.memory import memory
from serving.recipe import Recipe, load_recipe

_REPOSITORY = Path(__file__).resolve().parents[2]
_START = _REPOSITORY / "tests/recordings/sglang-0.5.16/start.txt"
"""The start of a real server on one H200: one dense and three expert layers."""


def derived(*, gpus: int, layers: int) -> Recipe:
    base = load_recipe(_REPOSITORY / "recipes" / "glm-5.1-fp8-h200.yaml")
    return derive(base, work=Path("/w"), version="0.5.16", gpu_type="H200", gpus=gpus, layers=layers, port=8000)


def test_the_estimated_memory_is_what_a_real_start_said() -> None:
    found = memory(derived(gpus=1, layers=4), _START.read_text(encoding="utf-8"))
    assert found["weights"]["ratio"] == pytest.approx(1, abs=0.01)
    assert found["draft"]["ratio"] == pytest.approx(1, abs=0.01)
    assert found["tokens"]["measured"] == 65536  # of that start; the recipe asks for more today


def test_ranks_are_counted_by_what_each_of_them_writes() -> None:
    lines = _START.read_text(encoding="utf-8").splitlines()
    of_each = [line for line in lines if line.startswith(("Load weight", "KV Cache"))]
    one, two = (memory(derived(gpus=1, layers=4), "\n".join([*of_each * more, *lines])) for more in (0, 1))
    assert (one["ranks"], two["ranks"]) == (1, 2)
    assert one["kv_pool"] == two["kv_pool"]


def test_a_log_without_these_lines_is_said() -> None:
    with pytest.raises(ValueError, match="no lines about loaded weights"):
        memory(derived(gpus=1, layers=4), "Uvicorn running")


def test_all_layers_are_the_recipes_own() -> None:
    model = derived(gpus=8, layers=78).model.architecture
    assert model == load_recipe(_REPOSITORY / "recipes" / "glm-5.1-fp8-h200.yaml").model.architecture


def test_a_step_reads_the_active_weights_and_at_many_tokens_nearly_all() -> None:
    model = derived(gpus=8, layers=78).model.architecture
    assert model is not None
    assert step_bytes(model, 1) / 1e9 == pytest.approx(
        40, rel=0.1
    )  # GLM-5.1: 754B parameters, about 40B of them active
    assert step_bytes(model, 1) < step_bytes(model, 8) < step_bytes(model, 48)
    assert step_bytes(model, 10_000) == pytest.approx(model.target_bytes(loaded=False), rel=0.01)


def test_without_drafts_no_flag_of_drafting_is_left() -> None:
    recipe = derived(gpus=8, layers=78)
    assert recipe.speculates
    assert not without_drafts(recipe).speculates
