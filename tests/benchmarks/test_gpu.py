"""What the GPU benchmark computes without a GPU."""

from pathlib import Path

import pytest

from benchmarks.gpu.derived_recipe import derive
from benchmarks.gpu.full_size import step_bytes, without_drafts
from benchmarks.gpu.memory import memory
from benchmarks.gpu.scheduler import decoding
from serving.recipe import Recipe, load_recipe

_REPOSITORY = Path(__file__).resolve().parents[2]
_START = _REPOSITORY / "tests/recordings/sglang-0.5.16/start.txt"
"""The start of a real server on one H200: one dense and three expert layers."""
_FOUR_RANKS = _REPOSITORY / "tests/recordings/sglang-0.5.16/start-four-ranks.txt"
"""One on four H200: two dense and 37 expert layers."""


def derived(*, gpus: int, layers: int) -> Recipe:
    base = load_recipe(_REPOSITORY / "recipes" / "glm-5.1-fp8-h200.yaml")
    return derive(base, work=Path("/w"), version="0.5.16", gpu_type="H200", gpus=gpus, layers=layers, port=8000)


def test_the_estimated_memory_is_what_a_real_start_said() -> None:
    found = memory(derived(gpus=1, layers=4), _START.read_text(encoding="utf-8"))
    assert found["weights"]["ratio"] == pytest.approx(1, abs=0.01)
    assert found["draft"]["ratio"] == pytest.approx(1, abs=0.01)
    assert found["tokens"]["measured"] == 65536  # of that start; the recipe asks for more today


def test_the_estimated_memory_is_what_four_ranks_said() -> None:
    found = memory(derived(gpus=4, layers=39), _FOUR_RANKS.read_text(encoding="utf-8"))
    assert found["ranks"] == 4
    assert found["together"]["ratio"] == pytest.approx(1, abs=0.01)
    assert found["kv_pool"]["ratio"] == pytest.approx(1, abs=0.001)
    assert found["tokens"] == {"measured": 256000, "estimated": 256000}


def test_the_schedulers_own_speed() -> None:
    found = decoding(_FOUR_RANKS.read_text(encoding="utf-8"))
    assert list(found) == ["1", "8", "20", "47"]
    assert found["47"]["accepted"] == 1
    assert found["47"]["step_ms"] == pytest.approx(20, rel=0.01)


def test_a_step_is_longer_than_a_token_where_drafts_are_accepted_and_lines_about_prompts_do_not_count() -> None:
    line = "Decode batch, #running-req: 10, accept len: 2.50, gen throughput (token/s): {}, #queue-req: 0"
    slow, steady = line.format("90.00"), line.format("500.00")
    found = decoding("\n".join([slow, steady, steady, "Prefill batch, #new-seq: 1, ", slow, steady]))
    assert found == {"10": {"tokens_per_second": 500, "accepted": 2.5, "step_ms": 50, "lines": 3}}


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
