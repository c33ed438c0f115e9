"""The memory fit of vLLM's flags, and of the pools that the recipes set."""

from __future__ import annotations

import pytest

from infra.settings import RECIPES
from recipes.memory_fit import GIB, MemoryFit, fit_memory, main
from serving.errors import ServingError
from serving.recipe import Recipe, load_recipe
from serving.recipe_sections import FlagValue


def recipe(name: str) -> Recipe:
    return load_recipe(RECIPES / f"{name}.yaml")


@pytest.fixture(scope="module")
def vllm() -> Recipe:
    return recipe("glm-5.2-fp8-h200")


def fit(base: Recipe, **flags: object) -> MemoryFit:
    return fit_memory(base.with_engine_args({name.replace("_", "-"): value for name, value in flags.items()}))  # type: ignore[misc]


# ── published; sources in docs/memory.md ──


def test_bytes_per_token_are_those_of_a_published_start(vllm: Recipe) -> None:
    """vLLM 0.28 stores 138,496 tokens of GLM-5.3 (GLM-5.2's dimensions, 21 index caches) on eight ranks in so much."""
    model = vllm.model.architecture
    assert model is not None
    attention = model.kv_bytes_per_layer(fp8=True, packed=False) - 132
    assert attention == 656
    assert (78 * attention + 21 * 132) * 8 * 138_496 == 59_763_793_920


def test_vllm_0_23_has_an_index_cache_in_every_layer_and_one_more_layer_for_mtp(vllm: Recipe) -> None:
    assert vllm.kv_bytes_per_token == 79 * (656 + 132)
    assert vllm.with_engine_args({"speculative-config": None}).kv_bytes_per_token == 78 * (656 + 132)
    assert vllm.with_engine_args({"kv-cache-dtype": "auto"}).kv_bytes_per_token == 79 * 1284


@pytest.mark.parametrize(
    "flags",
    [
        {"speculative-config.method": "mtp", "speculative-config.num_speculative_tokens": 5},
        {"spec-method": "mtp", "spec-tokens": 5},
    ],
)
def test_drafting_is_seen_however_it_is_written(vllm: Recipe, flags: dict[str, FlagValue | None]) -> None:
    written = vllm.with_engine_args({"speculative-config": None, **flags})
    assert written.speculates
    assert fit_memory(written).draft == fit_memory(vllm).draft > 0
    assert not vllm.with_engine_args({"speculative-config": "None"}).speculates


@pytest.mark.parametrize(
    ("architecture", "flags", "expected"),
    [("sm90", {}, 788), ("sm100", {}, 708), ("sm100", {"attention-backend": "FLASHMLA_SPARSE"}, 788)],
)
def test_the_fp8_layout_depends_on_the_attention_backend(
    vllm: Recipe, architecture: str, flags: dict[str, str], expected: int
) -> None:
    document = vllm.to_json()
    document["gpu"]["architecture"] = architecture
    assert Recipe.model_validate(document).with_engine_args({**flags}).kv_bytes_per_token == 79 * expected


def test_the_checkpoint_has_the_published_size(vllm: Recipe) -> None:
    """Of 78 layers 57 use another layer's indexer and have none in the files."""
    model = vllm.model.architecture
    assert model is not None
    without_indexers = model.model_copy(update={"index_n_heads": 0})
    indexer = model.attention_bytes() - without_indexers.attention_bytes()
    assert (model.checkpoint_bytes - 57 * indexer) / GIB == pytest.approx(703.74, abs=0.05)


def test_the_pool_of_a_published_start(vllm: Recipe) -> None:
    """vLLM 0.28 with defaults leaves 25.94 GiB of an H200 for GLM-5.3's KV cache."""
    assert fit(vllm).pool / GIB == pytest.approx(25.94, rel=0.03)
    assert (fit(vllm).weights + fit(vllm).draft) / GIB == pytest.approx(94.46, rel=0.05)


# ── verdicts ──


def test_the_guides_flags_fit(vllm: Recipe) -> None:
    result = fit(vllm)
    assert (result.tokens, result.requests, result.tokens_per_request, result.full_contexts) == (439_552, 32, 13_736, 3)
    assert (result.problem, result.caution) == (None, None)
    assert result.weights + result.draft + result.pool + result.margin + result.free == result.memory


def test_a_context_that_does_not_fit_keeps_vllm_from_starting_and_the_mend_works(vllm: Recipe) -> None:
    problem = fit(vllm, max_model_len=1_048_576).problem
    assert problem is not None
    assert "the engine refuses to start: lower max-model-len to 439552" in problem
    assert fit(vllm, max_model_len=439_552).problem is None
    assert fit(vllm, max_model_len="429K").problem is None
    assert fit(vllm, max_model_len="auto").problem is not None  # the model's own 1,048,576


def test_a_small_share_names_one_that_is_enough(vllm: Recipe) -> None:
    problem = fit(vllm, gpu_memory_utilization=0.7).problem
    assert problem is not None
    enough = float(problem.rsplit(" ", 1)[1])
    assert 0.75 < enough < 0.85
    assert fit(vllm, gpu_memory_utilization=enough).problem is None


def test_a_share_that_is_not_free_is_refused(vllm: Recipe) -> None:
    assert "lower it to 0.985" in (fit(vllm, gpu_memory_utilization=0.99).problem or "")


def test_a_larger_batch_costs_pool(vllm: Recipe) -> None:
    assert fit(vllm).pool - fit(vllm, max_num_batched_tokens=16384).pool == pytest.approx(8 * GIB, rel=0.01)


def test_a_pool_in_bytes_takes_the_place_of_the_share(vllm: Recipe) -> None:
    assert fit(vllm, kv_cache_memory_bytes=20 * GIB).tokens == 20 * GIB // 62_252
    problem = fit(vllm, kv_cache_memory_bytes=60 * GIB).problem
    assert problem is not None
    assert "lower kv-cache-memory-bytes to" in problem


def test_what_is_not_modelled_is_said(vllm: Recipe) -> None:
    with pytest.raises(ServingError, match="pipeline-parallel-size"):
        fit(vllm, tensor_parallel_size=4, pipeline_parallel_size=2)
    with pytest.raises(ServingError, match="a draft model of its own"):
        fit(vllm, speculative_config='{"method": "eagle3", "model": "a/b"}')
    with pytest.raises(ServingError, match="--gpu-memory-utilization is 'most'"):
        fit(vllm, gpu_memory_utilization="most")


# ── the recipes' pools ──


@pytest.mark.parametrize("name", ["glm-5.1-fp8-b200", "glm-5.1-fp8-h200", "glm-5.1-fp8-b200-next"])
def test_a_production_pool_fits_with_the_engines_margin_and_holds_a_full_context(name: str) -> None:
    production = recipe(name)
    result = fit_memory(production)
    assert (result.problem, result.caution) == (None, None)
    assert result.free >= 0
    assert result.full_contexts >= 1
    # Every request that the engine's front end lets through fits the pool, whatever it asks for.
    assert production.engine.flags["context-length"] == production.model.context_tokens < result.tokens
    assert result.tokens == production.engine.flags["max-total-tokens"]


def test_the_reference_pool_is_a_trap_and_the_fit_says_so() -> None:
    reference = recipe("glm-5.1-fp8-b200-reference")
    assert reference.engine.flags["max-total-tokens"] == 65536
    assert "a request can't be longer than 65,536 tokens" in (fit_memory(reference).caution or "")


def test_without_dimensions_the_checkpoints_size_is_shared_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tiny-glm52-local"]) == 0
    assert "the checkpoint's size, shared out" in capsys.readouterr().out
